"""The media side: networks that are cut, a LiveKit that restarts, robots and rooms that are taken away."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from livekit import api as livekit

from cloudrec_contract.events import EventType, LeaveCode
from cloudrec_contract.resources import Phase
from cloudrec_local.kubeapi import KubeApi
from cloudrec_local.stack import Stack
from tests.chaos.conftest import Tell
from tests.chaos.measure import KINDS, Hole
from tests.chaos.network import Network
from tests.chaos.scene import SMALL, Result, Task, assert_completed, scene

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.timeout(400)]

STEADY_SECONDS = 6.0
CUTS = (1.0, 10.0, 60.0)
DEPARTED_SECONDS = 2
BACK_SECONDS = 15.0
"""From a network's return to media, at most: a try to join again may just have begun."""


def _livekit(stack: Stack) -> livekit.LiveKitAPI:
    """To be entered."""
    state = stack.state()
    return livekit.LiveKitAPI(
        state.livekit_url.replace("ws", "http", 1), state.livekit_key, state.livekit_secret.get_secret_value()
    )


async def _cut(network: Network, seconds: float) -> tuple[float, float]:
    async with network.cut():
        began = time.time()
        await asyncio.sleep(seconds)
    return began, time.time()


async def test_cuts(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    async with AsyncExitStack() as opened:
        networks = [await opened.enter_async_context(Network(stack.state()).running()) for _ in CUTS]
        room = await opened.enter_async_context(scene(stack, api, tmp_path, "cut"))
        tasks = []
        for seconds, network in zip(CUTS, networks, strict=True):
            name = f"cut-{seconds:.0f}"
            await room.app(name, url=network.url)
            tasks.append(await room.record(name, app=name))
        await asyncio.gather(*(task.recording() for task in tasks))
        assert all(network.passed > 100 for network in networks), "media comes through the network"
        await asyncio.sleep(STEADY_SECONDS)
        moments = await asyncio.gather(*(_cut(*each) for each in zip(networks, CUTS, strict=True)))
        await asyncio.sleep(BACK_SECONDS + 5)
        results = await room.over(*tasks)
    for one, task, seconds, (began, ended) in zip(results, tasks, CUTS, moments, strict=True):
        _interrupted(one, task, f"network cut for {seconds:.0f} s", began, ended, tell)


def _interrupted(one: Result, task: Task, fault: str, began: float, ended: float, tell: Tell) -> None:
    """One attempt and one playlist for each track; what is missing lies between the two moments, and soon after."""
    holes = _about(one, task, began, ended)
    before = max((began - hole.start for hole in holes), default=0.0)
    back = max((hole.end - ended for hole in holes), default=0.0)
    tell(one.row(fault, until=task.stopped, before=before, back=back))
    assert_completed(one)
    assert before <= 1.0
    assert back <= BACK_SECONDS
    assert one.coverage.lost(task.stopped) <= ended - began + BACK_SECONDS
    if ended - began > 5:
        assert all(any(s.discontinuity for s in file.segments) for file in one.coverage.files.values())


def _about(one: Result, task: Task, began: float, ended: float) -> list[Hole]:
    """The holes that lie in or reach into this time."""
    return [h for h in one.coverage.holes(task.stopped) if h.start <= ended and h.end >= began]


async def test_livekit_restarts(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    async with scene(stack, api, tmp_path, "restarted") as room:
        (task,) = await room.record_all("restarted")
        await asyncio.sleep(STEADY_SECONDS)
        began = time.time()
        await asyncio.to_thread(stack.stop, "livekit", 0)
        await asyncio.to_thread(stack.start, "livekit")
        ended = time.time()
        await asyncio.sleep(BACK_SECONDS + 10)
        (one,) = await room.over(task)
    # The users have to come back themselves, so what they sent is not known to the millisecond.
    holes = _about(one, task, began, ended)
    back = max((hole.end - ended for hole in holes), default=0.0)
    tell(one.row("LiveKit killed and started again, with its users", until=task.stopped, back=back))
    assert_completed(one)
    assert all(any(s.discontinuity for s in file.segments) for file in one.coverage.files.values())
    assert back <= BACK_SECONDS + 5


async def test_taken_away(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    """A robot removed, then the room deleted with another robot in it: the ends of tasks, with all that came before."""
    async with scene(stack, api, tmp_path, "taken") as room:
        removed, left = await room.record_all("removed", "left")
        await asyncio.sleep(STEADY_SECONDS)
        async with _livekit(stack) as server:
            who = livekit.RoomParticipantIdentity(room="taken", identity=room.identity(removed))
            await server.room.remove_participant(who)
            await removed.ended()
            await asyncio.sleep(2)
            await server.room.delete_room(livekit.DeleteRoomRequest(room="taken"))
            await left.ended()
        results = await room.over(removed, left)
    codes = (LeaveCode.REMOVED_BY_API, LeaveCode.ROOM_DELETED)
    for one, code, fault in zip(results, codes, ("robot removed from the room", "room deleted"), strict=True):
        (at,) = [event.ts / 1000 for event in one.events if event.type == EventType.RECORDER_STOP]
        tell(one.row(fault, until=at - 0.5))
        assert one.status.phase is Phase.COMPLETED
        assert len(one.status.attempts) == 1
        assert one.args(302) == [{"LeaveCode": code}]
        assert one.args(305) == [{"Status": 0}]
        assert one.faults() == []


async def test_closed_for_emptiness(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    """All users leave, LiveKit closes the room under the robot, and they come again: the same playlists go on."""
    async with _livekit(stack) as server:
        await server.room.create_room(livekit.CreateRoomRequest(name="emptied", departure_timeout=DEPARTED_SECONDS))
        async with scene(stack, api, tmp_path, "emptied") as room:
            (task,) = await room.record_all("emptied")
            await asyncio.sleep(STEADY_SECONDS)
            (before,) = (await server.room.list_rooms(livekit.ListRoomsRequest(names=["emptied"]))).rooms
            left = time.time()
            for user in SMALL.users:
                await room.users.do(user.identity, "leave")
            await task.until(lambda s: s.phase is Phase.IDLE, "idle")
            async with asyncio.timeout(60):
                while [r.sid for r in (await server.room.list_rooms(livekit.ListRoomsRequest())).rooms] == [before.sid]:
                    await asyncio.sleep(0.2)
            for user in SMALL.users:
                await room.users.do(user.identity, "join")
            came = {user.identity: (await room.users.do(user.identity, "publish")).at for user in SMALL.users}
            await asyncio.sleep(STEADY_SECONDS)
            (one,) = await room.over(task)
    back = max(
        next(start for start, _ in one.coverage.content(user, kind) if start > left + DEPARTED_SECONDS) - at
        for user, at in came.items()
        for kind in KINDS
    )
    tell(one.row("room closed for emptiness, users come again", until=task.stopped, back=back))
    assert_completed(one)
    assert len(one.coverage.files) == 2 * len(SMALL.users)
    assert all(any(s.discontinuity for s in file.segments) for file in one.coverage.files.values())
    assert back <= BACK_SECONDS
