"""Whatever is sent: HTTP 200, an envelope with a RequestId, a code of ours, no failure of the gateway, no secret."""

import asyncio
import json
import re
from typing import Any
from urllib.parse import urlencode

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudrec_gateway.asgi import App
from tests.unit.gateway.wire.helpers import (
    CREATE,
    NOW,
    SECRETS,
    Answer,
    Http,
    MemoryBackend,
    call,
    flattened,
    legacy,
    tc3,
)

ACTIONS = ["CreateCloudRecording", "DescribeCloudRecording", "ModifyCloudRecording", "DeleteCloudRecording"]
CODE = re.compile(
    r"AuthFailure\.\w+|InvalidAction|InvalidParameter(\.\w+)?|InvalidRequest|MissingParameter(\.\w+)?|NoSuchVersion"
    r"|RequestSizeLimitExceeded|ResourceNotFound|UnknownParameter|UnsupportedOperation|FailedOperation(\.\w+)?"
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["1", "#000000", "*$"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PATHS = sorted({name.rpartition(".")[0] for name in flattened(CREATE)} | set(flattened(CREATE)) - {""})
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("Authorization", "Host", "Content-Type", "Content-Length", "X-Own", "X-TC-Action", "X-TC-Version"),
                *("X-TC-Timestamp", "X-TC-Token", "X-TC-Content-SHA256", "X-TC-TraceId", "X-TC-Region"),
            ]
        ),
        st.none() | st.text(st.characters(max_codepoint=255), max_size=60),
    ),
    max_size=3,
)


def ask(http: Http) -> Answer:
    backend = MemoryBackend()
    answer = asyncio.run(call(App(backend, clock=lambda: NOW), http))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    response = answer.response
    assert len(response["RequestId"]) == 36
    assert not answer.code or CODE.fullmatch(answer.code), answer.body
    text = answer.body.decode()
    assert "Traceback" not in text
    assert not [secret for secret in SECRETS if secret in text]
    return answer


def changed(path: str, value: Any) -> dict[str, Any]:
    """The sample request with another value in one place."""
    params: dict[str, Any] = json.loads(json.dumps(CREATE))
    here: Any = params
    *parents, last = path.split(".")
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here[part]
    if isinstance(here, list):
        here[int(last)] = value
    else:
        here[last] = value
    return params


@given(st.sampled_from(ACTIONS), st.sampled_from([path for path in PATHS if path]), VALUES)
@settings(max_examples=150)
def test_one_field_is_something_else(action: str, path: str, value: Any) -> None:
    ask(tc3(action, changed(path, value)))


@given(
    st.sampled_from(ACTIONS), st.dictionaries(st.sampled_from(list(CREATE)) | st.text(max_size=9), VALUES, max_size=6)
)
@settings(max_examples=150)
def test_any_object(action: str, params: dict[str, Any]) -> None:
    ask(tc3(action, params))


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=150)
def test_any_body(body: bytes) -> None:
    ask(tc3("CreateCloudRecording", body=body))
    ask(Http("POST", [("Host", "h"), ("Content-Type", "application/x-www-form-urlencoded")], b"", body))
    ask(Http("POST", [("Host", "h")], b"", body))


@given(st.integers(0, 1200), st.binary(min_size=1, max_size=3))
@settings(max_examples=150)
def test_a_body_with_other_bytes_in_it(at: int, other: bytes) -> None:
    body = json.dumps(CREATE).encode()
    ask(tc3("CreateCloudRecording", body=body[: at % len(body)] + other + body[at % len(body) + 1 :]))


@given(HEADERS, st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "x"]), st.binary(max_size=60))
@settings(max_examples=100)
def test_any_headers(headers: list[tuple[str, str | None]], method: str, query: bytes) -> None:
    for http in (tc3(), legacy(), tc3(method="GET"), legacy(method="GET")):
        for name, value in headers:
            http.set(name, value)
        ask(http)
        ask(Http(method, http.headers, query, http.body))


@given(st.text(st.characters(max_codepoint=255), max_size=120))
@settings(max_examples=150)
def test_any_authorization(text: str) -> None:
    ask(tc3().set("Authorization", text))
    ask(tc3().set("Authorization", "TC3-HMAC-SHA256 Credential=" + text))
    credential = "TC3-HMAC-SHA256 Credential=AKIDexample/2023-11-14/trtc/tc3_request"
    ask(tc3().set("Authorization", f"{credential}, SignedHeaders=content-type;host;{text}, Signature={'0' * 64}"))
    ask(tc3().set("Authorization", f"{credential}, SignedHeaders=content-type;host, Signature={text:0<64.64}"))


@given(st.sampled_from(ACTIONS), st.dictionaries(NAMES | st.sampled_from(PATHS), st.text(max_size=12), max_size=8))
@settings(max_examples=100)
def test_any_flattened_parameters(action: str, fields: dict[str, str]) -> None:
    """Signed as they are: names with dots are flattened again, which changes nothing."""
    own = {name: value for name, value in fields.items() if name not in ("Action", "Version", "Timestamp", "SecretId")}
    try:
        urlencode(own)
    except UnicodeEncodeError:
        return
    ask(legacy(action, own))
    ask(tc3(action, own, method="GET"))
