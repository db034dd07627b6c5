"""The four actions over an API server in memory."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cloudrec_gateway.api.models import (
    CreateCloudRecordingRequest,
    DeleteCloudRecordingRequest,
    DescribeCloudRecordingRequest,
    ModifyCloudRecordingRequest,
)
from cloudrec_gateway.api.parse import parse
from cloudrec_gateway.backend import Caller
from cloudrec_gateway.errors import (
    FAILED_OPERATION,
    INTERNAL_ERROR,
    INVALID_SDK_APP_ID,
    INVALID_USER_SIG,
    OUT_OF_RANGE,
    REQUEST_LIMIT_EXCEEDED,
    RESOURCE_NOT_FOUND,
    UNSUPPORTED_OPERATION,
    ApiFault,
)
from cloudrec_gateway.kube.cache import Cache
from cloudrec_gateway.kube.client import Conflict, Object
from cloudrec_gateway.kube.keys import Keyring
from cloudrec_gateway.kube.limits import Rates
from cloudrec_gateway.kube.tasks import KubeBackend
from tests.unit.gateway.kube.fakes import (
    RECORDINGS,
    SECRETS,
    UID,
    FakeKube,
    accepted,
    raw_app,
    raw_secret,
    recording,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
APP = 1400000001
SIG_KEY = "k" * 64
LESSON = UID.format(7)


class Bench:
    """A backend with the apps `demo` and `other`, each with a pair of its own."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.kube = FakeKube(self.cache.tasks)
        self.keyring = Keyring(self.kube, self.cache.apps, 60)
        self.ending = False
        self.backend = KubeBackend(
            self.kube,
            self.cache,
            self.keyring,
            Rates(lambda: 1, lambda: 1.0),
            accept_seconds=0.3,
            keep_seconds=3600,
            ending=lambda: self.ending,
            now=lambda: NOW,
        )

    async def furnish(self, **spec: Any) -> None:
        for name in ("demo", "other"):
            self.kube.objects[f"{SECRETS}/{name}-keys"] = raw_secret(**{name.upper(): f"{name}-key"})
        self.kube.objects[f"{SECRETS}/sig"] = raw_secret(key=SIG_KEY)
        self.cache.apps.replace([raw_app(**spec), raw_app("other", 2)])
        self.cache.tasks.replace([])
        await self.keyring.refresh()

    def put(self, found: Object) -> None:
        self.kube.objects[f"{RECORDINGS}/{found['metadata']['name']}"] = found
        self.cache.tasks.put(found)

    def caller(self, secret_id: str = "DEMO", signature: str = "sig") -> Caller:
        credential = self.backend.lookup(secret_id)
        assert credential is not None
        return Caller(credential, signature, "00", "request")


@pytest.fixture
async def bench() -> Bench:
    made = Bench()
    await made.furnish()
    return made


def create(**more: Any) -> CreateCloudRecordingRequest:
    cloud = {"Vendor": 1, "Region": "local", "Bucket": "recordings", "AccessKey": "AK", "SecretKey": "SK"}
    body = {
        "SdkAppId": APP,
        "RoomId": "12345",
        "UserId": "robot",
        "UserSig": "sig",
        "RecordParams": {"RecordMode": 1},
        "StorageParams": {"CloudStorage": cloud},
        **more,
    }
    return parse(CreateCloudRecordingRequest, body)


def describe(task_id: str = LESSON, app: int = APP) -> DescribeCloudRecordingRequest:
    return parse(DescribeCloudRecordingRequest, {"SdkAppId": app, "TaskId": task_id})


async def code_of(call: Any) -> str:
    with pytest.raises(ApiFault) as caught:
        await call
    return caught.value.code


async def decide(bench: Bench) -> None:
    """The operator, for one recording."""
    while not (names := bench.kube.names(RECORDINGS)):
        await asyncio.sleep(0.005)
    uid = bench.kube.objects[f"{RECORDINGS}/{names[0]}"]["metadata"]["uid"]
    bench.kube.decide(names[0], accepted(uid))


