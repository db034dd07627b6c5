"""A user in a real room: LiveKit's own SDK publishes the test picture and the beep, paced by the wall clock.

Pictures and sound are made for the moment they are pushed at, so what a recording shows tells when it was captured.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from livekit import api, rtc

from cloudrec_local.synthetic.picture import TestPicture
from cloudrec_local.synthetic.plan import Do, Kind, Media, UserPlan
from cloudrec_local.synthetic.server import DEADLINE_SECONDS, PublishError, Server, without_tokens
from cloudrec_local.synthetic.sound import FRAME_SAMPLES, FRAMES_PER_SECOND, SAMPLE_RATE, beep_hz, sound
from cloudrec_local.synthetic.truth import Event, EventType, Interval, TrackTruth, WallClock

__all__ = ["PublishError", "Server", "SyntheticUser"]

_MOST_FRAMES_KEPT = 2_000_000
_MOST_LATE_SECONDS = 1.0  # sound later than this is left out instead of being caught up with

_SOURCES = {
    ("main", "video"): rtc.TrackSource.SOURCE_CAMERA,
    ("main", "audio"): rtc.TrackSource.SOURCE_MICROPHONE,
    ("aux", "video"): rtc.TrackSource.SOURCE_SCREENSHARE,
    ("aux", "audio"): rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO,
}


@dataclass(slots=True)
class _Track:
    """One publication: the SDK's objects, the task that feeds them, and what was done."""

    media: Media
    kind: Kind
    local: rtc.LocalVideoTrack | rtc.LocalAudioTrack
    source: rtc.VideoSource | rtc.AudioSource
    sid: str
    published: float
    feed: asyncio.Task[None] | None = None
    unpublished: float | None = None
    frames: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    slips: int = 0
    muted: list[Interval] = field(default_factory=list)

    def close(self, at: float) -> None:
        self.unpublished = at
        self.unmute(at)

    def unmute(self, at: float) -> None:
        if self.muted and self.muted[-1].end is None:
            self.muted[-1] = Interval(start=self.muted[-1].start, end=at)


