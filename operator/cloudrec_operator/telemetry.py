"""/metrics, in the loop that the operator works in; beside kopf's /healthz, on a port of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

from cloudrec_operator.errors import CannotListen


@asynccontextmanager
async def metrics(host: str, port: int, *collectors: Collector) -> AsyncIterator[None]:
    """Serve them, and what the process itself uses, while the block runs; `port` 0: do not. Raises CannotListen."""
    if not port:
        yield
        return
    registry = CollectorRegistry()
    for of_process in (ProcessCollector, PlatformCollector, GCCollector):
        of_process(registry=registry)
    for collector in collectors:
        registry.register(collector)

    async def tell(request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", tell)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CannotListen(f"/metrics cannot listen on {host} port {port}: {error}") from error
        yield
    finally:
        await runner.cleanup()
