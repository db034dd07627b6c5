"""What the finisher's report says, put together as it comes about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Conversion, EventFact, Report, ReportedCondition, ReportState
from cloudrec_recorder.uploader.state import CONDITIONS, MESSAGE, UNACKED_EVENTS

STEP: Final = 10
"""Percent."""
STEP_SECONDS: Final = 5.0


class Board:
    """Called from several threads. `post` gets the whole report after each change that is worth a write."""

    def __init__(self, post: Callable[[Report], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._post = post
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._drained = Report()
        self._uploaded = False
        self._trouble: ReportedCondition | None = None
        self._notes: list[ReportedCondition] = []
        self._events: list[EventFact] = []
        self._acked = 0
        self._conversion = Conversion(reason=Reason.CONVERTING)
        self._state = ReportState.STARTING
        self._shown_at = -STEP_SECONDS

    @property
    def in_backup(self) -> int:
        """Files that are in the backup store alone."""
        return self._drained.backup

    @property
    def acked(self) -> int:
        return self._acked

    @property
    def waiting(self) -> int:
        """Events that are not acknowledged."""
        with self._lock:
            return len(self._unacked())

    def drained(self, report: Report) -> None:
        """Say what the drain says, and that more follows."""
        with self._lock:
            self._drained = report
            self._uploaded |= report.uploaded
            self._show()

    def uploaded(self) -> None:
        """There is no backup store: all that was recorded is in the bucket."""
        with self._lock:
            self._uploaded = True
            self._show()

    def trouble(self, reason: Reason | None, message: str = "") -> None:
        with self._lock:
            before = self._trouble
            self._trouble = ReportedCondition(reason=reason, message=message[:MESSAGE]) if reason else None
            if (before and before.reason) != reason:
                self._show()

    def note(self, reason: Reason, message: str) -> None:
        """A condition that stays; the first of each reason."""
        with self._lock:
            if all(note.reason != reason for note in self._notes):
                self._notes.append(ReportedCondition(reason=reason, message=message[:MESSAGE]))

    def acknowledge(self, seq: int) -> None:
        """Events up to `seq` are delivered."""
        with self._lock:
            if seq > self._acked:
                crowded = len(self._unacked()) > UNACKED_EVENTS
                self._acked = seq
                if self._events and (crowded or self._state is not ReportState.ENDED):
                    self._show()

    def said(self, events: Sequence[EventFact]) -> None:
        """All events, once the ledger has them."""
        with self._lock:
            if len(events) != len(self._events):
                self._events = list(events)
                self._show()

    def progress(self, share: float, files: int, failed: int, message: str) -> None:
        """`share` from 0 to 1 of all that there is to do."""
        with self._lock:
            percent = min(int(share * 100) // STEP * STEP, 99)
            now = self._monotonic()
            # It never goes back: what is begun anew after a failure was counted.
            if percent > self._conversion.percent and now - self._shown_at >= STEP_SECONDS:
                self._shown_at = now
                self._conversion = Conversion(
                    reason=Reason.CONVERTING, message=message[:MESSAGE], percent=percent, files=files, failed=failed
                )
                self._show()

    def end(self, conversion: Conversion, events: Sequence[EventFact], *, last: bool) -> None:
        """The result, and all events. Without `last` only such as a report has no room for beside others."""
        with self._lock:
            self._events = list(events)
            if last:
                self._trouble = None
                self._conversion = conversion
                self._state = ReportState.ENDED
            if last or len(self._unacked()) > UNACKED_EVENTS:
                self._show()

    def _unacked(self) -> list[EventFact]:
        return [event for event in self._events if event.seq > self._acked]

    def _show(self) -> None:
        waiting = self._unacked()
        if self._state is ReportState.ENDED and len(waiting) > UNACKED_EVENTS:
            waiting = [*waiting[: UNACKED_EVENTS - 1], waiting[-1]]  # nobody listens; at least the end is said
        conditions = [*self._drained.conditions, *([self._trouble] if self._trouble else []), *self._notes]
        self._post(
            Report(
                state=self._state,
                conditions=conditions[:CONDITIONS],
                events=waiting[:UNACKED_EVENTS],
                uploaded=self._uploaded,
                missing=self._drained.missing,
                backup=self._drained.backup,
                conversion=self._conversion,
            )
        )
