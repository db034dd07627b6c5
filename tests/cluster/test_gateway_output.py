"""What a recording is to become: the real SDK, the gateway as its own program and a real API server, which looks at the
resource that is made. Its acceptance is written by the test."""

from __future__ import annotations

from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from cloudrec_contract.resources import CloudRecordingSpec
from cloudrec_local.kubeapi import Object
from tests.cluster.gatewaying import SDK_APP_ID, accepting, create_body, furnish, gateway, served_app, told
from tests.cluster.operating import FILE, RECORDINGS, World, eventually

pytestmark = pytest.mark.cluster

CLOUD = create_body()["StorageParams"]["CloudStorage"]
STORE = {"vendor": "AWS", "region": "local", "credentialsSecretRef": {"name": "vod-keys"}}
VOD = {"spool": {**STORE, "bucket": "spool"}, "bucket": {**STORE, "bucket": "vod"}}


async def refusal(call: Any) -> TencentCloudSDKException:
    with pytest.raises(TencentCloudSDKException) as caught:
        await call
    found: TencentCloudSDKException = caught.value
    return found


async def by_task(world: World) -> dict[str, Object]:
    """The recordings that are there, by TaskId."""
    found = (await world.admin.get(RECORDINGS.format(world.namespace)))["items"]
    return {each["metadata"]["uid"]: each for each in found}


async def secrets_made(world: World) -> set[str]:
    """The names of the Secrets that the gateway made."""
    path = f"/api/v1/namespaces/{world.namespace}/secrets"
    found = await world.admin.get(path, labelSelector="cloudrec.dev/made-by=gateway")
    return {each["metadata"]["name"] for each in found["items"]}


def record(**more: int) -> dict[str, int]:
    return {"RecordMode": 1, "MaxIdleTime": 60, **more}


def vod(**tencent_vod: Any) -> dict[str, Any]:
    return {"CloudVod": {"TencentVod": tencent_vod}}


async def test_every_output_format(world: World) -> None:
    await furnish(world)
    formats = {0: ["HLS"], 1: ["HLS", "MP4"], 2: ["HLS", "AAC"], 3: ["MP4"], 4: ["AAC"]}
    async with accepting(world), gateway(world) as made:
        sdk = made.sdk()
        tasks = {
            number: await sdk.create(
                room=str(number + 1), RecordParams=record(OutputFormat=number, MaxMediaFileDuration=30)
            )
            for number in formats
        }
        found = await by_task(world)
        for number, task in tasks.items():
            minutes = {"maxFileMinutes": 30} if number else {}
            output = found[task]["spec"]["output"]
            assert output == {"formats": formats[number], "mergeAudioVideo": False, **minutes}
            assert "vod" not in found[task]["spec"]["storage"]
        assert await secrets_made(world) == {f"{each['metadata']['name']}-bucket" for each in found.values()}

        mixed = {"RecordMode": 2, "MaxIdleTime": 60, "OutputFormat": 3}
        task = await sdk.create(room="9", RecordParams=mixed)
        output = (await by_task(world))[task]["spec"]["output"]
        assert output == {"formats": ["MP4"], "mergeAudioVideo": False, "maxFileMinutes": 1440}


