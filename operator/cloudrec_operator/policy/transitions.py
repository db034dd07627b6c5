"""Kubernetes Events of a change of status: what `kubectl describe` tells, one for each transition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import API_VERSION, CloudRecordingStatus, ConditionType, Phase
from cloudrec_operator import times
from cloudrec_operator.observed import Recording

COMPONENT = "cloudrec-operator"
NOTE_LIMIT = 1000

ORDINARY = frozenset(
    {
        Reason.POD_STARTING,
        Reason.READY,
        Reason.HANDED_OVER,
        Reason.NOT_STARTED,
        Reason.NO_MEDIA,
        Reason.RECORDING,
        Reason.STOPPED,
        Reason.BUCKET_CHECKED,
        Reason.UPLOADING,
        Reason.UPLOADED,
        Reason.CONVERTING,
        Reason.NOTHING_TO_CONVERT,
        Reason.DELIVERED,
    }
)
"""Reasons that the phase tells already; every other one is a warning of its own."""

NEWS = frozenset({Reason.ACCEPTED, Reason.TRANSCODED, Reason.REMUXED, Reason.REENCODED})
"""Worth an Event, but no warning."""

CALLED: Mapping[str, str] = {Reason.REMUXED: "Converted", Reason.REENCODED: "Converted"}
"""Reasons whose Event has a plainer name."""

PHASES = {
    Phase.STARTING: "the recorder Pod is starting",
    Phase.IDLE: "in the room; there is nothing to record yet",
    Phase.RECORDING: "recording",
    Phase.STOPPING: "leaving the room",
    Phase.FINALIZING: "the recorder has ended; the rest is being uploaded",
    Phase.COMPLETED: "finished, everything is in the bucket",
    Phase.FAILED: "failed",
}


UNSENT = "CallbacksUnsent"

Kind = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class Note:
    type: Kind
    reason: str
    message: str


def notes(old: CloudRecordingStatus, new: CloudRecordingStatus) -> list[Note]:
    """What happened between two statuses: reasons first, then the phase that follows from them."""
    found = _successions(old, new)
    known = {condition.type: condition for condition in old.conditions}
    for condition in new.conditions:
        before = known.get(condition.type)
        if condition.reason in ORDINARY or (before is not None and before.reason == condition.reason):
            continue
        kind: Kind = "Normal" if condition.reason in NEWS else "Warning"
        name = CALLED.get(condition.reason, condition.reason)
        note = Note(kind, name, condition.message or condition.reason)
        if note not in found:  # one cause may be the reason of two conditions
            found.append(note)
    if new.phase in PHASES and new.phase is not old.phase:
        kind = "Warning" if new.phase is Phase.FAILED else "Normal"
        message = PHASES[new.phase]
        if new.phase is Phase.COMPLETED:
            message = _finished(new)
        elif new.phase is Phase.FAILED:
            message = _failed(new)
        found.append(Note(kind, new.phase.value, message))
    return found


def _successions(old: CloudRecordingStatus, new: CloudRecordingStatus) -> list[Note]:
    """Of each attempt that another goes on for."""
    before = {attempt.pod: attempt for attempt in old.attempts}
    following = {(attempt.role, attempt.index): attempt for attempt in new.attempts}
    found: list[Note] = []
    for attempt in new.attempts:
        next_ = following.get((attempt.role, attempt.index + 1))
        known = before.get(attempt.pod)
        if attempt.reason and next_ is not None and next_.pod not in before and known is not None:
            what = "attempt" if attempt.role == "Record" else "finisher"
            message = f"{what} {attempt.index}: {attempt.message}; Pod {next_.pod} goes on"
            found.append(Note("Warning" if attempt.failed else "Normal", attempt.reason, message))
    return found


def _finished(status: CloudRecordingStatus) -> str:
    if not status.files:
        return "finished, nothing was recorded"
    uploaded = next((c for c in status.conditions if c.type == ConditionType.UPLOADED), None)
    if uploaded is not None and uploaded.status == "False":
        return f"finished, but not everything is in the bucket: {uploaded.message}"
    made = next((c for c in status.conditions if c.type == ConditionType.CONVERTED), None)
    if made is not None:
        return f"finished{'' if made.status == 'True' else ', but not all files could be made'}: {made.message}"
    return PHASES[Phase.COMPLETED]


def _failed(status: CloudRecordingStatus) -> str:
    """With the first condition that says why."""
    why = (c.message for c in status.conditions if c.status == "False" and c.reason not in ORDINARY and c.message)
    return ": ".join((PHASES[Phase.FAILED], *list(why)[:1]))


def unsent(count: int) -> Note:
    """Of a deleted recording that is let go although not all was told."""
    return Note("Warning", UNSENT, f"deleted before its last {count} callbacks could be delivered: they are lost")


def event(recording: Recording, note: Note, number: int, now: datetime, instance: str) -> dict[str, Any]:
    """A core/v1 Event on the recording; `number` tells the notes of one write apart."""
    at = times.render(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{recording.name}.{times.to_ms(now):x}{number:x}",
            "namespace": recording.namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "CloudRecording",
            "name": recording.name,
            "namespace": recording.namespace,
            "uid": recording.uid,
            "resourceVersion": recording.resource_version,
        },
        "type": note.type,
        "reason": note.reason,
        "message": note.message[:NOTE_LIMIT],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": instance,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
