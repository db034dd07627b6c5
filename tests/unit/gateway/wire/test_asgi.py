"""The application beside its signatures: bounds, failures, logs, metrics, and the other paths."""

import asyncio
import json
import logging
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from cloudrec_contract.logs import JsonFormatter
from cloudrec_gateway import deadlines
from cloudrec_gateway.asgi import App
from cloudrec_gateway.deadlines import Deadlines
from cloudrec_gateway.redact import describe
from cloudrec_gateway.wire.request import MAX_BODY
from tests.unit.gateway.wire.helpers import (
    APP,
    BUCKET_SECRET,
    CREATE,
    DESCRIBE,
    NOW,
    SECRET_ID,
    SECRETS,
    USER_SIG,
    Http,
    MemoryBackend,
    call,
    tc3,
)

CREATED = "CreateCloudRecording"


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def app(backend: MemoryBackend) -> App:
    return App(backend, clock=lambda: NOW)


async def test_the_trace_id_is_given_back(app: App) -> None:
    answer = await call(app, tc3().set("X-TC-TraceId", "0b1c-d"))
    assert answer.headers["x-tc-traceid"] == "0b1c-d"
    assert "x-tc-traceid" not in (await call(app, tc3().set("X-TC-TraceId", "a b"))).headers


async def test_a_body_in_parts(app: App) -> None:
    http = tc3(CREATED, CREATE)
    parts = [http.body[:10], b"", http.body[10:11], http.body[11:]]
    assert (await call(app, http, parts=parts)).response["TaskId"]


async def test_a_body_is_not_read_beyond_its_bound(app: App, backend: MemoryBackend) -> None:
    http = tc3()
    assert (await call(app, http.set("Content-Length", str(MAX_BODY + 1)), parts=[])).code == "RequestSizeLimitExceeded"
    assert (await call(app, http.set("Content-Length", "9" * 30), parts=[])).code == "RequestSizeLimitExceeded"
    endless = [b"x" * 1000] * 10_000
    assert (await call(app, http.set("Content-Length", None), parts=endless)).code == "RequestSizeLimitExceeded"
    full = tc3(CREATED, body=json.dumps(CREATE).encode().ljust(MAX_BODY))
    assert (await call(app, full)).response["TaskId"]


async def test_a_client_that_goes_away(app: App, backend: MemoryBackend) -> None:
    answer = await call(app, tc3(), parts=[])
    assert answer.code == "InvalidRequest"
    assert not backend.calls


async def test_credentials_that_are_not_read_yet_are_no_unknown_ones(app: App, backend: MemoryBackend) -> None:
    backend.not_ready = "credentials have not been read yet"
    backend.credentials.clear()
    answer = await call(app, tc3())
    assert answer.code == "InternalError.CRInternalError"
    assert "not ready" in answer.message


async def test_limits_come_before_the_checks_of_the_parameters(app: App, backend: MemoryBackend) -> None:
    backend.allowed = 0
    broken = tc3(CREATED, {"SdkAppId": APP, "Nonsense": 1})
    assert (await call(app, broken)).code == "RequestLimitExceeded"
    assert (await call(app, tc3(secret_key="x"))).code == "AuthFailure.SignatureFailure"
    assert (await call(app, tc3(CREATED, {}))).code == "MissingParameter.SdkAppId"
    backend.allowed = 1
    assert (await call(app, broken)).code == "MissingParameter.RoomId"


@pytest.mark.parametrize("app_id", [1, 0, -1, 1 << 70, APP + 1])
async def test_another_application(app: App, backend: MemoryBackend, app_id: int) -> None:
    answer = await call(app, tc3(params={**DESCRIBE, "SdkAppId": app_id}))
    assert answer.code == "InvalidParameter.SdkAppId"
    assert not backend.calls


@pytest.mark.parametrize("app_id", [True, None, "1400123456", 1400123456.0, [APP], {}])
async def test_no_application(app: App, backend: MemoryBackend, app_id: Any) -> None:
    answer = await call(app, tc3(params={**DESCRIBE, "SdkAppId": app_id}))
    assert answer.code in ("InvalidParameter", "MissingParameter.SdkAppId")
    assert not backend.calls


