"""The finisher as the operator sees it, on a real API server; the test plays kubelet, sidecar and finisher."""

from __future__ import annotations

import copy

import pytest

from cloudrec_local.kubeapi import ApiError, Object
from tests.cluster.operating import World, condition, recording, secret
from tests.cluster.test_operator_failover import LEFT, busy, force, report, told

pytestmark = pytest.mark.cluster

IN_BACKUP = {
    **LEFT,
    "backup": 3,
    "conditions": [{"reason": "BackupInUse", "message": "the bucket does not take files"}],
}


async def finishing(world: World, name: str) -> Object:
    """A recording that has ended with files in the backup store; the Pod of its first finisher."""
    await world.apply(secret("backup-keys", accessKey="AK2", secretKey="SK2"))
    body = copy.deepcopy(recording(name))
    body["spec"]["storage"]["bucket"]["backup"] = {
        "endpoint": "http://127.0.0.1:2",
        "bucket": "spare",
        "credentialsSecretRef": {"name": "backup-keys"},
    }
    await world.apply(body)
    pod = await busy(world, name, 0)
    await world.patch(name, {"desiredState": "Stopped"})
    await report(world, name, pod, IN_BACKUP)
    await world.end_recorder(pod["metadata"]["name"])
    return await finisher(world, name, 0)


async def finisher(world: World, name: str, index: int) -> Object:
    """The Pod of that finisher, once its uid is in status."""

    def made(found: Object) -> bool:
        status = found.get("status", {})
        return any(
            (a.get("role"), a["index"]) == ("Finish", index) and "podUID" in a for a in status.get("attempts", [])
        )

    found = await world.until(name, made, f"finisher {index} with its Pod")
    (pod,) = [a["pod"] for a in found["status"]["attempts"] if (a["role"], a["index"]) == ("Finish", index)]
    return await world.admin.get(f"{world.pods()}/{pod}")


async def test_it_is_made_followed_and_believed(world: World) -> None:
    async with world.operator():
        first = await finishing(world, "lesson")
        found = await world.get("lesson")
        assert found is not None
        assert found["status"]["phase"] == "Finalizing"
        assert told(found) == [(305, {"Status": 1})]
        assert condition(found, "Uploaded")[:2] == ("False", "BackupInUse")
        record = found["status"]["attempts"][0]["pod"]
        await world.pod_gone(record)
        async with world.sidecar(first) as own:
            await own.report("lesson", backup=2)
            await world.until("lesson", lambda o: condition(o, "Uploaded")[2].startswith("2 files"), "its count")
            with pytest.raises(ApiError, match="only change the report of their own attempt"):
                await own.write("lesson", {"attempts": [{"pod": record, "report": {"backup": 0}}]})
        await world.told("lesson", "BackupInUse")

        await force(world, first)
        second = await finisher(world, "lesson", 1)
        assert second["metadata"]["name"] == first["metadata"]["name"].removesuffix("0") + "1"
        await world.told("lesson", "FinisherFailed")
        async with world.sidecar(second) as own:
            await own.report("lesson", state="Ended", uploaded=True)
        done = await world.phase("lesson", "Completed")
        assert told(done) == [(305, {"Status": 1}), (305, {"Status": 2})]
        assert condition(done, "Uploaded")[:2] == ("True", "Uploaded")
        assert (done["status"]["attempt"], done["status"]["files"]) == (0, 1)
        await world.pod_gone(second["metadata"]["name"])


async def test_another_leader_goes_on_and_a_deletion_ends_it(world: World) -> None:
    async with world.operator():
        first = await finishing(world, "lesson")
    async with world.operator(identity="other"):
        await world.delete("lesson")
        await world.gone("lesson")
        await world.pod_gone(first["metadata"]["name"])
