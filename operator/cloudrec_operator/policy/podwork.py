"""What is done to Pods: made, told to go when they are late, let go when nothing more is to come of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cloudrec_contract.resources import Attempt
from cloudrec_operator.observed import Observed
from cloudrec_operator.plan import Action, CreatePod, DeletePod, EnsureAccess
from cloudrec_operator.policy import acceptance, attempts, deadlines, pods, renewal
from cloudrec_operator.policy.attempts import View
from cloudrec_operator.settings import Settings

END_GRACE_SECONDS = 30
"""Grace of a Pod that has nothing left to upload."""


def create(seen: Observed, attempt: Attempt, settings: Settings) -> tuple[Action, ...]:
    recording, spec, app = seen.recording, seen.recording.spec, seen.app
    epoch = recording.status.epoch
    if seen.pods.get(attempt.pod) is not None or not acceptance.examine(seen).accepted:
        return ()
    if spec is None or app is None or app.spec is None or epoch is None:
        return ()
    manifest = pods.build(recording, spec, app.spec, attempt.index, epoch, settings)
    return (EnsureAccess(), *renewal.token(seen, attempt, settings), CreatePod(manifest))


def clear(views: Sequence[View], now: datetime, settings: Settings) -> list[Action]:
    """Let the Pods go of attempts that nothing more is to come of."""
    return [
        DeletePod(view.pod.name, view.pod.uid, END_GRACE_SECONDS)
        for view in views
        if view.pod is not None and not view.pod.deleting and attempts.settled(view, now, settings)
    ]


def end_overdue(
    views: Sequence[View], since: datetime, now: datetime, settings: Settings
) -> tuple[list[Action], datetime | None]:
    """Recorders that were told to stop at `since` and have not in time: send them SIGTERM. And when that will be."""
    kill_at = deadlines.stop(since, settings)
    if now < kill_at:
        return [], kill_at
    late = [view.pod for view in views if view.going_on and view.pod is not None and not view.pod.deleting]
    return [DeletePod(pod.name, pod.uid) for pod in late], None
