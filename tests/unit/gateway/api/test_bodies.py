"""Bodies of every kind: good ones become resources that the API server takes, bad ones a fault without a secret."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from tencentcloud.trtc.v20190722 import errorcodes

from cloudrec_contract.mix import PIXELS_MAX, Mix, outside
from cloudrec_contract.resources import AppStorage, CloudRecordingSpec, OutputFormat, Subscription
from cloudrec_contract.storage import object_store
from cloudrec_gateway.api import mapping
from cloudrec_gateway.api.models import (
    REQUESTS,
    CreateCloudRecordingRequest,
    DeleteCloudRecordingRequest,
    DescribeCloudRecordingRequest,
    ModifyCloudRecordingRequest,
)
from cloudrec_gateway.api.parse import parse
from cloudrec_gateway.errors import ApiFault
from tests.unit.gateway.api import samples

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TASK_ID = "0b9d2c4e-0000-4000-8000-000000000001"
CODES = {value for name, value in vars(errorcodes).items() if name.isupper()} | {
    "InvalidParameter",
    "MissingParameter",
    "UnknownParameter",
}
MESSAGE = re.compile(r"[ -~]{3,900}")


def taken_by_the_api_server(spec: dict[str, Any]) -> CloudRecordingSpec:
    """The CRD's schema is made from the contract's models; its CEL rules are these."""
    parsed = CloudRecordingSpec.model_validate(json.loads(json.dumps(spec)))
    if parsed.room.type == "Number":
        assert re.fullmatch("[1-9][0-9]{0,9}", parsed.room.id)
        assert int(parsed.room.id) <= 4294967295
    subscribe: Subscription = parsed.streams.subscribe
    for users in filter(None, (subscribe.audio, subscribe.video)):
        assert (users.include is None) != (users.exclude is None)
        assert users.include or users.exclude
    assert (parsed.mode == "Mixed") == (parsed.mix is not None)
    if parsed.mix:
        taken_as_mix(parsed.mix)
    taken_as_output(parsed)
    assert len(json.dumps(spec)) < 256 * 1024
    return parsed


def taken_as_output(spec: CloudRecordingSpec) -> None:
    bucket, vod, output = spec.storage.bucket, spec.storage.vod, spec.output
    assert (bucket is None) != (vod is None)
    assert bucket is None or (bucket.vendor is None) != (bucket.endpoint is None)
    formats = output.formats or []
    assert len(set(formats)) == len(formats) > 0
    assert (output.max_file_minutes is None) == (formats == [OutputFormat.HLS])
    assert bucket or OutputFormat.HLS not in formats or spec.mode == "Mixed" or output.merge_audio_video


def taken_as_mix(mix: Mix) -> None:
    assert outside(mix) == []
    assert mix.video.width * mix.video.height <= PIXELS_MAX
    assert (mix.layout.template == "Custom") == bool(mix.layout.windows)
    for mark in mix.watermarks:
        assert [mark.image, mark.text, mark.timestamp].count(None) == 2


def made(body: samples.Body) -> CloudRecordingSpec:
    request = parse(CreateCloudRecordingRequest, body)
    manifest = mapping.recording(request, name="rec-1", namespace="school", app="demo", now=NOW)
    return taken_by_the_api_server(manifest["spec"])


def check(fault: ApiFault) -> None:
    event(fault.code)
    assert fault.code in CODES
    assert MESSAGE.fullmatch(fault.message), fault.message
    assert not any(secret in str(fault) for secret in samples.SECRETS)


@given(samples.creates)
def test_good_creates_are_taken(body: samples.Body) -> None:
    spec = made(body)
    assert spec.robot.user_id == body["UserId"]
    assert spec.room.id == body["RoomId"]
    if spec.storage.bucket is None:
        event(f"{spec.mode} to VOD")
        return
    event(f"{spec.mode} into a bucket")
    store = body["StorageParams"]["CloudStorage"]
    target = object_store(spec.storage.bucket, AppStorage(), TASK_ID)
    assert target.key_prefix == "/".join([*(store.get("FileNamePrefix") or []), TASK_ID]) + "/"
    assert len(target.key_prefix) + 255 <= 1024


@given(samples.spoilt())
def test_spoilt_creates_are_refused_or_taken(body: samples.Body) -> None:
    try:
        made(body)
    except ApiFault as fault:
        check(fault)


@given(samples.spoilt(st.just(samples.CREATE)))
def test_what_is_let_through_is_taken(body: samples.Body) -> None:
    """Nearer to the good than the bodies above: a single recording into a bucket."""
    try:
        made(body)
        event("taken")
    except ApiFault as fault:
        check(fault)


@given(st.dictionaries(st.sampled_from([*samples.CREATE, "MixLayoutParams", "RoomIdType"]), samples.anything))
def test_no_body_at_all(body: Any) -> None:
    for model in REQUESTS.values():
        try:
            parse(model, body)
        except ApiFault as fault:
            check(fault)


@given(
    st.sampled_from(["Region", "Bucket", "FileNamePrefix"]),
    st.text(max_size=70) | st.from_regex(r"[a-zA-Z0-9._-]{1,70}\n?", fullmatch=True),
)
def test_storage_texts(name: str, text: str) -> None:
    value = [text] if name == "FileNamePrefix" else text
    try:
        made(samples.given_at(samples.CREATE, f"StorageParams.CloudStorage.{name}", value))
        event(f"{name} taken")
    except ApiFault as fault:
        check(fault)


@given(st.text(st.characters(), max_size=140), st.integers(0, 1), st.text(st.characters(), max_size=40))
def test_rooms_and_robots(room: str, kind: int, robot: str) -> None:
    for body in ({"RoomId": room, "RoomIdType": kind}, {"UserId": robot}):
        try:
            made({**samples.CREATE, **body})
            event("taken")
        except ApiFault as fault:
            check(fault)


@given(st.lists(st.text(st.characters(), max_size=140), max_size=34), st.sampled_from(["Subscribe", "UnSubscribe"]))
def test_lists_of_users(users: list[str], kind: str) -> None:
    try:
        made(samples.given_at(samples.CREATE, f"RecordParams.SubscribeStreamUserIds.{kind}VideoUserIds", users))
        event("taken")
    except ApiFault as fault:
        check(fault)


@given(samples.modifies)
def test_good_modifies_are_taken(body: samples.Body) -> None:
    request = parse(ModifyCloudRecordingRequest, body)
    for mode in (1, 2):
        create = parse(CreateCloudRecordingRequest, samples.given_at(samples.CREATE, "RecordParams.RecordMode", mode))
        before = mapping.recording(create, name="rec-1", namespace="school", app="demo", now=NOW)["spec"]
        patch = mapping.modified(request, CloudRecordingSpec.model_validate(before))
        subscribe = patch["spec"]["streams"]["subscribe"]
        for users in subscribe.values():
            assert users is None or (users["include"] is None) != (users["exclude"] is None)
        taken_by_the_api_server(samples.merged({"spec": before}, patch)["spec"])


@given(samples.spoilt(samples.modifies))
def test_spoilt_modifies_are_refused_or_taken(body: samples.Body) -> None:
    for model in (ModifyCloudRecordingRequest, DescribeCloudRecordingRequest, DeleteCloudRecordingRequest):
        try:
            parse(model, body)
        except ApiFault as fault:
            check(fault)