class SyntheticUser:
    """One user of a plan. An async context manager: leaving it leaves the room.

    Raises PublishError from every step that the server refuses or does not answer within `DEADLINE_SECONDS`.
    """

    def __init__(
        self,
        server: Server,
        room: str,
        plan: UserPlan,
        clock: WallClock,
        observe: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.plan = plan
        self._server, self._room_name, self._clock, self._observe = server, room, clock, observe
        self._room: rtc.Room | None = None
        self._doing: asyncio.Task[None] | None = None
        self._tracks: dict[tuple[Media, Kind], _Track] = {}
        self._past: list[_Track] = []

    async def __aenter__(self) -> SyntheticUser:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._doing is not None:  # the SDK aborts the process when that ends with a call under way
            await asyncio.wait([self._doing], timeout=DEADLINE_SECONDS)
            if self._doing.done() and not self._doing.cancelled():
                self._doing.exception()  # its caller has gone; who ended the session knows why
        if self._room is not None:
            await self.leave()

    async def do(self, step: Do) -> None:
        """Do one step of a plan. Cancelled, the step goes on to its end all the same, which leaving waits for."""
        self._doing = asyncio.create_task(self._do(step), name=f"{self.plan.identity} {step.do}")
        await asyncio.shield(self._doing)

    async def _do(self, step: Do) -> None:
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                match step.do:
                    case "join":
                        await self.join()
                    case "leave":
                        await self.leave()
                    case action:
                        for kind in step.kinds:
                            await self._to_track(action, step.media, kind)
        except TimeoutError:
            raise PublishError(f"{self.plan.identity}: no answer to {step.do!r}") from None

    async def join(self) -> None:
        if self._room is not None and self._room.isconnected():
            raise PublishError(f"{self.plan.identity} is in the room already")
        if self._room is not None:  # put out of it; what was published is still being fed
            await self.leave()
        room = rtc.Room()
        room.on("disconnected", lambda reason: self._disconnected(room, reason))
        try:
            await room.connect(self._server.url, self._token(), rtc.RoomOptions(auto_subscribe=False))
        except rtc.ConnectError as error:
            raise PublishError(
                f"{self.plan.identity} cannot join {self._room_name!r}: {without_tokens(str(error))}"
            ) from None
        self._room = room
        self._told("joined")

    async def leave(self) -> None:
        """Leave the room; what was published ends with it."""
        room = self._joined()
        self._room = None
        for track in list(self._tracks.values()):
            await self._retire(track)
        async with asyncio.timeout(DEADLINE_SECONDS):
            await room.disconnect()
        self._told("left")

    def truth(self) -> tuple[TrackTruth, ...]:
        """All publications so far."""
        return tuple(
            TrackTruth(
                user=self.plan.identity,
                number=self.plan.number,
                media=track.media,
                kind=track.kind,
                sid=track.sid,
                fps=self.plan.fps if track.kind == "video" else FRAMES_PER_SECOND,
                published=track.published,
                unpublished=track.unpublished,
                frames=tuple(track.frames),
                times=tuple(track.times),
                slips=track.slips,
                muted=tuple(track.muted),
            )
            for track in (*self._past, *self._tracks.values())
        )

    async def _to_track(
        self, action: Literal["publish", "unpublish", "mute", "unmute"], media: Media, kind: Kind
    ) -> None:
        room, track = self._joined(), self._tracks.get((media, kind))
        if action == "publish":
            if track is not None:
                raise PublishError(f"{self.plan.identity} publishes {media} {kind} already")
            await self._publish(room, media, kind)
            return
        if track is None:
            raise PublishError(f"{self.plan.identity} does not publish {media} {kind}")
        match action:
            case "unpublish":
                await self._retire(track)
                await room.local_participant.unpublish_track(track.sid)
                self._told("unpublished", media, kind)
            case "mute":
                track.local.mute()
                track.muted.append(Interval(start=self._clock.now()))
                self._told("muted", media, kind)
            case "unmute":
                track.local.unmute()
                track.unmute(self._clock.now())
                self._told("unmuted", media, kind)

    async def _publish(self, room: rtc.Room, media: Media, kind: Kind) -> None:
        plan = self.plan
        options = rtc.TrackPublishOptions(source=_SOURCES[media, kind])
        source: rtc.VideoSource | rtc.AudioSource
        local: rtc.LocalVideoTrack | rtc.LocalAudioTrack
        if kind == "video":
            options.video_codec = getattr(rtc.VideoCodec, plan.codec)
            options.simulcast = plan.simulcast
            options.video_encoding.max_framerate = plan.fps
            options.video_encoding.max_bitrate = max(plan.width * plan.height * plan.fps // 8, 400_000)
            # whatever the bandwidth estimate says, each picture is sent: a lost one is then the recorder's doing
            options.degradation_preference = rtc.DegradationPreference.MAINTAIN_FRAMERATE_AND_RESOLUTION.value
            source = rtc.VideoSource(plan.width, plan.height)
            local = rtc.LocalVideoTrack.create_video_track(f"{media}-video", source)
        else:
            options.dtx = plan.dtx
            # a queue in the SDK would move sound against the picture by up to its length
            source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=0)
            local = rtc.LocalAudioTrack.create_audio_track(f"{media}-audio", source)
        try:
            publication = await room.local_participant.publish_track(local, options)
        except rtc.participant.PublishTrackError as error:
            await source.aclose()
            raise PublishError(f"{plan.identity} cannot publish {media} {kind}: {error}") from error
        track = _Track(media, kind, local, source, publication.sid, self._clock.now())
        feed = self._show(track) if isinstance(source, rtc.VideoSource) else self._sing(track)
        track.feed = asyncio.create_task(feed, name=f"{plan.identity} {media} {kind}")
        self._tracks[media, kind] = track
        self._told("published", media, kind)

    async def _show(self, track: _Track) -> None:
        """Push pictures, each at its time; one whose time has gone by altogether is left out."""
        plan, clock, source = self.plan, self._clock, track.source
        assert isinstance(source, rtc.VideoSource)
        picture = TestPicture(plan.width, plan.height, plan.fps, plan.number, screen=track.media == "aux")
        image = rtc.VideoFrame(plan.width, plan.height, rtc.VideoBufferType.I420, picture.buffer)
        number = math.ceil(clock.now() * plan.fps)
        while True:
            await asyncio.sleep(number / plan.fps - clock.now())
            now = clock.now()
            number = max(number, math.floor(now * plan.fps))
            picture.draw(number)
            source.capture_frame(image)
            if len(track.frames) < _MOST_FRAMES_KEPT:
                track.frames.append(number)
                track.times.append(now)
            number += 1

    async def _sing(self, track: _Track) -> None:
        """Push sound without a break: RTP time of sound counts samples, not seconds.

        The SDK takes 10 ms at a time; two of them each 20 ms, as an Opus packet has, cost fewer wake-ups.
        """
        clock, source = self._clock, track.source
        assert isinstance(source, rtc.AudioSource)
        beep = beep_hz(self.plan.number, screen=track.media == "aux")
        number = math.ceil(clock.now() * FRAMES_PER_SECOND)
        while True:
            await asyncio.sleep(number / FRAMES_PER_SECOND - clock.now())
            now = clock.now()
            if now - number / FRAMES_PER_SECOND > _MOST_LATE_SECONDS:
                track.slips += math.floor(now * FRAMES_PER_SECOND) - number
                number = math.floor(now * FRAMES_PER_SECOND)
            if not track.frames:
                track.frames.append(number)
                track.times.append(now)
            for _ in range(2):
                data = sound(number, beep)
                await source.capture_frame(rtc.AudioFrame(data, SAMPLE_RATE, 1, FRAME_SAMPLES))
                number += 1

    async def _retire(self, track: _Track) -> None:
        self._tracks.pop((track.media, track.kind), None)
        self._past.append(track)
        track.close(self._clock.now())
        if track.feed is not None:
            track.feed.cancel()
            await asyncio.wait([track.feed])
            if not track.feed.cancelled() and (error := track.feed.exception()) is not None:
                raise PublishError(f"{self.plan.identity} stopped sending {track.media} {track.kind}") from error
        await track.source.aclose()

    def _disconnected(self, room: rtc.Room, reason: object) -> None:
        if self._room is room:  # not of our own doing
            self._told("disconnected")

    def _joined(self) -> rtc.Room:
        if self._room is None:
            raise PublishError(f"{self.plan.identity} is not in the room")
        return self._room

    def _token(self) -> str:
        grants = api.VideoGrants(room_join=True, room=self._room_name, can_publish=True, can_subscribe=False)
        token = api.AccessToken(self._server.api_key, self._server.api_secret.reveal())
        return token.with_identity(self.plan.identity).with_name(self.plan.identity).with_grants(grants).to_jwt()

    def _told(self, event: EventType, media: Media | None = None, kind: Kind | None = None) -> None:
        self._observe(Event(type=event, user=self.plan.identity, at=self._clock.now(), media=media, kind=kind))
