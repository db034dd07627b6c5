"""An operator that is killed by SIGKILL with callbacks under way: what follows it loses none and keeps their order."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from cloudrec_local.kubeapi import Object
from cloudrec_operator.callbacks.sender import AHEAD
from tests.cluster.operating import World, eventually, recording
from tests.cluster.test_callbacks import JOINED, NOW, Receiver, acked, facts, furnish, receiving
from tests.cluster.test_operator_process import started

pytestmark = pytest.mark.cluster

TASKS, EVENTS = 12, 20


def bodies(receiver: Receiver) -> list[tuple[str, Any]]:
    """What came, but for when it was sent."""
    return [(key, {**body, "CallbackTs": None}) for key, body in receiver.got]


async def settings(world: World) -> dict[str, str]:
    folder = await world.service_account()
    return {"CLOUDREC_SERVICEACCOUNT": str(folder), "CLOUDREC_HEALTH_PORT": "0", "CLOUDREC_LEASE_SECONDS": "3"}


class Deadly(Receiver):
    """Kills the sender when the `at`th callback has come, before it answers."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.sender: Process | None = None

    async def hook(self, request: web.Request) -> web.Response:
        answer = await super().hook(request)
        if len(self.got) == self.at and self.sender is not None:
            self.sender.kill()
            await self.sender.wait()
        return answer


async def enter(world: World, name: str, events: list[Object]) -> None:
    """A recording in its room, with these events in its report."""
    await world.apply(recording(name, robot={"userId": name}))
    pod = await world.successor(name, 0, 60)
    await world.run_pod(pod["metadata"]["name"])
    async with world.sidecar(pod) as sidecar:
        await sidecar.report(name, state="Idle", ready=True, events=events)


async def test_what_was_sent_and_not_confirmed_is_sent_again_with_the_same_key(world: World) -> None:
    async with receiving(Deadly(3)) as receiver:
        assert isinstance(receiver, Deadly)
        await furnish(world, receiver)
        known = await settings(world)
        async with started(world, CLOUDREC_IDENTITY="first", **known) as process:
            receiver.sender = process
            await enter(world, "killed", [JOINED, *facts(303, 304)])
            await asyncio.wait_for(process.wait(), 30)
            assert process.returncode == -9
        assert receiver.types == [301, 303, 304]
        found = await world.get("killed")
        assert found is not None
        assert acked(found) == 0, "the three were taken, and nobody knows"
        async with started(world, CLOUDREC_IDENTITY="second", **known):
            told = await world.until("killed", lambda o: acked(o) == 3, "acknowledged", 30)
        assert told["status"]["callbacks"]["watermark"] == 3
        task = told["metadata"]["uid"]
        assert [key for key, _ in receiver.got] == [f"{task}-0-{seq}" for seq in (1, 2, 3)] * 2
        assert bodies(receiver)[:3] == bodies(receiver)[3:]


async def test_a_standby_goes_on_where_the_killed_leader_was(world: World) -> None:
    async with receiving(Deadly(TASKS * EVENTS // 2)) as receiver, AsyncExitStack() as stack:
        assert isinstance(receiver, Deadly)
        receiver.status = 500
        await furnish(world, receiver)
        leader = await stack.enter_async_context(started(world, CLOUDREC_IDENTITY="leader", **await settings(world)))
        names = [f"task-{number}" for number in range(TASKS)]
        args = {"LeaveCode": 0}
        events = [JOINED, *({"seq": n, "type": 302, "ts": NOW + n, "args": args} for n in range(2, EVENTS + 1))]
        await asyncio.gather(*(enter(world, name, events) for name in names))

        async def all_tried() -> bool:
            return len({key for key, _ in receiver.got}) == TASKS

        await eventually(all_tried, "all were tried", 30)
        receiver.got.clear()
        receiver.sender, receiver.status = leader, 200
        async with world.operator(identity="standby"):
            await asyncio.wait_for(leader.wait(), 60)
            for name in names:
                await world.until(name, lambda o: acked(o) == EVENTS, f"{name} told", 60)
        arrived: dict[str, list[int]] = {}
        for key, _ in receiver.got:
            task, _, seq = key.rsplit("-", 2)
            arrived.setdefault(task, []).append(int(seq))
        assert len(arrived) == TASKS
        for seqs in arrived.values():
            assert list(dict.fromkeys(seqs)) == list(range(1, EVENTS + 1)), "all of them, in order, but for repeats"
            back = [one - two for one, two in pairwise(seqs) if two <= one]
            assert len(back) <= 1, "one operator followed one"
            assert all(steps < AHEAD for steps in back)
