"""Recorders that die, Pods that go, nodes that are lost, on a real API server; the test plays kubelet and sidecar."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import pytest

from cloudrec_local.kubeapi import MERGE, ApiError, Object
from cloudrec_local.stack import Stack
from tests.cluster.operating import FILE, JOINED, World, condition, eventually, fake_node, recording, secret

pytestmark = pytest.mark.cluster

BUSY: dict[str, Any] = {"state": "Recording", "ready": True, "events": [JOINED], "files": [FILE]}
SALVAGED = {
    **BUSY,
    "state": "Ended",
    "uploaded": True,
    "conditions": [{"reason": "RecorderDied", "message": "it ended without a word"}],
}
HANDED = {**BUSY, "state": "Ended", "uploaded": True}
LEFT = {**HANDED, "leaveCode": 0}
SOON = 15.0


async def busy(world: World, name: str, index: int) -> Object:
    """Attempt `index`, recording."""
    pod = await world.successor(name, index)
    await world.run_pod(pod["metadata"]["name"])
    await report(world, name, pod, BUSY)
    return pod


async def report(world: World, name: str, pod: Object, told: dict[str, Any]) -> None:
    async with world.sidecar(pod) as sidecar:
        await sidecar.report(name, **told)


def attempts(found: Object) -> list[tuple[int, str, bool]]:
    return [(a["index"], a.get("reason", ""), a.get("failed", False)) for a in found["status"]["attempts"]]


def told(found: Object) -> list[tuple[int, Any]]:
    return [(event["type"], event["args"]) for event in found["status"].get("operatorEvents", [])]


def environment(pod: Object) -> dict[str, str]:
    """The sidecar's."""
    return {e["name"]: e["value"] for e in pod["spec"]["initContainers"][0]["env"] if "value" in e}


