"""What the conditions say: RecorderReady of the newest attempt, Recording of the one in the room, Uploaded of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import ConditionType, Phase, Report
from cloudrec_operator.policy import converting, finishing, phases, succession, waiting
from cloudrec_operator.policy.acceptance import Verdict
from cloudrec_operator.policy.attempts import View, told, why_left
from cloudrec_operator.policy.conditions import Fact

NEVER = (Reason.CODEC_UNSUPPORTED, Reason.NAME_TOO_LONG)
"""Somebody is not recorded at all."""
LACKS = (Reason.SLOW_DISK, Reason.TRANSCODE_OVERLOAD, *NEVER, Reason.STREAMS_WAITING)
"""Media is missing from the recording, or may be."""
NOTICES = (*LACKS, Reason.TRANSCODED)


def going_on(views: Sequence[View], must_stop: bool, secrets: Verdict | None) -> tuple[Fact, ...]:
    """Of a task that rests on the newest attempt. `secrets`: what is wrong with them, if they were looked at."""
    lead = phases.leading(views, must_stop)
    phase = phases.stage(lead, must_stop)
    return (_ready(views, lead, phase, secrets), *_recording(lead.report, phase), *_uploading(views, phase))


def winding_up(views: Sequence[View]) -> tuple[Fact, ...]:
    """Of a task that no attempt goes on with, while the rest is uploaded."""
    return (_ended(views), _recorded(views), *_uploading(views, Phase.FINALIZING))


@dataclass(frozen=True, slots=True)
class End:
    """What a task came to. `whole`: all that was recorded is in the bucket."""

    failed: bool
    whole: bool
    facts: tuple[Fact, ...]


def finisher_at_work(views: Sequence[View], finishers: Sequence[View], why: str, converts: bool) -> tuple[Fact, ...]:
    """Of a task that a finisher is at work for, first on the backup store; `why` that does not go on. `converts`: files
    are made, too."""
    draining = finishing.drains(views) and not any(view.report.uploaded for view in finishers)
    uploaded = _bringing(views, finishers, why) if draining else _uploaded(views, finishers)[1]
    made = (converting.working(finishers, draining, why),) if converts else ()
    return (_ended(views), _recorded(views), uploaded, *made)


def end(views: Sequence[View], finishers: Sequence[View] = ()) -> End:
    """`finishers`: the attempts to bring what the backup store has into the bucket, and to make files, if any.

    Files that could not be made fail no task: what was recorded is there.
    """
    newest = views[-1]
    lost, uploaded = _uploaded(views, finishers)
    failed = newest.attempt.failed or bool(succession.exhausted([view.attempt for view in views])) or lost
    whole = uploaded.status == "True"
    return End(failed, whole, (_ended(views), _recorded(views), uploaded))


# --- RecorderReady --------------------------------------------------------------------------------------------------


def _ready(views: Sequence[View], lead: View, phase: Phase, secrets: Verdict | None) -> Fact:
    kind = ConditionType.RECORDER_READY
    newest = views[-1]
    if phase in (Phase.FINALIZING, Phase.STOPPING):
        return Fact(kind, "False", *why_left(lead.report))
    unwell = told(lead.report, waiting.ROOM_REASONS)
    if lead is not newest and unwell is None:
        why, what = waiting.in_its_pod(newest, secrets)
        going = f"attempt {lead.attempt.index} goes on until attempt {newest.attempt.index} is in the room"
        return Fact(kind, "True", Reason.HANDED_OVER, f"{going} ({why}: {what})")
    if newest.report.ready and unwell is None:
        return Fact(kind, "True", Reason.READY, "the robot is in the room and the bucket takes files")
    return Fact(kind, "False", *waiting.in_its_pod(newest, secrets))


def _ended(views: Sequence[View]) -> Fact:
    attempts = [view.attempt for view in views]
    kind, last = ConditionType.RECORDER_READY, attempts[-1]
    exhausted = succession.exhausted(attempts)
    if exhausted:
        return Fact(kind, "False", Reason.TOO_MANY_FAILURES, f"{exhausted}: {succession.history(attempts)}")
    return Fact(kind, "False", Reason(last.reason), last.message)


# --- Recording ------------------------------------------------------------------------------------------------------


def _recording(report: Report, phase: Phase) -> tuple[Fact, ...]:
    kind = ConditionType.RECORDING
    if phase is Phase.RECORDING:
        notice = told(report, NOTICES)
        if notice is not None:
            return (Fact(kind, "True", Reason(notice.reason), notice.message),)
        return (Fact(kind, "True", Reason.RECORDING, "media is being recorded"),)
    if phase is Phase.IDLE:
        lack = told(report, LACKS)
        if lack is not None:
            return (Fact(kind, "False", Reason(lack.reason), f"nothing is being recorded: {lack.message}"),)
        return (Fact(kind, "False", Reason.NO_MEDIA, "in the room; there is nothing to record yet"),)
    if phase in (Phase.PENDING, Phase.STARTING):
        return (Fact(kind, "False", Reason.NOT_STARTED, "the robot is not in the room yet"),)
    _, why = why_left(report)
    return (_stopped(why, report),)


def _recorded(views: Sequence[View]) -> Fact:
    """Of a task that has ended."""
    kind = ConditionType.RECORDING
    last = next((view for view in reversed(views) if view.recorded), None)
    if last is None:
        return Fact(kind, "False", Reason.NOT_STARTED, "nothing was recorded")
    return _stopped(views[-1].attempt.message, last.report)


def _stopped(why: str, report: Report) -> Fact:
    lack = told(report, NEVER)
    if lack is not None:
        return Fact(ConditionType.RECORDING, "False", Reason(lack.reason), f"{why}; {lack.message}")
    return Fact(ConditionType.RECORDING, "False", Reason.STOPPED, why)


# --- Uploaded -------------------------------------------------------------------------------------------------------


def _uploading(views: Sequence[View], phase: Phase) -> tuple[Fact, ...]:
    kind = ConditionType.UPLOADED
    for view in reversed(views):
        problem = told(view.report, waiting.BUCKET_REASONS) if view.pod is not None else None
        if problem is not None:
            return (Fact(kind, "False", Reason(problem.reason), problem.message),)
    if phase is Phase.FINALIZING:
        return (Fact(kind, "Unknown", Reason.UPLOADING, "the rest is being uploaded"),)
    if any(view.report.ready for view in views):
        return (Fact(kind, "Unknown", Reason.BUCKET_CHECKED, "the bucket takes files"),)
    return ()


def _in_backup(views: Sequence[View], finishers: Sequence[View]) -> int:
    """How many files are in the backup store alone, as far as is known."""
    counted = [view.report for view in finishers if view.attempt.report is not None]
    return counted[-1].backup if counted else sum(view.report.backup for view in views)


def _bringing(views: Sequence[View], finishers: Sequence[View], why: str) -> Fact:
    count = _in_backup(views, finishers)
    what = f"{count} files are" if count else "some files may be"
    trouble = f" ({why})" if why else ""
    text = f"{what} in the backup store alone; Pod {finishers[-1].attempt.pod} brings them into the bucket{trouble}"
    return Fact(ConditionType.UPLOADED, "False", Reason.BACKUP_IN_USE, text)


def _drainer(views: Sequence[View], finishers: Sequence[View]) -> View | None:
    """The finisher whose word on the backup store counts; None when nothing was, or may be, in it."""
    found = any(view.report.backup or view.report.missing for view in finishers)
    if not finishers or not (found or finishing.drains(views)):
        return None
    return next((view for view in reversed(finishers) if view.report.uploaded), finishers[-1])


def _uploaded(views: Sequence[View], finishers: Sequence[View]) -> tuple[bool, Fact]:
    """Whether the task has failed for what is not in the bucket, and what the condition says, at the end.

    What went down with a node or a Pod is told and is no failure: a successor went on, as was promised.
    """
    kind = ConditionType.UPLOADED
    recorded = [view for view in views if view.recorded]
    problem = next(filter(None, (told(view.report, waiting.BUCKET_REASONS) for view in reversed(views))), None)
    why = f": {problem.message}" if problem else ""
    last = _drainer(views, finishers)
    missing = sum(view.report.missing for view in (*views, *([last] if last else [])))
    if missing:
        return True, Fact(kind, "False", Reason.UPLOAD_FAILED, f"{missing} files could not be uploaded{why}")
    cut = [view.attempt.index for view in recorded if not view.report.uploaded]
    if cut:
        which = f"attempt {', '.join(map(str, cut))}: " if len(views) > 1 else ""
        text = f"{which}cut off: what was recorded last may not be in the bucket, and the playlists have no end{why}"
        return views[-1].attempt.index in cut, Fact(kind, "False", Reason.UPLOAD_FAILED, text)
    if last is not None and not (last.report.uploaded and last.report.backup == 0):
        count = last.report.backup or _in_backup(views, finishers) or "some"
        rest = finishing.left(last.report) if last.report.uploaded else last.attempt.message
        text = f"{count} files are in the backup store alone: {rest}"
        return False, Fact(kind, "False", Reason.BACKUP_IN_USE, text)
    backup = sum(view.report.backup for view in views)
    if backup and last is None:
        return False, Fact(kind, "False", Reason.BACKUP_IN_USE, f"{backup} files are in the backup store{why}")
    files = sum(len(view.report.files) for view in views)
    if recorded:
        held = f"{files} playlists and all their segments" if files else "nothing was recorded"
        kept = told(last.report, (Reason.BACKUP_FAILED,)) if last else None
        held += f"; {kept.message}" if kept else ""
        return False, Fact(kind, "True", Reason.UPLOADED, held)
    if problem is not None:
        return False, Fact(kind, "False", Reason(problem.reason), problem.message)
    return False, Fact(kind, "False", Reason.NOT_STARTED, "nothing was recorded")
