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
    GATEWAY,
    MADE_BY_LABEL,
    REPLAY_ANNOTATION,
    Attempt,
    Callback,
    CloudRecordingSpec,
    CloudRecordingStatus,
    DesiredState,
    Exit,
    RecordingAppSpec,
)
from cloudrec_contract.secret import Secret
from cloudrec_operator import times
from cloudrec_operator.callbacks.order import Progress

FINALIZER = "cloudrec.dev/recording"
RECORDER = "recorder"
UPLOADER = "uploader"
FINISHER = "finisher"


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
    by_gateway: bool = False
    created: datetime = times.EPOCH
    replay: str | None = None

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
            created=times.parse(meta["creationTimestamp"]) if "creationTimestamp" in meta else times.EPOCH,
            replay=(meta.get("annotations") or {}).get(REPLAY_ANNOTATION),
            by_gateway=(meta.get("labels") or {}).get(MADE_BY_LABEL) == GATEWAY,
        )

    @property
    def held(self) -> bool:
        return FINALIZER in self.finalizers

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt that records."""
        recording = (attempt for attempt in self.status.attempts if attempt.role == "Record")
        return max(recording, key=lambda attempt: attempt.index, default=None)

    @property
    def finisher(self) -> Attempt | None:
        """The newest attempt to bring what the backup store has into the bucket, and to make files."""
        finishing = (attempt for attempt in self.status.attempts if attempt.role == "Finish")
        return max(finishing, key=lambda attempt: attempt.index, default=None)

    @property
    def terminal(self) -> bool:
        return self.status.phase is not None and self.status.phase.terminal

    @property
    def accepted(self) -> bool:
        return self.status.task_id is not None

    @property
    def must_stop(self) -> bool:
        return (
            self.deleted_at is not None
            or self.status.replaced_by is not None
            or (self.spec is not None and self.spec.desired_state is DesiredState.STOPPED)
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
class Node:
    """Whether a node can be relied on; `trouble` says why not and is empty while it is ready. `gone`: it is no more."""

    trouble: str = ""
    gone: bool = False

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Node:
        conditions = raw.get("status", {}).get("conditions", ())
        ready = next((c for c in conditions if c.get("type") == "Ready"), None)
        if ready is not None and ready.get("status") == "True":
            return cls()
        said = ready.get("message") or ready.get("reason") or "" if ready else "it has not said a word"
        return cls(trouble=f"node {raw['metadata']['name']} is not ready: {said}")

    @classmethod
    def missing(cls, name: str) -> Node:
        return cls(trouble=f"node {name} does not exist any more", gone=True)


@dataclass(frozen=True, slots=True)
class Pod:
    """What matters of a recorder's or a finisher's Pod. `phase`, `reason` and `message` as in its status.

    `disruption` is the reason of its condition DisruptionTarget: somebody is about to end it (an eviction, a
    preemption, a node that shuts down); the deletion follows, or does not.
    """

    name: str
    uid: str
    owner: str
    deleting: bool = False
    disruption: str = ""
    node: str = ""
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    unschedulable: str | None = None
    recorder: Container = field(default_factory=Container)
    uploader: Container = field(default_factory=Container)
    finisher: Container = field(default_factory=Container)

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Pod:
        meta, status = raw["metadata"], raw.get("status", {})
        owner = next((ref["uid"] for ref in meta.get("ownerReferences", ()) if ref.get("controller")), "")
        conditions = {c.get("type"): c for c in status.get("conditions", ())}
        scheduled, target = conditions.get("PodScheduled", {}), conditions.get("DisruptionTarget", {})
        unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
        return cls(
            name=meta["name"],
            uid=meta["uid"],
            owner=owner,
            deleting="deletionTimestamp" in meta,
            disruption=target.get("reason", "") if target.get("status") == "True" else "",
            node=raw.get("spec", {}).get("nodeName", ""),
            phase=status.get("phase", "Pending"),
            reason=status.get("reason", ""),
            message=status.get("message", ""),
            unschedulable=scheduled.get("message", "") if unschedulable else None,
            recorder=_container(status.get("containerStatuses", ()), RECORDER),
            uploader=_container(status.get("initContainerStatuses", ()), UPLOADER),
            finisher=_container(status.get("containerStatuses", ()), FINISHER),
        )

    @property
    def over(self) -> bool:
        """Nothing in it runs any more."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def leaving(self) -> bool:
        return self.deleting or bool(self.disruption)


@dataclass(frozen=True, slots=True)
class Observed:
    """One look at a recording and all around it. What a decision does not need may be left None.

    `pods` are the Pods of the attempts' names, whoever owns them, and `nodes` those that they run on. `backup_secret`
    and `vod_secret` (of VOD's backend; `bucket_secret` is then the spool's) are None when none is named, too.
    `refused` is why the creation of a Pod was refused last.
    `namespace_ends`: the namespace is being deleted, and Pods with it. `room_for_one`: the app may have one more task.
    `rival`: task id of a later recording of the same app, room and robot. `callback`: the app's, looked at once the
    recording is accepted; `progress`: what of the callbacks is ahead of the status.
    """

    recording: Recording
    now: datetime
    app: App | None = None
    app_secret: SecretData | None = None
    bucket_secret: SecretData | None = None
    backup_secret: SecretData | None = None
    vod_secret: SecretData | None = None
    pods: Mapping[str, Pod] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)
    token_expires: datetime | None = None
    refused: str = ""
    namespace_ends: bool = False
    room_for_one: bool = True
    rival: str | None = None
    callback: Callback | None = None
    progress: Progress = field(default_factory=Progress)


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
