"""How one attempt stands, from what its Pod and its sidecar say: whether it has ended, how, and what is still due.

The Pod's own phase is not looked at while it runs: it stays Running as long as the sidecar uploads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from cloudrec_contract.conditions import FINAL, Reason
from cloudrec_contract.events import EventType, LeaveCode
from cloudrec_contract.resources import Attempt, Exit, Report, ReportedCondition, ReportState
from cloudrec_operator import times
from cloudrec_operator.observed import Observed, Pod
from cloudrec_operator.policy.conditions import plain
from cloudrec_operator.settings import Settings

LEAVING = {
    LeaveCode.NORMAL: (Reason.STOPPED, "stopped"),
    LeaveCode.REMOVED_BY_API: (Reason.REMOVED_BY_API, "the robot was removed from the room"),
    LeaveCode.ROOM_DELETED: (Reason.ROOM_DELETED, "the room was deleted"),
    LeaveCode.REMOVED_BY_SERVER: (Reason.REMOVED_BY_SERVER, "the media server removed the robot"),
    LeaveCode.ROOM_CLOSED_BY_SERVER: (Reason.ROOM_CLOSED, "the media server closed the room"),
    LeaveCode.IDLE: (Reason.STOPPED, "nobody who may publish was in the room for maxIdleSeconds"),
    LeaveCode.TIMEOUT: (Reason.REJOIN_TIMEOUT, "the room could not be joined again in time"),
    LeaveCode.REPEATED_ENTRY: (Reason.REPEATED_ENTRY, "another task with the same app, room and robot began"),
}
"""Why the robot left, as RecorderReady says it. None of these is a failure of the task, which is Completed with what
was recorded; but only a stop and an empty room are ordinary: every other reason is a warning (`transitions.py`)."""

BROKEN = (
    Reason.RECORDER_DIED,
    Reason.RECORDER_FAILED,
    Reason.SPOOL_FAILED,
    Reason.TASK_MISSING,
    Reason.TOKEN_REFUSED,
    Reason.LIVEKIT_UNREACHABLE,
    Reason.MEDIA_UNREACHABLE,
)
"""What a report may say of a recorder that did not end in good order."""

DRAIN_SECONDS = 120.0
"""How long a recorder may stay after all is uploaded, and how long a sidecar may be silent after a recorder that never
was in the room."""
MESSAGE_LIMIT = 512


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended. `failed`: it counts as a failure. `again`: another attempt may go on with the task."""

    reason: Reason
    message: str
    failed: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """An attempt with its Pod (None: not made, gone, or another's) and why its node is lost (empty: it is not)."""

    attempt: Attempt
    pod: Pod | None = None
    node_lost: str = ""

    @property
    def report(self) -> Report:
        return self.attempt.report or Report()

    @property
    def made(self) -> bool:
        return self.attempt.pod_uid is not None

    @property
    def exit(self) -> Exit | None:
        """Its main container's."""
        return self.attempt.exit

    @property
    def going_on(self) -> bool:
        """Whether its recorder may be at work."""
        if self.pod is None or self.pod.over or self.node_lost or self.exit is not None:
            return False
        return self.report.state is not ReportState.ENDED

    @property
    def started(self) -> bool:
        """Whether there may be something to end in good order: the recorder runs or ran, or has said something."""
        report = self.report
        running = self.pod is not None and self.pod.recorder.running
        return running or self.exit is not None or report.state is not ReportState.STARTING or report.ready

    @property
    def entered(self) -> bool:
        """Whether its robot was in the room."""
        return self.report.ready or entered_at(self.attempt) is not None

    @property
    def recorded(self) -> bool:
        """Whether there may be files of it."""
        return self.report.ready or bool(self.report.files)


def look(seen: Observed, role: Literal["Record", "Finish"] = "Record") -> list[View]:
    """The attempts of that role by index. Uids of Pods just made, and exits just seen, are taken over."""
    attempts = [attempt for attempt in seen.recording.status.attempts if attempt.role == role]
    return [_view(attempt, seen) for attempt in sorted(attempts, key=lambda attempt: attempt.index)]


def _view(attempt: Attempt, seen: Observed) -> View:
    pod = seen.pods.get(attempt.pod)
    if pod is None or pod.owner != seen.recording.uid or attempt.pod_uid not in (None, pod.uid):
        return View(attempt)
    main = pod.finisher if attempt.role == "Finish" else pod.recorder
    known = {"pod_uid": pod.uid, "exit": attempt.exit or main.exit}
    node = seen.nodes.get(pod.node)
    lost = node is not None and bool(node.trouble) and (node.gone or pod.leaving)
    return View(attempt.model_copy(update=known), pod, node.trouble if node is not None and lost else "")


def entered_at(attempt: Attempt) -> datetime | None:
    """When the robot was in the room, by the report's 301."""
    events = attempt.report.events if attempt.report else []
    return next(
        (times.from_ms(e.ts) for e in events if e.type == EventType.RECORDER_START and e.args.get("Status") == 0), None
    )


def why_left(report: Report) -> tuple[Reason, str]:
    try:
        return LEAVING[LeaveCode(report.leave_code or 0)]
    except ValueError:
        return Reason.STOPPED, f"the robot left with code {report.leave_code}"