# --- who ------------------------------------------------------------------------------------------------------------


async def test_a_pair_and_its_app(bench: Bench) -> None:
    found = bench.backend.lookup("DEMO")
    assert found is not None
    assert found.secret_key.reveal() == "demo-key"
    assert found.sdk_app_ids == {APP}
    assert bench.backend.lookup("nobody") is None
    assert await code_of(bench.backend.describe(bench.caller("OTHER"), describe())) == INVALID_SDK_APP_ID


async def test_requests_are_counted_by_the_apps_rate(bench: Bench) -> None:
    await bench.furnish(limits={"requestsPerSecond": 2})
    bench.backend.admit(APP)
    bench.backend.admit(APP)
    with pytest.raises(ApiFault) as caught:
        bench.backend.admit(APP)
    assert caught.value.code == REQUEST_LIMIT_EXCEEDED
    bench.backend.admit(2)


async def test_readiness(bench: Bench) -> None:
    assert bench.backend.ready() == ""
    bench.ending = True
    assert "ending" in bench.backend.ready()
    caller, fresh = bench.caller(), Bench()
    assert "RecordingApps" in fresh.backend.ready()
    fresh.cache.apps.replace([])
    fresh.cache.tasks.replace([])
    assert "credentials" in fresh.backend.ready()
    assert await code_of(fresh.backend.describe(caller, describe())) == INTERNAL_ERROR


# --- Create ---------------------------------------------------------------------------------------------------------


async def test_create(bench: Bench) -> None:
    deciding = asyncio.create_task(decide(bench))
    made = await bench.backend.create(bench.caller(), create())
    await deciding
    (name,) = bench.kube.names(RECORDINGS)
    found = bench.kube.objects[f"{RECORDINGS}/{name}"]
    assert made.task_id == found["metadata"]["uid"]
    assert found["spec"]["apiExpiresAt"] == "2026-01-05T03:04:05Z"
    assert found["spec"]["ttlSecondsAfterFinished"] == 3600
    assert (await bench.backend.create(bench.caller(), create())).task_id == made.task_id
    assert (await bench.backend.describe(bench.caller(), describe(made.task_id))).status == "Idle"


def user_sig(user: str = "robot", expire: int = 3600) -> str:
    at = int(NOW.timestamp())
    text = f"TLS.identifier:{user}\nTLS.sdkappid:{APP}\nTLS.time:{at}\nTLS.expire:{expire}\n"
    digest = hmac.new(SIG_KEY.encode(), text.encode(), hashlib.sha256).digest()
    told = {
        "TLS.ver": "2.0",
        "TLS.identifier": user,
        "TLS.sdkappid": APP,
        "TLS.time": at,
        "TLS.expire": expire,
        "TLS.sig": base64.b64encode(digest).decode(),
    }
    packed = base64.b64encode(zlib.compress(json.dumps(told).encode())).decode()
    return packed.translate(str.maketrans("+/=", "*-_"))


@pytest.mark.parametrize(
    ("given", "check", "code"),
    [
        ({"UserSig": "sig"}, {}, INVALID_USER_SIG),
        ({"UserSig": user_sig("another")}, {}, INVALID_USER_SIG),
        ({"UserSig": user_sig()}, {"privateMapKey": True}, "MissingParameter"),
        ({"UserSig": user_sig(), "PrivateMapKey": user_sig()}, {"privateMapKey": True}, "InvalidParameter"),
        ({"UserSig": user_sig()}, {"keySecretRef": {"name": "none"}}, FAILED_OPERATION),
    ],
)
async def test_a_robot_whose_signature_is_not_the_apps(
    bench: Bench, given: dict[str, str], check: dict[str, Any], code: str
) -> None:
    await bench.furnish(userSig={"keySecretRef": {"name": "sig"}, **check})
    assert await code_of(bench.backend.create(bench.caller(), create(**given))) == code
    assert bench.kube.names(RECORDINGS) == []


