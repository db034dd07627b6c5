"""Bodies, forms and flattened names, and what is refused of them."""

import json
import uuid
from enum import IntEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr

from cloudrec_gateway.api.models import REQUESTS, CreateCloudRecordingRequest
from cloudrec_gateway.errors import ApiFault
from cloudrec_gateway.wire import envelope, flat
from cloudrec_gateway.wire.request import MAX_DEPTH, form, json_object, media_type, unique_headers
from tests.unit.gateway.wire.helpers import CREATE, flattened


def code_of(refused: pytest.ExceptionInfo[ApiFault]) -> str:
    return refused.value.code


def test_json_objects() -> None:
    assert json_object(b' {"a": [1, true, null, "\\u963f\\ud83d\\ude00"], "b": 1e400} ') == {
        "a": [1, True, None, "阿😀"],
        "b": float("inf"),
    }
    assert json_object("{'a': '阿'}".replace("'", '"').encode()) == {"a": "阿"}


NOT_JSON = {
    "empty": b"",
    "cut off": b'{"a": 1',
    "more after it": b"{} {}",
    "list": b"[1]",
    "text": b'"secret-of-somebody"',
    "null": b"null",
    "name twice": b'{"a": 1, "a": 2}',
    "name twice further down": b'{"x": [{"a": 1, "a": 1}]}',
    "NaN": b'{"a": NaN}',
    "infinite": b'{"a": -Infinity}',
    "single quotes": b"{'a': 1}",
    "trailing comma": b'{"a": 1,}',
    "BOM": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "latin-1": b'{"a": "\xe9"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "half a pair": b'{"a": "\\ud800"}',
    "half a pair as a name": b'{"\\udfff": 1}',
    "control character": b'{"a": "\x00"}',
    "long number": b'{"a": ' + b"9" * 5000 + b"}",
    "deep": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "very deep": b"[" * 100_000,
    "very deep, whole": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_other_bodies(name: str) -> None:
    with pytest.raises(ApiFault) as refused:
        json_object(NOT_JSON[name])
    assert code_of(refused) == "InvalidParameter.BodyParamsError"
    assert "secret-of-somebody" not in refused.value.message


def test_depth_is_not_the_number_of_brackets() -> None:
    assert json_object(b'{"a": [' + b"[]," * 100 + b"[]]}")
    nested = b'{"a":' * (MAX_DEPTH - 1) + b"[]" + b"}" * (MAX_DEPTH - 1)
    assert json_object(nested)


def test_forms() -> None:
    assert form(b"") == {}
    assert form(b"a=1&b.c=x+y%20%2B&empty=&u=%E9%98%BF") == {"a": "1", "b.c": "x y +", "empty": "", "u": "阿"}
    for text in (
        b"a=%",
        b"a=%2",
        b"a=%zz",
        b"a= b",
        b"a=\x00",
        b"a=\xff",
        b"a=%ff",
        b"a=1&a=1",
        b"&".join([b"b"] * 9999),
    ):
        with pytest.raises(ApiFault) as refused:
            form(text)
        assert code_of(refused) == "InvalidParameter"


def test_media_types() -> None:
    for value in ("application/json", "Application/JSON ; charset=utf-8", 'application/json;a=b; CHARSET="UTF8"'):
        assert media_type(value) == "application/json"
    assert media_type("") == ""
    with pytest.raises(ApiFault):
        media_type("application/json; charset=gbk")


def test_headers_that_do_not_matter_may_be_there_twice() -> None:
    assert unique_headers([(b"x-forwarded-for", b"a"), (b"x-forwarded-for", b"b")]) == {b"x-forwarded-for": b"b"}


class Kind(IntEnum):
    ONE = 1


class Inner(BaseModel):
    number: int | None = Field(None, alias="Number")
    flag: bool = Field(False, alias="Flag")
    kind: Kind | None = Field(None, alias="Kind")
    choice: Literal[0, 1] = Field(0, alias="Choice")
    word: Literal["a"] | None = Field(None, alias="Word")
    key: SecretStr | None = Field(None, alias="Key")


class Outer(BaseModel):
    names: list[Annotated[str, Field(max_length=9)]] | None = Field(None, alias="Names")
    inner: Inner | None = Field(None, alias="Inner")
    several: list[Inner] = Field([], alias="Several")
    rows: list[list[int]] = Field([], alias="Rows")


def test_flattened_values_become_what_the_model_wants() -> None:
    fields = {
        "Names.0": "123",
        "Names.1": "true",
        "Inner.Number": "-12",
        "Inner.Flag": "False",
        "Inner.Kind": "1",
        "Inner.Choice": "1",
        "Inner.Word": "1",
        "Inner.Key": "42",
        "Several.1.Number": "7",
        "Several.0.Flag": "TRUE",
        "Rows.0.0": "5",
    }
    assert flat.nested(fields, Outer) == {
        "Names": ["123", "true"],
        "Inner": {"Number": -12, "Flag": False, "Kind": 1, "Choice": 1, "Word": "1", "Key": "42"},
        "Several": [{"Flag": True}, {"Number": 7}],
        "Rows": [[5]],
    }
    assert flat.booleans(fields, Outer) == ["Inner.Flag", "Several.0.Flag"]


def test_what_does_not_fit_stays_as_it_is() -> None:
    for value in ("", "x", "1.0", "1e3", "+1", "01", "0x1", " 1", "1_000", "²", "9" * 40):
        assert flat.nested({"Inner.Number": value}, Outer) == {"Inner": {"Number": value}}
    for value in ("", "1", "yes", "ｔｒｕｅ"):
        assert flat.nested({"Inner.Flag": value}, Outer) == {"Inner": {"Flag": value}}
    assert flat.nested({"Inner": "x", "Names": "y"}, Outer) == {"Inner": "x", "Names": "y"}
    assert flat.nested({"Inner.Number.0": "1"}, Outer) == {"Inner": {"Number": {"0": "1"}}}
    assert flat.nested({"Unknown.A.0": "1", "inner.Number": "1"}, Outer) == {
        "Unknown": {"A": {"0": "1"}},
        "inner": {"Number": "1"},
    }
    assert flat.booleans(["Inner.Flag.Deeper", "Names.Flag", "No", "Inner"], Outer) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"Names.1": "x"},
        {"Names.0": "x", "Names.2": "y"},
        {"Names.00": "x"},
        {"Names.-1": "x"},
        {"Names.²": "x"},
        {"Names.x": "x"},
        {"Names.999999999999": "x"},
        {"Inner": "x", "Inner.Number": "1"},
        {"Inner.Number": "1", "Inner": "x"},
        {"Inner..Number": "1"},
        {".Inner": "1"},
        {"Inner.": "1"},
        {"": "1"},
        {".".join("A" * 5000): "1"},
    ],
)
def test_names_that_make_no_object(fields: dict[str, str]) -> None:
    with pytest.raises(ApiFault) as refused:
        flat.nested(fields, Outer)
    assert code_of(refused) == "InvalidParameter"
    assert len(refused.value.message) < 400


