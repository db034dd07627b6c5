"""A Pod's status in kubelet's words, from facts about its containers. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..kubeapi import Object

Role = Literal["init", "sidecar", "main"]
UNKNOWN_EXIT = 137
MESSAGE_LIMIT = 4096  # bytes of a termination message
LOG_LIMIT, LOG_LINES = 2048, 80  # of FallbackToLogsOnError


def timestamp(when: dt.datetime | None = None) -> str:
    """RFC 3339 in UTC with whole seconds, as metav1.Time."""
    return (when or dt.datetime.now(dt.UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Facts(BaseModel):
    """What is known of one container; kept on disk, so that a restarted agent goes on from it."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    name: str
    role: Role
    image: str
    restart_count: int = 0
    state: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}
    last_state: dict[str, Any] = {}
    started: bool = False
    once: bool = False  # it has been started at least once
    ready: bool = False
    container_id: str = ""

    @property
    def running(self) -> bool:
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """The exit code of a container that has ended and not started again."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    def render(self) -> Object:
        """As an element of `containerStatuses`."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image,
            "restartCount": self.restart_count,
            "state": self.state,
            "lastState": self.last_state,
            "started": self.started,
            "ready": self.ready,
            **({"containerID": self.container_id} if self.container_id else {}),
        }


def exit_code(returncode: int) -> int:
    """Python's return code (negative: killed by that signal) as a container's exit code."""
    return returncode if returncode >= 0 else 128 - returncode


def terminated(code: int, started_at: str, container_id: str, *, message: str = "", reason: str = "") -> dict[str, Any]:
    """A container's `state` after its end."""
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason or ("Completed" if code == 0 else "Error"),
            "startedAt": started_at,
            "finishedAt": timestamp(),
            **({"containerID": container_id} if container_id else {}),
            **({"message": message} if message else {}),
        }
    }


def termination_message(policy: str, code: int, written: bytes, log: bytes) -> str:
    """What the container wrote, else with FallbackToLogsOnError and a failure the end of its log."""
    if written:
        return written[:MESSAGE_LIMIT].decode(errors="replace")
    if policy == "FallbackToLogsOnError" and code != 0:
        lines = log[-LOG_LIMIT:].decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])
    return ""


def restarts(policy: str, code: int) -> bool:
    """Whether a container that ended with `code` is started again under that restart policy."""
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def phase(containers: Iterable[Facts], *, over: bool) -> str:
    """The Pod's phase; `over`: everything has ended and nothing will be started again (kubelet's getPhase)."""
    all_ = list(containers)
    inits = [c for c in all_ if c.role == "init"]
    sidecars = [c for c in all_ if c.role == "sidecar"]
    mains = [c for c in all_ if c.role == "main"]
    if over:
        bad_init = any(c.exit_code for c in inits)
        return "Succeeded" if not bad_init and all(c.exit_code == 0 for c in mains) else "Failed"
    if any(c.exit_code != 0 for c in inits):
        return "Pending"
    if any("waiting" in c.state and not c.last_state for c in mains):
        return "Pending"
    if not all(c.once for c in sidecars):
        return "Pending"
    return "Running"


def conditions(
    containers: Iterable[Facts], *, mounted: bool, over: bool, phase: str, before: Mapping[str, Object], now: str
) -> list[Object]:
    """The Pod's conditions; `before` (by type) keeps the time of those that did not change.

    `reason` is always there, null to take an older one back: the patch merges by type.
    """
    all_ = list(containers)
    initialized = all(c.exit_code == 0 if c.role == "init" else c.role == "main" or c.once or over for c in all_)
    waiting = sorted(c.name for c in all_ if c.role != "init" and not c.ready)
    ready = not waiting and not over
    why = "PodFailed" if phase == "Failed" else "PodCompleted" if over else "ContainersNotReady"
    said = None if over else f"containers with unready status: [{' '.join(waiting)}]"
    wanted: list[tuple[str, bool, str | None, str | None]] = [
        ("PodReadyToStartContainers", mounted and not over, None, None),
        ("Initialized", initialized, None if initialized else "ContainersNotInitialized", None),
        ("Ready", ready, None if ready else why, None if ready else said),
        ("ContainersReady", ready, None if ready else why, None if ready else said),
    ]
    rendered = []
    for kind, holds, reason, message in wanted:
        status = "True" if holds else "False"
        known = before.get(kind, {})
        since = known.get("lastTransitionTime", now) if known.get("status") == status else now
        rendered.append(
            {"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
        )
    return rendered


def pod_status(
    facts: list[Facts], *, ip: str, host_ip: str, start_time: str, mounted: bool, over: bool,
    before: Mapping[str, Object], generation: int,
) -> Object:  # fmt: skip
    """The whole of `status` that a node owns."""
    current = phase(facts, over=over)
    return {
        "phase": current,
        "observedGeneration": generation,
        "startTime": start_time,
        "hostIP": host_ip,
        "hostIPs": [{"ip": host_ip}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "initContainerStatuses": [f.render() for f in facts if f.role != "main"],
        "containerStatuses": [f.render() for f in facts if f.role == "main"],
        "conditions": conditions(facts, mounted=mounted, over=over, phase=current, before=before, now=timestamp()),
    }
