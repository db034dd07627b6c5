"""The whole gateway in one event loop: watches, credentials, and the HTTP server over them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from cloudrec_contract.resources import APPS, RECORDINGS
from cloudrec_gateway.asgi import App
from cloudrec_gateway.kube.cache import Cache
from cloudrec_gateway.kube.client import ALL_APPS, ALL_RECORDINGS, CLOUDREC, Kube, namespaced
from cloudrec_gateway.kube.follow import follow
from cloudrec_gateway.kube.keys import Keyring
from cloudrec_gateway.kube.limits import Rates
from cloudrec_gateway.kube.replicas import SERVICE_LABEL, SLICES, Replicas
from cloudrec_gateway.kube.tasks import KubeBackend
from cloudrec_gateway.protocol import BoundedProtocol
from cloudrec_gateway.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 2048


class CannotServe(Exception):
    """There is nothing to connect to, or nowhere to listen; the message says what to do."""


def api_server(env: Mapping[str, str] = os.environ) -> str:
    """https://host:port, as a Pod's environment has it. Raises CannotServe."""
    try:
        host, port = env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]
    except KeyError as missing:
        raise CannotServe(f"no way to the Kubernetes API: {missing.args[0]} is not set") from None
    return f"https://{f'[{host}]' if ':' in host else host}:{port}"


class Server(uvicorn.Server):
    """A server that goes on for `drain_seconds` after the first signal, not ready, and ends at once at the second."""

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._loop = asyncio.get_running_loop()
        self.ending = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.ending:
            self.should_exit = True
            return
        self.ending = True
        self._loop.call_soon_threadsafe(self._drain, signal.Signals(sig).name)

    def _drain(self, sign: str) -> None:
        log.info("%s: not ready from now on, ending in %g s", sign, self._drain_seconds)
        self._loop.call_later(self._drain_seconds, self._exit)

    def _exit(self) -> None:
        self.should_exit = True


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotServe."""
    try:
        kube = Kube(api_server(), settings.account)
    except OSError as error:
        raise CannotServe(f"no service account in {settings.account}: {error}") from error
    sock = _listen(settings)
    async with AsyncExitStack() as stack:
        stack.callback(sock.close)
        await stack.enter_async_context(kube)
        cache, replicas = Cache(), Replicas()
        keyring = Keyring(kube, cache.apps, settings.secrets_seconds)
        backend = KubeBackend(
            kube,
            cache,
            keyring,
            Rates(lambda: replicas.count),
            accept_seconds=settings.accept_seconds,
            keep_seconds=settings.keep_seconds,
            ending=lambda: server.ending,
        )
        app = App(backend, public_hosts=settings.hosts, registry=_registry())
        server = Server(_config(app, settings), settings.drain_seconds)
        background = [
            asyncio.create_task(follow(kube, _path(ALL_APPS, APPS, settings), cache.apps), name="apps"),
            asyncio.create_task(follow(kube, _path(ALL_RECORDINGS, RECORDINGS, settings), cache.tasks), name="tasks"),
            asyncio.create_task(keyring.run(), name="secrets"),
        ]
        if settings.service:
            background.append(asyncio.create_task(_follow_replicas(kube, replicas, settings), name="replicas"))
        log.info("listening", extra=dict(zip(("host", "port"), sock.getsockname(), strict=False)))
        await _until_served(asyncio.create_task(server.serve(sockets=[sock])), background)


async def _until_served(serving: asyncio.Task[None], background: list[asyncio.Task[None]]) -> None:
    """End with the server, or with what should never end."""
    try:
        await asyncio.wait([serving, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in [serving, *background]:
            if task.done():
                task.result()
    finally:
        for task in [serving, *background]:
            task.cancel()
        await asyncio.gather(serving, *background, return_exceptions=True)


async def _follow_replicas(kube: Kube, replicas: Replicas, settings: Settings) -> None:
    namespace = _own_namespace(settings.account)
    path = namespaced(SLICES, namespace, "endpointslices")
    await follow(kube, path, replicas, {"labelSelector": f"{SERVICE_LABEL}={settings.service}"})


def _own_namespace(account: Path) -> str:
    try:
        return (account / "namespace").read_text().strip()
    except OSError as error:
        raise CannotServe(f"no namespace in {account}: {error}; or set CLOUDREC_SERVICE to nothing") from error


def _path(everywhere: str, plural: str, settings: Settings) -> str:
    return namespaced(CLOUDREC, settings.namespace, plural) if settings.namespace else everywhere


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotServe(f"cannot listen on {settings.host} port {settings.port}: {error}") from error


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


def _registry() -> CollectorRegistry:
    """With what the process itself uses."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
