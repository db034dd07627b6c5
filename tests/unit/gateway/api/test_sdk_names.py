"""The models against the published SDK: the same names, no more and no fewer."""

from __future__ import annotations

import json
import types
import typing

import pytest
from pydantic import BaseModel
from tencentcloud.trtc.v20190722 import models as sdk

from cloudrec_gateway.api import mix, models
from cloudrec_gateway.api.parse import parse
from tests.unit.gateway.api import samples

OURS = [
    each
    for module in (models, mix)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, BaseModel) and each.__name__ in vars(sdk)
]


def members(kind: type) -> set[str]:
    return {name for name, value in vars(kind).items() if isinstance(value, property)}


def test_every_block_is_looked_at() -> None:
    assert {each.__name__ for each in OURS} >= {
        f"{verb}CloudRecording{what}"
        for verb in ("Create", "Describe", "Modify", "Delete")
        for what in ("Request", "Response")
    } | {"RecordParams", "StorageParams", "CloudStorage", "CloudVod", "TencentVod", "StorageFile", "MixLayout"} | {
        "MixTranscodeParams", "VideoParams", "AudioParams", "MixLayoutParams", "SubscribeStreamUserIds",
        "WaterMark", "WaterMarkImage", "WaterMarkChar", "WaterMarkTimestamp",
    }  # fmt: skip


@pytest.mark.parametrize("model", OURS, ids=lambda each: each.__name__)
def test_names_are_the_sdks(model: type[BaseModel]) -> None:
    ours = {field.alias for field in model.model_fields.values()}
    assert ours == members(getattr(sdk, model.__name__)) - {"RequestId"}


@pytest.mark.parametrize("model", OURS, ids=lambda each: each.__name__)
def test_a_flattened_form_can_be_typed(model: type[BaseModel]) -> None:
    """Numbers, truth values, texts, blocks and lists of these, perhaps optional: nothing that would need a guess."""
    for field in model.model_fields.values():
        kinds = [
            kind
            for kind in (typing.get_args(field.annotation) or [field.annotation])
            if kind is not types.NoneType
            if typing.get_origin(field.annotation) in (types.UnionType, typing.Union, None)
        ]
        assert len(kinds) <= 1


def test_a_request_made_by_the_sdk_is_parsed() -> None:
    request = sdk.CreateCloudRecordingRequest()
    request.from_json_string(json.dumps(samples.CREATE))
    parsed = parse(models.CreateCloudRecordingRequest, json.loads(request.to_json_string()))
    assert parsed == samples.create()


def test_a_response_is_read_by_the_sdk() -> None:
    answer = models.DescribeCloudRecordingResponse(
        task_id="t",
        status="InProgress",
        storage_file_list=[
            models.StorageFile(user_id="u", file_name="f.m3u8", track_type="audio", begin_time_stamp=1622186279144)
        ],
    )
    read = sdk.DescribeCloudRecordingResponse()
    read._deserialize({**json.loads(answer.json_bytes), "RequestId": "r"})
    assert (read.TaskId, read.Status, read.RequestId) == ("t", "InProgress", "r")
    (file,) = read.StorageFileList
    assert (file.UserId, file.FileName, file.TrackType, file.BeginTimeStamp) == ("u", "f.m3u8", "audio", 1622186279144)
