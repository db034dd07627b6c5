"""Signalling that is lost while media flows, and media that falls silent while signalling stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from livekit.protocol.models import DisconnectReason, ParticipantInfo, ParticipantPermission, TrackInfo, TrackType
from livekit.protocol.rtc import JoinResponse, LeaveRequest, ReconnectResponse, SignalRequest, SignalResponse
from websockets.asyncio.server import ServerConnection

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.rooms import Changed, Joined, Left, RoomEvent, Unreachable, livekit_connection
from cloudrec_recorder.rooms.livekit import LiveKitRoom
from cloudrec_recorder.rooms.livekit_signal import CannotResume, SignalClient, signal_url
from tests.unit.capture.kit import Sink
from tests.unit.rooms.fake import FakeSignalServer


class Peer:
    """A transport that is there at once; the test says what arrives."""

    made: list[Peer]
    alive = True
    flowing = True

    def __init__(self, *_: object, **__: object) -> None:
        self._count = 0
        Peer.made.append(self)

    async def connected(self, timeout: float) -> None:
        pass

    def describe(self) -> str:
        return "as a test says"

    def send(self, packet: bytes) -> None:
        pass

    async def close(self) -> None:
        pass

    @property
    def datagrams(self) -> int:
        self._count += 1
        return self._count

    @property
    def media(self) -> int:
        return self._count if self.flowing else 0


@pytest.fixture(autouse=True)
def peers(monkeypatch: pytest.MonkeyPatch) -> list[Peer]:
    Peer.made = []
    monkeypatch.setattr(livekit_connection, "MediaPeer", Peer)
    monkeypatch.setattr(livekit_connection, "_MONITOR_SECONDS", 0.02)
    return Peer.made


def participant(identity: str) -> ParticipantInfo:
    return ParticipantInfo(
        sid=f"PA_{identity}",
        identity=identity,
        permission=ParticipantPermission(can_publish=True),
        tracks=[TrackInfo(sid=f"TR_{identity}", type=TrackType.VIDEO, mime_type="video/H264")],
    )


def message(**fields: object) -> bytes:
    return bytes(SignalResponse(**fields).SerializeToString())  # type: ignore[arg-type]


class Server:
    """Lets the robot join, and resume as `resuming` says."""

    def __init__(self, fake: FakeSignalServer) -> None:
        self.fake = fake
        self.sockets: list[ServerConnection] = []
        self.asked: list[SignalRequest] = []
        self.resuming: bytes | None = message(reconnect=ReconnectResponse())
        fake.handler = self._handle

    async def _handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        resumed = "reconnect=1" in socket.request.path
        if resumed:
            assert "sid=PA_robot" in socket.request.path
            if self.resuming is None:
                return
            await socket.send(self.resuming)
        else:
            joined = JoinResponse(
                participant=ParticipantInfo(sid="PA_robot", identity="robot~0"),
                other_participants=[participant("anna")],
            )
            await socket.send(message(join=joined))
        self.sockets.append(socket)
        async for raw in socket:
            assert isinstance(raw, bytes)
            self.asked.append(SignalRequest.FromString(raw))

    @property
    def resumes(self) -> int:
        return sum("reconnect=1" in request.path for request in self.fake.requests)

    def subscriptions(self) -> int:
        return sum(request.WhichOneof("message") == "subscription" for request in self.asked)


class Robot:
    def __init__(self, url: str) -> None:
        self.room = LiveKitRoom(url, lambda: "t", Sink(), TaskClock(time.time() * 1000), rejoin_deadline=5)
        self.events: list[RoomEvent] = []

    async def follow(self) -> None:
        async for event in self.room.events():
            self.events.append(event)
            if isinstance(event, Changed):
                self.room.subscribe({track.sid for track in event.tracks})

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@asynccontextmanager
async def joined(server: Server) -> AsyncIterator[Robot]:
    robot = Robot(server.fake.url)
    following = asyncio.create_task(robot.follow())
    try:
        await until(lambda: server.subscriptions() == 1)
        yield robot
    finally:
        await robot.room.leave()
        await asyncio.wait_for(following, 10)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def server(fake: FakeSignalServer) -> Server:
    return Server(fake)


async def test_the_session_goes_on(server: Server, peers: list[Peer]) -> None:
    async with joined(server) as robot:
        server.sockets[0].transport.abort()
        await until(lambda: server.subscriptions() == 2)  # what was asked for last may have been lost
        await server.sockets[1].send(
            message(update={"participants": [ParticipantInfo(sid="PA_anna", state=ParticipantInfo.State.DISCONNECTED)]})
        )
        await until(lambda: robot.events[-1] == Changed(frozenset(), ()))
    assert len(peers) == 1
    assert [type(event) for event in robot.events] == [Joined, Changed, Changed, Left]


async def test_a_while_without_signalling_is_told(server: Server, peers: list[Peer]) -> None:
    async with joined(server) as robot:
        server.fake.status = 503
        server.sockets[0].transport.abort()
        await until(lambda: robot.count(Unreachable) == 1)
        server.fake.status = None
        await until(lambda: robot.count(Joined) == 2)
        await until(lambda: server.subscriptions() == 2)
    assert len(peers) == 1
    assert Joined(rejoined=True) in robot.events


@pytest.mark.parametrize(
    "answer",
    [
        message(leave=LeaveRequest(reason=DisconnectReason.STATE_MISMATCH, action=LeaveRequest.Action.RECONNECT)),
        message(refresh_token="what is this"),
    ],
)
async def test_a_session_that_is_gone_is_joined_anew(server: Server, peers: list[Peer], answer: bytes) -> None:
    server.resuming = answer
    async with joined(server) as robot:
        server.sockets[0].transport.abort()
        await until(lambda: server.subscriptions() == 2)
    assert (len(peers), server.resumes) == (2, 1)
    assert Joined(rejoined=True) in robot.events


async def test_resuming_has_a_deadline(server: Server, peers: list[Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livekit_connection, "RESUME_SECONDS", 0.5)
    server.resuming = None  # it hangs up each time
    async with joined(server):
        server.sockets[0].transport.abort()
        await until(lambda: server.subscriptions() == 2)
    assert len(peers) == 2
    assert server.resumes in range(2, 6)


async def test_a_silent_server_is_not_waited_for(
    server: Server, peers: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(livekit_connection, "RESUME_SILENT_SECONDS", 0.2)
    monkeypatch.setattr(Peer, "datagrams", 7)
    server.resuming = None
    async with joined(server):
        begun = time.monotonic()
        server.sockets[0].transport.abort()
        await until(lambda: len(peers) == 2)
        assert time.monotonic() - begun < 3


async def test_nothing_is_resumed_when_media_is_lost_too(server: Server, peers: list[Peer]) -> None:
    async with joined(server):
        peers[0].alive = False
        server.sockets[0].transport.abort()
        await until(lambda: server.subscriptions() == 2)
    assert (len(peers), server.resumes) == (2, 0)


async def test_the_server_may_ask_for_it(server: Server, peers: list[Peer]) -> None:
    async with joined(server):
        leave = LeaveRequest(reason=DisconnectReason.UNKNOWN_REASON, action=LeaveRequest.Action.RESUME)
        await server.sockets[0].send(message(leave=leave))
        await until(lambda: server.subscriptions() == 2)
    assert (len(peers), server.resumes) == (1, 1)


async def test_media_that_falls_silent_has_ice_restarted_once(
    server: Server, peers: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(livekit_connection, "MEDIA_QUIET_SECONDS", 0.1)
    async with joined(server):
        await asyncio.sleep(0.2)
        assert server.resumes == 0
        peers[0].flowing = False
        await until(lambda: server.subscriptions() == 2)
        await asyncio.sleep(0.4)
        assert server.resumes == 1
        peers[0].flowing = True
        await asyncio.sleep(0.1)
        peers[0].flowing = False
        await until(lambda: server.resumes == 2)
    assert len(peers) == 1


async def test_silence_of_nobody_who_speaks_is_none(
    server: Server, peers: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(livekit_connection, "MEDIA_QUIET_SECONDS", 0.1)
    async with joined(server) as robot:
        anna = participant("anna")
        anna.tracks[0].muted = True
        anna.version = 1
        await server.sockets[0].send(message(update={"participants": [anna]}))
        await until(lambda: robot.count(Changed) == 2)
        peers[0].flowing = False
        await asyncio.sleep(0.4)
    assert server.resumes == 0


async def test_resume_speaks_of_the_session(server: Server) -> None:
    assert "reconnect=1" in signal_url("ws://host", resume="PA_robot")
    assert "sid=PA_robot" in signal_url("ws://host", resume="PA_robot")
    assert "reconnect" not in signal_url("ws://host")
    client = await SignalClient.resume(server.fake.url, "t", "PA_robot")
    await client.close()
    server.resuming = message(leave=LeaveRequest(reason=DisconnectReason.STATE_MISMATCH))
    with pytest.raises(CannotResume, match="STATE_MISMATCH"):
        await SignalClient.resume(server.fake.url, "t", "PA_robot")