async def test_a_recording_to_vod(world: World) -> None:
    await furnish(world, vod=VOD)
    options = {
        "Procedure": "LongVideoPreset",
        "ExpireTime": 86400,
        "StorageRegion": "ap-guangzhou",
        "ClassId": 7,
        "SubAppId": 1500000001,
        "SessionContext": "session 教室",
        "SourceContext": "source",
        "MediaType": 3,
        "UserDefineRecordId": "lesson_5-a",
    }
    async with accepting(world), gateway(world) as made:
        sdk = made.sdk()
        task = await sdk.create(StorageParams=vod(**options), RecordParams=record(OutputFormat=4))
        resource = (await by_task(world))[task]
        name = resource["metadata"]["name"]
        assert resource["spec"]["output"] == {
            "formats": ["HLS", "MP4"],
            "mergeAudioVideo": True,
            "maxFileMinutes": 1440,
        }
        assert resource["spec"]["storage"] == {
            "vod": {
                "procedure": "LongVideoPreset",
                "expireSeconds": 86400,
                "storageRegion": "ap-guangzhou",
                "classId": 7,
                "subAppId": 1500000001,
                "sessionContext": "session 教室",
                "sourceContext": "source",
                "userDefineRecordId": "lesson_5-a",
            }
        }
        assert CloudRecordingSpec.model_validate(resource["spec"]).converts
        assert await secrets_made(world) == set()

        attempt = {"pod": "p", "index": 0, "report": {"state": "Recording", "files": [FILE]}}
        for phase, status in (("Recording", "InProgress"), ("Finalizing", "Exited")):
            await told(world, name, phase=phase, attempts=[attempt])

            async def described(wanted: str = status) -> Any:
                answer = await sdk.describe(task)
                return answer if answer.Status == wanted else None

            assert (await eventually(described, status)).StorageFileList == []
        await told(world, name, phase="Completed")

        async def over() -> bool:
            try:
                await sdk.describe(task)
            except TencentCloudSDKException as error:
                return bool(error.get_code() == "ResourceNotFound")
            return False

        await eventually(over, "ResourceNotFound")


async def test_every_media_type(world: World) -> None:
    """What the API server lets in: HLS in VOD only as one playlist for each user."""
    await furnish(world, vod=VOD)
    formats = {0: ["MP4"], 1: ["HLS"], 2: ["AAC"], 3: ["HLS", "MP4"], 4: ["HLS", "AAC"]}
    async with accepting(world), gateway(world) as made:
        sdk = made.sdk()
        for mode in (1, 2):
            for number, wanted in formats.items():
                parameters = {**record(StreamType=1, MaxMediaFileDuration=30), "RecordMode": mode}
                task = await sdk.create(
                    room=f"{mode}{number}", RecordParams=parameters, StorageParams=vod(MediaType=number)
                )
                output = (await by_task(world))[task]["spec"]["output"]
                merged = mode == 1 and "HLS" in wanted
                minutes = {} if wanted == ["HLS"] else {"maxFileMinutes": 30}
                assert output == {"formats": wanted, "mergeAudioVideo": merged, **minutes}


async def test_what_vod_needs(world: World) -> None:
    await furnish(world)
    async with accepting(world), gateway(world) as made:
        sdk = made.sdk()
        without = await refusal(sdk.create(StorageParams=vod()))
        assert without.get_code() == "UnsupportedOperation"
        assert "RecordingApp demo has no VOD: its administrator has to add spec.vod" in without.get_message()

        both = await refusal(sdk.create(StorageParams={"CloudStorage": CLOUD, **vod()}))
        assert both.get_code() == "InvalidParameter"
        assert "CloudStorage and CloudVod are both given" in both.get_message()
        unnamed = await refusal(sdk.create(StorageParams={"CloudVod": {}}))
        assert unnamed.get_code() == "MissingParameter"
        assert unnamed.get_message() == "StorageParams.CloudVod.TencentVod: required, and not given"
        neither = await refusal(sdk.create(StorageParams={}))
        assert neither.get_code() == "MissingParameter.CloudStorage"
        aac = await refusal(sdk.create(StorageParams=vod(MediaType=2)))
        assert aac.get_code() == "InvalidParameter"
        assert aac.get_message().startswith("StorageParams.CloudVod.TencentVod.MediaType: 2 given")
        text = await refusal(sdk.create(RecordParams={**record(), "OutputFormat": "hls+mp4"}))
        assert text.get_code() == "InvalidParameter"
        assert await by_task(world) == {}
        assert await secrets_made(world) == set()

        # The administrator adds it, and the next Create is taken.
        await world.apply(served_app("demo", SDK_APP_ID, "credentials", vod=VOD))

        async def taken() -> bool:
            try:
                await sdk.create(StorageParams=vod())
            except TencentCloudSDKException as error:
                if error.get_code() != "UnsupportedOperation":
                    raise
                return False
            return True

        await eventually(taken, "taken with spec.vod")
