"""The one order of a task's events, and what of it is still to be delivered. Pure.

By (attempt's index, seq), the operator's between: an event of the operator's comes after all events of the attempts
that had ended when it was said. Finishers are one source: they go on with one journal, and what one has said the next
may say again, with the same seq. An event's place and key follow from the event alone, so they are the same each time
it is sent, by whichever operator.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cloudrec_contract.events import EventType
from cloudrec_contract.resources import Attempt, CloudRecordingStatus, DeadLetter, EventFact
from cloudrec_operator import times

OPERATOR = ""
"""The source of the operator's own events; a recording attempt's is its Pod's name."""
FINISHER = "finisher"
"""The source of the events of all finishers."""
AGAIN = "again"
"""The source of dead letters that are replayed."""

_STRIDE = 10_000_000
_BETWEEN = 9_000_000
_FINISHERS = 100


@dataclass(frozen=True, slots=True)
class Letter:
    """One event to be delivered. `since`: from when its day counts, ms since the Unix epoch."""

    source: str
    seq: int
    sequence: int
    key: str
    type: int
    ts: int
    since: int
    args: Mapping[str, Any] = field(default_factory=dict)


def source(attempt: Attempt) -> str:
    return FINISHER if attempt.role == "Finish" else attempt.pod


def waiting(
    status: CloudRecordingStatus, silent: Collection[str] = (), settled: Mapping[str, int] | None = None
) -> list[Letter]:
    """What is known and not settled, in the order of delivery, dead letters that are replayed first.

    Of an attempt that may still report (its Pod is not among the `silent`) only what has no gap before it: what is
    missing comes when there is room in its report. `settled`: seq by source up to which all is settled, where that is
    more than the status says.
    """
    if status.callbacks is None or status.task_id is None:
        return []
    beyond = settled or {}
    found = [_again(dead) for dead in status.callbacks.dead if dead.again_since is not None]
    found.sort(key=lambda letter: letter.sequence)
    fresh: list[Letter] = []
    given_up = {event.type for event in status.operator_events} & {EventType.MP4_STOP, EventType.VOD_STOP}
    for name, attempts in _sources(status.attempts).items():
        after = max(beyond.get(name, 0), *(attempt.acked for attempt in attempts))
        first = attempts[0]
        for event in _reported(attempts, after, all(attempt.pod in silent for attempt in attempts)):
            if name == FINISHER and event.type in given_up:
                continue  # it came when the operator had said already that nothing more would
            key = f"{status.task_id}-{'f' if first.role == 'Finish' else first.index}-{event.seq}"
            fresh.append(_letter(name, event, _place(first) + event.seq, key))
    after = max(status.callbacks.acked, beyond.get(OPERATOR, 0))
    for event in status.operator_events:
        if event.seq > after:
            place = _said_after(status.attempts, event.ts) + _BETWEEN + event.seq
            fresh.append(_letter(OPERATOR, event, place, f"{status.task_id}-op-{event.seq}"))
    return found + sorted(fresh, key=lambda letter: letter.sequence)


def _sources(attempts: Collection[Attempt]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda attempt: attempt.index):
        found.setdefault(source(attempt), []).append(attempt)
    return found


def _reported(attempts: Collection[Attempt], after: int, silent: bool) -> list[EventFact]:
    """What is due of one source. Said twice is an event that was said first."""
    told = [event for attempt in attempts if attempt.report for event in attempt.report.events]
    due: list[EventFact] = []
    for event in sorted(told, key=lambda event: event.seq):
        if event.seq <= after:
            continue
        if event.seq != after + 1 and not silent:
            break
        due.append(event)
        after = event.seq
    return due


def _place(attempt: Attempt) -> int:
    return (_FINISHERS if attempt.role == "Finish" else attempt.index) * _STRIDE


def _said_after(attempts: Collection[Attempt], ts: int) -> int:
    """The place of the last attempt that had ended by `ts`; of the first if none had."""
    ended = [_place(a) for a in attempts if a.ended_at is not None and times.to_ms(times.parse(a.ended_at)) <= ts]
    return max(ended, default=0)


def _letter(source: str, event: EventFact, sequence: int, key: str) -> Letter:
    return Letter(source, event.seq, sequence, key, event.type, event.ts, event.ts, event.args)


def _again(dead: DeadLetter) -> Letter:
    since = dead.again_since if dead.again_since is not None else dead.ts
    return Letter(AGAIN, dead.sequence, dead.sequence, dead.key, dead.type, dead.ts, since, dead.args)


@dataclass(frozen=True, slots=True)
class Settled:
    """A letter that was delivered or filtered out, or one that was given up on: then `error` says why."""

    letter: Letter
    error: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is ahead of the status: letters that it does not know to be settled, and why the last try failed.

    `due`: it is worth a write of its own by now.
    """

    settled: tuple[Settled, ...] = ()
    error: str = ""
    due: bool = True

    @property
    def beyond(self) -> dict[str, int]:
        """Up to which seq each source is settled."""
        found: dict[str, int] = {}
        for one in self.settled:
            if one.letter.source != AGAIN:
                found[one.letter.source] = max(one.letter.seq, found.get(one.letter.source, 0))
        return found
