"""The receiver's HTTP server: what arrives is judged, kept, and then answered."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from cloudrec_contract.secret import Secret

from ..state import CALLBACK_PATH
from . import log as arrival_log
from .arrivals import BODY_LIMIT, Arrival, judge
from .log import ArrivalLog

HEALTH = "/healthz"
KEYS_LIMIT = 100_000
log = logging.getLogger(__name__)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Repeats:
    """How often each of the newest KEYS_LIMIT idempotency keys was accepted."""

    def __init__(self, limit: int = KEYS_LIMIT) -> None:
        self._limit = limit
        self._seen: OrderedDict[str, int] = OrderedDict()

    def of(self, key: str) -> int:
        return self._seen.get(key, 0)

    def add(self, key: str) -> None:
        if not key:
            return
        self._seen[key] = self._seen.pop(key, 0) + 1
        if len(self._seen) > self._limit:
            self._seen.popitem(last=False)


class Receiver:
    """Judges with `key`; keeps in `file`. What a receiver before this one accepted counts as seen."""

    def __init__(self, key: Secret, sdk_app_id: int, file: Path, clock: Callable[[], int] = now_ms) -> None:
        self._key = key
        self._sdk_app_id = sdk_app_id
        self._log = ArrivalLog(file)
        self._clock = clock
        self._repeats = Repeats()
        for arrival in arrival_log.read(file):
            self._count(arrival)

    def application(self) -> web.Application:
        made = web.Application(client_max_size=BODY_LIMIT)
        made.router.add_post(CALLBACK_PATH, self._post)
        made.router.add_get(HEALTH, self._health)
        return made

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _post(self, request: web.Request) -> web.Response:
        content = await request.read()  # above the limit aiohttp answers 413
        repeats = self._repeats.of(request.headers.get("Idempotency-Key", ""))
        arrival = judge(request.headers, content, self._key, self._sdk_app_id, self._clock(), repeats)
        try:
            self._log.append(arrival)
        except OSError as error:
            log.error("an arrival could not be kept: %s", error)
            return web.Response(status=503, text="it could not be kept\n")
        self._count(arrival)
        if arrival.fault:
            log.warning("answered %d: %s", arrival.answer, arrival.fault)
        return web.Response(status=arrival.answer, text=f"{arrival.fault or 'ok'}\n")

    def _count(self, arrival: Arrival) -> None:
        if arrival.answer == 200:
            self._repeats.add(arrival.key)
