"""Which fault has which code, and what it says."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cloudrec_contract.resources import RoomType, Vod
from cloudrec_gateway.api import models
from cloudrec_gateway.api.fields import INT64_MAX
from cloudrec_gateway.api.parse import parse
from cloudrec_gateway.errors import FIELDS_WITH_MISSING_CODE
from tests.unit.gateway.api.samples import CREATE, MODIFY, VOD, create, given_at, refused, without

STORE = "StorageParams.CloudStorage"
TENCENT = "StorageParams.CloudVod.TencentVod"
USERS = "RecordParams.SubscribeStreamUserIds"


def test_defaults_are_the_published_ones() -> None:
    request = create()
    record = request.record_params
    assert (record.max_idle_time, record.stream_type, record.output_format, record.av_merge) == (30, 0, 0, 0)
    assert (record.max_media_file_duration, record.media_id, record.subscribe_ability) == (1440, 0, 0)
    assert (request.room_id_type, request.resource_expired_hour) == (1, 72)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("SdkAppId", "MissingParameter.SdkAppId"),
        ("RoomId", "MissingParameter.RoomId"),
        ("UserId", "MissingParameter.UserId"),
        ("UserSig", "MissingParameter.UserSig"),
        ("RecordParams", "MissingParameter.RecordParams"),
        ("RecordParams.RecordMode", "MissingParameter.RecordMode"),
        ("StorageParams", "MissingParameter.StorageParams"),
        ("StorageParams.CloudStorage", "MissingParameter.CloudStorage"),
        (f"{STORE}.Vendor", "MissingParameter.Vendor"),
        (f"{STORE}.Region", "MissingParameter.Region"),
        (f"{STORE}.Bucket", "MissingParameter.Bucket"),
        (f"{STORE}.AccessKey", "MissingParameter.AccessKey"),
        (f"{STORE}.SecretKey", "MissingParameter.SecretKey"),
    ],
)
def test_required_parameters(path: str, code: str) -> None:
    bodies = [without(CREATE, path), given_at(CREATE, path, None)]
    bodies += [given_at(CREATE, path, "")] if path != "SdkAppId" else []
    for body in bodies:
        fault = refused(body)
        assert fault.code == code
        assert path in fault.message
        assert "required" in fault.message


@pytest.mark.parametrize(
    "model",
    [
        models.DescribeCloudRecordingRequest,
        models.ModifyCloudRecordingRequest,
        models.DeleteCloudRecordingRequest,
    ],
)
def test_task_id_is_required(model: type[models.Request]) -> None:
    assert refused(without(MODIFY, "TaskId"), model).code == "MissingParameter.TaskId"
    assert refused(without(MODIFY, "SdkAppId"), model).code == "MissingParameter.SdkAppId"
    assert parse(model, MODIFY).sdk_app_id == MODIFY["SdkAppId"]


@pytest.mark.parametrize(
    ("path", "low", "high"),
    [
        ("SdkAppId", 1, 4294967295),
        ("RoomIdType", 0, 1),
        ("ResourceExpiredHour", 6, 720),
        ("RecordParams.RecordMode", 1, 2),
        ("RecordParams.MaxIdleTime", 5, 86400),
        ("RecordParams.StreamType", 0, 2),
        ("RecordParams.OutputFormat", 0, 4),
        ("RecordParams.AvMerge", 0, 1),
        ("RecordParams.MaxMediaFileDuration", 1, 1440),
        ("RecordParams.MediaId", 0, 2),
        ("RecordParams.FillType", 0, 1),
        ("RecordParams.SubscribeAbility", 0, 1),
        (f"{STORE}.Vendor", 0, 1),
        (f"{TENCENT}.MediaType", 0, 4),
        (f"{TENCENT}.ExpireTime", 0, 3155760000),
        (f"{TENCENT}.ClassId", 0, INT64_MAX),
        (f"{TENCENT}.SubAppId", 0, INT64_MAX),
    ],
)
def test_ranges(path: str, low: int, high: int) -> None:
    base: dict[str, Any] = given_at(CREATE, "RecordParams.StreamType", 1)
    if "CloudVod" in path:
        base = given_at(base, "StorageParams", VOD)
    for value in (low, high):
        parse(models.CreateCloudRecordingRequest, given_at(base, path, value))
    for value in (low - 1, high + 1, -(10**30)):
        fault = refused(given_at(base, path, value))
        assert fault.code == "InvalidParameter.OutOfRange"
        assert fault.message == f"{path}: {value} given; an integer from {low} to {high} is allowed"
    for value, name in ((True, "a boolean"), (1.0, "a number"), ("1", "a string"), ([], ""), ([1], "an array")):
        fault = refused(given_at(base, path, value)) if value != [] else None
        if fault:
            assert fault.code == "InvalidParameter"
            assert f"{path}: {name}" in fault.message


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("RoomId", 12345, "an integer"),
        ("UserId", 5, "an integer"),
        ("UserSig", {"a": 1}, "an object"),
        ("PrivateMapKey", 1, "an integer"),
        ("RecordParams", "x", "a string"),
        ("RecordParams", [1], "an array"),
        ("StorageParams", 1, "an integer"),
        (f"{STORE}.SecretKey", 5, "an integer"),
        (f"{STORE}.FileNamePrefix", "a", "a string"),
        (f"{STORE}.FileNamePrefix", [1], "an integer"),
        (f"{USERS}.SubscribeAudioUserIds", "a", "a string"),
        (f"{USERS}.SubscribeAudioUserIds", [1], "an integer"),
        (f"{USERS}.SubscribeAudioUserIds", [None], "something else"),
        ("RecordParams.OutputFormat", "hls+mp4", "a string"),
        ("RecordParams.OutputFormat", "1", "a string"),
    ],
)
def test_another_json_type(path: str, value: Any, name: str) -> None:
    fault = refused(given_at(CREATE, path, value))
    assert fault.code == "InvalidParameter"
    assert fault.message.startswith(path)
    assert f"{name} given" in fault.message


@pytest.mark.parametrize(
    "path", ["Foo", "sdk_app_id", "sdkAppId", "RecordParams.Foo", f"{STORE}.Endpoint", "AgentParams"]
)
def test_unknown_parameters(path: str) -> None:
    fault = refused(given_at(CREATE, path, {"SecretKey": "canarySecretKey+/0123456789"}))
    assert (fault.code, fault.message.partition(":")[0]) == ("UnknownParameter", path)


def test_an_odd_name_is_told_shortened() -> None:
    fault = refused(given_at(CREATE, "ä\n" * 500, 1))
    assert fault.code == "UnknownParameter"
    assert fault.message.isascii()
    assert len(fault.message) < 200


def test_of_very_many_unknown_parameters_one_is_told() -> None:
    many = {"RecordMode": 1, **{f"Foo{number}": 1 for number in range(5000)}}
    fault = refused(given_at(CREATE, "RecordParams", many))
    assert (fault.code, fault.message.partition(":")[0]) == ("UnknownParameter", "RecordParams.Foo0")


def test_parameters_are_an_object() -> None:
    fault = refused([])  # type: ignore[arg-type]
    assert (fault.code, fault.message) == ("InvalidParameter", "the parameters: an array given; an object is allowed")


def test_what_is_missing_is_told_before_what_is_unknown_and_that_before_the_rest() -> None:
    body = given_at(given_at(CREATE, "RecordParams.MaxIdleTime", 1), "bucket", "x")
    assert refused(body).code == "UnknownParameter"
    assert refused(without(body, f"{STORE}.Bucket")).code == "MissingParameter.Bucket"


@pytest.mark.parametrize("path", ["RoomIdType", "ResourceExpiredHour", "PrivateMapKey", "MixLayoutParams", USERS])
def test_null_is_left_out(path: str) -> None:
    assert parse(models.CreateCloudRecordingRequest, given_at(CREATE, path, None)) is not None


# --- rooms and robots -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["1", "4294967295"])
def test_numeric_rooms(room: str) -> None:
    assert create("RoomId", room).room_type is RoomType.NUMBER


@pytest.mark.parametrize("room", ["0", "007", "4294967296", "abc", "1.5", "-1", " 1", "1\n", "١٢", "9" * 100])
def test_no_numeric_rooms(room: str) -> None:
    fault = refused(given_at(CREATE, "RoomId", room))
    assert fault.code == "InvalidParameter.RoomId"
    assert fault.message.startswith("RoomId: ")
    assert "1 to 4294967295" in fault.message


@pytest.mark.parametrize("room", ["007", "abc", "教室 5", "a/b", "x" * 60])
def test_string_rooms(room: str) -> None:
    request = parse(models.CreateCloudRecordingRequest, {**CREATE, "RoomId": room, "RoomIdType": 0})
    assert request.room_type is RoomType.STRING


@pytest.mark.parametrize(
    ("room", "code"),
    [
        ("a\nb", "InvalidParameter.RoomId"),
        ("a\x00", "InvalidParameter.RoomId"),
        ("教" * 100, "InvalidParameter.RoomId"),
        ("x" * 128, "InvalidParameter.OutOfRange"),
        ("\ud800", "InvalidParameter"),
    ],
)
def test_no_string_rooms(room: str, code: str) -> None:
    fault = refused({**CREATE, "RoomId": room, "RoomIdType": 0})
    assert fault.code == code
    assert fault.message.startswith("RoomId: ")


@pytest.mark.parametrize("user", ["r", "record_1-a", "user@example.com", "x" * 32])
def test_robots(user: str) -> None:
    assert create("UserId", user).user_id == user


@pytest.mark.parametrize(
    ("user", "code"),
    [("a b", "InvalidParameter.UserId"), ("ä", "InvalidParameter.UserId"), ("x" * 33, "InvalidParameter.OutOfRange")],
)
def test_no_robots(user: str, code: str) -> None:
    assert refused(given_at(CREATE, "UserId", user)).code == code


# --- lists ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Audio", "Video"])
def test_white_and_black_lists_exclude_each_other(kind: str) -> None:
    lists = {f"Subscribe{kind}UserIds": ["a"], f"UnSubscribe{kind}UserIds": ["b"]}
    fault = refused(given_at(CREATE, USERS, lists))
    assert fault.code == "InvalidParameter"
    assert all(name in fault.message for name in lists)
    parse(models.CreateCloudRecordingRequest, given_at(CREATE, USERS, {**lists, f"UnSubscribe{kind}UserIds": []}))
    fault = refused({**MODIFY, "SubscribeStreamUserIds": lists}, models.ModifyCloudRecordingRequest)
    assert (fault.code, fault.message.partition(":")[0]) == ("InvalidParameter", "SubscribeStreamUserIds")


@pytest.mark.parametrize("name", ["SubscribeAudioUserIds", "UnSubscribeAudioUserIds", "SubscribeVideoUserIds"])
def test_lists_have_32_entries_at_most(name: str) -> None:
    create(f"{USERS}.{name}", ["u"] * 32)
    fault = refused(given_at(CREATE, f"{USERS}.{name}", ["u"] * 33))
    assert fault.code == "InvalidParameter.OutOfRange"
    assert fault.message == f"{USERS}.{name}: 33 entries given; an array of at most 32 entries is allowed"


@pytest.mark.parametrize("entry", ["", "x" * 129, "a\nb"])
def test_entries_of_lists(entry: str) -> None:
    fault = refused(given_at(CREATE, f"{USERS}.SubscribeAudioUserIds", ["u", entry]))
    assert fault.code.startswith("InvalidParameter")
    assert fault.message.startswith(f"{USERS}.SubscribeAudioUserIds.1: ")


# --- storage --------------------------------------------------------------------------------------------------------


def test_both_storages() -> None:
    fault = refused({**CREATE, "StorageParams": {**CREATE["StorageParams"], **VOD}})
    assert fault.code == "InvalidParameter"
    assert "CloudStorage" in fault.message
    assert "CloudVod" in fault.message


@pytest.mark.parametrize("block", [{}, {"TencentVod": None}])
def test_a_vod_block_names_its_kind(block: Any) -> None:
    fault = refused(given_at(CREATE, "StorageParams", {"CloudVod": block}))
    assert fault.code == "MissingParameter"
    assert fault.message == "StorageParams.CloudVod.TencentVod: required, and not given"


def test_no_storage_at_all() -> None:
    fault = refused(given_at(CREATE, "StorageParams", {}))
    assert fault.code == "MissingParameter.CloudStorage"
    assert "CloudVod" in fault.message


@pytest.mark.parametrize("media", [2, 4])
@pytest.mark.parametrize("stream", [0, 2])
def test_vod_aac_is_for_audio_only(media: int, stream: int) -> None:
    body = given_at(given_at(CREATE, "StorageParams", VOD), f"{TENCENT}.MediaType", media)
    fault = refused(given_at(body, "RecordParams.StreamType", stream))
    assert fault.code == "InvalidParameter"
    allowed = "2 and 4 are allowed with RecordParams.StreamType 1 only"
    assert fault.message == f"{TENCENT}.MediaType: {media} given; {allowed}, which is {stream}"
    parse(models.CreateCloudRecordingRequest, given_at(body, "RecordParams.StreamType", 1))


@pytest.mark.parametrize("value", ["a b", "x" * 65, "ä", "a\n", "a.b"])
def test_no_user_define_record_id(value: str) -> None:
    fault = refused(given_at(given_at(CREATE, "StorageParams", VOD), f"{TENCENT}.UserDefineRecordId", value))
    assert fault.code == "InvalidParameter"
    assert fault.message.startswith(f"{TENCENT}.UserDefineRecordId: {value!a}"[:60])


@pytest.mark.parametrize(
    ("name", "field", "most"),
    [
        ("Procedure", "procedure", 256),
        ("StorageRegion", "storage_region", 64),
        ("SessionContext", "session_context", 1000),
        ("SourceContext", "source_context", 250),
        ("UserDefineRecordId", "user_define_record_id", 64),
    ],
)
def test_texts_of_vod_have_as_much_room_as_the_resource(name: str, field: str, most: int) -> None:
    body = given_at(CREATE, "StorageParams", VOD)
    parsed = parse(models.CreateCloudRecordingRequest, given_at(body, f"{TENCENT}.{name}", "x" * most))
    assert parsed.vod is not None
    assert getattr(Vod.model_validate({field: "x" * most}), field) == getattr(parsed.vod, field)
    fault = refused(given_at(body, f"{TENCENT}.{name}", "x" * (most + 1)))
    assert fault.code.startswith("InvalidParameter")
    with pytest.raises(ValidationError):
        Vod.model_validate({field: "x" * (most + 1)})
    empty = parse(models.CreateCloudRecordingRequest, given_at(body, f"{TENCENT}.{name}", ""))
    assert empty == parse(models.CreateCloudRecordingRequest, body)


@pytest.mark.parametrize("prefix", [["a/b"], [".."], ["ok", ""], ["ä"], ["a b"], ["x" * 65]])
def test_prefix_characters(prefix: list[str]) -> None:
    fault = refused(given_at(CREATE, f"{STORE}.FileNamePrefix", prefix))
    assert fault.code.startswith("InvalidParameter")
    assert fault.message.startswith(f"{STORE}.FileNamePrefix.{len(prefix) - 1}: ")


def test_a_prefix_leaves_room_for_the_files_name() -> None:
    create(f"{STORE}.FileNamePrefix", ["x" * 60] * 11)
    fault = refused(given_at(CREATE, f"{STORE}.FileNamePrefix", ["x" * 60] * 13))
    assert fault.code == "InvalidParameter.OutOfRange"
    assert "792 characters" in fault.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Region", "us east"),
        ("Region", "x" * 65),
        ("Bucket", "ab"),
        ("Bucket", "Abc"),
        ("Bucket", "a/b"),
        ("Bucket", "-ab"),
    ],
)
def test_region_and_bucket(name: str, value: str) -> None:
    fault = refused(given_at(CREATE, f"{STORE}.{name}", value))
    assert fault.code.startswith("InvalidParameter")
    assert fault.message.startswith(f"{STORE}.{name}: {value!r}"[:40])


@pytest.mark.parametrize("name", ["AccessKey", "SecretKey"])
@pytest.mark.parametrize("value", ["geheim geheim", "geheim\n", "geheim" * 200, "geheim\ud800", "geheimä"])
def test_bad_keys_are_not_shown(name: str, value: str) -> None:
    fault = refused(given_at(CREATE, f"{STORE}.{name}", value))
    assert fault.code.startswith("InvalidParameter")
    assert fault.message.startswith(f"{STORE}.{name}: ")
    assert "geheim" not in str(fault)


@pytest.mark.parametrize("name", ["UserSig", "PrivateMapKey"])
@pytest.mark.parametrize("value", ["geheim" * 2000, "geheim\ud800"])
def test_bad_signatures_are_not_shown(name: str, value: str) -> None:
    fault = refused(given_at(CREATE, name, value))
    assert fault.code.startswith("InvalidParameter")
    assert fault.message.startswith(f"{name}: ")
    assert "geheim" not in str(fault)


def test_nothing_secret_is_in_a_models_text() -> None:
    shown = repr(create()) + str(create())
    assert "recorder_12345" in shown
    assert not any(secret in shown for secret in (CREATE["UserSig"], CREATE["PrivateMapKey"], "canary"))


def test_every_field_with_a_code_of_its_own_is_somewhere() -> None:
    names = {
        field.alias
        for model in (
            models.CreateCloudRecordingRequest,
            models.DeleteCloudRecordingRequest,
            models.RecordParams,
            models.StorageParams,
            models.CloudStorage,
        )
        for field in model.model_fields.values()
    }
    assert names >= FIELDS_WITH_MISSING_CODE
