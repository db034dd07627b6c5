"""From `kubectl apply` to the end, on a real API server; the test plays the kubelet's and the sidecar's part."""

from __future__ import annotations

import base64
import subprocess
from datetime import datetime

import jwt
import pytest

from cloudrec_local.home import tool
from cloudrec_local.kubeapi import STRATEGIC
from tests.cluster.operating import FILE, JOINED, World, condition, eventually, recording, waiting

pytestmark = pytest.mark.cluster

IDLE = {"state": "Idle", "ready": True, "events": [JOINED]}
BUSY = {"state": "Recording", "ready": True, "events": [JOINED], "files": [FILE]}


async def test_a_recording_from_apply_to_stop(world: World) -> None:
    async with world.operator():
        await world.apply(recording("lesson"))
        await world.condition("lesson", "Accepted", "True", "Accepted")
        pod = await world.pod("lesson")
        name = pod["metadata"]["name"]
        await world.phase("lesson", "Starting")
        await world.condition("lesson", "RecorderReady", "False", "Unschedulable")

        secret = await world.admin.get(f"/api/v1/namespaces/{world.namespace}/secrets/{name}-room")
        token = base64.b64decode(secret["data"]["token"]).decode()
        claims = jwt.decode(token, "s" * 40, algorithms=["HS256"])
        assert claims["sub"] == "cloudrec~0"
        assert claims["video"]["room"] == "12345"
        assert not claims["video"]["canPublish"]

        await world.run_pod(name)
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("lesson", **IDLE)
            await world.phase("lesson", "Idle")
            await world.condition("lesson", "Recording", "False", "NoMedia")
            await sidecar.report("lesson", **BUSY)
            busy = await world.phase("lesson", "Recording")
            assert busy["status"]["files"] == 1
            assert condition(busy, "RecorderReady")[:2] == ("True", "Ready")
            assert busy["status"]["startedAt"] == "2023-11-14T22:13:20Z"
            assert busy["status"]["taskId"] == busy["metadata"]["uid"]

            await world.patch("lesson", {"desiredState": "Stopped"})
            await world.phase("lesson", "Stopping")
            await sidecar.report("lesson", **{**BUSY, "state": "Ended", "leaveCode": 0})
            await world.phase("lesson", "Finalizing")
            await sidecar.report("lesson", **{**BUSY, "state": "Ended", "leaveCode": 0, "uploaded": True})
        await world.end_recorder(name)
        done = await world.phase("lesson", "Completed")
        assert condition(done, "Uploaded")[:2] == ("True", "Uploaded")
        assert done["status"]["attempts"][0]["exit"]["code"] == 0
        assert [(e["type"], e["args"]) for e in done["status"]["operatorEvents"]] == [(305, {"Status": 0})]
        await world.pod_gone(name)
        await world.until("lesson", lambda o: not o["metadata"].get("finalizers"), "finalizer taken off")

        await world.told("lesson", "Completed")
        told = [event["reason"] for event in await world.events("lesson")]
        for reason in ("Accepted", "Starting", "Unschedulable", "Idle", "Recording", "Stopping", "Finalizing"):
            assert told.count(reason) == 1, told
        assert told.count("Completed") == 1

        kubectl = [str(tool("kubectl")), "--kubeconfig", str(world.kubeconfig), "-n", world.namespace]
        described = subprocess.run([*kubectl, "describe", "crec", "lesson"], capture_output=True, text=True, check=True)
        assert "no nodes available" in described.stdout
        table = subprocess.run([*kubectl, "get", "crec", "lesson"], capture_output=True, text=True, check=True).stdout
        assert table.split()[:6] == ["NAME", "MODE", "ROOM", "PHASE", "ATTEMPT", "FILES"]
        assert table.splitlines()[1].split()[:6] == ["lesson", "Single", "12345", "Completed", "0", "1"]

        await world.patch("lesson", {"ttlSecondsAfterFinished": 0})
        await world.gone("lesson")


async def test_nobody_comes(world: World) -> None:
    async with world.operator():
        await world.apply(recording("empty", maxIdleSeconds=5))
        pod = await world.pod("empty")
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("empty", **IDLE)
            await world.phase("empty", "Idle")
            await sidecar.report("empty", **{**IDLE, "state": "Ended", "leaveCode": 99, "uploaded": True})
        await world.end_recorder(pod["metadata"]["name"], phase="Succeeded")
        done = await world.phase("empty", "Completed")
        assert "maxIdleSeconds" in condition(done, "RecorderReady")[2]


async def test_an_end_by_the_server_is_completed_with_a_warning(world: World) -> None:
    async with world.operator():
        await world.apply(recording("lost"))
        pod = await world.pod("lost")
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            done = {"ready": True, "events": [JOINED], "files": [FILE], "state": "Ended", "uploaded": True}
            await sidecar.report("lost", **done, leaveCode=100)
            await world.phase("lost", "Finalizing")
        await world.end_recorder(pod["metadata"]["name"], phase="Succeeded")
        ended = await world.phase("lost", "Completed")
        assert condition(ended, "RecorderReady")[:2] == ("False", "RejoinTimeout")
        assert "joined again" in condition(ended, "RecorderReady")[2]
        await world.told("lost", "Completed")
        types = {event["reason"]: event["type"] for event in await world.events("lost")}
        assert (types["RejoinTimeout"], types["Completed"]) == ("Warning", "Normal")


