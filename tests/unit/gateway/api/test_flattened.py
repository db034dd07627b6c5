"""The same request as flattened parameters (GET, form) and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import given

from cloudrec_gateway.api.models import CreateCloudRecordingRequest, ModifyCloudRecordingRequest
from cloudrec_gateway.api.parse import parse
from cloudrec_gateway.wire.flat import nested
from tests.unit.gateway.api import samples


def flattened(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """As the SDKs do it: null is left out, an empty list disappears, Python's spelling of truth."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flattened(inner, f"{name}.{key}" if name else str(key))
    elif value is not None:
        yield name, str(value)


def full(value: Any) -> Any:
    """Without empty blocks: these have no flattened form."""
    if isinstance(value, list):
        return [full(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    members = {key: full(inner) for key, inner in value.items()}
    return {key: inner for key, inner in members.items() if inner not in ({}, [], None)}


@given(samples.creates)
def test_creates(body: samples.Body) -> None:
    body = full(body)
    if "StorageParams" not in body:
        body["StorageParams"] = {"CloudVod": {"TencentVod": {"MediaType": 0}}}
    form = nested(dict(flattened(body)), CreateCloudRecordingRequest)
    assert parse(CreateCloudRecordingRequest, form) == parse(CreateCloudRecordingRequest, body)


@given(samples.modifies)
def test_modifies(body: samples.Body) -> None:
    form = nested(dict(flattened(full(body))), ModifyCloudRecordingRequest)
    assert parse(ModifyCloudRecordingRequest, form) == parse(ModifyCloudRecordingRequest, full(body))
