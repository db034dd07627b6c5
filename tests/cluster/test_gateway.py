"""The whole of it: the real SDK, the gateway as its own program, the operator and a real API server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from cloudrec_local.home import example
from tests.cluster.gatewaying import (
    BUCKET_ID,
    BUCKET_KEY,
    OTHER_APP_ID,
    OTHER_ID,
    OTHER_KEY,
    SDK_APP_ID,
    SECRET_ID,
    SECRET_KEY,
    Gateway,
    create_body,
    furnish,
    gateway,
    post,
    sign,
)
from tests.cluster.operating import FILE, JOINED, RECORDINGS, World, condition, eventually, recording, secret

pytestmark = pytest.mark.cluster

BUSY = {"state": "Recording", "ready": True, "events": [JOINED], "files": [FILE]}


async def refused(call: Any) -> str:
    """The code that a call of the SDK is refused with."""
    with pytest.raises(TencentCloudSDKException) as caught:
        await call
    return str(caught.value.get_code())


async def recordings(world: World) -> list[dict[str, Any]]:
    return list((await world.admin.get(RECORDINGS.format(world.namespace)))["items"])


async def named(world: World, task_id: str) -> str:
    return next(str(r["metadata"]["name"]) for r in await recordings(world) if r["metadata"]["uid"] == task_id)


async def status_is(made: Gateway, task_id: str, status: str) -> Any:
    sdk = made.sdk()

    async def look() -> Any:
        found = await sdk.describe(task_id)
        return found if found.Status == status else None

    return await eventually(look, f"Status {status}")


async def ended(made: Gateway, task_id: str) -> None:
    """It is on its way out, or gone already."""

    async def look() -> bool:
        try:
            return bool((await made.sdk().describe(task_id)).Status == "Exited")
        except TencentCloudSDKException as error:
            return bool(error.get_code() == "ResourceNotFound")

    await eventually(look, "its end")


async def test_a_task_from_create_to_its_end(world: World) -> None:
    await furnish(world)
    async with world.operator(), gateway(world) as made:
        sdk = made.sdk()
        began = time.monotonic()
        task_id = await sdk.create()
        assert time.monotonic() - began < 6
        (resource,) = await recordings(world)
        name = resource["metadata"]["name"]
        assert resource["metadata"]["uid"] == task_id
        assert resource["status"]["taskId"] == task_id
        assert (await sdk.describe(task_id)).Status == "Idle"
        assert (await sdk.describe(task_id)).StorageFileList == []

        pod = await world.pod(name)
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report(name, **BUSY)
            busy = await status_is(made, task_id, "InProgress")
            (file,) = busy.StorageFileList
            assert file.FileName == f"{SDK_APP_ID}_12345__UserId_s_YWxpY2U.__UserId_e_main_audio.m3u8"
            assert (file.UserId, file.TrackType) == ("alice", "audio")
            assert file.BeginTimeStamp == FILE["beginTimeStamp"]

            only = {"SubscribeAudioUserIds": ["alice"], "UnSubscribeVideoUserIds": ["bot.*$"]}
            assert (await sdk.modify(task_id, SubscribeStreamUserIds=only)).TaskId == task_id
            found = await world.get(name)
            assert found is not None
            subscribe = found["spec"]["streams"]["subscribe"]
            assert subscribe == {"audio": {"include": ["alice"]}, "video": {"exclude": ["bot.*$"]}}
            await sdk.modify(task_id, SubscribeStreamUserIds={"UnSubscribeAudioUserIds": ["bob"]})
            found = await world.get(name)
            assert found is not None
            assert found["spec"]["streams"]["subscribe"] == {"audio": {"exclude": ["bob"]}}
            await sdk.modify(task_id)
            found = await world.get(name)
            assert found is not None
            assert found["spec"]["streams"]["subscribe"] == {}

            assert (await sdk.delete(task_id)).TaskId == task_id
            assert (await sdk.describe(task_id)).Status == "Exited"
            await world.phase(name, "Stopping")
            await sdk.delete(task_id)
            await sidecar.report(name, **{**BUSY, "state": "Ended", "leaveCode": 0, "uploaded": True})
        await world.end_recorder(pod["metadata"]["name"])
        await world.phase(name, "Completed")

        async def ended() -> bool:
            try:
                await sdk.describe(task_id)
            except TencentCloudSDKException as error:
                return bool(error.get_code() == "ResourceNotFound")
            return False

        await eventually(ended, "ResourceNotFound")
        assert await refused(sdk.modify(task_id)) == "ResourceNotFound"
        assert await refused(sdk.delete(task_id)) == "ResourceNotFound"


async def test_a_mixed_task(world: World) -> None:
    await furnish(world)
    window = {"Left": 180, "Top": 320, "Width": 180, "Height": 320}
    async with world.operator(), gateway(world) as made:
        sdk = made.sdk()
        custom = {"MixLayoutMode": 4, "MixLayoutList": [{**window, "UserId": "alice", "Alpha": 55}, window]}
        share = {"MixLayoutMode": 2, "MaxResolutionUserId": "alice", "MediaId": 1}
        task_id = await sdk.create(RecordParams={"RecordMode": 2, "MaxIdleTime": 60}, MixLayoutParams=custom)
        name = await named(world, task_id)
        before = await world.get(name)
        assert before is not None
        assert before["spec"]["mode"] == "Mixed"
        assert before["spec"]["mix"]["video"]["width"] == 360
        assert [each["opacity"] for each in before["spec"]["mix"]["layout"]["windows"]] == [200, 255]

        pod = await world.pod(name)
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            file = {**FILE, "userId": "", "kind": "audio_video"}
            await sidecar.report(name, **{**BUSY, "files": [file]})
            busy = await status_is(made, task_id, "InProgress")
            (told,) = busy.StorageFileList
            assert (told.UserId, told.FileName, told.TrackType) == ("", f"{SDK_APP_ID}_12345.m3u8", "audio_video")

            outside = {"MixLayoutMode": 4, "MixLayoutList": [{**window, "Left": 181}]}
            assert await refused(sdk.modify(task_id, MixLayoutParams=outside)) == "InvalidParameter.OutOfRange"
            found = await world.get(name)
            assert found is not None
            assert found["spec"] == before["spec"]

            marks = [{"WaterMarkType": 2, "WaterMarkTimestamp": {"Pos": 6}}]
            await sdk.modify(task_id, MixLayoutParams={**share, "WaterMarkList": marks})
            found = await world.get(name)
            assert found is not None
            mix = found["spec"]["mix"]
            assert (mix["layout"]["template"], mix["layout"]["windows"]) == ("ScreenShare", [])
            assert mix["layout"]["bigPicture"] == {"userId": "alice", "media": "Aux"}
            assert [list(mark) for mark in mix["watermarks"]] == [["timestamp"]]

            await sdk.modify(task_id)
            found = await world.get(name)
            assert found is not None
            mix = found["spec"]["mix"]
            assert mix["layout"]["template"] == "Grid"
            assert "bigPicture" not in mix["layout"]
            assert mix["watermarks"] == []
            assert mix["video"] == before["spec"]["mix"]["video"]
            await sdk.delete(task_id)


async def test_inline_keys_are_in_the_owned_secret_alone(world: World) -> None:
    await furnish(world)
    async with world.operator(), gateway(world, CLOUDREC_LOG_LEVEL="DEBUG") as made:
        task_id = await made.sdk().create()
        name = await named(world, task_id)
        await world.pod(name)
        secret = await world.admin.get(f"/api/v1/namespaces/{world.namespace}/secrets/{name}-bucket")
        values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        assert values == {"accessKey": BUCKET_ID, "secretKey": BUCKET_KEY}
        (owner,) = secret["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("CloudRecording", task_id)
        everything = json.dumps(
            [
                await recordings(world),
                await world.admin.get(world.pods()),
                await world.admin.get(f"/api/v1/namespaces/{world.namespace}/events"),
                await world.admin.get(f"/api/v1/namespaces/{world.namespace}/configmaps"),
            ]
        )
        await made.sdk().delete(task_id)
        for text in (everything, "".join(made.lines)):
            for hidden in (BUCKET_ID, BUCKET_KEY, SECRET_KEY, "not-looked-at"):
                assert hidden not in text

        made.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(made.process.wait(), 10) == 0

        # The Secret goes with the recording.
        await world.delete(name)
        await world.gone(name)

        async def collected() -> bool:
            path = f"/api/v1/namespaces/{world.namespace}/secrets/{name}-bucket"
            return await world.admin.get_or_none(path) is None

        await eventually(collected, "the Secret collected", 30)


async def test_a_request_sent_again_is_the_same_task(world: World) -> None:
    await furnish(world)
    async with (
        world.operator(),
        gateway(world) as one,
        gateway(world) as two,
        aiohttp.ClientSession() as session,
    ):
        body = json.dumps(create_body()).encode()
        headers = sign("CreateCloudRecording", body, "trtc.local", int(time.time()))
        answers = await asyncio.gather(*(post(session, made, headers, body) for made in (one, two, one, two)))
        answers.append(await post(session, two, headers, body))
        assert {answer.get("TaskId") for answer in answers} == {answers[0]["TaskId"]}, answers
        assert len({answer["RequestId"] for answer in answers}) == 5
        (resource,) = await recordings(world)
        assert resource["metadata"]["uid"] == answers[0]["TaskId"]
        assert resource["status"].get("replacedBy") is None
        for made in (one, two):  # made a moment ago, perhaps by the other
            assert (await made.sdk().describe(answers[0]["TaskId"])).Status == "Idle"


async def test_what_one_made_the_other_knows_at_once(world: World) -> None:
    await furnish(world)
    async with world.operator(), gateway(world) as one, gateway(world) as two:
        for number in range(5):
            task_id = await one.sdk().create(robot=f"robot-{number}")
            assert (await two.sdk().describe(task_id)).Status == "Idle"
            await two.sdk().delete(task_id)
            # The other replica's watch follows within moments.
            await ended(one, task_id)


async def test_keys_reach_their_own_app_alone(world: World) -> None:
    await furnish(world)
    async with world.operator(), gateway(world) as made:
        task_id = await made.sdk().create()
        other = made.sdk(OTHER_ID, OTHER_KEY)
        assert await refused(other.create()) == "InvalidParameter.SdkAppId"
        assert await refused(other.describe(task_id)) == "InvalidParameter.SdkAppId"
        for call in (other.describe(task_id, OTHER_APP_ID), other.delete(task_id, OTHER_APP_ID)):
            assert await refused(call) == "ResourceNotFound"
        own = await other.create(SdkAppId=OTHER_APP_ID)
        assert (await other.describe(own, OTHER_APP_ID)).Status == "Idle"
        assert await refused(made.sdk().describe(own)) == "ResourceNotFound"
        found = await world.get(await named(world, task_id))
        assert found is not None
        assert found["spec"]["desiredState"] == "Running"
        assert await refused(made.sdk(OTHER_ID, SECRET_KEY).create()) == "AuthFailure.SignatureFailure"

        # A key that is taken away is worth nothing a moment later.
        path = f"/api/v1/namespaces/{world.namespace}/secrets/other-credentials"
        await world.admin.request("DELETE", path)

        async def revoked() -> bool:
            try:
                await other.describe(own, OTHER_APP_ID)
            except TencentCloudSDKException as error:
                return bool(error.get_code() == "AuthFailure.SecretIdNotFound")
            return False

        await eventually(revoked, "the key revoked")


async def test_the_same_robot_again_ends_the_first_with_101(world: World) -> None:
    await furnish(world)
    async with world.operator(), gateway(world) as made:
        sdk = made.sdk()
        first = await sdk.create()
        name = await named(world, first)
        pod = await world.pod(name)
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report(name, **BUSY)
            await status_is(made, first, "InProgress")
            await sdk.create(robot="another")
            await sdk.create(room="12346")
            # Not the same request: signed within one second it would be the same one sent again.
            second = await sdk.create(ResourceExpiredHour=24)
            assert second != first
            replaced = await world.phase(name, "Stopping")
            assert replaced["status"]["replacedBy"] == second
            assert replaced["spec"]["desiredState"] == "Running"
            await status_is(made, first, "Exited")
            await sidecar.report(name, **{**BUSY, "state": "Ended", "leaveCode": 101, "uploaded": True})
        await world.end_recorder(pod["metadata"]["name"])
        done = await world.phase(name, "Completed")
        assert condition(done, "RecorderReady")[:2] == ("False", "RepeatedEntry")
        assert [event["type"] for event in done["status"]["operatorEvents"]] == [305]
        assert (await sdk.describe(second)).Status == "Idle"
        others = [r for r in await recordings(world) if r["metadata"]["name"] != name]
        assert [r["status"].get("replacedBy") for r in others] == [None] * 3


async def test_an_expired_task_is_not_known_and_goes_on(world: World) -> None:
    await furnish(world)
    expires = datetime.now(UTC) + timedelta(seconds=4)
    async with world.operator(), gateway(world) as made:
        await world.apply(recording("lesson", apiExpiresAt=expires.strftime("%Y-%m-%dT%H:%M:%SZ")))
        pod = await world.pod("lesson")
        task_id = (await world.phase("lesson", "Starting"))["metadata"]["uid"]
        assert (await made.sdk().describe(task_id)).Status == "Idle"

        async def expired() -> bool:
            try:
                await made.sdk().describe(task_id)
            except TencentCloudSDKException as error:
                return bool(error.get_code() == "ResourceNotFound")
            return False

        await eventually(expired, "expired")
        assert await refused(made.sdk().delete(task_id)) == "ResourceNotFound"
        await world.run_pod(pod["metadata"]["name"])
        async with world.sidecar(pod) as sidecar:
            await sidecar.report("lesson", **BUSY)
            await world.phase("lesson", "Recording")


async def test_what_is_refused_leaves_nothing(world: World) -> None:
    bad = [{"vendor": "AWS", "region": "local", "endpoint": "http://bucket.test:99999"}]
    await furnish(world, storage={"endpoints": bad})
    async with world.operator(), gateway(world) as made:
        began = time.monotonic()
        assert await refused(made.sdk().create()) == "FailedOperation"
        assert time.monotonic() - began < 4, "the operator has said so"
        assert await recordings(world) == []
        await furnish(world, userSig={"keySecretRef": {"name": "user-sig"}})

        async def looked_at() -> bool:
            return await refused(made.sdk().create()) == "FailedOperation"

        await eventually(looked_at, "no key to verify with")
        await world.apply(secret("user-sig", key="k" * 64))

        async def verified() -> bool:
            return await refused(made.sdk().create()) == "InvalidParameter.UserSig"

        await eventually(verified, "UserSig verified")
        assert await recordings(world) == []


async def test_without_an_operator_a_create_ends_in_time_and_leaves_nothing(world: World) -> None:
    await furnish(world)
    async with gateway(world) as made:
        began = time.monotonic()
        assert await refused(made.sdk().create()) == "InternalError.CRInternalError"
        assert 4 < time.monotonic() - began < 6.5
        assert await recordings(world) == []


async def test_the_sdks_example_records_a_room(world: World) -> None:
    """The operator comes late: the first Create is not decided, and made again as the guide advises."""
    await furnish(world)
    async with gateway(world) as made:
        env = {
            **os.environ,
            "CLOUDREC_ENDPOINT": made.endpoint,
            "CLOUDREC_SECRET_ID": SECRET_ID,
            "CLOUDREC_SECRET_KEY": SECRET_KEY,
            "CLOUDREC_ACCESS_KEY": BUCKET_ID,
            "CLOUDREC_ACCESS_SECRET": BUCKET_KEY,
        }
        program = (sys.executable, str(example("sdk_python.py")), "lesson", "--seconds", "1", "--mp4")
        process = await asyncio.create_subprocess_exec(*program, env=env, stdout=PIPE, stderr=PIPE)
        try:
            assert process.stderr is not None
            told = await asyncio.wait_for(process.stderr.readline(), 15)
            assert told.decode() == "InternalError.CRInternalError: again in 3 s\n"
            async with world.operator():

                async def accepted() -> str | None:
                    found = [r for r in await recordings(world) if r.get("status", {}).get("taskId")]
                    return str(found[0]["metadata"]["name"]) if found else None

                name = await eventually(accepted, "a task")
                pod = await world.pod(name)
                await world.run_pod(pod["metadata"]["name"])
                async with world.sidecar(pod) as sidecar:
                    await sidecar.report(name, **BUSY)
                    output, errors = await asyncio.wait_for(process.communicate(), 30)
                assert process.returncode == 0, errors.decode()
                found = await world.get(name)
                assert found is not None
                assert found["spec"]["desiredState"] == "Stopped"
                assert found["spec"]["output"]["formats"] == ["HLS", "MP4"]
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        (line,) = [line for line in output.decode().splitlines() if line.startswith("alice")]
        assert line.split()[1] == "audio"
        assert line.endswith("_bGVzc29u__UserId_s_YWxpY2U.__UserId_e_main_audio.m3u8")
