from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
from livekit.protocol.models import DisconnectReason
from livekit.protocol.rtc import JoinResponse, LeaveRequest, SignalResponse
from websockets.asyncio.server import ServerConnection

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.rooms import Left, RoomEvent, Unreachable
from cloudrec_recorder.rooms.livekit import LiveKitRoom
from tests.unit.capture.kit import Sink
from tests.unit.rooms.fake import FakeSignalServer

NOBODY = "ws://127.0.0.1:1"


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
        (DisconnectReason.DUPLICATE_IDENTITY, 3),
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
