from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from livekit.protocol.models import DisconnectReason
from livekit.protocol.rtc import JoinResponse, LeaveRequest, SignalResponse
from websockets.asyncio.server import ServerConnection

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.rooms import Changed, Joined, Left, RoomEvent, Unreachable, livekit
from cloudrec_recorder.rooms.livekit import LiveKitRoom
from cloudrec_recorder.rooms.livekit_state import Rejoin
from tests.unit.capture.kit import Sink
from tests.unit.rooms.fake import FakeSignalServer

NOBODY = "ws://127.0.0.1:1"
NO_ROOM = "requested room does not exist"


def make(url: str, token: Callable[[], str] = lambda: "t", **deadlines: float) -> LiveKitRoom:
    return LiveKitRoom(url, token, Sink(), TaskClock(time.time() * 1000), **deadlines)


async def events(room: LiveKitRoom) -> list[RoomEvent]:
    async with asyncio.timeout(10):
        return [event async for event in room.events()]


async def test_leaving_while_the_server_is_unreachable_is_quick() -> None:
    room = make(NOBODY)
    following = asyncio.create_task(events(room))
    await asyncio.sleep(0.6)
    before = time.monotonic()
    await room.leave()
    found = await following
    assert time.monotonic() - before < 1
    assert isinstance(found[0], Unreachable)
    assert found[-1] == Left(0, "Stopped", "the recording was stopped")


async def test_leaving_while_joining_is_quick(fake: FakeSignalServer) -> None:
    arrived = asyncio.Event()

    async def silent(socket: ServerConnection) -> None:
        arrived.set()
        await socket.wait_closed()

    fake.handler = silent
    room = make(fake.url)
    following = asyncio.create_task(events(room))
    await asyncio.wait_for(arrived.wait(), 5)
    await room.leave()
    assert await following == [Left(0, "Stopped", "the recording was stopped")]


async def test_the_first_join_has_a_deadline() -> None:
    *tries, left = await events(make(NOBODY, join_deadline=0.5))
    assert tries
    assert all(isinstance(event, Unreachable) and event.reason == "LiveKitUnreachable" for event in tries)
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (None, "LiveKitUnreachable")


async def test_a_refused_token_ends_the_first_join(fake: FakeSignalServer) -> None:
    fake.status = 401
    (left,) = await events(make(fake.url))
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (None, "TokenRefused")


async def test_a_token_that_cannot_be_read_is_tried_again(fake: FakeSignalServer) -> None:
    def missing() -> str:
        raise FileNotFoundError(2, "No such file or directory", "/run/token")

    first, *_ = await events(make(fake.url, missing, join_deadline=0))
    assert isinstance(first, Unreachable)
    assert "cannot read the room token" in first.message
    assert not fake.requests


async def test_the_servers_renewed_token_helps_when_the_file_is_out_of_date(fake: FakeSignalServer) -> None:
    async def renew(socket: ServerConnection) -> None:
        await socket.send(SignalResponse(join=JoinResponse()).SerializeToString())
        await socket.send(SignalResponse(refresh_token="renewed").SerializeToString())
        fake.status, fake.handler = 401, fake.join

    fake.handler = renew
    left = (await events(make(fake.url)))[-1]
    assert isinstance(left, Left)
    assert left.reason == "TokenRefused"
    tried = [request.headers["Authorization"] for request in fake.requests]
    assert tried == ["Bearer t", "Bearer t", "Bearer renewed"]


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (DisconnectReason.PARTICIPANT_REMOVED, 1),
        (DisconnectReason.ROOM_DELETED, 2),
        (DisconnectReason.DUPLICATE_IDENTITY, 101),
        (DisconnectReason.USER_REJECTED, 3),
    ],
)
async def test_the_servers_farewell(fake: FakeSignalServer, reason: DisconnectReason, code: int) -> None:
    async def farewell(socket: ServerConnection) -> None:
        await socket.send(SignalResponse(join=JoinResponse()).SerializeToString())
        await socket.send(SignalResponse(leave=LeaveRequest(reason=reason)).SerializeToString())
        await socket.wait_closed()

    fake.handler = farewell
    (left,) = await events(make(fake.url))
    assert isinstance(left, Left)
    assert left.code == code


async def test_a_consumer_that_goes_away_ends_everything(fake: FakeSignalServer) -> None:
    room = make(NOBODY)
    stream = room.events()
    assert isinstance(await anext(stream), Unreachable)
    await stream.aclose()  # type: ignore[attr-defined]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("livekit")]


