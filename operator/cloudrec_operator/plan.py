"""What a decision asks for: at most one status write, then actions in their order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cloudrec_contract.resources import CloudRecordingStatus


@dataclass(frozen=True, slots=True)
class Hold:
    """Put our finalizer on the recording, or take it off."""

    held: bool


@dataclass(frozen=True, slots=True)
class EnsureAccess:
    """What stands in the recording's namespace once: the sidecar's service account, its role binding, a budget."""


@dataclass(frozen=True, slots=True)
class WriteToken:
    """The room token's Secret, by server-side apply."""

    manifest: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreatePod:
    manifest: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeletePod:
    """`grace_seconds` None leaves the Pod its own."""

    name: str
    uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteRecording:
    """The TTL after the end has passed, or the namespace is being deleted."""


Action = Hold | EnsureAccess | WriteToken | CreatePod | DeletePod | DeleteRecording


@dataclass(frozen=True, slots=True)
class Plan:
    """`status` None: as it is. `retry`: look again with growing pauses. `after`: look again in so many seconds.

    `progress_only`: nothing of the status changes but what is said of callbacks.
    """

    status: CloudRecordingStatus | None = None
    actions: tuple[Action, ...] = ()
    retry: bool = False
    after: float | None = None
    progress_only: bool = False
