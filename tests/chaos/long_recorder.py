"""Recorders that die: once, in a track's first seconds, twice, four times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Phase
from cloudrec_local.kubeapi import KubeApi
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.plan import Plan, UserPlan
from tests.chaos.conftest import Tell
from tests.chaos.scene import SMALL, Result, assert_completed, failover, scene

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.timeout(400)]

STEADY_SECONDS = 12.0
FIRST_SECONDS = 2.0
BEFORE_SECONDS = 0.5
LATE = "user-3"
WITH_LATE = Plan(
    users=(
        *SMALL.users,
        UserPlan(identity=LATE, number=3, width=320, height=180, fps=15, steps=()),
    )
)
"""One who comes when told to."""


def before(result: Result, killed: float, attempt: int) -> float:
    """Seconds of media that were lost before a kill."""
    return killed - result.coverage.saved_until(attempt, before=killed)


async def test_killed(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    async with scene(stack, api, tmp_path, "killed") as room:
        made = await room.record_all("once", "twice", "often")
        once, twice, often = made
        await asyncio.sleep(STEADY_SECONDS)
        kills = {"once": [await once.kill("recorder")]}  # alone: how soon it is back is measured
        await once.recording(1)
        kills |= {task.name: [await task.kill("recorder")] for task in (twice, often)}
        await asyncio.gather(twice.recording(1), often.recording(1))
        for index in (1, 2, 3):
            await asyncio.sleep(3)
            if index == 1:
                kills["twice"].append(await twice.kill("recorder", index))
            kills["often"].append(await often.kill("recorder", index))
            await asyncio.gather(
                *([twice.recording(2)] if index == 1 else []), *([often.recording(index + 1)] if index < 3 else [])
            )
        ended = await often.ended()
        results = await room.over(*made)
    by_name = {result.name: result for result in results}

    for name in ("once", "twice"):
        one, at = by_name[name], kills[name]
        print(failover(one, at[0]))
        lost = max(before(one, killed, index) for index, killed in enumerate(at))
        back = max(one.coverage.back_at(index + 1) - killed for index, killed in enumerate(at))
        stopped = {"once": once.stopped, "twice": twice.stopped}[name]
        tell(one.row(f"recorder killed {name} (SIGKILL)", until=stopped, before=lost, back=back))
        assert_completed(one, attempts=len(at) + 1)
        assert lost <= BEFORE_SECONDS

    one, at = by_name["often"], kills["often"]
    lost = max(before(one, killed, index) for index, killed in enumerate(at))
    tell(one.row("recorder killed four times: Failed", until=at[-1] - BEFORE_SECONDS, before=lost))
    assert ended.phase is Phase.FAILED
    assert [a.exit.code for a in ended.attempts if a.exit] == [137] * 4
    told = next(c for c in ended.conditions if c.type == "RecorderReady")
    assert told.reason == Reason.TOO_MANY_FAILURES
    assert all(f"attempt {index}: " in told.message for index in range(4))
    assert one.args(306) == [{"Status": 0}] * 3
    assert one.args(302) == [{"LeaveCode": 100}]
    assert one.args(305) == [{"Status": 0}]
    assert one.faults() == []
    assert lost <= BEFORE_SECONDS


async def test_killed_in_a_tracks_first_seconds(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    async with scene(stack, api, tmp_path, "young", WITH_LATE) as room:
        (young,) = await room.record_all("young")
        await room.users.do(LATE, "join")
        came = await room.users.do(LATE, "publish")
        await asyncio.sleep(FIRST_SECONDS)
        killed = await young.kill("recorder")
        await young.recording(1, tracks=6)
        await asyncio.sleep(3)
        (one,) = await room.over(young)
    late = [one.coverage.content(LATE, kind, [0]) for kind in ("audio", "video")]
    began = max(spans[0][0] if spans else killed for spans in late)
    lost = max([killed - spans[-1][1] if spans else killed - came.at for spans in late] + [before(one, killed, 0)])
    back = one.coverage.back_at(1) - killed
    tell(
        one.row(
            f"recorder killed {killed - came.at:.1f} s after a user's first media",
            until=young.stopped,
            before=lost,
            back=back,
        )
    )
    assert_completed(one, attempts=2)
    assert began - came.at < FIRST_SECONDS
    assert lost <= BEFORE_SECONDS
