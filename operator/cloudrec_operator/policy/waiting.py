"""Why the newest attempt's robot is not in its room yet, the first cause first."""

from __future__ import annotations

from cloudrec_contract.conditions import Reason
from cloudrec_operator.observed import Container, Observed
from cloudrec_operator.policy import attempts
from cloudrec_operator.policy.acceptance import Verdict, examine, examine_secrets
from cloudrec_operator.policy.attempts import View

IMAGE_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
ROOM_REASONS = (Reason.TOKEN_REFUSED, Reason.LIVEKIT_UNREACHABLE, Reason.MEDIA_UNREACHABLE)
BUCKET_REASONS = (
    Reason.SPOOL_FULL,
    Reason.BUCKET_REFUSED,
    Reason.BUCKET_UNREACHABLE,
    Reason.UPLOAD_FAILED,
    Reason.BACKUP_FAILED,
    Reason.BACKUP_IN_USE,
)


def why(seen: Observed, view: View) -> tuple[Reason, str]:
    """Why the newest attempt is not in the room, its Pod made or not."""
    if view.made:
        return in_its_pod(view, secrets(seen))
    verdict = examine(seen)
    if seen.pods.get(view.attempt.pod) is not None:
        return Reason.POD_STARTING, f"waiting for a Pod of another owner to go: {view.attempt.pod}"
    if not verdict.accepted:
        return verdict.reason, verdict.message
    if seen.refused:
        return Reason.POD_REFUSED, seen.refused
    return Reason.POD_STARTING, "the Pod is being made"


def secrets(seen: Observed) -> Verdict | None:
    """What is wrong with the Secrets, or with what was made of them, if they were looked at."""
    looked = seen.app_secret is not None and seen.bucket_secret is not None
    found = examine_secrets(seen, seen.app.spec) if looked and seen.app and seen.app.spec else None
    if found is None and seen.refused:
        return Verdict(Reason.POD_REFUSED, seen.refused)
    return found


def in_its_pod(view: View, secrets: Verdict | None) -> tuple[Reason, str]:
    """Why the robot is not in the room yet, the first cause first."""
    report, pod = view.report, view.pod
    if pod is not None and pod.unschedulable is not None and not pod.recorder.running:
        return Reason.UNSCHEDULABLE, pod.unschedulable
    if pod is not None:
        trouble = _container_trouble(pod.uploader) or _container_trouble(pod.recorder)
        if trouble:
            return Reason.IMAGE_MISSING, trouble
    if secrets is not None:
        return secrets.reason, secrets.message
    problem = attempts.told(report, ROOM_REASONS) or attempts.told(report, BUCKET_REASONS)
    if problem is not None:
        return Reason(problem.reason), problem.message
    if pod is not None and pod.uploader.waiting == "CrashLoopBackOff":
        return Reason.POD_STARTING, f"the uploader restarts again and again: {pod.uploader.message}"
    if pod is not None and pod.recorder.running:
        return Reason.POD_STARTING, "the recorder is joining the room"
    waiting = pod.recorder.waiting if pod is not None else ""
    return Reason.POD_STARTING, f"the Pod is starting{f' ({waiting})' if waiting else ''}"


def _container_trouble(container: Container) -> str:
    return f"{container.waiting}: {container.message}" if container.waiting in IMAGE_REASONS else ""
