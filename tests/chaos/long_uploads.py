"""Uploaders that die and buckets that fail, each in its own way, for one room."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Attempt, CloudRecordingStatus, Phase
from cloudrec_local.kubeapi import KubeApi
from cloudrec_local.stack import Stack
from tests.chaos.conftest import Tell
from tests.chaos.measure import NOTHING_SECONDS
from tests.chaos.scene import Task, assert_completed, container, scene
from tests.cluster.faulty_front import Fault, front

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.timeout(400)]

STEADY_SECONDS = 6.0
FAULT_SECONDS = 60.0
END_SECONDS = 20.0
FAULTS: dict[str, tuple[Fault, str]] = {
    "gone": ("away", "bucket away"),
    "overloaded": ("503", "bucket answers 503"),
    "forbidding": ("403", "bucket answers 403"),
    "breaking": ("lost answer", "bucket breaks off instead of answering"),
    "slow": ("slow", "bucket takes 400 kB/s"),
}


async def test_a_bucket_that_fails(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    async with AsyncExitStack() as opened:
        room = await opened.enter_async_context(scene(stack, api, tmp_path, "faulty"))
        ways = {name: await opened.enter_async_context(front(stack.state().s3_url)) for name in FAULTS}
        tasks: dict[str, Task] = {}
        for name, way in ways.items():
            await room.app(f"to-{name}", endpoint=way.endpoint)
            tasks[name] = await room.record(name, app=f"to-{name}")
        await asyncio.gather(*(task.recording() for task in tasks.values()))
        await asyncio.sleep(STEADY_SECONDS)
        for name, way in ways.items():
            way.fault = FAULTS[name][0]
        await tasks["slow"].kill("uploader")  # most likely while it uploads
        away = tasks["gone"]
        await asyncio.sleep(FAULT_SECONDS)
        seen = {name: await task.status() for name, task in tasks.items()}
        for name, way in ways.items():
            if name != "gone":
                way.fault = "none"
        # It is away at the very end too, and comes back later.
        await away.stop()
        stopped = away.stopped
        await asyncio.sleep(END_SECONDS)
        late = await away.status()
        assert late.phase in (Phase.STOPPING, Phase.FINALIZING), late.phase
        ways["gone"].fault = "none"
        results = await room.over(*tasks.values())
    away.stopped = stopped
    for one in results:
        what = FAULTS[one.name][1]
        if one.name == "gone":
            what += f" for {FAULT_SECONDS + END_SECONDS:.0f} s, and at the end"
        elif one.name == "slow":
            what += f" for {FAULT_SECONDS:.0f} s, uploader killed"
        else:
            what += f" for {FAULT_SECONDS:.0f} s"
        until = tasks[one.name].stopped
        tell(one.row(what, until=until))
        assert_completed(one)
        assert one.coverage.lost(until) <= NOTHING_SECONDS
        troubled = one.name != "slow"
        assert one.args(308) != [] if troubled else one.args(308) == []
        reasons = {c.reason for a in seen[one.name].attempts if a.report for c in a.report.conditions}
        if troubled:
            assert reasons & {Reason.BUCKET_UNREACHABLE, Reason.BUCKET_REFUSED, Reason.UPLOAD_FAILED}, reasons


def _backed_up(stack: Stack) -> dict[str, Any]:
    """A bucket behind the app's front, and a backup that is always there."""
    state = stack.state()
    keys = {"credentialsSecretRef": {"name": "bucket"}}
    backup = {"endpoint": state.s3_url, "bucket": state.bucket, "prefix": ["backup"], **keys}
    bucket = {"vendor": "S3", "region": "local", "bucket": state.bucket, "prefix": ["tests"], **keys}
    return {"bucket": {**bucket, "backup": backup}}


def _in_use(status: CloudRecordingStatus) -> bool:
    return any(c.reason == Reason.BACKUP_IN_USE for a in status.attempts if a.report for c in a.report.conditions)


def _finishers(status: CloudRecordingStatus) -> list[Attempt]:
    return [attempt for attempt in status.attempts if attempt.role == "Finish"]


async def test_a_backup_takes_over(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    """For one recording until the bucket is back; for the other beyond its end, so that a finisher, itself killed once,
    has to bring its files into the bucket."""
    async with AsyncExitStack() as opened:
        brief, long = [await opened.enter_async_context(front(stack.state().s3_url)) for _ in range(2)]
        room = await opened.enter_async_context(scene(stack, api, tmp_path, "backed"))
        await room.app("to-brief", endpoint=brief.endpoint)
        await room.app("to-long", endpoint=long.endpoint)
        soon = await room.record("soon", app="to-brief", storage=_backed_up(stack))
        late = await room.record("late", app="to-long", storage=_backed_up(stack))
        await asyncio.gather(soon.recording(), late.recording())
        await asyncio.sleep(STEADY_SECONDS)
        brief.fault = long.fault = "away"
        await soon.until(_in_use, "files go to the backup")
        await late.until(_in_use, "files go to the backup")
        brief.fault = "none"
        await late.stop()
        stopped = late.stopped
        await soon.until(lambda status: not _in_use(status), "files go to the bucket again")
        status = await late.until(lambda s: any(a.report for a in _finishers(s)), "a finisher", 150)
        at = _finishers(status)[0]
        assert at.pod_uid is not None
        os.kill((await asyncio.to_thread(container, at.pod_uid, "finisher")).pid, signal.SIGKILL)
        await late.until(lambda s: len(_finishers(s)) == 2, "another finisher")
        long.fault = "none"
        await late.ended(150)
        one, two = await room.over(soon, late)
    tell(one.row("bucket away, backup bucket used, bucket back", until=soon.stopped))
    tell(two.row("bucket away beyond the end, backup bucket used, finisher killed once", until=stopped))
    assert_completed(one)
    assert one.coverage.lost(soon.stopped) <= NOTHING_SECONDS
    assert one.args(308) != []
    assert two.status.phase is Phase.COMPLETED
    assert two.args(305) == [{"Status": 1}, {"Status": 2}]
    assert two.args(302) == [{"LeaveCode": 0}]
    assert two.faults() == []
    assert two.coverage.lost(stopped) <= NOTHING_SECONDS
