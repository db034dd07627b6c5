"""Phase and conditions of an attempt that has a Pod, from the recorder container's status and the sidecar's report.

The Pod's own phase is not looked at while it runs: it stays Running as long as the sidecar uploads.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cloudrec_contract.conditions import FINAL, Reason
from cloudrec_contract.events import LeaveCode
from cloudrec_contract.resources import (
    Attempt,
    ConditionType,
    Exit,
    Phase,
    Report,
    ReportedCondition,
    ReportState,
)
from cloudrec_operator.observed import Container, Pod
from cloudrec_operator.policy.acceptance import Verdict
from cloudrec_operator.policy.conditions import Fact

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
ROOM_REASONS = (Reason.TOKEN_REFUSED, Reason.LIVEKIT_UNREACHABLE, Reason.MEDIA_UNREACHABLE)
BUCKET_REASONS = (Reason.BUCKET_REFUSED, Reason.BUCKET_UNREACHABLE, Reason.UPLOAD_FAILED)
NEVER = (Reason.CODEC_UNSUPPORTED, Reason.NAME_TOO_LONG)
"""Somebody is not recorded at all."""
LACKS = (Reason.SLOW_DISK, Reason.TRANSCODE_OVERLOAD, *NEVER, Reason.STREAMS_WAITING)
"""Media is missing from the recording, or may be."""
NOTICES = (*LACKS, Reason.TRANSCODED)

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

DRAIN_SECONDS = 120.0
"""How long a recorder may stay after all is uploaded, and how long a sidecar may be silent after a recorder that never
was in the room."""


@dataclass(frozen=True, slots=True)
class Failure:
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an attempt has come to. `exit` is the recorder's end, to be kept in status."""

    phase: Phase
    facts: tuple[Fact, ...]
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class Clock:
    """The phase so far and `since` when; `start_by` and `give_up_at` are the deadlines in force, None for none."""

    now: datetime
    phase: Phase
    since: datetime
    start_by: datetime | None = None
    give_up_at: datetime | None = None


def judge(
    attempt: Attempt, pod: Pod | None, must_stop: bool, clock: Clock, secrets: Verdict | None = None
) -> Judgement:
    """`pod` None or of another uid: it is lost. `secrets`: what is wrong with them, if they were looked at."""
    report = attempt.report or Report()
    if pod is not None and pod.uid != attempt.pod_uid:
        pod = None
    ended = attempt.exit or (pod.recorder.exit if pod else None)
    failure = _failure(report, pod, ended, must_stop)
    phase = _phase(report, pod, ended, must_stop, clock)
    refusal = None if report.ready else _refused(report, failure)
    if refusal is not None:
        failure, phase = refusal, Phase.FAILED
    elif phase is Phase.STARTING and clock.start_by is not None and clock.now >= clock.start_by:
        waiting = _not_ready(report, pod, secrets)
        failure = Failure(Reason.START_TIMEOUT, f"not in the room in time: {waiting.reason}: {waiting.message}")
        phase = Phase.FAILED
    if phase in (Phase.COMPLETED, Phase.FINALIZING, Phase.FAILED) and failure is None:
        failure = _incomplete(report, pod, phase)
    if phase is Phase.COMPLETED and failure is not None:
        phase = Phase.FAILED
    facts = (
        _ready(report, pod, phase, failure, secrets),
        *_recording(report, phase),
        *_uploaded(report, phase, failure),
    )
    return Judgement(phase, facts, ended)


