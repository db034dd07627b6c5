"""What the operator survives: restarts, rivals, a lost lead, names taken by others, refusals, and being late."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from cloudrec_contract import naming
from cloudrec_local.kubeapi import APPLY, MERGE, ApiError, Object
from cloudrec_operator import observe
from cloudrec_operator.policy import tokens
from tests.cluster.operating import (
    BUCKET_KEYS,
    FILE,
    JOINED,
    LEASE,
    LIVEKIT_KEYS,
    World,
    app,
    condition,
    eventually,
    recording,
    secret,
    waiting,
)

pytestmark = pytest.mark.cluster

BUSY = {"state": "Recording", "ready": True, "events": [JOINED], "files": [FILE]}


async def pods(world: World) -> list[Object]:
    return list((await world.admin.get(world.pods()))["items"])


async def test_what_is_missing_may_come_later(bare_world: World) -> None:
    world = bare_world
    async with world.operator():
        await world.apply(recording("lesson"))
        await world.condition("lesson", "Accepted", "False", "AppNotFound")
        await world.apply(app())
        await world.condition("lesson", "Accepted", "False", "SecretNotFound")
        await world.apply(LIVEKIT_KEYS)
        await world.apply(secret("bucket-keys", accessKey="AK"))
        waiting = await world.condition("lesson", "Accepted", "False", "SecretInvalid")
        assert "secretKey" in condition(waiting, "Accepted")[2]
        assert await pods(world) == []
        await world.apply(BUCKET_KEYS)
        await world.condition("lesson", "Accepted", "True", "Accepted")
        await world.pod("lesson")


async def test_a_restart_in_the_middle_loses_nothing_and_doubles_nothing(world: World) -> None:
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        name = pod["metadata"]["name"]
        await world.run_pod(name)
    async with world.sidecar(pod) as sidecar:
        await sidecar.report("lesson", **BUSY)
        async with world.operator(identity="second"):
            await world.phase("lesson", "Recording")
        await sidecar.report("lesson", **{**BUSY, "state": "Ended", "leaveCode": 0, "uploaded": True})
    await world.end_recorder(name, phase="Succeeded")
    async with world.operator(identity="third"):
        done = await world.phase("lesson", "Completed")
        await world.told("lesson", "Completed")
    assert [a["podUID"] for a in done["status"]["attempts"]] == [pod["metadata"]["uid"]]
    reasons = [event["reason"] for event in await world.events("lesson")]
    assert reasons.count("Accepted") == reasons.count("Recording") == 1


async def test_a_restart_between_the_declaration_and_the_pod(world: World) -> None:
    made = await world.apply(recording("lesson"))
    uid = made["metadata"]["uid"]
    name = naming.pod_name("lesson", uid, 0)
    status = {"phase": "Pending", "taskId": uid, "epoch": 1_900_000_000_000, "attempts": [{"pod": name, "index": 0}]}
    await apply_status(world, made, status)
    async with world.operator():
        pod = await world.pod("lesson")
        assert pod["metadata"]["name"] == name
        task = next(e["value"] for e in pod["spec"]["initContainers"][0]["env"] if e["name"] == "CLOUDREC_TASK")
        assert '"epoch":1900000000000' in task


async def test_a_restart_between_the_pod_and_its_uid(world: World) -> None:
    """The answer to the POST was lost: the Pod is found and adopted, not made again."""
    made = await world.apply(recording("lesson"))
    uid = made["metadata"]["uid"]
    name = naming.pod_name("lesson", uid, 0)
    status = {"phase": "Pending", "taskId": uid, "epoch": 1_900_000_000_000, "attempts": [{"pod": name, "index": 0}]}
    await apply_status(world, made, status)
    ours = await world.admin.request("POST", world.pods(), plain_pod(name, uid))
    async with world.operator():
        assert (await world.pod("lesson"))["metadata"]["uid"] == ours["metadata"]["uid"]
    assert len(await pods(world)) == 1


async def test_two_operators_make_one_pod_each_recording(world: World) -> None:
    async with world.operator(identity="a"), world.operator(identity="b"):
        names = [f"lesson-{n}" for n in range(5)]
        for name in names:
            await world.apply(recording(name, robot={"userId": name}))
        for name in names:
            await world.pod(name)
        await asyncio.gather(*(world.phase(name, "Starting") for name in names))
        assert len(await pods(world)) == len(names)
        for name in names:
            await world.told(name, "Starting")
            reasons = [event["reason"] for event in await world.events(name)]
            assert reasons.count("Accepted") == reasons.count("Starting") == 1


async def test_a_lost_lead_stops_all_writing_until_it_is_won_back(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cloudrec_operator.leader")
    async with world.operator():
        await world.apply(recording("first"))
        await world.pod("first")
        lease = await steal(world, seconds=2)

        async def noticed() -> bool:
            return "no longer leading" in caplog.messages

        await eventually(noticed, "the lead lost")
        await world.apply(recording("second"))

        async def back() -> bool:
            second = await world.get("second")
            held: Object = (await world.admin.get(LEASE))["spec"]
            assert second is not None
            assert held["holderIdentity"] == "op" or "status" not in second, "written without the lead"
            return bool(held["holderIdentity"] == "op")

        await eventually(back, "the lead won back")
        await world.pod("second")
        assert (await world.admin.get(LEASE))["spec"]["leaseTransitions"] > lease["spec"]["leaseTransitions"]


async def steal(world: World, seconds: int) -> Object:
    """Write another holder into the Lease, against the leader's renewals."""
    while True:
        lease = await world.admin.get(LEASE)
        lease["spec"].update(holderIdentity="thief", leaseDurationSeconds=seconds)
        try:
            return await world.admin.request("PUT", LEASE, lease)
        except ApiError as error:
            if error.code != 409:
                raise


