"""/metrics, in the loop that the operator works in; beside kopf's /healthz, on a port of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
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
from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cloudrec_contract.resources import CloudRecordingStatus, ConditionType
from cloudrec_operator.errors import CannotListen


class Conversions(Collector):
    """How MP4, AAC and VOD of recordings ended, since this replica's start. For use in one thread."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()

    def noted(self, old: CloudRecordingStatus, new: CloudRecordingStatus) -> None:
        """A status was written: counts when it is the last one of a recording that was to become more than HLS."""
        if new.phase is None or not new.phase.terminal or (old.phase is not None and old.phase.terminal):
            return
        self._ended.update(c.reason for c in new.conditions if c.type == ConditionType.CONVERTED)

    def collect(self) -> Iterator[Metric]:
        told = CounterMetricFamily(
            "cloudrec_conversions", "Recordings whose MP4, AAC or VOD is done or given up, by result", labels=["reason"]
        )
        for reason, number in sorted(self._ended.items()):
            told.add_metric([reason], number)
        yield told


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
