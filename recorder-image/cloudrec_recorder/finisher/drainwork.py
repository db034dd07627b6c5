"""Passes of the drain until all is done, with pauses; and what is said of it."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Report, ReportedCondition, ReportState
from cloudrec_recorder.finisher.drain import Away, Outcome, Stopped
from cloudrec_recorder.uploader.retry import backoff

logger = logging.getLogger(__name__)

FIRST_SECONDS: Final = 1.0
CAP_SECONDS: Final = 60.0
"""Between two passes: a bucket may be away for hours."""
FAULTY_PASSES: Final = 5
"""Passes after which single files that cannot be copied are left where they are."""
MESSAGE_MAX: Final = 1024


class Passes(Protocol):
    """What `drain.Drain` is here."""

    left: int | None
    copied: int

    def run(self) -> Outcome: ...


class DrainWork:
    """`tell` gets the whole report when something has happened, not as files go by. `place`: where the backup is."""

    def __init__(
        self,
        passes: Passes,
        tell: Callable[[Report], None],
        stop: threading.Event,
        *,
        seconds: float,
        place: str,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._passes = passes
        self._tell = tell
        self._stop = stop
        self._seconds = seconds
        self._place = place
        self._monotonic = monotonic
        self._pause = pause or stop.wait
        self._condition: ReportedCondition | None = None

    async def run(self) -> str:
        """Why it is to be tried again by another process; empty when all is done that can be done, or when stopped.

        The last report has `uploaded` when all is done.
        """
        deadline = self._monotonic() + self._seconds
        failures = faulty = 0
        while True:
            before = self._passes.copied
            try:
                outcome = await asyncio.to_thread(self._passes.run)
            except Stopped:
                logger.info("told to end: what is left is another's")
                return ""
            except Away as away:
                failures = 1 if self._passes.copied > before else failures + 1
                self._trouble(away)
                why = str(away)
            else:
                faulty = faulty + 1 if self._passes.copied == before else 1
                failures = faulty
                if not outcome.faults or faulty >= FAULTY_PASSES:
                    self._done(outcome)
                    return ""
                name, fault = next(iter(outcome.faults.items()))
                why = f"{name}: {fault}"
            pause = min(backoff(failures, random.random(), FIRST_SECONDS, CAP_SECONDS), deadline - self._monotonic())
            if pause <= 0:
                return self._out_of_time(why)
            await asyncio.to_thread(self._pause, pause)

    def _trouble(self, away: Away) -> None:
        if self._condition is None or self._condition.reason != away.reason:
            logger.warning("it is tried again and again: %s", away, extra={"reason": away.reason})
            self._condition = ReportedCondition(reason=away.reason, message=away.message[:MESSAGE_MAX])
            self._tell(Report(conditions=[self._condition], backup=self._passes.left or 0))

    def _done(self, outcome: Outcome) -> None:
        if outcome.faults:
            name, fault = next(iter(outcome.faults.items()))
            self._end(
                outcome.missing, Reason.BACKUP_IN_USE, f"what cannot be copied stays in {self._place}: {name}: {fault}"
            )
        elif outcome.kept:
            self._end(outcome.missing, Reason.BACKUP_FAILED, f"copies stay in {self._place}: {outcome.kept}")
        else:
            self._end(outcome.missing)
        logger.info("%d files were brought, %d stay in the backup store", self._passes.copied, self._passes.left or 0)

    def _out_of_time(self, why: str) -> str:
        if self._passes.left is None:
            return f"the stores could not be compared in {self._seconds:.0f} s: {why}"
        logger.error("given up after %.0f s: %s", self._seconds, why)
        self._end(
            0, Reason.BACKUP_IN_USE, f"given up after {self._seconds:.0f} s, the files stay in {self._place}: {why}"
        )
        return ""

    def _end(self, missing: int, reason: Reason | None = None, message: str = "") -> None:
        conditions = [ReportedCondition(reason=reason, message=message[:MESSAGE_MAX])] if reason else []
        self._tell(
            Report(
                state=ReportState.ENDED,
                conditions=conditions,
                uploaded=True,
                missing=missing,
                backup=self._passes.left or 0,
            )
        )