def _phase(report: Report, pod: Pod | None, ended: Exit | None, must_stop: bool, clock: Clock) -> Phase:
    """Where the attempt is; COMPLETED stands for its end, good or bad."""
    if clock.give_up_at is not None and clock.now >= clock.give_up_at:
        return Phase.COMPLETED
    if pod is None or pod.over:
        return Phase.COMPLETED
    lingering = clock.phase is Phase.FINALIZING and clock.now >= clock.since + timedelta(seconds=DRAIN_SECONDS)
    if ended is not None:
        empty = not report.ready and not report.files
        return Phase.COMPLETED if report.uploaded or (empty and lingering) else Phase.FINALIZING
    if report.state is ReportState.ENDED:
        return Phase.COMPLETED if report.uploaded and lingering else Phase.FINALIZING
    if must_stop and not _started(report, pod):
        return Phase.COMPLETED
    if must_stop or report.state is ReportState.STOPPING or pod.deleting:
        return Phase.STOPPING
    if report.state is ReportState.RECORDING:
        return Phase.RECORDING
    if report.state is ReportState.IDLE:
        return Phase.IDLE
    return Phase.STARTING


def _started(report: Report, pod: Pod) -> bool:
    """Whether there may be something to end in good order: the recorder runs, or has said something."""
    return pod.recorder.running or report.state is not ReportState.STARTING or report.ready


def _failure(report: Report, pod: Pod | None, ended: Exit | None, must_stop: bool) -> Failure | None:
    """Why the recorder failed, if it did."""
    if ended is not None:
        if ended.code == 0:
            return None
        return Failure(_reason(ended.reason), ended.message or f"the recorder exited with code {ended.code}")
    if report.uploaded and report.state is ReportState.ENDED:
        return None
    if pod is None or pod.over:
        if must_stop and not report.ready and report.state is ReportState.STARTING:
            return None
        why = f"{pod.reason}: {pod.message}" if pod and pod.reason else "the Pod is gone"
        return Failure(Reason.POD_LOST, f"the recorder ended without a word: {why}")
    return None


def _reason(text: str) -> Reason:
    """The recorder's own reason when it is one of ours; OOMKilled and the like are failures of the recorder."""
    try:
        return Reason(text)
    except ValueError:
        return Reason.RECORDER_FAILED


def _refused(report: Report, failure: Failure | None) -> Failure | None:
    """What another try cannot mend, told before the recording began: the task fails at once."""
    for told in report.conditions:
        if told.reason in {reason.value for reason in FINAL}:
            return Failure(Reason(told.reason), told.message)
    return failure if failure is not None and failure.reason in FINAL else None


def _incomplete(report: Report, pod: Pod | None, phase: Phase) -> Failure | None:
    """Files that did not get into the bucket, at the end."""
    if phase is Phase.FINALIZING:
        return None
    if report.missing:
        return Failure(Reason.UPLOAD_FAILED, f"{report.missing} files could not be uploaded")
    if (report.ready or report.files) and not report.uploaded:
        told = _told(report, BUCKET_REASONS)
        why = f": {told.message}" if told else ""
        return Failure(Reason.UPLOAD_FAILED, f"not everything is in the bucket{why}")
    return None


def _told(report: Report, reasons: tuple[Reason, ...]) -> ReportedCondition | None:
    """The first of `reasons` that the sidecar reports now."""
    by_reason = {told.reason: told for told in report.conditions}
    return next((by_reason[reason.value] for reason in reasons if reason.value in by_reason), None)


def _container_trouble(container: Container) -> Failure | None:
    if container.waiting in IMAGE_REASONS:
        return Failure(Reason.IMAGE_MISSING, f"{container.waiting}: {container.message}")
    return None


def _not_ready(report: Report, pod: Pod | None, secrets: Verdict | None) -> Failure:
    """Why the robot is not in the room yet, the first cause first."""
    if pod is not None and pod.unschedulable is not None and not pod.recorder.running:
        return Failure(Reason.UNSCHEDULABLE, pod.unschedulable)
    if pod is not None:
        trouble = _container_trouble(pod.uploader) or _container_trouble(pod.recorder)
        if trouble is not None:
            return trouble
    if secrets is not None:
        return Failure(secrets.reason, secrets.message)
    told = _told(report, ROOM_REASONS) or _told(report, BUCKET_REASONS)
    if told is not None:
        return Failure(Reason(told.reason), told.message)
    if pod is not None and pod.uploader.waiting == "CrashLoopBackOff":
        return Failure(Reason.POD_STARTING, f"the uploader restarts again and again: {pod.uploader.message}")
    if pod is not None and pod.recorder.running:
        return Failure(Reason.POD_STARTING, "the recorder is joining the room")
    waiting = pod.recorder.waiting if pod is not None else ""
    return Failure(Reason.POD_STARTING, f"the Pod is starting{f' ({waiting})' if waiting else ''}")


