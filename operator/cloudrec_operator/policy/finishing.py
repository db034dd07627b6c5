"""What is done after the recording by Pods of its own: whether, by which, how often, and for how long.

A finisher brings what only the backup store has into the bucket, and then makes files (MP4, AAC, VOD). It begins when
all recorders are done, and the task is Finalizing until it has ended: well, or given up, or because the recording is
deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cloudrec_contract import naming
from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Attempt, Report
from cloudrec_operator import times
from cloudrec_operator.observed import Observed, Recording
from cloudrec_operator.plan import Action, CreatePod, DeletePod, EnsureAccess
from cloudrec_operator.policy import acceptance, converting, finisherpod, waiting
from cloudrec_operator.policy.attempts import DRAIN_SECONDS, Ending, View, told
from cloudrec_operator.policy.podwork import END_GRACE_SECONDS
from cloudrec_operator.settings import Settings

PAUSES = (5.0, 60.0, 300.0, 900.0)
"""Seconds between the end of a finisher, the first, the second, …, and the Pod of the next."""
ATTEMPTS_MAX = len(PAUSES) + 1
MARGIN_SECONDS = 300.0
"""How much longer than a finisher itself the operator waits for its last word."""
LEAST_SECONDS = 60.0


def needed(recording: Recording, views: Sequence[View]) -> bool:
    """Whether there is anything for a finisher to do. `views`: of the attempts that recorded."""
    return recording.deleted_at is None and (drains(views) or converting.wanted(recording, views))


def drains(views: Sequence[View]) -> bool:
    """Whether something is in the backup store alone, or may be: a lost recorder's sidecar could not say so."""
    return any(view.report.backup or told(view.report, (Reason.BACKUP_IN_USE,)) for view in views)


def searches(views: Sequence[View]) -> bool:
    """Whether the backup store is to be looked through: not if all attempts said that the bucket has all of theirs. It
    may be away, and files wait for it."""
    return drains(views) or any(view.recorded and not view.report.uploaded for view in views)


def attempt(recording: Recording, index: int) -> Attempt:
    """Its number is of finishers alone: no file carries it. Their events are one source's, so it begins where those
    before it were."""
    name = naming.finisher_name(recording.name, recording.uid, index)
    acked = max((one.acked for one in recording.status.attempts if one.role == "Finish"), default=0)
    return Attempt(pod=name, index=index, role="Finish", acked=acked)


def deadline(recording: Recording, settings: Settings) -> datetime | None:
    """When a finisher gives up; the phase was begun anew when the first was declared."""
    since = recording.status.phase_since
    return times.parse(since) + timedelta(seconds=settings.finish_seconds) if since is not None else None


def left(report: Report) -> str:
    """What a finisher says of files that could not be copied into the bucket."""
    said = told(report, (Reason.BACKUP_IN_USE,))
    return said.message if said else "some of it could not be copied"


def ending(newest: View, converts: bool, stopped: bool, overdue: bool) -> Ending | None:
    """How the newest finisher has ended; None while it is waited for. `converts`: files are to be made, too."""
    report, pod = newest.report, newest.pod
    made = report.conversion if converts else None
    if report.uploaded and (not converts or (made is not None and made.done)):
        if report.backup:
            return Ending(Reason.BACKUP_IN_USE, left(report), failed=True)
        if made is not None:
            why = made.message or "all files were made"
            return Ending(converting.reason(made), why, failed=converting.failed(made))
        return Ending(Reason.UPLOADED, "the bucket has all that the backup store had")
    if stopped:
        what = "nothing more is copied or made" if converts else "its files stay in the backup store"
        return Ending(Reason.STOPPED, f"the recording is deleted: {what}")
    if overdue:
        given_up = Reason.CONVERT_FAILED if converts else Reason.BACKUP_IN_USE
        return Ending(given_up, "given up: it did not end in time", failed=True)
    if not newest.made:
        return None
    if newest.exit is not None:
        why = newest.exit.message or f"the finisher exited with code {newest.exit.code}"
        return Ending(Reason.FINISHER_FAILED, why, failed=True, again=True)
    if pod is None or pod.over or newest.node_lost:
        why = newest.node_lost or (f"{pod.reason}: {pod.message}" if pod and pod.reason else "its Pod is gone")
        return Ending(Reason.FINISHER_FAILED, f"the finisher ended without a word: {why}", failed=True, again=True)
    return None


def due_at(finishers: Sequence[View]) -> datetime | None:
    """When the newest finisher's Pod may be made; None: at once."""
    if len(finishers) < 2 or (ended_at := finishers[-2].attempt.ended_at) is None:
        return None
    pause = PAUSES[min(len(finishers) - 1, len(PAUSES)) - 1]
    return times.parse(ended_at) + timedelta(seconds=pause)


def let_go(views: Sequence[View]) -> list[Action]:
    """End the recorders' Pods, whatever they still do: from now on the lists in the bucket are the finisher's."""
    return [
        DeletePod(view.pod.name, view.pod.uid, END_GRACE_SECONDS)
        for view in views
        if view.pod is not None and not view.pod.deleting
    ]


def in_the_way(views: Sequence[View], since: datetime, now: datetime) -> bool:
    """Whether a recorder's sidecar may still write: a Pod that does not go is not waited for for ever."""
    present = any(view.pod is not None and not view.pod.over and not view.node_lost for view in views)
    return present and now < since + timedelta(seconds=DRAIN_SECONDS)


def create(
    seen: Observed, views: Sequence[View], newest: Attempt, seconds: float, settings: Settings
) -> tuple[tuple[Action, ...], str]:
    """What makes the Pod; or why it cannot be made."""
    recording, spec, app = seen.recording, seen.recording.spec, seen.app.spec if seen.app else None
    if seen.pods.get(newest.pod) is not None:
        return (), f"waiting for a Pod of another owner to go: {newest.pod}"
    if spec is None or app is None:
        return (), "the RecordingApp is not there, or not valid"
    backup, converts = searches(views), converting.wanted(recording, views)
    fault = acceptance.examine_store(seen, spec, app, backup) or acceptance.store_keys_fault(seen, spec, app, backup)
    if fault is not None:
        return (), fault.message
    if drains(views) and acceptance.backup_of(spec, app) is None:
        return (), "no backup store is named"
    work = finisherpod.Work(max(LEAST_SECONDS, seconds), backup, converts)
    try:
        manifest = finisherpod.build(recording, spec, app, newest.index, work, settings)
    except ValueError as error:
        return (), str(error)
    return (EnsureAccess(), CreatePod(manifest)), seen.refused


def why_waiting(newest: View) -> str:
    """What keeps a finisher that was made from its work; empty when nothing does."""
    pod = newest.pod
    if pod is None:
        return ""
    if pod.unschedulable is not None:
        return pod.unschedulable
    if pod.finisher.waiting in waiting.IMAGE_REASONS:
        return f"{pod.finisher.waiting}: {pod.finisher.message}"
    trouble = next(iter(newest.report.conditions), None)
    return f"{trouble.reason}: {trouble.message}" if trouble else ""