def told(report: Report, reasons: Iterable[Reason]) -> ReportedCondition | None:
    """The first of `reasons` that the sidecar reports now."""
    by_reason = {condition.reason: condition for condition in report.conditions}
    return next((by_reason[reason.value] for reason in reasons if reason.value in by_reason), None)


# --- its end --------------------------------------------------------------------------------------------------------


def ending(view: View, must_stop: bool) -> Ending | None:
    """How the newest attempt has ended; None while the task rests on it, and while its end is in good order but not
    over."""
    report, pod = view.report, view.pod
    refusal = None if report.ready else told(report, sorted(FINAL))
    if refusal is not None:
        return Ending(Reason(refusal.reason), refusal.message, failed=True)
    if not view.made:
        return Ending(Reason.STOPPED, "stopped before its Pod was made") if must_stop else None
    if view.exit is not None:
        return _exited(view.exit, view, must_stop)
    if pod is None or pod.over or view.node_lost:
        return _lost(view, must_stop)
    if must_stop:
        return None if view.started else Ending(Reason.STOPPED, "stopped before the recorder ran")
    if report.leave_code is not None:
        return None
    if report.state is ReportState.ENDED:
        broken = told(report, BROKEN)
        if broken is not None and broken.reason == Reason.RECORDER_DIED:
            return Ending(Reason.RECORDER_DIED, broken.message, failed=True, again=True)
        if broken is not None:
            return None  # it is about to exit, with a code
        return Ending(Reason.HANDED_OVER, "it left the room for a successor", again=True)
    if pod.leaving and report.state is not ReportState.STOPPING:
        why = f"the Pod is to go ({pod.disruption or 'deleted'})"
        return Ending(Reason.HANDED_OVER if view.entered else Reason.EVICTED, why, again=True)
    return None


def _exited(exit_: Exit, view: View, must_stop: bool) -> Ending:
    report = view.report
    if exit_.code == 0:
        if exit_.reason == Reason.HANDED_OVER and not must_stop:
            return Ending(Reason.HANDED_OVER, exit_.message or "it left the room for a successor", again=True)
        return Ending(*why_left(report))
    reason = _reason(exit_.reason)
    message = exit_.message or f"the recorder exited with code {exit_.code}"
    if view.pod is not None and view.pod.reason == Reason.EVICTED:
        reason, message = Reason.EVICTED, view.pod.message or message
    elif exit_.reason not in ("", reason.value):
        message = f"{exit_.reason}: {message}"
    # Once it was in the room a refusal is not final: a successor gets a new token.
    final = reason in FINAL and not view.entered
    return Ending(reason, message, failed=True, again=not final and report.leave_code is None)


def _reason(text: str) -> Reason:
    """The recorder's own reason when it is one of ours; OOMKilled and the like are failures of the recorder."""
    try:
        return Reason(text)
    except ValueError:
        return Reason.RECORDER_FAILED


def _lost(view: View, must_stop: bool) -> Ending:
    """The end of an attempt whose recorder's exit nobody has seen, and nobody will."""
    report, pod = view.report, view.pod
    broken = told(report, BROKEN)
    if report.state is ReportState.ENDED and report.uploaded and broken is None:
        if report.leave_code is not None or must_stop:
            return Ending(*why_left(report))
        return Ending(Reason.HANDED_OVER, "it left the room for a successor, and its Pod is gone", again=True)
    if must_stop and not report.ready and report.state is ReportState.STARTING:
        return Ending(*why_left(report))
    again = report.leave_code is None
    if view.node_lost:
        return Ending(Reason.NODE_LOST, view.node_lost, failed=True, again=again)
    if broken is not None:
        return Ending(Reason(broken.reason), broken.message, failed=True, again=again)
    reason = Reason.EVICTED if pod is not None and pod.reason == Reason.EVICTED else Reason.POD_LOST
    why = f"{pod.reason}: {pod.message}" if pod and pod.reason else "the Pod is gone"
    return Ending(reason, f"the recorder ended without a word: {why}", failed=True, again=again)


def ended(view: View, end: Ending, now: datetime) -> View:
    """The attempt with its end in it."""
    attempt = view.attempt.model_copy(
        update={
            "reason": end.reason.value,
            "message": plain(end.message[:MESSAGE_LIMIT]),
            "failed": end.failed,
            "ended_at": times.render(now),
        }
    )
    return View(attempt, view.pod, view.node_lost)


# --- what is still due ----------------------------------------------------------------------------------------------


def lingers(since: datetime, now: datetime) -> bool:
    """Whether what has nothing to upload is not waited for any more."""
    return now >= since + timedelta(seconds=DRAIN_SECONDS)


def settled(view: View, now: datetime, settings: Settings, patient: bool = True) -> bool:
    """Whether nothing more is to come of an attempt that the task does not rest on any more.

    Its Pod stays until then: the sidecar salvages what a dead recorder left, and uploads it. Not `patient`: what has
    nothing to upload is not waited for.
    """
    attempt, report = view.attempt, view.report
    if view.pod is None or view.pod.over or view.node_lost or not view.started:
        return True
    if not view.recorded and attempt.failed and (view.exit is None or attempt.reason in FINAL):
        return True
    since = times.parse(attempt.ended_at) if attempt.ended_at else now
    if now >= since + timedelta(seconds=settings.finalize_seconds):
        return True
    if report.uploaded and view.exit is not None:
        return True
    return (report.uploaded or not view.recorded) and (not patient or lingers(since, now))
