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
from cloudrec_gateway.errors import ApiFault
from tests.unit.gateway.api.samples import (
    ACCESS_KEY,
    CREATE,
    LAYOUT,
    MODIFY,
    SECRET_KEY,
    SECRETS,
    VOD,
    create,
    given_at,
    merged,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


def made(request: CreateCloudRecordingRequest, **more: Any) -> dict[str, Any]:
    return mapping.recording(request, name="rec-1", namespace="school", app="demo", now=NOW, **more)


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


def test_time_to_live_is_the_gateways() -> None:
    assert made(create(), ttl_seconds_after_finished=3600)["spec"]["ttlSecondsAfterFinished"] == 3600


def test_keys_are_in_the_secret_and_nowhere_else() -> None:
    request = create()
    manifest = made(request)
    assert not any(secret in json.dumps(manifest) for secret in SECRETS)
    back = {**manifest, "metadata": {**manifest["metadata"], "uid": "u-1"}}
    secret = mapping.bucket_secret(request, back)
    assert secret["stringData"] == {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    assert secret["metadata"]["name"] == manifest["spec"]["storage"]["bucket"]["credentialsSecretRef"]["name"]
    assert secret["metadata"]["namespace"] == "school"
    (owner,) = secret["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "cloudrec.dev/v1alpha1", "kind": "CloudRecording", "name": "rec-1", "uid": "u-1"}


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("RecordParams.OutputFormat", 1, "RecordParams.OutputFormat: 1 given; MP4 and AAC are not supported yet"),
        ("RecordParams.OutputFormat", 4, "RecordParams.OutputFormat: 4 given; MP4 and AAC are not supported yet"),
        ("StorageParams", VOD, "StorageParams.CloudVod: recording to VOD is not supported yet"),
    ],
)
def test_what_cannot_be_done_yet(path: str, value: Any, told: str) -> None:
    with pytest.raises(ApiFault) as caught:
        made(create(path, value))
    assert caught.value.code == "UnsupportedOperation"
    assert caught.value.message.startswith(told)


def test_what_cannot_be_done_yet_is_validated_all_the_same() -> None:
    body = given_at(given_at(CREATE, "RecordParams.OutputFormat", 1), "MixLayoutParams", {"MixLayoutMode": 9})
    with pytest.raises(ApiFault, match="MixLayoutMode: 9 given"):
        parse(CreateCloudRecordingRequest, body)


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