async def test_stopped_before_anything_could_start(world: World) -> None:
    async with world.operator():
        await world.apply(recording("never", appRef={"name": "unknown"}))
        await world.condition("never", "Accepted", "False", "AppNotFound")
        await world.patch("never", {"desiredState": "Stopped"})
        done = await world.phase("never", "Completed")
        assert "attempts" not in done["status"]
        await world.apply(recording("early"))
        pod = await world.pod("early")
        await world.patch("early", {"desiredState": "Stopped"})
        await world.phase("early", "Completed")
        await world.pod_gone(pod["metadata"]["name"])


async def test_delete_stops_flushes_and_lets_go(world: World) -> None:
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("lesson", **BUSY)
            await world.phase("lesson", "Recording")
            await world.delete("lesson")
            await world.phase("lesson", "Stopping")
            await sidecar.report("lesson", **{**BUSY, "state": "Ended", "leaveCode": 0})
            await world.phase("lesson", "Finalizing")
            await sidecar.report("lesson", **{**BUSY, "state": "Ended", "leaveCode": 0, "uploaded": True})
        await world.end_recorder(pod["metadata"]["name"])
        await world.gone("lesson")
        await world.pod_gone(pod["metadata"]["name"])


async def test_delete_has_a_deadline(world: World) -> None:
    async with world.operator(delete_seconds=1):
        await world.apply(recording("stuck"))
        pod = await world.pod("stuck")
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("stuck", **BUSY)
            await world.phase("stuck", "Recording")
        await world.delete("stuck")
        await world.gone("stuck")


async def test_deleted_while_it_waits(world: World) -> None:
    async with world.operator():
        await world.apply(recording("waiting", appRef={"name": "unknown"}))
        await world.phase("waiting", "Pending")
        await world.delete("waiting")
        await world.gone("waiting")


async def test_a_namespace_can_be_deleted(world: World) -> None:
    async with world.operator(delete_seconds=5):
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("lesson", **BUSY)
        await world.phase("lesson", "Recording")
        await world.admin.request("DELETE", f"/api/v1/namespaces/{world.namespace}")

        async def gone() -> bool:
            return await world.admin.get_or_none(f"/api/v1/namespaces/{world.namespace}") is None

        await eventually(gone, "namespace gone", 40)
    await world.create()


async def test_ttl_deletes_the_resource(world: World) -> None:
    async with world.operator():
        await world.apply(recording("short", ttlSecondsAfterFinished=1, desiredState="Stopped"))
        done = await world.phase("short", "Completed")
        assert datetime.fromisoformat(done["status"]["endedAt"])
        await world.gone("short")


@pytest.mark.parametrize("reason", ["TokenRefused", "BucketRefused"])
async def test_a_refusal_fails_at_once(world: World, reason: str) -> None:
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("lesson", state="Starting", conditions=[{"reason": reason, "message": "403"}])
        failed = await world.phase("lesson", "Failed")
        assert condition(failed, "RecorderReady") == ("False", reason, "403")
        assert [(e["type"], e["args"]) for e in failed["status"]["operatorEvents"]] == [(301, {"Status": 1})]
        await world.told("lesson", reason)
        await world.pod_gone(pod["metadata"]["name"])


async def test_what_is_unreachable_is_waited_for_until_the_start_deadline(world: World) -> None:
    async with world.operator(start_seconds=3):
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            down = {"reason": "LiveKitUnreachable", "message": "connection refused"}
            await sidecar.report("lesson", state="Starting", conditions=[down])
        await world.condition("lesson", "RecorderReady", "False", "LiveKitUnreachable")
        failed = await world.phase("lesson", "Failed")
        _, why, message = condition(failed, "RecorderReady")
        assert why == "StartTimeout"
        assert "connection refused" in message


async def test_a_missing_image_is_told_and_forgotten(world: World) -> None:
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        await bind(world, pod["metadata"]["name"])
        pull = waiting("ImagePullBackOff", 'Back-off pulling image "cloudrec/recorder:0.1.0"')
        await world.pod_status(pod["metadata"]["name"], waiting("PodInitializing"), pull, "Pending")
        await world.condition("lesson", "RecorderReady", "False", "ImageMissing")
        await world.run_pod(pod["metadata"]["name"])
        await world.condition("lesson", "RecorderReady", "False", "PodStarting")


async def test_a_secret_that_goes_while_the_pod_starts_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudrec_operator.observe.MOUNT_SECONDS", 0.5)
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        await world.admin.request("DELETE", f"/api/v1/namespaces/{world.namespace}/secrets/bucket-keys")
        await bind(world, pod["metadata"]["name"])
        creating = waiting("ContainerCreating")
        await world.pod_status(pod["metadata"]["name"], creating, creating, "Pending")
        await world.condition("lesson", "RecorderReady", "False", "SecretNotFound")


async def bind(world: World, pod: str) -> None:
    """Take the scheduler's verdict off the Pod."""
    condition = {"type": "PodScheduled", "status": "True", "reason": "", "message": ""}
    await world.admin.request(
        "PATCH", f"{world.pods()}/{pod}/status", {"status": {"conditions": [condition]}}, content_type=STRATEGIC
    )