async def test_a_room_that_is_not_there_yet_is_an_empty_room(fake: FakeSignalServer) -> None:
    fake.status, fake.body = 404, NO_ROOM
    room = make(fake.url, join_deadline=0, rejoin_deadline=0)
    following = asyncio.create_task(events(room))
    async with asyncio.timeout(10):
        while len(fake.requests) < 3:
            await asyncio.sleep(0.01)
    await room.leave()
    joined, *changes, left = await following
    assert joined == Joined()
    assert set(changes) == {Changed(frozenset(), ())}
    assert left == Left(0, "Stopped", "the recording was stopped")


async def test_a_404_of_another_server_is_none(fake: FakeSignalServer) -> None:
    fake.status, fake.body = 404, "404 page not found"
    first, *_, left = await events(make(fake.url, join_deadline=0.3))
    assert isinstance(first, Unreachable)
    assert isinstance(left, Left)
    assert left.code is None


class Connections:
    """Stands in for `Connection`: each stays for so many seconds of the clock (None: does not join), then ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: list[tuple[float | None, Left | Rejoin]]) -> None:
        self.now = 1000.0
        self.lost_at = 0.0
        self.script = iter(script)
        self.made = 0
        self.waits: list[float] = []
        monkeypatch.setattr(livekit, "Connection", self.connect)
        monkeypatch.setattr(livekit.asyncio, "timeout", self.timeout)
        clock = TaskClock(0, lambda: self.now, lambda: self.now)
        self.room = LiveKitRoom("ws://x", lambda: "t", Sink(), clock)

    def connect(self, *args: object, rejoined: bool) -> Connection:
        self.made += 1
        return Connection(self, args[3], rejoined)

    def timeout(self, seconds: float) -> asyncio.Timeout:
        """Waiting takes no time but the clock's."""
        self.waits.append(seconds)
        self.now += seconds
        return real_timeout(0)


real_timeout = asyncio.timeout


class Connection:
    refreshed_token = None

    def __init__(self, script: Connections, tell: Callable[[RoomEvent], None], rejoined: bool) -> None:
        self.script, self.tell, self.rejoined = script, tell, rejoined
        self.joined_at: float | None = None

    def subscribe(self, sids: frozenset[str]) -> None:
        pass

    def prefer(self, sizes: dict[str, tuple[int, int]]) -> None:
        pass

    def clock_offsets(self) -> dict[str, float]:
        return {}

    async def run(self, tokens: Callable[[], list[str]]) -> Left | Rejoin:
        seconds, outcome = next(self.script.script)
        if seconds is not None:
            self.joined_at = self.script.now
            self.tell(Joined(rejoined=self.rejoined))
            self.tell(Changed(frozenset({"anna"}), ()))
            self.script.now += seconds
            self.script.lost_at = self.script.now
        return outcome


LOST = Rejoin("MediaUnreachable", "lost")
ABSENT = Rejoin("LiveKitUnreachable", "HTTP 404", emptied=True)


async def told(room: LiveKitRoom) -> list[RoomEvent]:
    return [event async for event in room.events()]


async def test_nobody_is_left_in_a_room_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The idle timer begins, however long the room stays away."""
    removed = Left(1, "RemovedByApi", "")
    found = await told(Connections(monkeypatch, [(5, LOST), *[(None, ABSENT)] * 200, (5, removed)]).room)
    there, gone = Changed(frozenset({"anna"}), ()), Changed(frozenset(), ())
    changes = [event for event in found if isinstance(event, Changed)]
    assert changes[0] == there
    assert set(changes[1:-1]) == {gone}
    assert changes[-1] == there
    kinds = [type(event) for event in found]
    assert kinds.count(Unreachable) == 1
    assert kinds.count(Joined) == 3  # the second is the server's word that it can be reached
    assert found[-1] == removed


async def test_a_server_that_drops_at_once_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(monkeypatch, [(1.0, LOST)] * 1000)
    left = (await told(connections.room))[-1]
    assert isinstance(left, Left)
    assert left.code == 100
    assert connections.made < 20
    assert max(connections.waits) > 3


async def test_one_that_stands_for_a_while_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(monkeypatch, [(11.0, LOST)] * 20 + [(1.0, Left(1, "RemovedByApi", ""))])
    assert (await told(connections.room))[-1] == Left(1, "RemovedByApi", "")
    assert max(connections.waits) < 0.5


async def test_the_rejoin_deadline_counts_from_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    connections = Connections(monkeypatch, [(None, LOST)] * 20 + [(1.0, LOST)] + [(None, LOST)] * 1000)
    left = (await told(connections.room))[-1]
    assert isinstance(left, Left)
    assert left.code == 100
    assert 60 <= connections.now - connections.lost_at <= 70
