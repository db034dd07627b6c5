"""The published description of the bodies."""

from __future__ import annotations

import json
import re
from typing import Any

from cloudrec_gateway.api import models
from cloudrec_gateway.api.openapi import document

DOCUMENT = document("1.2.3")
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def test_it_is_json_whose_references_lead_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    assert {name.split("/")[-1] for name in re.findall(r'"\$ref": "([^"]+)"', text)} <= set(SCHEMAS)
    assert "$defs" not in text
    assert (DOCUMENT["openapi"], DOCUMENT["info"]["version"]) == ("3.1.0", "1.2.3")


def test_names_and_bounds_are_the_models() -> None:
    assert set(SCHEMAS["CreateCloudRecordingRequest"]["required"]) == {
        "SdkAppId",
        "RoomId",
        "UserId",
        "UserSig",
        "RecordParams",
        "StorageParams",
    }
    idle = SCHEMAS["RecordParams"]["properties"]["MaxIdleTime"]
    assert (idle["minimum"], idle["maximum"], idle["default"], idle["title"]) == (5, 86400, 30, "MaxIdleTime")
    assert SCHEMAS["CloudStorage"]["properties"]["SecretKey"]["writeOnly"] is True


def test_what_becomes_of_a_recording_is_told() -> None:
    record = SCHEMAS["RecordParams"]["properties"]
    assert "3: mp4, 4: aac" in record["OutputFormat"]["description"]
    assert (record["MaxMediaFileDuration"]["maximum"], record["MaxMediaFileDuration"]["default"]) == (1440, 1440)
    assert SCHEMAS["CloudVod"]["required"] == ["TencentVod"]
    vod = SCHEMAS["TencentVod"]["properties"]
    assert (vod["MediaType"]["maximum"], vod["ExpireTime"]["maximum"]) == (4, 3155760000)
    assert "required" not in SCHEMAS["TencentVod"]


def test_answers_have_a_request_id() -> None:
    for model in models.RESPONSES.values():
        assert "RequestId" in SCHEMAS[model.__name__]["required"]


def test_a_document_is_the_callers_own() -> None:
    document("1")["components"]["schemas"].clear()
    assert document("1")["components"]["schemas"]
