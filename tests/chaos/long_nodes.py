"""Nodes that are drained, whose agent is lost, and that die, with a second node to go to."""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_local.home import tool
from cloudrec_local.kubeapi import KubeApi
from cloudrec_local.stack import Stack
from tests.chaos.conftest import Tell
from tests.chaos.measure import NOTHING_SECONDS
from tests.chaos.scene import Task, assert_completed, scene
from tests.chaos.second_node import SecondNode, second_node

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.timeout(420)]

STEADY_SECONDS = 12.0
GRACE_SECONDS = 50.0
"""kube-controller-manager's --node-monitor-grace-period, by default."""
LOST_SECONDS = 150.0
SEGMENT_SECONDS = 13.0
"""A segment that was not closed, and what was not uploaded yet, is lost with its node."""


async def _there(task: Task, node: SecondNode, index: int = 0) -> None:
    pod = (await task.attempt(index)).pod
    found = await task.api.get(f"/api/v1/namespaces/default/pods/{pod}")
    assert found["spec"]["nodeName"] == node.name


async def test_drained(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    async with (
        second_node(stack, api, tmp_path, "drained-node") as node,
        scene(stack, api, tmp_path, "drained") as room,
    ):
        await node.alone(True)
        (task,) = await room.record_all("moving")
        await _there(task, node)
        await node.alone(False)
        await asyncio.sleep(STEADY_SECONDS)
        moved = time.time()
        kubectl = (str(tool("kubectl")), "--kubeconfig", str(stack.home.kubeconfig))
        options = ("--delete-emptydir-data", "--ignore-daemonsets", "--timeout=120s")
        drain = await asyncio.create_subprocess_exec(*kubectl, "drain", node.name, *options, stdout=PIPE, stderr=STDOUT)
        said, _ = await asyncio.wait_for(drain.communicate(), 150)
        assert drain.returncode == 0, said.decode()
        await task.recording(1)
        await asyncio.sleep(3)
        (one,) = await room.over(task)
    tell(one.row("node drained (kubectl drain)", until=task.stopped, back=one.coverage.back_at(1) - moved))
    assert_completed(one, attempts=2)
    assert one.coverage.lost(task.stopped) <= NOTHING_SECONDS
    assert one.status.attempts[0].reason == Reason.HANDED_OVER


@pytest.mark.parametrize("dead", [False, True], ids=["agent", "everything"])
async def test_lost(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell, dead: bool) -> None:
    name = "dying" if dead else "cut-off"
    async with (
        second_node(stack, api, tmp_path, f"{name}-node") as node,
        scene(stack, api, tmp_path, name) as room,
    ):
        await node.alone(True)
        (task,) = await room.record_all(name)
        await _there(task, node)
        await node.alone(False)
        await asyncio.sleep(STEADY_SECONDS)
        lost_at = time.time()
        await asyncio.to_thread(node.die if dead else node.lose)
        await task.recording(1, seconds=LOST_SECONDS)
        await asyncio.sleep(5)
        (one,) = await room.over(task, seconds=150)
    coverage = one.coverage
    back = coverage.back_at(1) - lost_at
    before = lost_at - coverage.saved_until(0, before=lost_at)
    what = "node dead" if dead else "node agent dead, its Pods live on"
    tell(one.row(what, until=task.stopped, before=before if dead else None, back=back))
    assert [attempt.index for attempt in one.status.attempts] == [0, 1]
    assert one.status.attempts[0].reason == Reason.NODE_LOST
    assert one.args(306) == [{"Status": 0}]
    assert back <= GRACE_SECONDS + 10 + 15
    if dead:
        assert before <= SEGMENT_SECONDS
    else:
        assert coverage.lost(task.stopped) <= NOTHING_SECONDS