async def test_a_robot_with_a_good_signature(bench: Bench) -> None:
    await bench.furnish(userSig={"keySecretRef": {"name": "sig"}})
    for expire, expected in ((3600, "2026-01-02T04:04:05Z"), (1 << 60, "9999-12-31T23:59:59Z")):
        deciding = asyncio.create_task(decide(bench))
        signed = create(UserSig=user_sig(expire=expire))
        assert (await bench.backend.create(bench.caller(signature=str(expire)), signed)).task_id
        await deciding
        (name,) = bench.kube.names(RECORDINGS)
        found = bench.kube.objects.pop(f"{RECORDINGS}/{name}")
        assert found["spec"]["robot"]["userSigExpiresAt"] == expected


VOD = {"CloudVod": {"TencentVod": {"UserDefineRecordId": "lesson"}}}
APPS_VOD = {
    "spool": {"vendor": "AWS", "bucket": "spool", "credentialsSecretRef": {"name": "spool"}},
    "bucket": {"vendor": "AWS", "bucket": "vod", "credentialsSecretRef": {"name": "vod"}},
}


async def test_an_app_without_vod_has_none_begun(bench: Bench) -> None:
    with pytest.raises(ApiFault) as caught:
        await bench.backend.create(bench.caller(), create(StorageParams=VOD))
    assert caught.value.code == UNSUPPORTED_OPERATION
    assert caught.value.message.startswith(
        "StorageParams.CloudVod: the RecordingApp demo has no VOD: its administrator"
    )
    assert "spec.vod (spool, and one of bucket and tencent)" in caught.value.message
    assert not [call for call in bench.kube.calls if call[0] == "POST"]


async def test_a_recording_to_vod_has_no_secret_of_its_own(bench: Bench) -> None:
    await bench.furnish(vod=APPS_VOD)
    before = bench.kube.names(SECRETS)
    deciding = asyncio.create_task(decide(bench))
    answer = await bench.backend.create(bench.caller(), create(StorageParams=VOD))
    await deciding
    (name,) = bench.kube.names(RECORDINGS)
    made = bench.kube.objects[f"{RECORDINGS}/{name}"]
    assert made["metadata"]["uid"] == answer.task_id
    assert made["spec"]["storage"] == {"vod": {"expireSeconds": 0, "classId": 0, "userDefineRecordId": "lesson"}}
    assert made["spec"]["output"]["formats"] == ["MP4"]
    assert bench.kube.names(SECRETS) == before
    assert [path for method, path in bench.kube.calls if method == "POST"] == [RECORDINGS]


async def test_a_recording_into_a_bucket_needs_no_vod(bench: Bench) -> None:
    deciding = asyncio.create_task(decide(bench))
    mp4 = create(RecordParams={"RecordMode": 1, "OutputFormat": 3})
    assert (await bench.backend.create(bench.caller(), mp4)).task_id
    await deciding
    (name,) = bench.kube.names(RECORDINGS)
    assert bench.kube.objects[f"{RECORDINGS}/{name}"]["spec"]["output"]["formats"] == ["MP4"]
    assert f"{name}-bucket" in bench.kube.names(SECRETS)


# --- Describe -------------------------------------------------------------------------------------------------------


async def test_a_task_of_the_other_replica_is_waited_for(bench: Bench) -> None:
    asking = asyncio.create_task(bench.backend.describe(bench.caller(), describe()))
    await asyncio.sleep(0.01)
    bench.put(recording(status=accepted(LESSON, "Recording")))
    assert (await asking).status == "InProgress"


