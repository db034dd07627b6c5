"""The kubelet's HTTPS port as far as `kubectl logs` needs it. Only the API server's client certificate is let in."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from ..pki import KUBELET_CLIENT
from .container import Container
from .pod import Pod

CHUNK = 65536
FOLLOW_EVERY = 0.1
TAIL_BLOCK = 65536

FindPod = Callable[[str, str], Pod | None]


def tls(pki: Path) -> ssl.SSLContext:
    """Serve with the node's certificate and ask for a client certificate of the cluster's CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "kubelet.crt", pki / "kubelet.key")
    context.load_verify_locations(pki / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def application(find: FindPod) -> web.Application:
    """The routes; `find` gives the worker of a Pod."""
    app = web.Application(middlewares=[_only_the_api_server])
    app[FIND] = find
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", _logs)
    app.router.add_route("*", "/{rest:.*}", _not_offered)
    return app


FIND = web.AppKey("find", object)


@web.middleware
async def _only_the_api_server(request: web.Request, handler: Handler) -> web.StreamResponse:
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport else None
    names = [value for part in (certificate or {}).get("subject", ()) for key, value in part if key == "commonName"]
    if names != [KUBELET_CLIENT]:
        raise web.HTTPForbidden(text="only the API server may ask this node\n")
    return await handler(request)


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _not_offered(request: web.Request) -> web.Response:
    return web.Response(
        status=501,
        text=f"the embedded stack's node offers logs only, not {request.path.split('/')[1]}: "
        "its containers are processes of this machine\n",
    )


async def _logs(request: web.Request) -> web.StreamResponse:
    find = request.app[FIND]
    assert callable(find)
    pod = find(request.match_info["namespace"], request.match_info["pod"])
    container = _container(pod, request.match_info["container"])
    previous = _flag(request, "previous")
    path = container.log_path(previous)
    if not path.exists():
        state = container.facts.state.get("waiting", {}).get("reason", "waiting to start")
        raise web.HTTPBadRequest(
            text=f'container "{container.name}" in pod "{request.match_info["pod"]}" has no such log: {state}\n'
        )
    tail = request.query.get("tailLines")
    limit = int(request.query.get("limitBytes") or 0)
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    position = tail_position(path, int(tail)) if tail is not None else 0
    await _copy(response, path, position, limit, container if _flag(request, "follow") else None)
    return response


async def _copy(response: web.StreamResponse, path: Path, position: int, limit: int, follow: Container | None) -> None:
    """Send a log from `position`, at most `limit` bytes (0: all), and what `follow` adds until it ends."""
    sent = 0
    with path.open("rb") as file:
        file.seek(position)
        while True:
            alive = follow is not None and follow.running and follow.log_path() == path
            while chunk := file.read(min(CHUNK, limit - sent) if limit else CHUNK):
                await response.write(chunk)
                sent += len(chunk)
            if not alive or (limit and sent >= limit):
                return
            await asyncio.sleep(FOLLOW_EVERY)


def tail_position(path: Path, lines: int) -> int:
    """Where the last `lines` lines of a file begin."""
    size = end = path.stat().st_size
    if lines <= 0:
        return size
    wanted = lines + 1  # the end of the line before the first one
    with path.open("rb") as file:
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                wanted -= 1
        while end > 0:
            start = max(0, end - TAIL_BLOCK)
            file.seek(start)
            block = file.read(end - start)
            count = block.count(b"\n")
            if count >= wanted:
                for _ in range(count - wanted):
                    block = block[block.index(b"\n") + 1 :]
                return end - len(block) + block.index(b"\n") + 1
            wanted -= count
            end = start
    return 0


def _container(pod: Pod | None, name: str) -> Container:
    for container in pod.containers if pod else []:
        if container.name == name:
            return container
    raise web.HTTPNotFound(text=f"this node has no such container: {name}\n")


def _flag(request: web.Request, name: str) -> bool:
    return request.query.get(name, "").lower() in ("1", "true")
