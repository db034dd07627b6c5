"""What the reconciler saw, as values: all that a decision rests on."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import (
    Attempt,
    CloudRecordingSpec,
    CloudRecordingStatus,
    DesiredState,
    Exit,
    RecordingAppSpec,
)
from cloudrec_contract.secret import Secret
from cloudrec_operator import times

FINALIZER = "cloudrec.dev/recording"
RECORDER = "recorder"
UPLOADER = "uploader"


@dataclass(frozen=True, slots=True)
class Recording:
    """A CloudRecording. `spec` is None when it does not fit the contract; `spec_error` then says why."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int
    finalizers: tuple[str, ...]
    deleted_at: datetime | None
    spec: CloudRecordingSpec | None
    spec_error: str
    status: CloudRecordingStatus

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Recording:
        """Raises pydantic.ValidationError when the status, which only we and our sidecars write, is not as agreed."""
        meta = raw["metadata"]
        spec: CloudRecordingSpec | None = None
        error = ""
        try:
            spec = CloudRecordingSpec.model_validate(raw.get("spec", {}))
        except ValidationError as invalid:
            error = explain(invalid)
        deleted = meta.get("deletionTimestamp")
        return cls(
            name=meta["name"],
            namespace=meta["namespace"],
            uid=meta["uid"],
            resource_version=meta["resourceVersion"],
            generation=meta.get("generation", 0),
            finalizers=tuple(meta.get("finalizers", ())),
            deleted_at=times.parse(deleted) if deleted else None,
            spec=spec,
            spec_error=error,
            status=CloudRecordingStatus.model_validate(raw.get("status") or {}),
        )

    @property
    def held(self) -> bool:
        return FINALIZER in self.finalizers

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt."""
        return max(self.status.attempts, key=lambda attempt: attempt.index, default=None)

    @property
    def terminal(self) -> bool:
        return self.status.phase is not None and self.status.phase.terminal

    @property
    def accepted(self) -> bool:
        return self.status.task_id is not None

    @property
    def must_stop(self) -> bool:
        return self.deleted_at is not None or (
            self.spec is not None and self.spec.desired_state is DesiredState.STOPPED
        )


@dataclass(frozen=True, slots=True)
class SecretData:
    """A Secret's data. `values` is None when there is no such Secret; undecodable values are left out."""

    name: str
    values: Mapping[str, Secret] | None

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> SecretData:
        values: dict[str, Secret] = {}
        for key, value in (raw.get("data") or {}).items():
            try:
                values[key] = Secret(base64.b64decode(value, validate=True).decode())
            except (binascii.Error, UnicodeDecodeError):
                continue
        return cls(raw["metadata"]["name"], values)


@dataclass(frozen=True, slots=True)
class App:
    """A RecordingApp. `spec` is None when it does not fit the contract."""

    spec: RecordingAppSpec | None
    error: str = ""

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> App:
        try:
            return cls(RecordingAppSpec.model_validate(raw.get("spec", {})))
        except ValidationError as invalid:
            return cls(None, explain(invalid))


@dataclass(frozen=True, slots=True)
class Container:
    """A container's state; before the kubelet has said anything, all is empty."""

    waiting: str = ""
    message: str = ""
    running: bool = False
    exit: Exit | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Container:
        state = raw.get("state", {})
        if ended := state.get("terminated"):
            return cls(exit=parse_exit(ended))
        waiting = state.get("waiting", {})
        return cls(waiting.get("reason", ""), waiting.get("message", ""), "running" in state)


@dataclass(frozen=True, slots=True)
class Pod:
    """What matters of a recorder Pod. `phase`, `reason` and `message` as in its status."""

    name: str
    uid: str
    owner: str
    deleting: bool = False
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    unschedulable: str | None = None
    recorder: Container = field(default_factory=Container)
    uploader: Container = field(default_factory=Container)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Pod:
        meta, status = raw["metadata"], raw.get("status", {})
        owner = next((ref["uid"] for ref in meta.get("ownerReferences", ()) if ref.get("controller")), "")
        scheduled: Mapping[str, Any] = next(
            (c for c in status.get("conditions", ()) if c.get("type") == "PodScheduled" and c.get("status") == "False"),
            {},
        )
        return cls(
            name=meta["name"],
            uid=meta["uid"],
            owner=owner,
            deleting="deletionTimestamp" in meta,
            phase=status.get("phase", "Pending"),
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
            recorder=_container(status.get("containerStatuses", ()), RECORDER),
            uploader=_container(status.get("initContainerStatuses", ()), UPLOADER),
        )

    @property
    def over(self) -> bool:
        """Nothing in it runs any more."""
        return self.phase in ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at a recording and all around it. What a decision does not need may be left None.

    `pod` is the Pod of the newest attempt's name, whoever owns it. `refused` is why its creation was refused last.
    """

    recording: Recording
    now: datetime
    app: App | None = None
    app_secret: SecretData | None = None
    bucket_secret: SecretData | None = None
    pod: Pod | None = None
    token_expires: datetime | None = None
    refused: str = ""


def explain(invalid: ValidationError) -> str:
    """The first faults of a value, without the value (it may be a secret's neighbour)."""
    faults = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in invalid.errors()[:3]]
    return "; ".join(faults)


def parse_exit(terminated: Mapping[str, Any]) -> Exit:
    """A container's end. Ours leave `{"reason", "message"}` as their termination message; else it is a log's tail."""
    text = str(terminated.get("message", "")).strip()
    reason, message = str(terminated.get("reason", "")), text
    try:
        told = json.loads(text)
        reason, message = str(told["reason"]), str(told.get("message", ""))
    except (ValueError, KeyError, TypeError):
        reason = "" if reason in ("Completed", "Error") else reason
    return Exit(
        code=int(terminated.get("exitCode", 0)),
        reason=reason or (Reason.RECORDER_FAILED.value if terminated.get("exitCode") else ""),
        message=message[-2048:],
        finished_at=terminated.get("finishedAt"),
    )


def _container(statuses: Any, name: str) -> Container:
    return next((Container.parse(status) for status in statuses if status.get("name") == name), Container())