async def evict(world: World, pod: Object) -> None:
    meta = pod["metadata"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": meta["name"]}}
    await world.admin.request("POST", f"{world.pods()}/{meta['name']}/eviction", body)


async def force(world: World, pod: Object) -> None:
    """Take the Pod's object away, as the end of its grace does."""
    name = pod["metadata"]["name"]
    await world.admin.request("DELETE", f"{world.pods()}/{name}", {"gracePeriodSeconds": 0})


async def bind_and_run(world: World, name: str, index: int, node: str) -> Object:
    """As `busy`, on a node: a Pod that is bound to none goes at once when it is deleted."""
    pod = await world.successor(name, index)
    await world.place(pod["metadata"]["name"], node)
    await report(world, name, pod, BUSY)
    return pod


async def test_a_recorder_that_is_killed_is_followed_by_the_next(world: World) -> None:
    async with world.operator():
        made = await world.apply(recording("lesson"))
        first = await busy(world, "lesson", 0)
        await world.phase("lesson", "Recording")
        began = time.monotonic()
        await world.end_recorder(first["metadata"]["name"], 137, "killed in mid-sentence")
        second = await world.successor("lesson", 1, SOON)
        print(f"exit to the successor's uid in status: {time.monotonic() - began:.2f} s")
        assert second["metadata"]["name"] == f"lesson-{made['metadata']['uid'][:5]}-1"
        found = await world.get("lesson")
        assert found is not None
        assert attempts(found) == [(0, "RecorderFailed", True), (1, "", False)]
        assert found["status"]["attempts"][0]["exit"]["code"] == 137
        assert found["status"]["attempts"][0]["exit"]["message"] == "killed in mid-sentence"
        assert told(found) == [(306, {"Status": 0})]
        tasks = [json.loads(environment(pod)["CLOUDREC_TASK"]) for pod in (first, second)]
        assert tasks[0]["epoch"] == tasks[1]["epoch"] == found["status"]["epoch"]
        assert [task["index"] for task in tasks] == [0, 1]

        await busy(world, "lesson", 1)
        await world.phase("lesson", "Recording")
        assert await world.admin.get_or_none(f"{world.pods()}/{first['metadata']['name']}"), "its sidecar uploads"
        await report(world, "lesson", first, SALVAGED)
        await world.pod_gone(first["metadata"]["name"])

        await world.patch("lesson", {"desiredState": "Stopped"})
        await report(world, "lesson", second, LEFT)
        await world.end_recorder(second["metadata"]["name"])
        done = await world.phase("lesson", "Completed")
        assert told(done) == [(306, {"Status": 0}), (305, {"Status": 0})]
        assert condition(done, "Uploaded")[:2] == ("True", "Uploaded")
        assert done["status"]["files"] == 2
        await world.told("lesson", "RecorderFailed")


async def test_four_failures_end_it_with_every_reason(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudrec_operator.policy.succession.PAUSES", (0.0, 0.5, 1.0))
    async with world.operator():
        await world.apply(recording("lesson"))
        for index in range(4):
            pod = await busy(world, "lesson", index)
            why = json.dumps({"reason": "SpoolFailed", "message": f"disk {index}"})
            await world.end_recorder(pod["metadata"]["name"], 1, why)
            if index < 3:
                await report(world, "lesson", pod, SALVAGED)
        waiting = await world.phase("lesson", "Finalizing")
        assert "endedAt" not in waiting["status"]
        await report(world, "lesson", pod, SALVAGED)
        failed = await world.phase("lesson", "Failed")
        _, reason, message = condition(failed, "RecorderReady")
        assert reason == "TooManyFailures"
        assert all(f"attempt {n}: SpoolFailed: disk {n}" in message for n in range(4))
        assert told(failed) == [(306, {"Status": 0})] * 3 + [(302, {"LeaveCode": 100}), (305, {"Status": 0})]
        assert [a["exit"]["code"] for a in failed["status"]["attempts"]] == [1] * 4


async def test_an_eviction_is_a_hand_over(world: World) -> None:
    node = f"node-{uuid.uuid4().hex[:6]}"
    async with world.operator(), fake_node(world.admin, node):
        await world.apply(recording("lesson"))
        first = await bind_and_run(world, "lesson", 0, node)
        await world.phase("lesson", "Recording")
        await evict(world, first)
        second = await world.successor("lesson", 1, SOON)
        handing = await world.condition("lesson", "RecorderReady", "True", "HandedOver")
        assert handing["status"]["phase"] == "Recording"
        assert attempts(handing) == [(0, "HandedOver", False), (1, "", False)]
        await world.run_pod(second["metadata"]["name"])
        await report(world, "lesson", second, BUSY)
        await world.condition("lesson", "RecorderReady", "True", "Ready")
        await report(world, "lesson", first, HANDED)
        handed = json.dumps({"reason": "HandedOver", "message": "a later attempt is in the room"})
        await world.end_recorder(first["metadata"]["name"], 0, handed)
        await force(world, first)
        await world.patch("lesson", {"desiredState": "Stopped"})
        await report(world, "lesson", second, LEFT)
        await world.end_recorder(second["metadata"]["name"])
        done = await world.phase("lesson", "Completed")
        assert told(done) == [(305, {"Status": 0})]
        phases = [event["reason"] for event in await world.events("lesson")]
        assert phases.count("Recording") == 1, "it never stopped recording"
        await world.told("lesson", "HandedOver")


async def test_a_node_that_is_not_ready_loses_its_pod_when_it_is_deleted(world: World) -> None:
    name = f"node-{uuid.uuid4().hex[:6]}"
    async with world.operator(), fake_node(world.admin, name) as ready:
        await world.apply(recording("lesson"))
        first = await bind_and_run(world, "lesson", 0, name)
        await world.phase("lesson", "Recording")
        await ready("Unknown")
        await world.admin.request("DELETE", f"{world.pods()}/{first['metadata']['name']}")
        second = await world.successor("lesson", 1, SOON)
        lost = await world.get("lesson")
        assert lost is not None
        assert attempts(lost) == [(0, "NodeLost", True), (1, "", False)]
        assert "the kubelet said no word" in lost["status"]["attempts"][0]["message"]
        assert told(lost) == [(306, {"Status": 0})]
        await world.run_pod(second["metadata"]["name"])
        await world.patch("lesson", {"desiredState": "Stopped"})
        await report(world, "lesson", second, LEFT)
        await world.end_recorder(second["metadata"]["name"])
        done = await world.phase("lesson", "Completed")
        assert condition(done, "Uploaded")[:2] == ("False", "UploadFailed")
        assert told(done)[-1] == (305, {"Status": 1})
        await force(world, first)


async def test_a_node_that_is_gone_is_noticed_by_itself(world: World) -> None:
    name = f"node-{uuid.uuid4().hex[:6]}"
    async with world.operator(), fake_node(world.admin, name):
        await world.apply(recording("lesson"))
        first = await bind_and_run(world, "lesson", 0, name)
        await world.phase("lesson", "Recording")
        await world.admin.request("DELETE", f"/api/v1/nodes/{name}")
        await world.successor("lesson", 1, SOON)
        lost = await world.get("lesson")
        assert lost is not None
        assert attempts(lost) == [(0, "NodeLost", True), (1, "", False)]
        await force(world, first)


async def test_what_happened_while_the_operator_was_away(world: World) -> None:
    """One recorder died, one Pod vanished, one recording was deleted, one was stopped: all are put right."""
    names = ["died", "vanished", "deleted", "stopped"]
    async with world.operator():
        for name in names:
            await world.apply(recording(name, robot={"userId": name}))
        pods = {name: await busy(world, name, 0) for name in names}
        for name in names:
            await world.phase(name, "Recording")
    await world.end_recorder(pods["died"]["metadata"]["name"], 137)
    await force(world, pods["vanished"])
    await world.delete("deleted")
    await world.patch("stopped", {"desiredState": "Stopped"})
    for name in ("deleted", "stopped"):
        await report(world, name, pods[name], LEFT)
        await world.end_recorder(pods[name]["metadata"]["name"], phase="Succeeded")
    async with world.operator(identity="second"):
        await world.gone("deleted")
        await world.phase("stopped", "Completed")
        for name, reason in (("died", "RecorderFailed"), ("vanished", "PodLost")):
            await world.successor(name, 1)
            found = await world.get(name)
            assert found is not None
            assert attempts(found) == [(0, reason, True), (1, "", False)]


async def test_an_api_server_that_is_away_for_a_while(world: World, api_stack: Stack) -> None:
    """Longer than the Lease lasts: the lead is lost and won back, the watches are taken up again."""
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await busy(world, "lesson", 0)
        before = await world.phase("lesson", "Recording")
        await asyncio.to_thread(api_stack.stop, "kube-apiserver", 0)
        try:
            await asyncio.sleep(4)  # the fault itself: more than `lease_seconds`
        finally:
            await asyncio.to_thread(api_stack.start, "kube-apiserver")
        await world.end_recorder(pod["metadata"]["name"], 137)
        began = time.monotonic()
        await world.successor("lesson", 1, 60)
        print(f"exit after an absence of the API server to the successor: {time.monotonic() - began:.1f} s")
        after = await world.get("lesson")
        assert after is not None
        assert after["status"]["attempts"][0]["podUID"] == before["status"]["attempts"][0]["podUID"]
        assert attempts(after) == [(0, "RecorderFailed", True), (1, "", False)]


async def test_evictions_are_refused_where_that_is_wanted(world: World) -> None:
    node = f"node-{uuid.uuid4().hex[:6]}"
    async with world.operator(refuse_evictions=True), fake_node(world.admin, node):
        await world.apply(recording("lesson"))
        first = await bind_and_run(world, "lesson", 0, node)
        await world.phase("lesson", "Recording")
        budget = f"/apis/policy/v1/namespaces/{world.namespace}/poddisruptionbudgets/cloudrec-recorders"

        async def counted() -> bool:
            return (await world.admin.get(budget)).get("status", {}).get("currentHealthy") is not None

        await eventually(counted, "the budget is known to the API server")
        with pytest.raises(ApiError) as error:
            await evict(world, first)
        assert error.value.code == 429
        assert attempts(await world.phase("lesson", "Recording")) == [(0, "", False)]
        await world.delete("lesson")
        await force(world, first)
        await world.gone("lesson")


async def test_deletion_is_no_eviction(world: World) -> None:
    """Foreground deletion deletes the Pods first, or soon after: no successor may come of it."""
    async with world.operator(delete_seconds=2):
        await world.apply(recording("lesson"))
        first = await busy(world, "lesson", 0)
        await world.phase("lesson", "Recording")
        await world.admin.request("DELETE", world.path("lesson"), {"propagationPolicy": "Foreground"})
        seen = set()

        async def gone() -> bool:
            pods = (await world.admin.get(world.pods()))["items"]
            seen.update(pod["metadata"]["name"] for pod in pods)
            return not pods and await world.get("lesson") is None

        await eventually(gone, "the recording and its Pods gone")
        assert seen <= {first["metadata"]["name"]}


async def test_a_namespace_that_ends_is_no_eviction(world: World) -> None:
    node = f"node-{uuid.uuid4().hex[:6]}"
    async with world.operator(delete_seconds=3), fake_node(world.admin, node):
        await world.apply(recording("lesson"))
        pod = await bind_and_run(world, "lesson", 0, node)
        await world.phase("lesson", "Recording")
        await world.admin.request("DELETE", f"/api/v1/namespaces/{world.namespace}")
        stopping = await world.phase("lesson", "Stopping")
        assert attempts(stopping) == [(0, "", False)]
        await world.gone("lesson")
        await force(world, pod)

        async def gone() -> bool:
            return await world.admin.get_or_none(f"/api/v1/namespaces/{world.namespace}") is None

        await eventually(gone, "namespace gone", 40)
    await world.create()


async def test_a_backup_store_is_accepted_with_its_secret_and_told_to_the_sidecar(world: World) -> None:
    backup = {
        "endpoint": "http://127.0.0.1:2",
        "bucket": "backup",
        "credentialsSecretRef": {"name": "backup-keys"},
    }
    async with world.operator():
        made = recording("lesson")
        made["spec"]["storage"]["bucket"]["backup"] = backup
        await world.apply(made)
        missing = await world.condition("lesson", "Accepted", "False", "SecretNotFound")
        assert "backup-keys" in condition(missing, "Accepted")[2]
        await world.apply(secret("backup-keys", accessKey="AK", secretKey="SK"))
        pod = await world.pod("lesson")
        assert json.loads(environment(pod)["CLOUDREC_BACKUP_STORE"])["endpoint"] == "http://127.0.0.1:2"
        await world.run_pod(pod["metadata"]["name"])
        await report(world, "lesson", pod, {**LEFT, "backup": 2})
        await world.end_recorder(pod["metadata"]["name"])
        found = await world.condition("lesson", "Uploaded", "False", "BackupInUse")
        assert found["status"]["phase"] == "Finalizing"
        assert told(found) == [(305, {"Status": 1})]


async def test_a_finalizer_is_all_that_an_uninstalled_operator_leaves_in_the_way(world: World) -> None:
    """The documented way out, when no operator will come any more."""
    async with world.operator():
        await world.apply(recording("lesson"))
        await busy(world, "lesson", 0)
        await world.phase("lesson", "Recording")
    await world.delete("lesson")
    left = await world.get("lesson")
    assert left is not None
    body: Object = {"metadata": {"finalizers": []}}
    await world.admin.request("PATCH", world.path("lesson"), body, content_type=MERGE)
    await world.gone("lesson")

    async def no_pods() -> bool:
        return not (await world.admin.get(world.pods()))["items"]

    await eventually(no_pods, "its Pods collected", 30)
