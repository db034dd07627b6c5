"""The gateway as an ASGI application: the API at `/`, and /healthz, /readyz, /metrics and /openapi.json beside it.

`/` is served without Starlette's routing and request objects: it is one path, and most of its requests are queries that
are answered from memory. Each request there has an answer with HTTP status 200, whatever becomes of it (`envelope`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any, Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from cloudrec_contract import __version__
from cloudrec_gateway.api.models import REQUESTS
from cloudrec_gateway.api.models import Response as Told
from cloudrec_gateway.api.openapi import document
from cloudrec_gateway.api.parse import parse
from cloudrec_gateway.backend import Backend, Caller
from cloudrec_gateway.deadlines import Deadlines
from cloudrec_gateway.errors import (
    INTERNAL_ERROR,
    INVALID_ACTION,
    INVALID_REQUEST,
    INVALID_SDK_APP_ID,
    REQUEST_TOO_LARGE,
    SECRET_ID_NOT_FOUND,
    ApiFault,
    shown,
)
from cloudrec_gateway.metrics import SUCCESS, Metrics
from cloudrec_gateway.redact import describe
from cloudrec_gateway.wire import envelope
from cloudrec_gateway.wire.call import Call, authenticate
from cloudrec_gateway.wire.request import MAX_BODY, MAX_QUERY, HttpRequest, unique_headers

REQUEST_SECONDS: Final = 20.0
"""How long a request may take from its headers to its answer; above what any action allows itself."""

QUERY: Final = "DescribeCloudRecording"

_logger = logging.getLogger(__name__)
_access = logging.getLogger("cloudrec_gateway.access")

Action = Callable[[Caller, Any], Awaitable[Told]]


class App:
    """The ASGI application over a `Backend`.

    `clock`: Unix time. `public_hosts`: names of this service that clients may have signed, where a proxy in front of it
    changes the header Host. `registry`: where the requests' metrics go, and what /metrics tells. `seconds`: how long a
    request may take.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        clock: Callable[[], float] = time.time,
        public_hosts: Sequence[str] = (),
        registry: CollectorRegistry | None = None,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._public_hosts = tuple(public_hosts)
        self._registry = registry or CollectorRegistry()
        self._metrics = Metrics(self._registry)
        self._actions: dict[str, Action] = {
            "CreateCloudRecording": backend.create,
            QUERY: backend.describe,
            "ModifyCloudRecording": backend.modify,
            "DeleteCloudRecording": backend.delete,
        }
        self._deadlines = Deadlines(seconds)
        self._others = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._tell_metrics),
                Route("/openapi.json", self._openapi),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/":
            await self._serve(scope, receive, send)
        else:
            await self._others(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = _Exchange()
        start = time.perf_counter()
        code = SUCCESS
        task = self._deadlines.begin()
        try:
            body = envelope.success(await self._answer(scope, receive, exchange), exchange.request_id)
        except ApiFault as fault:
            code = fault.code
            body = envelope.failure(fault, exchange.request_id)
        except asyncio.CancelledError:
            if not self._deadlines.end(task):
                raise
            late = _late(exchange)
            code = late.code
            body = envelope.failure(late, exchange.request_id)
        except Exception as error:  # noqa: BLE001  (a request's root)
            code = INTERNAL_ERROR
            trace = describe(error, exchange.parameters)
            _logger.error("a request failed: %s", trace, extra={"requestId": exchange.request_id})
            message = "the gateway failed; ask again, and give the RequestId to its operator if it goes on"
            body = envelope.failure(ApiFault(code, message), exchange.request_id)
        finally:
            self._deadlines.end(task)
        headers = envelope.headers(len(body), exchange.trace_id)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        seconds = time.perf_counter() - start
        self._metrics.count(exchange.action, code, seconds)
        level = logging.DEBUG if code == SUCCESS and exchange.action == QUERY else logging.INFO
        if _access.isEnabledFor(level):
            _log(level, scope, exchange, code, seconds)

    async def _answer(self, scope: Scope, receive: Receive, exchange: _Exchange) -> Told:
        headers = unique_headers(scope["headers"])
        exchange.trace_id = headers.get(envelope.TRACE_ID, b"")
        query = scope["query_string"]
        if len(query) > MAX_QUERY:
            raise ApiFault(REQUEST_TOO_LARGE, f"the query has {len(query)} bytes, allowed: {MAX_QUERY}")
        body = await _read_body(headers, receive)
        request = HttpRequest(scope["method"], headers, query, body)
        call = self._authenticate(request)
        exchange.secret_id = call.credential.secret_id
        model = REQUESTS.get(call.action)
        if model is None:
            raise ApiFault(INVALID_ACTION, f"the action is {shown(call.action)}, allowed: {', '.join(REQUESTS)}")
        exchange.action = call.action
        exchange.parameters = parameters = call.parameters(model)
        self._admit(call, parameters, exchange)
        parsed = parse(model, parameters)
        caller = Caller(call.credential, call.signature, call.body_hash, exchange.request_id)
        return await self._actions[call.action](caller, parsed)

    def _authenticate(self, request: HttpRequest) -> Call:
        try:
            return authenticate(request, self._backend, self._clock(), models=REQUESTS, public_hosts=self._public_hosts)
        except ApiFault as fault:
            if fault.code == SECRET_ID_NOT_FOUND and (reason := self._backend.ready()):
                raise ApiFault(INTERNAL_ERROR, f"the gateway is not ready: {reason}; ask again") from None
            raise

    def _admit(self, call: Call, parameters: dict[str, Any], exchange: _Exchange) -> None:
        """Before the costly part. An SdkAppId that is missing or no number is left to the model's checks."""
        app = parameters.get("SdkAppId")
        if type(app) is not int:
            return
        if app not in call.credential.sdk_app_ids:
            raise ApiFault(INVALID_SDK_APP_ID, f"SdkAppId is {shown(app)}, which is unknown, or not this SecretId's")
        exchange.sdk_app_id = app
        self._backend.admit(app)

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok")

    async def _readyz(self, request: Request) -> Response:
        reason = self._backend.ready()
        return PlainTextResponse(reason or "ok", status_code=503 if reason else 200)

    async def _tell_metrics(self, request: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _openapi(self, request: Request) -> Response:
        return Response(_document(), media_type="application/json")


class _Exchange:
    """What becomes known of one request on its way, for its answer and its line in the log."""

    __slots__ = ("action", "parameters", "request_id", "sdk_app_id", "secret_id", "trace_id")

    def __init__(self) -> None:
        self.request_id = envelope.new_request_id()
        self.trace_id = b""
        self.secret_id = ""
        self.action = ""
        self.sdk_app_id = 0
        self.parameters: dict[str, Any] = {}


def _log(level: int, scope: Scope, exchange: _Exchange, code: str, seconds: float) -> None:
    """The request's line in the access log; a query that succeeds has one at DEBUG only, being asked for all the time.

    What was not verified, a SecretId above all, is not in it.
    """
    client = scope.get("client")
    fields = {
        "requestId": exchange.request_id,
        "method": scope["method"],
        "action": exchange.action,
        "code": code,
        "sdkAppId": exchange.sdk_app_id,
        "secretId": exchange.secret_id,
        "client": client[0] if client else "",
        "ms": round(1000 * seconds, 2),
    }
    message = f"{exchange.action or '-'} {code}"
    # Not by info(): it would look for this line on the stack, at more cost than all else here.
    _access.handle(_access.makeRecord(_access.name, level, __file__, 0, message, (), None, "_log", fields))


@cache
def _document() -> bytes:
    return json.dumps(document(__version__)).encode()


def _late(exchange: _Exchange) -> ApiFault:
    if not exchange.secret_id:
        return ApiFault(INVALID_REQUEST, f"the body did not arrive within {REQUEST_SECONDS:.0f} s")
    _logger.error("a request was not done in time", extra={"requestId": exchange.request_id})
    return ApiFault(INTERNAL_ERROR, f"not done within {REQUEST_SECONDS:.0f} s; ask again")


async def _read_body(headers: dict[bytes, bytes], receive: Receive) -> bytes:
    """All of the body; raises `ApiFault` when it is too large or does not come."""
    declared = headers.get(b"content-length", b"")
    if len(declared) > 12 or (declared.isdigit() and int(declared) > MAX_BODY):
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ApiFault(INVALID_REQUEST, "the connection was closed before the body's end")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_large()
        if not message.get("more_body"):
            return bytes(body)


def _too_large() -> ApiFault:
    return ApiFault(REQUEST_TOO_LARGE, f"the body is larger than the {MAX_BODY} bytes that are allowed")
