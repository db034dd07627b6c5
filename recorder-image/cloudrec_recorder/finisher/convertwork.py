"""The conversion as the finisher's second stage: on a thread of its own, told of while it is at work, and ended with
one report that has all that was left to say."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from cloudrec_contract.finish import ConvertTask
from cloudrec_contract.resources import Report
from cloudrec_recorder.finisher.board import Board
from cloudrec_recorder.finisher.book import Book
from cloudrec_recorder.finisher.converting import Converter, Done
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.finisher.drain import Stopped
from cloudrec_recorder.finisher.patience import GivenUp, Patience
from cloudrec_recorder.finisher.settings import Settings
from cloudrec_recorder.uploader.kube import Resource
from cloudrec_recorder.uploader.report import Reporter
from cloudrec_recorder.uploader.state import UNACKED_EVENTS
from cloudrec_recorder.uploader.store import StoreError
from cloudrec_recorder.vod import Backend, VodRefused, backend

logger = logging.getLogger(__name__)

FIRST_LOOK_SECONDS: Final = 30.0
"""How long it is waited for what was acknowledged before: without it events are only said twice."""


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Seen:
    """Of the recording: `acked`, `declared`: this Pod's attempt is in the status; `gone`: nobody is told any more."""

    acked: int = 0
    declared: bool = False
    gone: bool = False


def seen(resource: Resource | None, task_id: str, pod: str) -> Seen:
    if resource is None or resource["metadata"].get("uid") != task_id:
        return Seen(gone=True)
    attempts = resource.get("status", {}).get("attempts", [])
    own = next((attempt for attempt in attempts if attempt.get("pod") == pod), None)
    return Seen(int(own.get("acked", 0)), True) if own is not None else Seen()


class ConvertWork:
    """On the loop's thread, but for the conversion itself."""

    def __init__(
        self, settings: Settings, task: ConvertTask, scratch: Path, reporter: Reporter, stop: threading.Event
    ) -> None:
        loop = asyncio.get_running_loop()

        def post(report: Report) -> None:
            loop.call_soon_threadsafe(reporter.tell, report)

        self.board = Board(post)
        self._settings = settings
        self._task = task
        self._reporter = reporter
        self._stop = stop
        self._ask = Patience(settings.finish_seconds, stop, self.board.trouble)
        self._scratch = scratch / "outputs"
        self._scratch.mkdir()
        self._known = asyncio.Event()
        self._news = asyncio.Event()

    # --- what the operator says ---

    def read(self, resource: Resource | None) -> Seen:
        return seen(resource, self._settings.task_id, self._settings.pod)

    def changed(self, now: Seen) -> None:
        if now.gone:
            logger.info("the resource is gone: there is nobody to report to")
            self._reporter.resource_gone()
        if now.declared:
            self._reporter.declared()
        self.board.acknowledge(now.acked)
        if now.declared or now.gone:
            self._known.set()
        self.wake()

    def wake(self) -> None:
        """Look again at what is waited for."""
        self._news.set()

    # --- the work ---

    async def run(self) -> str:
        """Why it is to be tried again by another process; empty when it is not, or when stopped."""
        await self._first_look()
        try:
            done = await asyncio.to_thread(self._converter().run)
        except Stopped:
            logger.info("told to end: what is left is another's")
            return ""
        except (GivenUp, StoreError) as error:
            return f"the ledger cannot be read: {error}"
        await self._tell(done)
        return ""

    def _converter(self) -> Converter:
        depot = Depot(self._settings.store, self._settings.credentials)
        book = Book(depot, self._settings.task_id, self._ask, wall_ms, self.board.acked)
        return Converter(self._task, depot, self._backend(), book, self.board, self._ask, self._scratch)

    def _backend(self) -> Callable[[], Backend]:
        task, folder = self._task.vod, self._settings.vod_credentials

        @cache
        def made() -> Backend:
            if task is None or folder is None:
                raise VodRefused("NoBackend", "the recording is not for VOD")
            return backend(task, self._settings.task_id, folder)

        return made

    async def _first_look(self) -> None:
        try:
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                while not (self._known.is_set() or self._stop.is_set()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            logger.warning("what was acknowledged before is not known")

    async def _tell(self, done: Done) -> None:
        """More events than a report holds are told as there is room, while somebody acknowledges them."""
        self.board.end(done.conversion, done.events, last=False)
        while (waiting := self.board.waiting) > UNACKED_EVENTS and not self._idle():
            try:
                async with asyncio.timeout(self._settings.ack_seconds):
                    while self.board.waiting == waiting and not self._idle():
                        self._news.clear()
                        await self._news.wait()
            except TimeoutError:
                logger.warning("nobody acknowledges events: %d wait", waiting)
                break
        if not self._stop.is_set():
            self.board.end(done.conversion, done.events, last=True)
            await asyncio.sleep(0)  # what was posted comes first: the reporter has the last report then

    def _idle(self) -> bool:
        return self._stop.is_set() or self._reporter.gone
