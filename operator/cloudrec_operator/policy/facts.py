"""TRTC events that only the operator can tell, for a task that has ended.

301 status 1 when no recorder ever got into the room; 302 and 305 status 1 of an attempt that could not report them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudrec_contract import events
from cloudrec_contract.events import EventType, LeaveCode
from cloudrec_contract.resources import Attempt, EventFact

FAILED = 1


def closing(attempts: Sequence[Attempt], told: Sequence[EventFact], failed: bool, ts_ms: int) -> list[EventFact]:
    """`told` and what is still missing at the end of a task. `ts_ms`: now, ms since the Unix epoch."""
    missing: list[tuple[EventType, dict[str, Any]]] = []
    entered = any(_entered(attempt) for attempt in attempts)
    if failed and not entered:
        missing.append((EventType.RECORDER_START, events.args(EventType.RECORDER_START, Status=FAILED)))
    for attempt in attempts:
        report = attempt.report
        if report is None:
            continue
        seen = {event.type for event in report.events}
        if _entered(attempt) and report.leave_code is None and EventType.RECORDER_STOP not in seen:
            code = LeaveCode.TIMEOUT.value
            missing.append((EventType.RECORDER_STOP, events.args(EventType.RECORDER_STOP, LeaveCode=code)))
        started = EventType.UPLOAD_START in seen or _entered(attempt)
        if started and not report.uploaded and EventType.UPLOAD_STOP not in seen:
            missing.append((EventType.UPLOAD_STOP, events.args(EventType.UPLOAD_STOP, Status=FAILED)))
    first = max((event.seq for event in told), default=0) + 1
    return [
        *told,
        *(
            EventFact(seq=first + offset, type=event.value, ts=ts_ms, args=arguments)
            for offset, (event, arguments) in enumerate(missing)
        ),
    ]


def _entered(attempt: Attempt) -> bool:
    """Whether its robot was in the room."""
    report = attempt.report
    if report is None:
        return False
    return report.ready or any(
        event.type == EventType.RECORDER_START and event.args.get("Status") == 0 for event in report.events
    )
