"""TRTC events that only the operator can tell.

306 when another attempt goes on for one that failed. At the end of a task: 301 status 1 when no recorder ever got into
the room; 302 when no attempt could say why it left; 305, once for the whole task, and once more when the backup store
has been emptied into the bucket; 310, or for VOD 312, when there was nothing to make files of, or no finisher could.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudrec_contract import events
from cloudrec_contract.events import EventType, LeaveCode
from cloudrec_contract.resources import Attempt, EventFact
from cloudrec_operator.observed import Recording
from cloudrec_operator.policy.attempts import View

DONE, FAILED, RESTORED = 0, 1, 2
NOT_MADE = 2
"""Of 310: an error before there was any file."""


def failover(told: Sequence[EventFact], ts_ms: int) -> list[EventFact]:
    """`told` and the 306 of an attempt that failed and is succeeded. `ts_ms`: now, ms since the Unix epoch."""
    return _with(told, [(EventType.FAILOVER, events.args(EventType.FAILOVER, Status=DONE))], ts_ms)


def stopped(recording: Recording) -> LeaveCode | None:
    """With which LeaveCode the task was told to end; None when it was not."""
    if recording.status.replaced_by is not None:
        return LeaveCode.REPEATED_ENTRY
    return LeaveCode.NORMAL if recording.must_stop else None


def closing(
    views: Sequence[View],
    told: Sequence[EventFact],
    failed: bool,
    why: LeaveCode | None,
    whole: bool | None,
    ts_ms: int,
) -> list[EventFact]:
    """`told` and what is still missing at the end of a task.

    `failed`: the task has; `why`: it was told to end; `whole`: all that was recorded is in the bucket, None when
    that is not to be told (VOD).
    """
    missing: list[tuple[EventType, dict[str, Any]]] = []
    entered = any(view.entered for view in views)
    if failed and not entered:
        missing.append((EventType.RECORDER_START, events.args(EventType.RECORDER_START, Status=FAILED)))
    if entered and not any(_left(view.attempt) for view in views):
        code = why if why is not None and not failed else LeaveCode.TIMEOUT
        missing.append((EventType.RECORDER_STOP, events.args(EventType.RECORDER_STOP, LeaveCode=code.value)))
    if whole is not None and began(views):
        status = DONE if whole else FAILED
        missing.append((EventType.UPLOAD_STOP, events.args(EventType.UPLOAD_STOP, Status=status)))
    return _with(told, missing, ts_ms)


def began(views: Sequence[View]) -> bool:
    """Whether there was a recording at all: a robot was in the room, or something was uploaded."""
    return any(view.entered or _began(view.attempt) for view in views)


def converted(told: Sequence[EventFact], failed: bool, vod: bool, ts_ms: int) -> list[EventFact]:
    """`told` and the last event of MP4, AAC and VOD, in a finisher's place. Nothing was made."""
    if vod:
        return _with(told, [(EventType.VOD_STOP, events.args(EventType.VOD_STOP, Status=int(failed)))], ts_ms)
    status = NOT_MADE if failed else DONE
    return _with(told, [(EventType.MP4_STOP, events.args(EventType.MP4_STOP, Status=status, FileList=[]))], ts_ms)


def lacking(told: Sequence[EventFact]) -> bool:
    """Whether it was said that the bucket has not all, and not yet that it has."""
    said = [event.args.get("Status") for event in told if event.type == EventType.UPLOAD_STOP]
    return FAILED in said and RESTORED not in said


def restored(told: Sequence[EventFact], ts_ms: int) -> list[EventFact]:
    """`told` and the 305 of files that were in the backup store and are in the bucket now."""
    return _with(told, [(EventType.UPLOAD_STOP, events.args(EventType.UPLOAD_STOP, Status=RESTORED))], ts_ms)


def _with(told: Sequence[EventFact], new: Sequence[tuple[EventType, dict[str, Any]]], ts_ms: int) -> list[EventFact]:
    first = max((event.seq for event in told), default=0) + 1
    facts = (
        EventFact(seq=first + offset, type=event.value, ts=ts_ms, args=arguments)
        for offset, (event, arguments) in enumerate(new)
    )
    return [*told, *facts]


def _left(attempt: Attempt) -> bool:
    """Whether it said itself why it left."""
    code = attempt.report.leave_code if attempt.report else None
    return code is not None or _said(attempt, EventType.RECORDER_STOP)


def _said(attempt: Attempt, event: EventType) -> bool:
    return attempt.report is not None and any(fact.type == event for fact in attempt.report.events)


def _began(attempt: Attempt) -> bool:
    """Whether its upload module said that it began; what was delivered since is not in the report any more."""
    return attempt.acked > 0 or _said(attempt, EventType.UPLOAD_START)
