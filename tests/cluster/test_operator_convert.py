"""MP4 and VOD as the operator sees them, on a real API server; the test plays kubelet, sidecar and finisher."""

from __future__ import annotations

from typing import Any

import pytest

from cloudrec_contract.finish import ConvertTask
from cloudrec_contract.resources import OutputFormat
from cloudrec_local.kubeapi import Object
from tests.cluster.operating import World, app, condition, recording, secret
from tests.cluster.test_operator_failover import LEFT, busy, force, report, told
from tests.cluster.test_operator_finish import finisher

pytestmark = pytest.mark.cluster

STORED = {"seq": 1, "type": 310, "ts": 1_700_000_000_000, "args": {"Status": 0, "FileList": ["a.mp4"]}}
COMMITTED = {
    "seq": 1,
    "type": 311,
    "ts": 1_700_000_000_000,
    "args": {"Status": 0, "TencentVod": {"UserId": "alice", "FileId": "7"}},
}
MADE = {"reason": "Remuxed", "message": "1 file", "percent": 100, "done": True, "files": 1}


def at(percent: int) -> dict[str, Any]:
    return {"uploaded": True, "conversion": {"reason": "Converting", "message": "MP4 of alice", "percent": percent}}


async def recorded(world: World, name: str, body: Object) -> Object:
    """A recording that has ended well; the Pod of its first finisher."""
    await world.apply(body)
    pod = await busy(world, name, 0)
    await world.patch(name, {"desiredState": "Stopped"})
    await report(world, name, pod, LEFT)
    await world.end_recorder(pod["metadata"]["name"])
    return await finisher(world, name, 0)


def task(pod: Object) -> ConvertTask:
    (container,) = pod["spec"]["containers"]
    return ConvertTask.model_validate_json(
        next(variable["value"] for variable in container["env"] if variable["name"] == "CLOUDREC_CONVERT")
    )


async def test_files_are_made_by_one_finisher_after_the_other_and_ended_once(world: World) -> None:
    async with world.operator():
        first = await recorded(world, "lesson", recording("lesson", output={"formats": ["MP4"]}))
        assert task(first).formats == [OutputFormat.MP4]
        found = await world.phase("lesson", "Finalizing")
        assert told(found) == [(305, {"Status": 0})]
        assert condition(found, "Uploaded")[:2] == ("True", "Uploaded")
        async with world.sidecar(first) as own:
            await own.report("lesson", **at(40))
            await world.until("lesson", lambda o: condition(o, "Converted")[2] == "40 %: MP4 of alice", "progress")
        await force(world, first)

        second = await finisher(world, "lesson", 1)
        assert task(second) == task(first)
        async with world.sidecar(second) as own:
            await own.report("lesson", state="Ended", uploaded=True, conversion=MADE, events=[STORED])
        done = await world.phase("lesson", "Completed")
        assert told(done) == [(305, {"Status": 0})]
        truth, reason, message = condition(done, "Converted")
        assert (truth, reason) == ("True", "Remuxed")
        assert message.startswith("1 file; in bucket recordings, under ")
        await world.told("lesson", "Converted")
        await world.pod_gone(second["metadata"]["name"])


async def test_vod_waits_for_its_app_and_a_deletion_in_the_middle_ends_it(world: World) -> None:
    async with world.operator():
        await world.apply(recording("lesson", storage={"vod": {"subAppId": 3}}))
        found = await world.condition("lesson", "Accepted", "False", "AppInvalid")
        assert "has no spec.vod" in condition(found, "Accepted")[2]
        keys = {"credentialsSecretRef": {"name": "bucket-keys"}}
        spool = {"endpoint": "http://127.0.0.1:1", "bucket": "spool", **keys}
        with_vod = app()
        with_vod["spec"]["vod"] = {"spool": spool, "tencent": {"credentialsSecretRef": {"name": "cam-keys"}}}
        await world.apply(with_vod)
        await world.condition("lesson", "Accepted", "False", "SecretNotFound")
        await world.apply(secret("cam-keys", secretId="id", secretKey="key"))

        first = await recorded(world, "lesson", recording("lesson", storage={"vod": {"subAppId": 3}}))
        made = task(first).vod
        assert made is not None
        assert made.account is not None
        assert made.account.sub_app_id == 3
        async with world.sidecar(first) as own:
            await own.report("lesson", **at(50), events=[COMMITTED])
            found = await world.until("lesson", lambda o: condition(o, "Converted")[2].startswith("50 %"), "progress")
        assert told(found) == []
        await world.delete("lesson")
        await world.gone("lesson")
        await world.pod_gone(first["metadata"]["name"])
        await world.told("lesson", "ConvertFailed")


async def test_nothing_recorded_is_nothing_to_make(world: World) -> None:
    async with world.operator():
        await world.apply(recording("lesson", output={"formats": ["AAC"]}))
        pod = await busy(world, "lesson", 0)
        await world.patch("lesson", {"desiredState": "Stopped"})
        await report(world, "lesson", pod, {**LEFT, "files": []})
        await world.end_recorder(pod["metadata"]["name"])
        done = await world.phase("lesson", "Completed")
        assert told(done) == [(305, {"Status": 0}), (310, {"Status": 0, "FileList": []})]
        assert condition(done, "Converted")[:2] == ("True", "NothingToConvert")