def _ready(report: Report, pod: Pod | None, phase: Phase, failure: Failure | None, secrets: Verdict | None) -> Fact:
    kind = ConditionType.RECORDER_READY
    if failure is not None and failure.reason is not Reason.UPLOAD_FAILED:
        return Fact(kind, "False", failure.reason, failure.message)
    if phase in (Phase.COMPLETED, Phase.FAILED, Phase.FINALIZING, Phase.STOPPING):
        return Fact(kind, "False", *_why_left(report))
    told = _told(report, ROOM_REASONS)
    if report.ready and told is None:
        return Fact(kind, "True", Reason.READY, "the robot is in the room and the bucket takes files")
    waiting = _not_ready(report, pod, secrets)
    return Fact(kind, "False", waiting.reason, waiting.message)


def _why_left(report: Report) -> tuple[Reason, str]:
    try:
        return LEAVING[LeaveCode(report.leave_code or 0)]
    except ValueError:
        return Reason.STOPPED, f"the robot left with code {report.leave_code}"


def _recording(report: Report, phase: Phase) -> tuple[Fact, ...]:
    kind = ConditionType.RECORDING
    if phase is Phase.RECORDING:
        told = _told(report, NOTICES)
        if told is not None:
            return (Fact(kind, "True", Reason(told.reason), told.message),)
        return (Fact(kind, "True", Reason.RECORDING, "media is being recorded"),)
    if phase is Phase.IDLE:
        lack = _told(report, LACKS)
        if lack is not None:
            return (Fact(kind, "False", Reason(lack.reason), f"nothing is being recorded: {lack.message}"),)
        return (Fact(kind, "False", Reason.NO_MEDIA, "in the room; there is nothing to record yet"),)
    if phase is Phase.STARTING:
        return (Fact(kind, "False", Reason.NOT_STARTED, "the robot is not in the room yet"),)
    if phase.terminal and not report.ready and not report.files:
        return (Fact(kind, "False", Reason.NOT_STARTED, "nothing was recorded"),)
    _, why = _why_left(report)
    lack = _told(report, NEVER)
    if lack is not None:
        return (Fact(kind, "False", Reason(lack.reason), f"{why}; {lack.message}"),)
    return (Fact(kind, "False", Reason.STOPPED, why),)


def _uploaded(report: Report, phase: Phase, failure: Failure | None) -> tuple[Fact, ...]:
    kind = ConditionType.UPLOADED
    if phase in (Phase.COMPLETED, Phase.FAILED):
        if report.uploaded and not report.missing:
            held = f"{len(report.files)} playlists and all their segments" if report.files else "nothing was recorded"
            return (Fact(kind, "True", Reason.UPLOADED, held),)
        if failure is not None and failure.reason is Reason.UPLOAD_FAILED:
            return (Fact(kind, "False", Reason.UPLOAD_FAILED, failure.message),)
        told = _told(report, BUCKET_REASONS)
        if told is not None:
            return (Fact(kind, "False", Reason(told.reason), told.message),)
        if report.ready or report.files:
            cut = "cut off: what was recorded last may not be in the bucket, and the playlists have no end"
            return (Fact(kind, "False", Reason.UPLOAD_FAILED, cut),)
        return (Fact(kind, "False", Reason.NOT_STARTED, "nothing was recorded"),)
    told = _told(report, BUCKET_REASONS)
    if told is not None:
        return (Fact(kind, "False", Reason(told.reason), told.message),)
    if phase is Phase.FINALIZING:
        return (Fact(kind, "Unknown", Reason.UPLOADING, "the rest is being uploaded"),)
    if report.ready:
        return (Fact(kind, "Unknown", Reason.BUCKET_CHECKED, "the bucket takes files"),)
    return ()
