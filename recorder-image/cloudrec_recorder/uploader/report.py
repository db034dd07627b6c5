"""Saying to Kubernetes what this attempt has to say, no oftener than needed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

from cloudrec_contract.resources import Report
from cloudrec_recorder.uploader.kube import ApiError
from cloudrec_recorder.uploader.retry import backoff

logger = logging.getLogger(__name__)

DEBOUNCE_SECONDS = 0.1
FIRST_SECONDS = 0.1
CAP_SECONDS = 5.0


class Reporter:
    """Brings the newest report to the API server by `apply`, which raises ApiError.

    A report that equals the last accepted one is not sent: a steady recording writes nothing.
    """

    def __init__(self, apply: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._apply = apply
        self._wanted: dict[str, Any] | None = None
        self._accepted: dict[str, Any] | None = None
        self._new = asyncio.Event()
        self._hurry = asyncio.Event()
        self._settled = asyncio.Event()
        self.gone = False
        """The resource is gone: there is nobody to report to."""
        self.away = False
        """The API server did not answer the last time."""

    def tell(self, report: Report) -> None:
        """Have this be the report from now on."""
        wire = report.wire()
        if wire == self._wanted:
            return
        self._wanted = wire
        if wire != self._accepted and not self.gone:
            self._settled.clear()
            self._new.set()

    def declared(self) -> None:
        """The attempt is in the status now: a report that was denied for that may be tried at once."""
        self._hurry.set()

    def resource_gone(self) -> None:
        self.gone = True
        self._settled.set()

    async def accepted(self, timeout: float) -> bool:
        """Wait until the newest report is accepted, or there is nobody to take it; False after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Until cancelled, or the resource is gone."""
        failures = 0
        while not self.gone:
            await self._new.wait()
            await asyncio.sleep(DEBOUNCE_SECONDS)
            self._new.clear()
            self._hurry.clear()
            sent = self._wanted
            assert sent is not None
            try:
                await self._apply(sent)
            except ApiError as error:
                failures += 1
                self._note_failure(error, failures)
                self._new.set()
                await self._wait(backoff(failures, random.random(), FIRST_SECONDS, CAP_SECONDS))
            else:
                failures, self.away, self._accepted = 0, False, sent
                if self._wanted == sent:
                    self._settled.set()

    def _note_failure(self, error: ApiError, failures: int) -> None:
        self.away = error.status == 0 or error.status >= 500
        if error.status == 404:
            self.resource_gone()
        # Denied at first: the Pod may be up before its attempt is in the status.
        usual = error.status == 403 and failures < 5
        logger.log(logging.DEBUG if usual or failures > 8 else logging.WARNING, "the report was not taken: %s", error)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass
