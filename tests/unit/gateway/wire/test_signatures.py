"""Each signature is accepted in every form that an SDK gives it, and in no other."""

import hashlib
import json
from typing import Any

import pytest

from cloudrec_gateway.asgi import App
from cloudrec_gateway.wire.request import MAX_BODY, MAX_HEADERS, MAX_QUERY
from tests.unit.gateway.wire.helpers import (
    CREATE,
    DESCRIBE,
    NOW,
    OPEN_ID,
    SECRET_KEY,
    SECRETS,
    Answer,
    Http,
    MemoryBackend,
    call,
    legacy,
    tc3,
)

CREATED = "CreateCloudRecording"


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def app(backend: MemoryBackend) -> App:
    return App(backend, clock=lambda: NOW, public_hosts=("recording.example.org",))


async def create(app: App, http: Http) -> Answer:
    answer = await call(app, http)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.response["RequestId"]
    assert not any(secret in answer.body.decode() for secret in SECRETS)
    return answer


ACCEPTED: dict[str, Http] = {
    "python": tc3(CREATED, CREATE),
    "python, GET": tc3(CREATED, CREATE, method="GET"),
    "node": tc3(
        CREATED, CREATE, body=json.dumps(CREATE, ensure_ascii=False).encode(), service="127", signed_host="127.0.0.1"
    ),
    "node by name": tc3(CREATED, CREATE, service="localhost:8800", host="localhost:8800", signed_host="localhost"),
    "node, GET": tc3(CREATED, CREATE, method="GET", service="127", signed_host="127.0.0.1"),
    "java": tc3(CREATED, CREATE, service="127", content_type="application/json; charset=utf-8"),
    "charset in capitals": tc3(CREATED, CREATE, content_type="application/json;charset=UTF-8"),
    "lower-cased as published": tc3(
        CREATED, CREATE, host="Gateway.Local:80", content_type="application/json; charset=UTF-8", lower=True
    ),
    "behind a proxy": tc3(CREATED, CREATE, host="10.0.0.7:8080", signed_host="recording.example.org"),
    "IPv6": tc3(CREATED, CREATE, host="[::1]:8800"),
    "more headers signed": tc3(
        CREATED, CREATE, more_signed=[("x-tc-action", CREATED), ("x-tc-timestamp", str(NOW)), ("x-own", "a b")]
    ),
    "more headers signed, lower-cased": tc3(CREATED, CREATE, more_signed=[("x-tc-action", CREATED)], lower=True),
    "unsigned payload where allowed": tc3(CREATED, CREATE, unsigned=True, secret_id=OPEN_ID),
    "declared hash": tc3(CREATED, CREATE).set(
        "X-TC-Content-SHA256", hashlib.sha256(json.dumps(CREATE).encode()).hexdigest()
    ),
    "5 minutes old": tc3(CREATED, CREATE, timestamp=NOW - 300),
    "5 minutes ahead": tc3(CREATED, CREATE, timestamp=NOW + 300),
    "no region, another language": tc3(CREATED, CREATE).set("X-TC-Region", None).set("X-TC-Language", "en-US"),
    "HmacSHA1": legacy(CREATED, CREATE, algorithm="HmacSHA1"),
    "HmacSHA1 by default": legacy(CREATED, CREATE, algorithm=""),
    "HmacSHA256": legacy(CREATED, CREATE, Language="en-US", RequestClient="SDK_PYTHON_3.1.177"),
    "HmacSHA1, GET": legacy(CREATED, CREATE, algorithm="HmacSHA1", method="GET"),
    "HmacSHA256, GET": legacy(CREATED, CREATE, method="GET"),
    "HmacSHA256, java": legacy(CREATED, CREATE, content_type="application/x-www-form-urlencoded; charset=utf-8"),
    "HmacSHA256, signed without port": legacy(CREATED, CREATE, host="127.0.0.1").set("Host", "127.0.0.1:8800"),
    "HmacSHA256, behind a proxy": legacy(CREATED, CREATE, host="recording.example.org").set("Host", "10.0.0.7:80"),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_accepted(name: str, app: App, backend: MemoryBackend) -> None:
    answer = await create(app, ACCEPTED[name])
    assert not answer.code, answer.message
    assert answer.response["TaskId"]
    ((caller, request),) = backend.calls
    assert request.record_params.subscribe_stream_user_ids.subscribe_audio_user_ids == ["10.*$", "阿丽"]
    assert request.record_params.subscribe_stream_user_ids.subscribe_video_user_ids == ["123"]
    assert request.mix_layout_params.pure_audio_disable_layout is True
    assert request.room_id == "12345"
    assert caller.request_id == answer.response["RequestId"]
    assert len(caller.body_hash) == 64


def replaced(http: Http, old: bytes, new: bytes) -> Http:
    http.body, http.query = http.body.replace(old, new), http.query.replace(old, new)
    assert new in http.body + http.query
    return http


def authorization(http: Http, old: str, new: str) -> Http:
    value = dict(http.headers)["Authorization"]
    assert old in value
    return http.set("Authorization", value.replace(old, new))


FAILURE = "AuthFailure.SignatureFailure"
INVALID = "AuthFailure.InvalidAuthorization"

REFUSED: dict[str, tuple[str, Http]] = {
    "altered body": (FAILURE, replaced(tc3(), b"0b1c", b"0b1d")),
    "altered body, one blank more": (FAILURE, replaced(tc3(), b'"}', b'" }')),
    "altered query": (FAILURE, replaced(tc3(method="GET"), b"0b1c", b"0b1d")),
    "query encoded otherwise": (FAILURE, replaced(tc3(method="GET"), b"0b1c", b"%30b1c")),
    "altered host": (FAILURE, tc3().set("Host", "127.0.0.2:8800")),
    "altered port": (FAILURE, tc3().set("Host", "127.0.0.1:8801")),
    "altered content type": (FAILURE, tc3().set("Content-Type", "application/json; charset=utf-8")),
    "altered timestamp": (FAILURE, tc3().set("X-TC-Timestamp", str(NOW + 1))),
    "altered date": (FAILURE, authorization(tc3(), "2023-11-14", "2023-11-15")),
    "signed with another date": (FAILURE, tc3(date="2023-11-13")),
    "altered service": (FAILURE, authorization(tc3(), "/trtc/", "/cvm/")),
    "altered method": (FAILURE, Http("GET", tc3().set("Content-Type", "application/x-www-form-urlencoded").headers)),
    "another key": (FAILURE, tc3(secret_key=SECRET_KEY + "x")),
    "another signature": (FAILURE, authorization(tc3(), tc3().signature, tc3(timestamp=NOW + 1).signature)),
    "signature too long": (INVALID, authorization(tc3(), "Signature=", "Signature=00")),
    "signed action altered": (
        FAILURE,
        tc3(more_signed=[("x-tc-action", "DescribeCloudRecording")]).set("X-TC-Action", "DeleteCloudRecording"),
    ),
    "declared hash of another body": (FAILURE, tc3().set("X-TC-Content-SHA256", "0" * 64)),
    "declared hash that is none": (FAILURE, tc3().set("X-TC-Content-SHA256", "é")),
    "signed payload said to be unsigned": (FAILURE, tc3().set("X-TC-Content-SHA256", "UNSIGNED-PAYLOAD")),
    "unsigned payload": ("AuthFailure.UnauthorizedOperation", tc3(unsigned=True)),
    "expired": ("AuthFailure.SignatureExpire", tc3(timestamp=NOW - 301)),
    "ahead": ("AuthFailure.SignatureExpire", tc3(timestamp=NOW + 301)),
    "long ago": ("AuthFailure.SignatureExpire", tc3(timestamp=0)),
    "unknown id": ("AuthFailure.SecretIdNotFound", tc3(secret_id="AKIDnobody")),
    "temporary credentials": ("AuthFailure.TokenFailure", tc3().set("X-TC-Token", "token")),
    "no authorization": (INVALID, tc3().set("Authorization", None)),
    "not signed": (INVALID, tc3().set("Authorization", "SKIP")),
    "Basic": (INVALID, tc3().set("Authorization", "Basic YTpi")),
    "empty authorization": (INVALID, tc3().set("Authorization", "")),
    "long authorization": (INVALID, authorization(tc3(), "Signature=", "Signature=" + "0" * 4000)),
    "host not signed": (INVALID, authorization(tc3(), "content-type;host", "content-type")),
    "content type not signed": (INVALID, authorization(tc3(), "content-type;host", "host")),
    "header signed twice": (INVALID, authorization(tc3(), "content-type;host", "content-type;host;host")),
    "empty header signed": (INVALID, authorization(tc3(), "content-type;host", "content-type;;host")),
    "signed header missing": (INVALID, authorization(tc3(), "content-type;host", "content-type;host;x-own")),
    "scope of five": (INVALID, authorization(tc3(), "/trtc/", "/trtc/x/")),
    "action missing": ("MissingParameter", tc3().set("X-TC-Action", None)),
    "version missing": ("MissingParameter", tc3().set("X-TC-Version", None)),
    "timestamp missing": ("MissingParameter", tc3().set("X-TC-Timestamp", None)),
    "another version": ("NoSuchVersion", tc3().set("X-TC-Version", "2017-03-12")),
    "timestamp no number": ("InvalidParameter", tc3().set("X-TC-Timestamp", "now")),
    "timestamp in other digits": ("InvalidParameter", tc3().set("X-TC-Timestamp", "²³")),
    "timestamp too long": ("InvalidParameter", tc3().set("X-TC-Timestamp", "1" * 400)),
    "timestamp with fraction": ("InvalidParameter", tc3().set("X-TC-Timestamp", f"{NOW}.5")),
    "unknown action": ("InvalidAction", tc3("StartPublishCdnStream")),
    "action in lower case": ("InvalidAction", tc3("describecloudrecording")),
    "host missing": ("InvalidRequest", tc3().set("Host", None)),
    "content type missing": ("InvalidRequest", tc3().set("Content-Type", None)),
    "form with TC3": ("InvalidRequest", tc3(content_type="application/x-www-form-urlencoded")),
    "multipart": ("InvalidRequest", tc3(content_type="multipart/form-data; boundary=x")),
    "JSON with GET": ("InvalidRequest", tc3(method="GET", content_type="application/json")),
    "another charset": ("InvalidRequest", tc3(content_type="application/json; charset=latin-1")),
    "PUT": ("InvalidRequest", tc3(method="PUT", content_type="application/json", body=b"{}")),
    "HEAD": ("InvalidRequest", Http("HEAD", tc3().headers)),
    "query with POST": ("InvalidRequest", Http("POST", tc3().headers, b"TaskId=1", tc3().body)),
    "body with GET": ("InvalidRequest", Http("GET", tc3(method="GET").headers, tc3(method="GET").query, b"{}")),
    "two hosts": ("InvalidRequest", Http("POST", [*tc3().headers, ("host", "other")], b"", tc3().body)),
    "two actions": ("InvalidRequest", Http("POST", [*tc3().headers, ("X-TC-Action", "x")], b"", tc3().body)),
    "many headers": (
        "InvalidRequest",
        Http("POST", [*tc3().headers, *[("X-Own", "x")] * MAX_HEADERS], b"", tc3().body),
    ),
    "huge query": ("RequestSizeLimitExceeded", Http("GET", tc3(method="GET").headers, b"x" * (MAX_QUERY + 1))),
    "huge body": ("RequestSizeLimitExceeded", Http("POST", tc3().headers, b"", b"x" * (MAX_BODY + 1))),
    "empty": (INVALID, Http("POST", [("Host", "h")])),
    "empty GET": (INVALID, Http("GET", [("Host", "h")])),
    "legacy, altered": (FAILURE, replaced(legacy(), b"0b1c", b"0b1d")),
    "legacy, altered action": (FAILURE, replaced(legacy(), b"DescribeCloud", b"DeleteCloud")),
    "legacy, altered nonce": (FAILURE, replaced(legacy(), b"4711", b"4712")),
    "legacy, GET altered": (FAILURE, replaced(legacy(method="GET"), b"0b1c", b"0b1d")),
    "legacy, added": (FAILURE, replaced(legacy(), b"Action=", b"RecorderKey=x&Action=")),
    "legacy, host": (FAILURE, legacy().set("Host", "127.0.0.2:8800")),
    "legacy, another key": (FAILURE, legacy(secret_key="x")),
    "legacy, other algorithm": (FAILURE, replaced(legacy(), b"HmacSHA256", b"HmacSHA1")),
    "legacy, unknown algorithm": ("InvalidParameter", legacy(algorithm="HmacMD5")),
    "legacy, expired": ("AuthFailure.SignatureExpire", legacy(timestamp=NOW - 301)),
    "legacy, no timestamp": ("MissingParameter", legacy(timestamp="")),
    "legacy, bad timestamp": ("InvalidParameter", legacy(timestamp="-5")),
    "legacy, no nonce": ("MissingParameter", legacy(nonce=None)),
    "legacy, bad nonce": ("InvalidParameter", legacy(nonce=-1)),
    "legacy, no signature": ("MissingParameter", replaced(legacy(), b"&Signature=", b"&NoSignature=")),
    "legacy, no action": ("MissingParameter", legacy("")),
    "legacy, another version": ("NoSuchVersion", legacy(Version="1")),
    "legacy, unknown id": ("AuthFailure.SecretIdNotFound", legacy(secret_id="AKIDnobody")),
    "legacy, token": ("AuthFailure.TokenFailure", legacy(Token="t")),
    "legacy, unknown action": ("InvalidAction", legacy("StartPublishCdnStream")),
    "legacy, parameter twice": ("InvalidParameter", replaced(legacy(), b"TaskId=0b1c", b"TaskId=0b1c&TaskId=0b1c")),
    "legacy, not percent-encoded": ("InvalidParameter", replaced(legacy(), b"TaskId=0b1c", b"TaskId=%zz")),
    "legacy, raw bytes": ("InvalidParameter", replaced(legacy(), b"TaskId=0b1c", b"TaskId=\xff")),
    "legacy, not UTF-8": ("InvalidParameter", replaced(legacy(), b"TaskId=0b1c", b"TaskId=%ff")),
    "legacy, too many": ("InvalidParameter", replaced(legacy(), b"Action", b"&".join([b"a=1"] * 3000) + b"&Action")),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(name: str, app: App, backend: MemoryBackend) -> None:
    code, http = REFUSED[name]
    answer = await create(app, http)
    assert answer.code == code, answer.message
    assert len(answer.message) < 400
    assert not backend.calls


async def test_the_service_and_the_key_of_the_day_change_the_signature(app: App) -> None:
    """Derived keys are kept; a kept one is never used for another day, service or secret."""
    for service in ("trtc", "127", "trtc"):
        assert (await create(app, tc3(service=service))).code == "ResourceNotFound"
    assert (await create(app, authorization(tc3(), "/trtc/", "/127/"))).code == FAILURE
    assert (await create(app, tc3(secret_key="other"))).code == FAILURE


async def test_the_same_request_again_is_the_same_caller(app: App, backend: MemoryBackend) -> None:
    first, again = tc3(CREATED, CREATE), tc3(CREATED, CREATE)
    authorization(again, again.signature, again.signature.upper())
    tasks = [(await create(app, http)).response["TaskId"] for http in (first, first, again)]
    assert len(set(tasks)) == 1
    other = (await create(app, tc3(CREATED, CREATE, timestamp=NOW + 1))).response["TaskId"]
    assert other != tasks[0]
    for algorithm in ("HmacSHA1", "HmacSHA256"):
        one = legacy(CREATED, CREATE, algorithm=algorithm)
        assert (await create(app, one)).response["TaskId"] == (await create(app, one)).response["TaskId"]
    assert len(backend.tasks) == 4


async def test_bodies_differ_where_the_signature_does_not_cover_them(app: App, backend: MemoryBackend) -> None:
    http = tc3(CREATED, CREATE, unsigned=True, secret_id=OPEN_ID)
    first = (await create(app, http)).response["TaskId"]
    second = (await create(app, replaced(http, b'"12345"', b'"54321"'))).response["TaskId"]
    assert first != second
    assert backend.calls[0][0].signature == backend.calls[1][0].signature


@pytest.mark.parametrize("sent", [b"true", b"TRUE", b"True"])
async def test_a_boolean_may_be_sent_otherwise_than_it_was_signed(app: App, sent: bytes) -> None:
    """The asynchronous Python client signs `True`, and its HTTP library sends `true`; no other value has such grace."""
    params: dict[str, Any] = {**DESCRIBE, "MixLayoutParams": {"MixLayoutMode": 3, "PureAudioDisableLayout": True}}
    name = b"PureAudioDisableLayout="
    http = replaced(legacy("ModifyCloudRecording", params, method="GET"), name + b"True", name + sent)
    assert (await create(app, http)).code == (FAILURE if sent == b"TRUE" else "ResourceNotFound")
    http = replaced(legacy(params={**DESCRIBE, "TaskId": "True"}, method="GET"), b"TaskId=True", b"TaskId=true")
    assert (await create(app, http)).code == FAILURE