async def test_a_name_taken_by_another_is_waited_for(world: World) -> None:
    made = await world.apply(recording("lesson"))
    name = naming.pod_name("lesson", made["metadata"]["uid"], 0)
    await world.admin.request("POST", world.pods(), plain_pod(name, None))
    async with world.operator():
        await world.until("lesson", lambda o: "another owner" in condition(o, "RecorderReady")[2], "told of the owner")
        await world.admin.request("DELETE", f"{world.pods()}/{name}", {"gracePeriodSeconds": 0})
        pod = await world.pod("lesson")
        assert pod["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]


async def test_the_same_name_again_is_another_recording(world: World) -> None:
    async with world.operator(delete_seconds=1):
        await world.apply(recording("lesson"))
        first = await world.pod("lesson")
        await world.delete("lesson")
        await world.gone("lesson")
        made = await world.apply(recording("lesson"))
        second = await world.pod("lesson")
        assert second["metadata"]["name"] != first["metadata"]["name"]
        assert second["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
        await world.pod_gone(first["metadata"]["name"])


async def test_a_refused_pod_is_told_and_tried_again(world: World) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    await world.admin.request("POST", path, quota)
    async with world.operator():
        await world.apply(recording("lesson"))
        refused = await world.condition("lesson", "RecorderReady", "False", "PodRefused")
        assert "quota" in condition(refused, "RecorderReady")[2]
        await world.admin.request("DELETE", f"{path}/none")
        await world.pod("lesson")


async def test_a_refused_room_token_is_told_and_tried_again(world: World) -> None:
    path = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"secrets": "2"}},
    }
    await world.admin.request("POST", path, quota)
    async with world.operator():
        await world.apply(recording("lesson"))
        refused = await world.condition("lesson", "RecorderReady", "False", "PodRefused")
        assert "the room token's Secret" in condition(refused, "RecorderReady")[2]
        assert await pods(world) == []
        await world.admin.request("DELETE", f"{path}/few")
        await world.pod("lesson")


async def test_a_room_token_that_is_gone_before_it_is_mounted_comes_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "MOUNT_SECONDS", 0.5)
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{world.namespace}/secrets/{tokens.secret_name(name)}"
        first = await world.admin.get(path)
        await world.admin.request("DELETE", path)
        await world.pod_status(name, waiting("ContainerCreating"), waiting("PodInitializing"), "Pending")

        async def again() -> bool:
            found = await world.admin.get_or_none(path)
            return found is not None and found["metadata"]["uid"] != first["metadata"]["uid"]

        await eventually(again, "the token's Secret made again")


async def test_the_room_token_is_renewed_in_its_secret_and_made_again_when_it_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "SAFETY_SECONDS", 0.3)
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        name = pod["metadata"]["name"]
        await world.run_pod(name)
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("lesson", **BUSY)
        await world.phase("lesson", "Recording")
        path = f"/api/v1/namespaces/{world.namespace}/secrets/{tokens.secret_name(name)}"
        first = await world.admin.get(path)
        old: Object = {"data": {"token": "b2xk"}, "metadata": {"annotations": {tokens.EXPIRES: "2026-01-01T00:00:00Z"}}}
        await world.admin.request("PATCH", path, old, content_type=MERGE)

        async def renewed() -> bool:
            found = await world.admin.get(path)
            return bool(found["metadata"]["uid"] == first["metadata"]["uid"] and found["data"] != old["data"])

        await eventually(renewed, "the token renewed")
        await world.admin.request("DELETE", path)

        async def again() -> bool:
            return await world.admin.get_or_none(path) is not None

        await eventually(again, "the token's Secret made again")


async def test_a_steady_recording_is_not_written(world: World) -> None:
    async with world.operator():
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("lesson", **BUSY)
        before = await world.until("lesson", settled, "recording, and said so")
        await world.admin.request(
            "PATCH",
            f"{world.pods()}/{pod['metadata']['name']}",
            {"metadata": {"annotations": {"touched": "1"}}},
            content_type="application/merge-patch+json",
        )
        await world.apply(recording("witness", robot={"userId": "witness"}))
        await world.pod("witness")
        after = await world.get("lesson")
        assert after is not None
        assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def settled(found: Object) -> bool:
    return condition(found, "Recording")[0] == "True"


async def apply_status(world: World, made: Object, status: dict[str, Any]) -> None:
    """Write a status as an operator before would have."""
    body = {
        "apiVersion": "cloudrec.dev/v1alpha1",
        "kind": "CloudRecording",
        "metadata": {"name": made["metadata"]["name"], "namespace": world.namespace},
        "status": status,
    }
    await world.admin.request(
        "PATCH",
        f"{world.path(made['metadata']['name'])}/status",
        body,
        content_type=APPLY,
        params={"fieldManager": "cloudrec-operator", "force": "true"},
    )


def plain_pod(name: str, owner: str | None) -> Object:
    meta: Object = {"name": name, "labels": {"app.kubernetes.io/managed-by": "cloudrec"}}
    if owner is not None:
        meta["ownerReferences"] = [
            {
                "apiVersion": "cloudrec.dev/v1alpha1",
                "kind": "CloudRecording",
                "name": "lesson",
                "uid": owner,
                "controller": True,
            }
        ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [{"name": "recorder", "image": "x"}], "automountServiceAccountToken": False},
    }
