"""MP4, AAC and VOD of a recording: whether finishers make them, what Converted says, and who says the last event.

A finisher tells how far it is and says the events; only when none could, the operator says 310, or for VOD 312, itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.naming import key_prefix
from cloudrec_contract.resources import ConditionType, Conversion, EventFact
from cloudrec_operator.observed import Recording
from cloudrec_operator.policy import facts
from cloudrec_operator.policy.attempts import View, told
from cloudrec_operator.policy.conditions import Fact

GOOD = (Reason.REMUXED, Reason.REENCODED, Reason.NOTHING_TO_CONVERT, Reason.HLS_KEPT)
"""All files are there."""
TROUBLE = (Reason.VOD_REFUSED, Reason.VOD_UNREACHABLE, Reason.BUCKET_REFUSED, Reason.BUCKET_UNREACHABLE)
"""What a finisher waits for, and reports as a condition."""
LAST_EVENTS = (EventType.MP4_STOP, EventType.VOD_STOP)


def asked(recording: Recording) -> bool:
    """Whether the recording is to become more than HLS in its bucket."""
    return recording.spec is not None and recording.spec.converts


def for_vod(recording: Recording) -> bool:
    return recording.spec is not None and recording.spec.storage.vod is not None


def wanted(recording: Recording, views: Sequence[View]) -> bool:
    """Whether it is, and there is something to make it of. `views`: of the attempts that recorded."""
    return asked(recording) and any(view.report.files for view in views)


def done(finishers: Sequence[View]) -> Conversion | None:
    """What became of it, by the finisher that ended it."""
    every = (view.report.conversion for view in reversed(finishers))
    return next((conversion for conversion in every if conversion is not None and conversion.done), None)


def reason(conversion: Conversion) -> Reason:
    """One of ours, whatever a finisher of another version says."""
    try:
        return Reason(conversion.reason)
    except ValueError:
        if not conversion.done:
            return Reason.CONVERTING
        return Reason.CONVERT_FAILED if conversion.failed else Reason.REMUXED


def failed(conversion: Conversion) -> bool:
    """Whether a finished one lacks a file."""
    return conversion.failed > 0 or reason(conversion) not in GOOD


# --- the condition --------------------------------------------------------------------------------------------------


def working(finishers: Sequence[View], draining: bool, why: str) -> Fact:
    """While a finisher is at it, or is to be, perhaps after it is done `draining` the backup store; `why` that does not
    begin."""
    kind, newest = ConditionType.CONVERTED, finishers[-1]
    if draining:
        return Fact(kind, "Unknown", Reason.CONVERTING, "begins when the bucket has what is in the backup store")
    made = newest.report.conversion
    if made is None:
        trouble = f" ({why})" if why else ""
        return Fact(kind, "Unknown", Reason.CONVERTING, f"Pod {newest.attempt.pod} is to make the files{trouble}")
    share = f"{made.percent} %"
    if (problem := told(newest.report, TROUBLE)) is not None:
        return Fact(kind, "False", Reason(problem.reason), f"{share}: {problem.message}")
    return Fact(kind, "Unknown", Reason.CONVERTING, ": ".join(filter(None, (share, made.message))))


def outcome(recording: Recording, views: Sequence[View], finishers: Sequence[View]) -> Fact | None:
    """At the task's end; None when nothing was to be made of the recording."""
    kind = ConditionType.CONVERTED
    if not asked(recording):
        return None
    made = done(finishers)
    if made is not None:
        if failed(made):
            text = made.message or f"files of {made.failed} streams could not be made or stored"
            now = Reason.CONVERT_FAILED if reason(made) in GOOD else reason(made)
            return Fact(kind, "False", now, f"{text}; what was made ({made.files} files) is in {_goal(recording)}")
        text = made.message or f"{made.files} files"
        if made.files:
            text += f"; in {_goal(recording)}"
        if (refused := told(finishers[-1].report, (Reason.EXPIRY_REFUSED,))) is not None:
            return Fact(kind, "True", Reason.EXPIRY_REFUSED, f"{text}; {refused.message}")
        return Fact(kind, "True", reason(made), text)
    if not wanted(recording, views):
        return Fact(kind, "True", Reason.NOTHING_TO_CONVERT, "nothing was recorded")
    why = finishers[-1].attempt.message if finishers else "the recording was deleted before any file was made"
    return Fact(kind, "False", Reason.CONVERT_FAILED, f"{why}; what was recorded is in {_source(recording)}")


def _goal(recording: Recording) -> str:
    return "VOD" if for_vod(recording) else _source(recording)


def _source(recording: Recording) -> str:
    """Where the HLS files are. The app may be gone by then: a spool is told by whose it is."""
    spec = recording.spec
    if spec is None or spec.storage.bucket is None:
        app = spec.app_ref.name if spec is not None else ""
        return f"vod.spool of RecordingApp {app}, under {recording.uid}/"
    bucket = spec.storage.bucket
    return f"bucket {bucket.bucket}, under {key_prefix(bucket.prefix, recording.uid)}"


# --- the last event -------------------------------------------------------------------------------------------------


def closing(
    recording: Recording, views: Sequence[View], finishers: Sequence[View], known: Sequence[EventFact], ts_ms: int
) -> list[EventFact]:
    """`known`, the operator's events, and the last one of the files where no finisher said it. Nothing is said of a
    task that never was in the room, as no 305 is."""
    said = [*known, *(event for view in finishers for event in view.report.events)]
    over = done(finishers) is not None or any(event.type in LAST_EVENTS for event in said)
    lost = wanted(recording, views)
    if over or not asked(recording) or not (lost or facts.began(views)):
        return list(known)
    return facts.converted(known, lost, for_vod(recording), ts_ms)
