"""One HTTP server of the gateway's benchmark, in a process of its own: the gateway's application or a bare endpoint.

Both run in the same server (uvicorn with httptools and uvloop, as the gateway does) and answer a query of a recording
of four playlists. It prints one JSON line, `{"port": …, "answer": …}`, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from base64 import b64encode
from typing import Any, Final, cast

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cloudrec_contract import logs
from cloudrec_contract.resources import API_VERSION
from cloudrec_contract.secret import Secret
from cloudrec_gateway.api.models import DescribeCloudRecordingRequest
from cloudrec_gateway.asgi import App
from cloudrec_gateway.backend import Caller
from cloudrec_gateway.kube.cache import Cache
from cloudrec_gateway.kube.client import Object
from cloudrec_gateway.kube.creating import Writes
from cloudrec_gateway.kube.keys import Keyring
from cloudrec_gateway.kube.limits import Rates
from cloudrec_gateway.kube.tasks import KubeBackend
from cloudrec_gateway.protocol import BoundedProtocol
from cloudrec_gateway.wire import envelope

SDK_APP_ID: Final = 1400000001
TASK_ID: Final = "0b000000-0000-4000-8000-000000000001"
APP_UID: Final = "0b000000-0000-4000-8000-000000000002"
SECRET_ID: Final = "AKIDbenchmark"
SECRET_KEY: Final = Secret("the-benchmark's-own-key")
USERS: Final = ("alice", "bob")


class Secrets:
    """The part of the API server that a query needs: the Secret with the credentials."""

    async def get(self, path: str) -> Object:
        return {"data": {SECRET_ID: b64encode(SECRET_KEY.reveal().encode()).decode()}}


async def backend() -> KubeBackend:
    """The gateway's own, with its cache filled; nothing but queries can be asked of it."""
    cache = Cache()
    cache.apps.replace([_app()])
    cache.tasks.replace([_recording()])
    keyring = Keyring(Secrets(), cache.apps, seconds=3600)
    await keyring.refresh()
    rates = Rates(lambda: 1)
    nothing = cast(Writes, None)  # a query writes nothing
    return KubeBackend(nothing, cache, keyring, rates, accept_seconds=1, keep_seconds=1)


def _app() -> dict[str, Any]:
    return {
        "metadata": {
            "name": "demo",
            "namespace": "default",
            "uid": APP_UID,
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "sdkAppId": SDK_APP_ID,
            "room": {"livekit": {"url": "ws://livekit", "apiKeySecretRef": {"name": "livekit"}}},
            "api": {"credentialsSecretRef": {"name": "api"}},
            "limits": {"requestsPerSecond": 100_000},
        },
    }


def _recording() -> dict[str, Any]:
    files = [
        {"userId": user, "media": "main", "kind": kind, "beginTimeStamp": 1_622_186_279_144}
        for user in USERS
        for kind in ("audio", "video")
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": "CloudRecording",
        "metadata": {"uid": TASK_ID, "name": "benchmark", "namespace": "default", "resourceVersion": "1"},
        "spec": {
            "appRef": {"name": "demo"},
            "room": {"id": "12345", "type": "Number"},
            "storage": {
                "bucket": {"bucket": "recordings", "region": "local", "credentialsSecretRef": {"name": "bucket"}}
            },
        },
        "status": {
            "phase": "Recording",
            "attempts": [{"pod": "p-0", "index": 0, "report": {"state": "Recording", "files": files}}],
        },
    }


def bare(answer: bytes) -> ASGIApp:
    """The same framework, with one route that returns these bytes to everybody."""

    async def endpoint(request: Request) -> Response:
        return Response(answer, media_type="application/json")

    return Starlette(routes=[Route("/", endpoint, methods=["GET", "POST"])])


async def _serve(app: ASGIApp, http: type[asyncio.Protocol], answer: bytes) -> None:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="off", ws="none", http=http
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        print(json.dumps({"port": listening.getsockname()[1], "answer": answer.decode()}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


async def _run(kind: str) -> None:
    made = await backend()
    request = DescribeCloudRecordingRequest.model_validate({"SdkAppId": SDK_APP_ID, "TaskId": TASK_ID})
    credential = made.lookup(SECRET_ID)
    assert credential is not None
    answer = envelope.success(await made.describe(Caller(credential, "", "", TASK_ID), request), TASK_ID)
    if kind == "gateway":
        await _serve(App(made), BoundedProtocol, answer)
    else:
        await _serve(bare(answer), HttpToolsProtocol, answer)


def main() -> None:
    """`python -m benchmarks.serving gateway|bare`."""
    logs.configure("INFO")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvloop.run(_run(sys.argv[1]))


if __name__ == "__main__":
    main()
