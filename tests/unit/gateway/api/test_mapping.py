"""A request as a CloudRecording, its Secret and its patches."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cloudrec_contract.resources import GATEWAY, MADE_BY_LABEL, CloudRecordingSpec
from cloudrec_gateway.api import mapping
from cloudrec_gateway.api.models import CreateCloudRecordingRequest, ModifyCloudRecordingRequest
from cloudrec_gateway.api.parse import parse
from tests.unit.gateway.api.samples import (
    ACCESS_KEY,
    CREATE,
    LAYOUT,
    MODIFY,
    SECRET_KEY,
    SECRETS,
    VOD,
    VOD_FULL,
    create,
    given_at,
    merged,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


def made(request: CreateCloudRecordingRequest, **more: Any) -> dict[str, Any]:
    return mapping.recording(request, name="rec-1", namespace="school", app="demo", now=NOW, **more)


def vod(request: dict[str, Any] | None = None, **tencent_vod: Any) -> dict[str, Any]:
    """The spec made of a request with CloudVod."""
    body = given_at(CREATE, "StorageParams", {"CloudVod": {"TencentVod": tencent_vod}})
    for path, value in (request or {}).items():
        body = given_at(body, path, value)
    spec: dict[str, Any] = made(parse(CreateCloudRecordingRequest, body))["spec"]
    return spec


def test_the_least_request() -> None:
    manifest = made(create())
    assert manifest["apiVersion"] == "cloudrec.dev/v1alpha1"
    assert manifest["kind"] == "CloudRecording"
    assert manifest["metadata"] == {"name": "rec-1", "namespace": "school", "labels": {MADE_BY_LABEL: GATEWAY}}
    assert manifest["spec"] == {
        "appRef": {"name": "demo"},
        "room": {"id": "12345", "type": "Number"},
        "robot": {"userId": "recorder_12345"},
        "mode": "Single",
        "desiredState": "Running",
        "maxIdleSeconds": 30,
        "streams": {"kind": "AudioVideo", "media": "Both", "subscribe": {}},
        "output": {"formats": ["HLS"], "mergeAudioVideo": False},
        "storage": {
            "bucket": {
                "vendor": "AWS",
                "region": "us-east-1",
                "bucket": "recordings",
                "prefix": [],
                "credentialsSecretRef": {"name": "rec-1-bucket"},
            }
        },
        "apiExpiresAt": "2026-01-05T03:04:05Z",
    }


@pytest.mark.parametrize(
    ("path", "value", "place", "mapped"),
    [
        ("RoomIdType", 0, "room.type", "String"),
        ("UserId", "a-b@c.d", "robot.userId", "a-b@c.d"),
        ("ResourceExpiredHour", 6, "apiExpiresAt", "2026-01-02T09:04:05Z"),
        ("ResourceExpiredHour", 720, "apiExpiresAt", "2026-02-01T03:04:05Z"),
        ("RecordParams.MaxIdleTime", 86400, "maxIdleSeconds", 86400),
        ("RecordParams.StreamType", 1, "streams.kind", "Audio"),
        ("RecordParams.StreamType", 2, "streams.kind", "Video"),
        ("RecordParams.MediaId", 1, "streams.media", "Main"),
        ("RecordParams.MediaId", 2, "streams.media", "Aux"),
        ("RecordParams.AvMerge", 1, "output.mergeAudioVideo", True),
        ("StorageParams.CloudStorage.Vendor", 0, "storage.bucket.vendor", "TencentCOS"),
        ("StorageParams.CloudStorage.Region", "ap-guangzhou", "storage.bucket.region", "ap-guangzhou"),
        ("StorageParams.CloudStorage.Bucket", "b-1250000000", "storage.bucket.bucket", "b-1250000000"),
        ("StorageParams.CloudStorage.FileNamePrefix", ["a", "B_-"], "storage.bucket.prefix", ["a", "B_-"]),
        (
            "RecordParams.SubscribeStreamUserIds",
            {"SubscribeAudioUserIds": ["1.*$", "2"], "UnSubscribeVideoUserIds": ["3"]},
            "streams.subscribe",
            {"audio": {"include": ["1.*$", "2"]}, "video": {"exclude": ["3"]}},
        ),
        (
            "RecordParams.SubscribeStreamUserIds",
            {"SubscribeAudioUserIds": [], "SubscribeVideoUserIds": ["4"]},
            "streams.subscribe",
            {"video": {"include": ["4"]}},
        ),
    ],
)
def test_every_parameter_has_its_place(path: str, value: Any, place: str, mapped: Any) -> None:
    here: Any = made(create(path, value))["spec"]
    for part in place.split("."):
        here = here[part]
    assert here == mapped


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("RecordParams.FillType", 1),
        ("RecordParams.SubscribeAbility", 1),
        ("RecordParams.MaxMediaFileDuration", 5),
        ("MixLayoutParams", LAYOUT),
        ("MixTranscodeParams", {}),
    ],
)
def test_without_effect_on_a_single_recording(path: str, value: Any) -> None:
    assert made(create(path, value)) == made(create())


FORMATS = [["HLS"], ["HLS", "MP4"], ["HLS", "AAC"], ["MP4"], ["AAC"]]


@pytest.mark.parametrize(("number", "formats"), list(enumerate(FORMATS)))
@pytest.mark.parametrize("mode", [1, 2])
@pytest.mark.parametrize("merge", [0, 1])
def test_output_formats(number: int, formats: list[str], mode: int, merge: int) -> None:
    record = {"RecordMode": mode, "OutputFormat": number, "AvMerge": merge, "MaxMediaFileDuration": 90}
    spec = made(create("RecordParams", record))["spec"]
    minutes = {} if number == 0 else {"maxFileMinutes": 90}
    assert spec["output"] == {"formats": formats, "mergeAudioVideo": merge == 1 and mode == 1, **minutes}
    assert "vod" not in spec["storage"]


@pytest.mark.parametrize("number", [1, 4])
def test_without_a_limit_a_file_has_a_day(number: int) -> None:
    assert made(create("RecordParams.OutputFormat", number))["spec"]["output"]["maxFileMinutes"] == 1440


# --- VOD ------------------------------------------------------------------------------------------------------------


def test_the_least_request_to_vod() -> None:
    spec = vod()
    assert spec["storage"] == {"vod": {"expireSeconds": 0, "classId": 0}}
    assert spec["output"] == {"formats": ["MP4"], "mergeAudioVideo": False, "maxFileMinutes": 1440}


def test_every_parameter_of_vod_has_its_place() -> None:
    assert vod(**VOD_FULL)["storage"] == {
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


@pytest.mark.parametrize(
    ("media_type", "formats"), list(enumerate([["MP4"], ["HLS"], ["AAC"], ["HLS", "MP4"], ["HLS", "AAC"]]))
)
@pytest.mark.parametrize("mode", [1, 2])
def test_media_types(media_type: int, formats: list[str], mode: int) -> None:
    """HLS in VOD is one playlist for each user, so sound and picture are merged."""
    record = {"RecordMode": mode, "StreamType": 1, "MaxMediaFileDuration": 90}
    spec = vod({"RecordParams": record}, MediaType=media_type)
    minutes = {} if formats == ["HLS"] else {"maxFileMinutes": 90}
    merged = mode == 1 and "HLS" in formats
    assert spec["output"] == {"formats": formats, "mergeAudioVideo": merged, **minutes}


def test_merging_can_be_asked_for_in_vod() -> None:
    assert vod({"RecordParams.AvMerge": 1})["output"]["mergeAudioVideo"] is True


@pytest.mark.parametrize("number", range(5))
def test_of_vod_the_media_type_decides_alone(number: int) -> None:
    assert vod({"RecordParams.OutputFormat": number}) == vod()


def test_vod_has_no_secret() -> None:
    request = parse(CreateCloudRecordingRequest, given_at(CREATE, "StorageParams", VOD))
    back = made(request)
    assert mapping.bucket_secret(request, {**back, "metadata": {**back["metadata"], "uid": "u-1"}}) is None
    assert "Secret" not in json.dumps(back)


# --- the rest -------------------------------------------------------------------------------------------------------


def test_time_to_live_is_the_gateways() -> None:
    assert made(create(), ttl_seconds_after_finished=3600)["spec"]["ttlSecondsAfterFinished"] == 3600


def test_keys_are_in_the_secret_and_nowhere_else() -> None:
    request = create()
    manifest = made(request)
    assert not any(secret in json.dumps(manifest) for secret in SECRETS)
    back = {**manifest, "metadata": {**manifest["metadata"], "uid": "u-1"}}
    secret = mapping.bucket_secret(request, back)
    assert secret is not None
    assert secret["stringData"] == {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    assert secret["metadata"]["name"] == manifest["spec"]["storage"]["bucket"]["credentialsSecretRef"]["name"]
    assert secret["metadata"]["namespace"] == "school"
    (owner,) = secret["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "cloudrec.dev/v1alpha1", "kind": "CloudRecording", "name": "rec-1", "uid": "u-1"}


# --- Modify, Delete -------------------------------------------------------------------------------------------------

AUDIO = {"audio": {"include": ["1"]}, "video": {"exclude": ["2"]}}


@pytest.mark.parametrize(
    ("lists", "result"),
    [
        (None, {}),
        ({}, {}),
        ({"SubscribeAudioUserIds": []}, {}),
        ({"SubscribeAudioUserIds": ["9"]}, {"audio": {"include": ["9"]}}),
        ({"UnSubscribeAudioUserIds": ["9"]}, {"audio": {"exclude": ["9"]}}),
        ({"SubscribeVideoUserIds": ["8", "7.*$"]}, {"video": {"include": ["8", "7.*$"]}}),
    ],
)
@pytest.mark.parametrize("before", [{}, AUDIO])
def test_modify_replaces_the_lists_whole(lists: Any, result: Any, before: Any) -> None:
    body = MODIFY if lists is None else {**MODIFY, "SubscribeStreamUserIds": lists}
    resource = made(create("RecordParams.MaxIdleTime", 77))
    patch = mapping.modified(parse(ModifyCloudRecordingRequest, body), CloudRecordingSpec(**resource["spec"]))
    resource["spec"]["streams"]["subscribe"] = before
    after = merged(resource, patch)
    assert after["spec"]["streams"].pop("subscribe") == result
    assert resource["spec"]["streams"].pop("subscribe") == before
    assert after == resource


def test_a_layout_has_no_effect_on_a_single_recording() -> None:
    request = parse(ModifyCloudRecordingRequest, {**MODIFY, "MixLayoutParams": LAYOUT})
    now = CloudRecordingSpec(**made(create())["spec"])
    assert mapping.modified(request, now) == mapping.modified(parse(ModifyCloudRecordingRequest, MODIFY), now)


def test_stopped() -> None:
    after = merged(made(create()), mapping.stopped())
    assert CloudRecordingSpec.model_validate(after["spec"]).desired_state == "Stopped"
