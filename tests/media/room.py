"""A real LiveKit server, users of its SDK, and a robot in this process: what the tests of capture are made of."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from livekit import api, rtc

from cloudrec_local.stack import Stack
from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.media import AccessUnit, Held, NotKept, TrackKey
from cloudrec_recorder.rooms import Changed, RoomEvent
from cloudrec_recorder.rooms.livekit import LiveKitRoom

FPS = 20
WIDTH, HEIGHT = 320, 240


class Server:
    """The session's LiveKit server."""

    def __init__(self, stack: Stack) -> None:
        status = stack.status().livekit
        assert status is not None
        self._stack = stack
        self.status = status
        self.url = status.url

    async def start(self) -> None:
        await asyncio.to_thread(self._stack.start, "livekit")

    async def stop(self, *, kill: bool = False) -> None:
        await asyncio.to_thread(self._stack.stop, "livekit", 0 if kill else 10)

    def token(self, identity: str, room: str, *, robot: bool = False) -> str:
        grants = api.VideoGrants(
            room_join=True, room=room, can_publish=not robot, can_subscribe=robot, hidden=robot, recorder=robot
        )
        token = api.AccessToken(self.status.api_key, self.status.api_secret)
        return token.with_identity(identity).with_grants(grants).to_jwt()


class User:
    """A synthetic user of the SDK: a moving picture in H.264 and a tone."""

    def __init__(self, server: Server, identity: str, room: str) -> None:
        self._url = server.url
        self._token = server.token(identity, room)
        self.room = rtc.Room()
        self.pushed = 0
        self._video = rtc.VideoSource(WIDTH, HEIGHT)
        self._audio = rtc.AudioSource(48000, 1, queue_size_ms=0)
        self.camera: rtc.LocalTrackPublication | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> User:
        await self.room.connect(self._url, self._token, rtc.RoomOptions(auto_subscribe=False))
        self._tasks = [asyncio.create_task(self._push_video()), asyncio.create_task(self._push_audio())]
        video = rtc.LocalVideoTrack.create_video_track("camera", self._video)
        audio = rtc.LocalAudioTrack.create_audio_track("microphone", self._audio)
        self.video_track = video
        await self.room.local_participant.publish_track(
            video,
            rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_CAMERA,
                video_codec=rtc.VideoCodec.H264,
                simulcast=False,
                video_encoding=rtc.VideoEncoding(max_bitrate=1_500_000, max_framerate=FPS),
            ),
        )
        await self.room.local_participant.publish_track(
            audio, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()
        await self._video.aclose()
        await self._audio.aclose()

    async def _push_video(self) -> None:
        picture = np.full(WIDTH * HEIGHT * 3 // 2, 128, np.uint8)
        start = time.monotonic()
        while True:
            picture[: WIDTH * HEIGHT] = (np.arange(WIDTH * HEIGHT) + 3 * self.pushed) % 251
            self._video.capture_frame(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, picture.tobytes()))
            self.pushed += 1
            await asyncio.sleep(max(0, start + self.pushed / FPS - time.monotonic()))

    async def _push_audio(self) -> None:
        start, count = time.monotonic(), 0
        while True:
            wave = 8000 * np.sin(2 * np.pi * 440 * (np.arange(480) + 480 * count) / 48000)
            await self._audio.capture_frame(rtc.AudioFrame(wave.astype(np.int16).tobytes(), 48000, 1, 480))
            count += 1
            await asyncio.sleep(max(0, start + count / 100 - time.monotonic()))


@dataclass
class Sink:
    units: dict[TrackKey, list[AccessUnit]] = field(default_factory=lambda: defaultdict(list))
    lost_seconds: float = 0.0

    def hold(self, key: TrackKey, codec: str, clock_rate: int) -> Held:
        return NotKept()

    def media(self, unit: AccessUnit) -> None:
        self.units[unit.key].append(unit)

    def lost(self, key: TrackKey, seconds: float) -> None:
        self.lost_seconds += seconds


class Robot:
    """A LiveKitRoom that subscribes what `choose` says, and its events so far."""

    def __init__(
        self,
        server: Server,
        room: str,
        choose: Callable[[TrackKey], bool] = lambda _: True,
        token: str | None = None,
        rejoin_deadline: float = 20,
    ) -> None:
        self.sink = Sink()
        self.clock = TaskClock(time.time() * 1000)
        token = server.token("robot~0", room, robot=True) if token is None else token
        self.room = LiveKitRoom(server.url, lambda: token, self.sink, self.clock, rejoin_deadline=rejoin_deadline)
        self.events: list[RoomEvent] = []
        self._choose = choose
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Robot:
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        await self.room.leave()
        await asyncio.wait_for(self._task, 10)

    async def _follow(self) -> None:
        async for event in self.room.events():
            if isinstance(event, Changed):
                self.room.subscribe({track.sid for track in event.tracks if self._choose(track.key)})
            async with self._news:
                self.events.append(event)
                self._news.notify_all()

    async def until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        """Wait for a condition on events or media."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"not in {timeout} s; events: {self.events}"
            await asyncio.sleep(0.05)

    def last(self, kind: type) -> RoomEvent | None:
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    @property
    def changed(self) -> Changed:
        event = self.last(Changed)
        assert isinstance(event, Changed)
        return event

    def units(self, user: str, kind: str = "video") -> list[AccessUnit]:
        return self.sink.units[TrackKey(user, "main", kind)]  # type: ignore[arg-type]


def assert_grows(units: list[AccessUnit]) -> None:
    for before, after in itertools.pairwise(units):
        assert after.source != before.source or after.time > before.time