def test_flattened_and_nested_requests_are_the_same() -> None:
    fields = {name: str(value) for name, value in flattened(CREATE).items()}
    assert flat.nested(fields, CreateCloudRecordingRequest) == CREATE
    assert flat.booleans(fields, CreateCloudRecordingRequest) == ["MixLayoutParams.PureAudioDisableLayout"]


def test_every_field_of_every_action_has_a_kind() -> None:
    """No number or boolean of a model is left as text."""
    for model in REQUESTS.values():
        for path, kind, sample in leaves(model.model_json_schema(by_alias=True)):
            value: Any = flat.nested({path: sample}, model)
            for part in path.split("."):
                value = value[int(part)] if isinstance(value, list) else value[part]
            assert type(value) is {"integer": int, "boolean": bool, "string": str}[kind], path


def leaves(schema: dict[str, Any]) -> list[tuple[str, str, str]]:
    def walk(node: dict[str, Any], path: str) -> list[tuple[str, str, str]]:
        node = next((option for option in node.get("anyOf", []) if option.get("type") != "null"), node)
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        if node["type"] == "object":
            each = node["properties"].items()
            return [leaf for name, below in each for leaf in walk(below, f"{path}.{name}" if path else name)]
        if node["type"] == "array":
            return walk(node["items"], f"{path}.0")
        return [(path, node["type"], {"integer": "3", "boolean": "True", "string": "3"}[node["type"]])]

    return walk(schema, "")


def test_request_ids_are_uuids() -> None:
    ids = [envelope.new_request_id() for _ in range(100)]
    assert len(set(ids)) == 100
    for each in ids:
        assert (str(uuid.UUID(each)), uuid.UUID(each).version, uuid.UUID(each).variant) == (each, 4, uuid.RFC_4122)


def test_only_harmless_trace_ids_are_given_back() -> None:
    assert (b"x-tc-traceid", b"a-1") in envelope.headers(2, b"a-1")
    for trace in (b"", b"a\r\nSet-Cookie: x", b"\xff", b"x" * 129):
        assert envelope.headers(2, trace) == [(b"content-type", b"application/json"), (b"content-length", b"2")]


def test_an_error_is_ascii() -> None:
    body = envelope.failure(ApiFault("InvalidParameter", "阿 \ud800"), "id")
    assert body.isascii()
    assert json.loads(body) == {
        "Response": {"Error": {"Code": "InvalidParameter", "Message": "阿 \ud800"}, "RequestId": "id"}
    }