class Logged(logging.Handler):
    """Lines as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Any:
    handler = Logged()
    logger = logging.getLogger("cloudrec_gateway")
    monkeypatch.setattr(logger, "level", logging.DEBUG)
    logging.Logger.manager._clear_cache()  # type: ignore[attr-defined]
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    monkeypatch.undo()
    logging.Logger.manager._clear_cache()  # type: ignore[attr-defined]


async def test_the_access_log(app: App, backend: MemoryBackend, logged: Logged) -> None:
    created = await call(app, tc3(CREATED, CREATE))
    await call(app, tc3(params={**DESCRIBE, "TaskId": created.response["TaskId"]}))
    await call(app, tc3(secret_id="AKIDnobody"))
    await call(app, tc3("NoSuchAction"))
    await call(app, tc3(secret_key="other"))
    first, query, unknown, no_action, mismatch = logged.lines
    assert first.pop("ms") >= 0
    del first["ts"]
    assert first == {
        "level": "info",
        "logger": "cloudrec_gateway.access",
        "message": "CreateCloudRecording OK",
        "requestId": created.response["RequestId"],
        "method": "POST",
        "action": CREATED,
        "code": "OK",
        "sdkAppId": APP,
        "secretId": SECRET_ID,
        "client": "127.0.0.1",
    }
    assert (query["level"], query["action"], query["code"]) == ("debug", "DescribeCloudRecording", "OK")
    assert (unknown["secretId"], unknown["action"], unknown["code"]) == ("", "", "AuthFailure.SecretIdNotFound")
    assert (no_action["secretId"], no_action["action"], no_action["code"]) == (SECRET_ID, "", "InvalidAction")
    assert (mismatch["secretId"], mismatch["level"]) == ("", "info")


class Strict(BaseModel):
    secret: int


def validation_error() -> ValidationError:
    try:
        Strict.model_validate({"secret": BUCKET_SECRET})
    except ValidationError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(f"bucket {BUCKET_SECRET!r}, user {USER_SIG}"),
        KeyError(*SECRETS[1:]),
        validation_error(),
        TimeoutError(),
        RecursionError(),
        OSError(5, BUCKET_SECRET),
        UnicodeEncodeError("utf-8", BUCKET_SECRET, 0, 1, "no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_failure_tells_the_client_nothing_and_the_log_no_secret(
    app: App, backend: MemoryBackend, logged: Logged, error: Exception
) -> None:
    backend.fault = error
    answer = await call(app, tc3(CREATED, CREATE))
    assert (answer.status, answer.code) == (200, "InternalError.CRInternalError")
    failure, access = logged.lines
    assert failure["requestId"] == access["requestId"] == answer.response["RequestId"]
    assert type(error).__name__ in failure["message"]
    assert "helpers.py" in failure["message"]
    told = answer.body.decode() + json.dumps(logged.lines)
    assert not [secret for secret in SECRETS if secret in told]
    assert "Traceback" not in answer.body.decode()
    assert "helpers.py" not in answer.body.decode()


def test_secrets_with_quotes_are_found_too() -> None:
    secret = "a'b\\c\"d"
    text = describe(RuntimeError(f"{secret} and {secret!r}"), {"A": [{"SecretKey": secret, "UserSig": 5}]})
    assert text == "RuntimeError: *** and '***'"


class Slow(MemoryBackend):
    """Its actions never end."""

    async def create(self, caller: Any, request: Any) -> Any:
        await asyncio.Event().wait()


async def test_what_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_SECONDS", 0.01)
    app = App(Slow(), clock=lambda: NOW, seconds=0.02)
    answers = await asyncio.gather(*(call(app, tc3(CREATED, CREATE)) for _ in range(3)))
    assert [answer.code for answer in answers] == ["InternalError.CRInternalError"] * 3
    assert (await call(app, tc3())).code == "ResourceNotFound"

    sent: list[Any] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(tc3().scope(), never, send)
    assert json.loads(sent[1]["body"])["Response"]["Error"]["Code"] == "InvalidRequest"


async def test_a_server_that_ends_cancels_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(Slow(), clock=lambda: NOW)
    task = asyncio.create_task(call(app, tc3(CREATED, CREATE)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_in_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_SECONDS", 0.005)
    watch = Deadlines(5)
    task = watch.begin()
    await asyncio.sleep(0.02)
    assert not watch.end(task)
    assert not watch.end(task)


async def test_metrics(app: App) -> None:
    await call(app, tc3(CREATED, CREATE))
    await call(app, tc3(CREATED, CREATE))
    await call(app, tc3())
    await call(app, tc3("Made-up-by-a-client"))
    answer = await call(app, Http("GET", path="/metrics"))
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.body.decode().splitlines()
    assert 'cloudrec_gateway_requests_total{action="CreateCloudRecording",code="OK"} 2.0' in lines
    assert 'cloudrec_gateway_requests_total{action="DescribeCloudRecording",code="ResourceNotFound"} 1.0' in lines
    assert 'cloudrec_gateway_requests_total{action="",code="InvalidAction"} 1.0' in lines
    assert 'cloudrec_gateway_request_seconds_count{action="CreateCloudRecording"} 2.0' in lines
    assert 'cloudrec_gateway_request_seconds_bucket{action="CreateCloudRecording",le="10.0"} 2.0' in lines
    assert not any("Made-up" in line for line in lines)


async def test_the_other_paths(app: App, backend: MemoryBackend) -> None:
    async def get(path: str, method: str = "GET") -> tuple[int, bytes]:
        answer = await call(app, Http(method, [("Host", "h")], path=path))
        return answer.status, answer.body

    assert await get("/healthz") == (200, b"ok")
    assert await get("/readyz") == (200, b"ok")
    backend.not_ready = "CloudRecordings have not been read yet"
    assert await get("/readyz") == (503, b"CloudRecordings have not been read yet")
    assert await get("/healthz") == (200, b"ok")
    assert (await get("/nowhere"))[0] == 404
    assert (await get("/healthz", "POST"))[0] == 405
    status, body = await get("/openapi.json")
    assert status == 200
    assert json.loads(body)["openapi"].startswith("3.1")
