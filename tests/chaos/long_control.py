"""The control side: the operator or the API server is away while things happen, or for good."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cloudrec_contract.resources import CloudRecordingStatus, Phase
from cloudrec_local.kubeapi import MERGE, KubeApi, Object
from cloudrec_local.stack import Stack
from tests.chaos.conftest import Tell
from tests.chaos.measure import NOTHING_SECONDS
from tests.chaos.scene import PODS, RECORDINGS, Task, assert_completed, container, scene, together

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.timeout(400)]

STEADY_SECONDS = 6.0
AWAY_SECONDS = 60.0
API_AWAY_SECONDS = 30.0
BEFORE_SECONDS = 0.5
TAKEN_OVER_SECONDS = 40.0
"""From a leader's hanging to its successor's new Pod recording; the Lease lasts 15 s."""
SYSTEM = "/api/v1/namespaces/cloudrec-system/pods"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/cloudrec-system/leases/cloudrec-operator"
DEPLOYMENT = "/apis/apps/v1/namespaces/cloudrec-system/deployments/cloudrec-operator"


async def _scale(api: KubeApi, replicas: int) -> None:
    await api.request("PATCH", DEPLOYMENT, {"spec": {"replicas": replicas}}, content_type=MERGE)


async def _operators(api: KubeApi) -> dict[str, Object]:
    """Those that are meant to stay, by name."""
    pods = (await api.get(SYSTEM, labelSelector="app.kubernetes.io/component=operator"))["items"]
    return {pod["metadata"]["name"]: pod for pod in pods if "deletionTimestamp" not in pod["metadata"]}


async def _process(pod: Object) -> int:
    name = pod["spec"]["containers"][0]["name"]
    return (await asyncio.to_thread(container, pod["metadata"]["uid"], name)).pid


async def _holder(api: KubeApi) -> str:
    return str((await api.get(LEASE))["spec"].get("holderIdentity", ""))


def _ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


@asynccontextmanager
async def frozen(pid: int) -> AsyncIterator[None]:
    """A process that hangs (SIGSTOP), and then goes on as if nothing had been, if it is there still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def without_operator(api: KubeApi) -> AsyncIterator[None]:
    """It is killed, and none is started before the end."""
    (pod,) = (await _operators(api)).values()
    await _scale(api, 0)
    with contextlib.suppress(ProcessLookupError):
        os.kill(await _process(pod), signal.SIGKILL)
    try:
        yield
    finally:
        await _scale(api, 1)