async def test_what_is_not_there_and_what_is_anothers_cannot_be_told_apart(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudrec_gateway.kube.tasks.CATCH_UP_SECONDS", 0.05)
    bench.put(recording(status=accepted(LESSON), app="other"))
    messages = []
    for task_id in (LESSON, UID.format(99), "no-task-id"):
        began = asyncio.get_running_loop().time()
        with pytest.raises(ApiFault) as caught:
            await bench.backend.describe(bench.caller(), describe(task_id))
        assert caught.value.code == RESOURCE_NOT_FOUND
        messages.append(caught.value.message.replace(task_id, "ID"))
        waited = asyncio.get_running_loop().time() - began
        assert (waited > 0.04) is (task_id != "no-task-id")
    assert len(set(messages)) == 1


@pytest.mark.parametrize("phase", ["Completed", "Failed"])
async def test_an_ended_task_is_not_known(bench: Bench, phase: str) -> None:
    bench.put(recording(status=accepted(LESSON, phase)))
    assert await code_of(bench.backend.describe(bench.caller(), describe())) == RESOURCE_NOT_FOUND


async def test_an_expired_task_is_not_known(bench: Bench) -> None:
    for seconds, known in ((1, True), (0, False)):
        found = recording(status=accepted(LESSON), resourceVersion=str(100 - seconds))
        found["spec"]["apiExpiresAt"] = (NOW + timedelta(seconds=seconds)).isoformat()
        bench.put(found)
        if known:
            assert (await bench.backend.describe(bench.caller(), describe())).task_id == LESSON
        else:
            assert await code_of(bench.backend.describe(bench.caller(), describe())) == RESOURCE_NOT_FOUND


# --- Modify and Delete ----------------------------------------------------------------------------------------------


def modify(**more: Any) -> ModifyCloudRecordingRequest:
    return parse(ModifyCloudRecordingRequest, {"SdkAppId": APP, "TaskId": LESSON, **more})


async def test_delete_stops(bench: Bench) -> None:
    bench.put(recording(status=accepted(LESSON)))
    request = parse(DeleteCloudRecordingRequest, {"SdkAppId": APP, "TaskId": LESSON})
    assert (await bench.backend.delete(bench.caller(), request)).task_id == LESSON
    assert bench.kube.objects[f"{RECORDINGS}/lesson"]["spec"]["desiredState"] == "Stopped"
    assert (await bench.backend.describe(bench.caller(), describe())).status == "Exited", "what it wrote it knows"


async def test_windows_beyond_a_mixed_recordings_canvas_change_nothing(bench: Bench) -> None:
    found = recording(status=accepted(LESSON))
    found["spec"] |= {"mode": "Mixed", "mix": {"video": {"width": 640, "height": 360}}}
    bench.put(found)
    before = bench.kube.objects[f"{RECORDINGS}/lesson"]
    window = {"Left": 0, "Top": 0, "Width": 640, "Height": 360}
    for top, code in ((1, OUT_OF_RANGE), (0, "")):
        request = modify(MixLayoutParams={"MixLayoutMode": 4, "MixLayoutList": [{**window, "Top": top}]})
        if code:
            assert await code_of(bench.backend.modify(bench.caller(), request)) == code
            assert bench.kube.objects[f"{RECORDINGS}/lesson"] == before
        else:
            assert (await bench.backend.modify(bench.caller(), request)).task_id == LESSON


async def test_modify_goes_on_after_a_conflict(bench: Bench) -> None:
    bench.put(recording(status=accepted(LESSON)))
    conflicts = 2

    def busy(method: str, path: str) -> None:
        nonlocal conflicts
        if method == "PATCH" and conflicts:
            conflicts -= 1
            raise Conflict(409, "changed")

    bench.kube.before = busy
    assert (await bench.backend.modify(bench.caller(), modify())).task_id == LESSON
    assert "streams" in bench.kube.objects[f"{RECORDINGS}/lesson"]["spec"]


@pytest.mark.parametrize("there", [True, False])
async def test_another_of_the_same_name_is_left_alone(bench: Bench, there: bool) -> None:
    bench.put(recording(status=accepted(LESSON)))
    bench.kube.objects.clear()
    if there:
        bench.kube.objects[f"{RECORDINGS}/lesson"] = recording(uid="another")
    assert await code_of(bench.backend.modify(bench.caller(), modify())) == RESOURCE_NOT_FOUND
    assert bench.kube.objects.get(f"{RECORDINGS}/lesson", recording())["spec"] == recording()["spec"]
