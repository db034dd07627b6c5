"""Who goes on with a task when an attempt has ended: nobody, or the next attempt, and when.

Two counters: failures (at most three successors of failed attempts) and the index, which is the number in `ha<n>_`. A
hand-over takes the next index and is no failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cloudrec_contract import naming
from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Attempt
from cloudrec_operator import times
from cloudrec_operator.observed import Recording
from cloudrec_operator.policy.attempts import Ending

FAILURES_MAX = 4
PAUSES = (0.0, 2.0, 10.0)
"""Seconds between a failure, the first of a task, the second, …, and the next attempt's Pod."""


PLANNED = (Reason.HANDED_OVER, Reason.EVICTED)
"""Ends that are no failure and that another attempt goes on after."""


def failures(attempts: Sequence[Attempt]) -> int:
    return sum(attempt.failed for attempt in attempts)


def successor(recording: Recording, attempts: Sequence[Attempt], end: Ending, must_stop: bool) -> Attempt | None:
    """The next attempt, to be declared; None when the task ends with the last of `attempts`, which ended by `end`."""
    index = attempts[-1].index + 1
    if must_stop or not end.again or failures(attempts) >= FAILURES_MAX or index >= naming.ATTEMPTS_MAX:
        return None
    return Attempt(pod=naming.pod_name(recording.name, recording.uid, index), index=index)


def exhausted(attempts: Sequence[Attempt]) -> str:
    """Why there is no further attempt although one would have gone on; empty when that is not why the task ended."""
    if failures(attempts) >= FAILURES_MAX:
        return f"{failures(attempts)} attempts failed"
    last = attempts[-1]
    if last.index + 1 >= naming.ATTEMPTS_MAX and (last.failed or last.reason in PLANNED):
        return f"all {naming.ATTEMPTS_MAX} attempts that can be named were made"
    return ""


def history(attempts: Sequence[Attempt]) -> str:
    """How each failed attempt ended, in one line; every reason is in it, however long the messages are."""
    failed = [attempt for attempt in attempts if attempt.failed]
    room = max(40, 800 // max(1, len(failed)))
    return "; ".join(f"attempt {a.index}: {a.reason}: {a.message}"[:room] for a in failed)


def due_at(attempts: Sequence[Attempt]) -> datetime | None:
    """When the newest attempt's Pod may be made; None: at once."""
    since = declared_at(attempts)
    if since is None or not attempts[-2].failed:
        return None
    nth = failures(attempts[:-1])
    return since + timedelta(seconds=PAUSES[min(nth, len(PAUSES)) - 1])


def declared_at(attempts: Sequence[Attempt]) -> datetime | None:
    """When the newest attempt was declared, which is when its predecessor ended; None for the first."""
    if len(attempts) < 2 or attempts[-2].ended_at is None:
        return None
    return times.parse(attempts[-2].ended_at)