async def _gone(task: Task, path: str, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while await task.api.get_or_none(path) is not None:
            await asyncio.sleep(0.2)


async def test_operator_away(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    """For a minute: one recording goes on, one loses its recorder, one is stopped, one is deleted."""
    async with scene(stack, api, tmp_path, "unled") as room:
        made = await room.record_all("steady", "orphan", "ending", "dropped")
        steady, orphan, ending, dropped = made
        await asyncio.sleep(STEADY_SECONDS)
        async with without_operator(api):
            away = time.monotonic()
            killed = await orphan.kill("recorder")
            await ending.stop()
            stopped = ending.stopped
            last: CloudRecordingStatus = await dropped.status()
            dropped.stopped = time.time()
            await api.request("DELETE", dropped.path, {"propagationPolicy": "Background"})
            await asyncio.sleep(AWAY_SECONDS - (time.monotonic() - away))
            assert (await ending.status()).phase is Phase.RECORDING, "nobody is there to say otherwise"
        again = time.time()
        await orphan.recording(1)
        await ending.ended()
        await _gone(dropped, dropped.path)
        await asyncio.sleep(3)
        results = await room.over(steady, orphan, ending)
        truth = await room.users.finished(10)
        left = await dropped.result(truth, tmp_path, last)

    one, two, three, left = together(*results, left)
    tell(one.row(f"operator away for {AWAY_SECONDS:.0f} s", until=steady.stopped))
    assert_completed(one)
    assert one.coverage.lost(steady.stopped) <= NOTHING_SECONDS

    before, back = killed - two.coverage.saved_until(0), two.coverage.back_at(1) - again
    tell(
        two.row(
            "operator away for 60 s, recorder killed meanwhile (back since the operator is)",
            until=orphan.stopped,
            before=before,
            back=back,
        )
    )
    assert_completed(two, attempts=2)
    assert before <= BEFORE_SECONDS

    tell(three.row("operator away for 60 s, recording stopped meanwhile", until=stopped))
    assert_completed(three)
    assert three.coverage.lost(stopped) <= NOTHING_SECONDS

    tell(left.row("operator away for 60 s, recording deleted meanwhile", until=dropped.stopped))
    assert left.faults() == []
    assert left.coverage.lost(dropped.stopped) <= NOTHING_SECONDS


async def test_operator_uninstalled(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    """Nobody takes the finalizer away, so an administrator does, as the documentation says; all files are whole."""
    async with scene(stack, api, tmp_path, "left-behind") as room:
        (task,) = await room.record_all("left-behind")
        await asyncio.sleep(STEADY_SECONDS)
        last = await task.status()
        async with without_operator(api):
            task.stopped = time.time()
            await api.request("DELETE", task.path, {"propagationPolicy": "Background"})
            await asyncio.sleep(3)
            assert await api.get_or_none(task.path) is not None
            body: Object = {"metadata": {"finalizers": None}}
            await api.request("PATCH", task.path, body, content_type=MERGE)
            await _gone(task, task.path)
            await _gone(task, f"{PODS}/{last.attempts[0].pod}")
        truth = await room.users.stop()
        left = await task.result(truth, tmp_path, last)
    tell(left.row("operator uninstalled, finalizer removed by hand", until=task.stopped))
    assert left.faults() == []
    assert left.coverage.lost(task.stopped) <= NOTHING_SECONDS


async def test_api_server_away(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    async with scene(stack, api, tmp_path, "api-away") as room:
        (task,) = await room.record_all("api-away")
        await asyncio.sleep(STEADY_SECONDS)
        await asyncio.to_thread(stack.stop, "kube-apiserver", 0)
        await asyncio.sleep(API_AWAY_SECONDS)
        await asyncio.to_thread(stack.start, "kube-apiserver")
        await asyncio.sleep(STEADY_SECONDS)
        (one,) = await room.over(task)
    tell(one.row(f"API server killed, away for {API_AWAY_SECONDS:.0f} s", until=task.stopped))
    assert_completed(one)
    assert one.coverage.lost(task.stopped) <= NOTHING_SECONDS


async def test_leader_hangs(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    """Of two operators the leading one hangs; the standby takes over, and the other comes back to find itself led."""
    async with scene(stack, api, tmp_path, "led") as room:
        (task,) = await room.record_all("led")
        await asyncio.sleep(STEADY_SECONDS)
        await _scale(api, 2)
        try:
            async with asyncio.timeout(60):
                while sum(map(_ready, (await _operators(api)).values())) < 2:
                    await asyncio.sleep(0.2)
            leader = await _holder(api)
            pods = await _operators(api)
            async with frozen(await _process(pods[leader])):
                hung = time.time()
                killed = await task.kill("recorder")
                await task.recording(1)
                assert await _holder(api) not in (leader, "")
                taken = time.time() - hung
            await asyncio.sleep(STEADY_SECONDS)
            (one,) = await room.over(task)
        finally:
            await _scale(api, 1)
    before, back = killed - one.coverage.saved_until(0), one.coverage.back_at(1) - killed
    tell(one.row("operator's leader hangs, recorder killed meanwhile", until=task.stopped, before=before, back=back))
    assert_completed(one, attempts=2)
    assert before <= BEFORE_SECONDS
    assert taken <= TAKEN_OVER_SECONDS


async def test_watches_expired(stack: Stack, api: KubeApi, tmp_path: Path, tell: Tell) -> None:
    """The operator hangs, the API server is another by then: what was watched is too old, and what happened is read."""
    async with scene(stack, api, tmp_path, "expired") as room:
        (task,) = await room.record_all("expired")
        await asyncio.sleep(STEADY_SECONDS)
        seen = (await api.get(RECORDINGS))["metadata"]["resourceVersion"]
        ((_, operator),) = (await _operators(api)).items()
        async with frozen(await _process(operator)):
            await task.stop()
            await asyncio.to_thread(stack.stop, "kube-apiserver", 0)
            await asyncio.to_thread(stack.start, "kube-apiserver")
            await task.until(lambda s: s.attempts[0].report and s.attempts[0].report.uploaded, "all uploaded")
            watched = await api.get(RECORDINGS, watch="true", resourceVersion=seen, timeoutSeconds="1")
            assert (watched["type"], watched["object"]["code"]) == ("ERROR", 410)
        (one,) = await room.over(task)
    tell(one.row("API server restarted while the operator hangs: its watches are too old", until=task.stopped))
    assert_completed(one)
    assert one.coverage.lost(task.stopped) <= NOTHING_SECONDS
