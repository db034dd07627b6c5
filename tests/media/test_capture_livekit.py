"""Capture against a real LiveKit server: what two users publish with the SDK arrives, and how a stay ends."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from aioice import Candidate, Connection
from livekit import api, rtc

from cloudrec_local.stack import Stack
from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.ice import BatchedConnection
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.rooms import Changed, Joined, Left, RoomEvent, Unreachable
from cloudrec_recorder.rooms.livekit import LiveKitRoom

pytestmark = pytest.mark.media

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


@pytest.fixture
async def server(livekit_stack: Stack) -> AsyncIterator[Server]:
    server = Server(livekit_stack)
    yield server
    if not livekit_stack.status().running:
        await server.start()


@pytest.fixture
async def livekit_api(server: Server) -> AsyncIterator[api.LiveKitAPI]:
    status = server.status
    async with api.LiveKitAPI(status.http_url, status.api_key, status.api_secret) as client:
        yield client


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


async def test_records_what_is_subscribed(server: Server) -> None:
    async with Robot(server, "r1", lambda key: key.user_id == "anna" or key.kind == "audio") as robot:
        async with User(server, "anna", "r1") as anna, User(server, "ben", "r1"):
            await robot.until(lambda: len(robot.units("anna")) > 8 * FPS)
            first = robot.units("anna")[0]
            frames, pushed, at = len(robot.units("anna")), anna.pushed, robot.clock.now()
            assert robot.changed.anchors == {"anna", "ben"}
        video, audio = robot.units("anna"), robot.units("anna", "audio")
        assert first.keyframe
        assert video[0].data.startswith(b"\x00\x00\x00\x01")
        assert frames <= pushed
        span = video[frames - 1].time - first.time
        assert frames - 1 >= 0.99 * span * FPS
        assert abs(video[frames - 1].time - at) < 0.3
        assert_grows(video)
        assert_grows(audio)
        assert len(audio) >= 0.99 * (audio[-1].time - audio[0].time) * 50
        assert robot.units("ben", "audio")
        assert not robot.units("ben")
        assert robot.sink.lost_seconds == 0
        offsets = robot.room.clock_offsets()
        assert offsets
        assert all(abs(offset) < 0.1 for offset in offsets.values())
        await robot.until(lambda: robot.changed.anchors == frozenset())
    assert robot.events[-1] == Left(0, "Stopped", "the recording was stopped")
    assert isinstance(robot.events[0], Joined)


async def test_media_through_aiortcs_own_sockets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a TURN relay delivers does not pass our sockets; here aioice's own stand in for it."""

    async def gather(self: Connection, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        return await Connection.get_component_candidates(self, component, ["127.0.0.1"], timeout)

    monkeypatch.setattr(BatchedConnection, "get_component_candidates", gather)
    async with Robot(server, "r0") as robot, User(server, "anna", "r0"):
        await robot.until(lambda: len(robot.units("anna")) > FPS and len(robot.units("anna", "audio")) > 50)
        assert_grows(robot.units("anna"))


async def test_mute_and_rejoin_of_a_publisher(server: Server) -> None:
    async with Robot(server, "r2") as robot:
        async with User(server, "anna", "r2") as anna:
            await robot.until(lambda: len(robot.units("anna")) > FPS)
            anna.video_track.mute()
            await robot.until(lambda: any(t.muted for t in robot.changed.tracks))
            muted_at = robot.clock.now()
            await asyncio.sleep(2)
            anna.video_track.unmute()
            await robot.until(lambda: robot.units("anna")[-1].time > muted_at + 3)
            assert {unit.source for unit in robot.units("anna")} == {robot.units("anna")[0].source}
            gaps = [b.time - a.time for a, b in zip(robot.units("anna"), robot.units("anna")[1:], strict=False)]
            assert max(gaps) > 1.5
        await robot.until(lambda: not robot.changed.tracks)
        before = robot.units("anna")[-1]
        async with User(server, "anna", "r2"):
            await robot.until(lambda: robot.units("anna")[-1].source != before.source)
            await robot.until(lambda: robot.units("anna")[-1].time > before.time + 1)
            again = next(unit for unit in robot.units("anna") if unit.source > before.source)
            assert again.keyframe
            assert again.time > before.time
        assert_grows(robot.units("anna"))


async def test_a_short_track_is_delivered_at_its_end(server: Server) -> None:
    async with Robot(server, "r3") as robot:
        async with User(server, "anna", "r3"):
            await robot.until(lambda: len(robot.changed.tracks) == 2 if robot.last(Changed) else False)
            await asyncio.sleep(1.5)
        await robot.until(lambda: len(robot.units("anna")) > FPS and len(robot.units("anna", "audio")) > 50)


async def test_removed_by_api(server: Server, livekit_api: api.LiveKitAPI) -> None:
    async with Robot(server, "r4") as robot:
        await robot.until(lambda: robot.last(Changed) is not None)
        await livekit_api.room.remove_participant(api.RoomParticipantIdentity(room="r4", identity="robot~0"))
        await robot.until(lambda: robot.last(Left) is not None)
    left = robot.events[-1]
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (1, "RemovedByApi")


async def test_room_deleted_by_api(server: Server, livekit_api: api.LiveKitAPI) -> None:
    async with Robot(server, "r5") as robot:
        await robot.until(lambda: robot.last(Changed) is not None)
        await livekit_api.room.delete_room(api.DeleteRoomRequest(room="r5"))
        await robot.until(lambda: robot.last(Left) is not None)
    left = robot.events[-1]
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (2, "RoomDeleted")


async def test_rejoins_after_an_empty_room_was_closed(server: Server, livekit_api: api.LiveKitAPI) -> None:
    await livekit_api.room.create_room(api.CreateRoomRequest(name="r6", departure_timeout=1))
    async with Robot(server, "r6", rejoin_deadline=0) as robot:
        async with User(server, "anna", "r6"):
            await robot.until(lambda: len(robot.units("anna")) > 0)
        await robot.until(lambda: Joined(rejoined=True) in robot.events, 30)
        async with User(server, "ben", "r6"):
            await robot.until(lambda: len(robot.units("ben")) > 0)


@pytest.mark.parametrize("kill", [False, True])
async def test_rejoins_after_the_server_restarted(server: Server, kill: bool) -> None:
    async with Robot(server, "r7", rejoin_deadline=60) as robot:
        await robot.until(lambda: robot.last(Changed) is not None)
        await server.stop(kill=kill)
        await robot.until(lambda: robot.last(Unreachable) is not None)
        await server.start()
        await robot.until(lambda: Joined(rejoined=True) in robot.events, 30)
        async with User(server, "anna", "r7"):
            await robot.until(lambda: len(robot.units("anna")) > FPS)
            assert robot.changed.anchors == {"anna"}


async def test_gives_up_rejoining_at_the_deadline(server: Server) -> None:
    async with Robot(server, "r8", rejoin_deadline=1) as robot:
        await robot.until(lambda: robot.last(Changed) is not None)
        await server.stop()
        await robot.until(lambda: robot.last(Left) is not None)
    left = robot.events[-1]
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (100, "RejoinTimeout")


async def test_token_refused(server: Server) -> None:
    async with Robot(server, "r9", token="nonsense") as robot:
        await robot.until(lambda: robot.last(Left) is not None)
    left = robot.events[-1]
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (None, "TokenRefused")
    assert "nonsense" not in left.message
