"""Four recordings of one room, each with a misfortune of its own, and one that all of them share. The long form is
`make chaos`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_local.kubeapi import KubeApi
from cloudrec_local.stack import Stack
from tests.chaos.conftest import Tell
from tests.chaos.measure import NOTHING_SECONDS
from tests.chaos.scene import assert_completed, failover, scene
from tests.cluster.faulty_front import front

pytestmark = [pytest.mark.media, pytest.mark.cluster]

STEADY_SECONDS = 4.0
AWAY_SECONDS = 20.0
API_AWAY_SECONDS = 5.0
BEFORE_SECONDS = 0.5
"""Of media before a SIGKILL, at most."""


@pytest.mark.timeout(300)
async def test_misfortunes_of_recordings(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    async with (
        front(stack.state().s3_url) as way,
        scene(stack, api, tmp_path, "misfortunes") as room,
    ):
        await room.app("far-bucket", endpoint=way.endpoint)
        made = [await room.record(name) for name in ("died", "evicted", "unharmed")]
        made.append(await room.record("far", app="far-bucket"))
        died, evicted, unharmed, far = made
        await asyncio.gather(*(task.recording() for task in made))
        await asyncio.sleep(STEADY_SECONDS)

        way.fault = "away"
        killed = await died.kill("recorder")
        await far.kill("uploader")
        moved = await evicted.evict()
        await asyncio.gather(died.recording(1), evicted.recording(1), asyncio.sleep(AWAY_SECONDS))
        way.fault = "none"

        await asyncio.to_thread(stack.stop, "kube-apiserver", 0)
        await asyncio.sleep(API_AWAY_SECONDS)
        await asyncio.to_thread(stack.start, "kube-apiserver")
        await asyncio.sleep(STEADY_SECONDS)
        results = await room.over(*made, witness=unharmed)

    by_name = {result.name: result for result in results}
    until = {task.name: task.stopped for task in made}

    one = by_name["died"]
    before = killed - one.coverage.saved_until(0)
    back = one.coverage.back_at(1) - killed
    print(failover(one, killed))
    tell(
        one.row(
            "recorder killed (SIGKILL), with three other faults beside it",
            until=until["died"],
            before=before,
            back=back,
        )
    )
    assert_completed(one, attempts=2)
    assert before <= BEFORE_SECONDS
    assert one.status.attempts[0].exit is not None
    assert one.status.attempts[0].exit.code == 137

    one = by_name["evicted"]
    tell(one.row("Pod evicted", until=until["evicted"], back=one.coverage.back_at(1) - moved))
    assert_completed(one, attempts=2)
    assert one.status.attempts[0].reason == Reason.HANDED_OVER
    assert one.coverage.lost(until["evicted"]) <= NOTHING_SECONDS

    for name, fault in (
        ("far", f"uploader killed while the bucket is away for {AWAY_SECONDS:.0f} s"),
        ("unharmed", f"API server killed, away for {API_AWAY_SECONDS:.0f} s"),
    ):
        one = by_name[name]
        tell(one.row(fault, until=until[name]))
        assert_completed(one)
        assert one.coverage.lost(until[name]) <= NOTHING_SECONDS
