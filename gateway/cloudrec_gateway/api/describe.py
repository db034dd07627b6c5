"""A CloudRecording as DescribeCloudRecording tells it, and whether the API knows it (still). Pure.

| phase | Status |
|---|---|
| none yet, Pending, Starting, Idle | Idle |
| Recording | InProgress |
| Stopping, Finalizing, and any before that was told to stop | Exited |
| Completed, Failed | ResourceNotFound |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from cloudrec_contract.naming import FileNames
from cloudrec_contract.resources import CloudRecordingSpec, CloudRecordingStatus, DesiredState, Phase
from cloudrec_gateway.api.models import DescribeCloudRecordingResponse, StorageFile
from cloudrec_gateway.errors import RESOURCE_NOT_FOUND, ApiFault, shown

Status = Literal["Idle", "InProgress", "Exited"]

_STATUS: Final = MappingProxyType[Phase | None, Status](
    {
        None: "Idle",
        Phase.PENDING: "Idle",
        Phase.STARTING: "Idle",
        Phase.IDLE: "Idle",
        Phase.RECORDING: "InProgress",
        Phase.STOPPING: "Exited",
        Phase.FINALIZING: "Exited",
    }
)


@dataclass(frozen=True, slots=True)
class Task:
    """A recording and its application's SdkAppId. `task_id` is the resource's uid."""

    task_id: str
    sdk_app_id: int
    spec: CloudRecordingSpec
    status: CloudRecordingStatus
    deleted: bool = False

    @classmethod
    def parse(cls, resource: Mapping[str, Any], sdk_app_id: int) -> Task:
        """From the API server's JSON. Raises pydantic.ValidationError when it is no recording of this version."""
        metadata = resource["metadata"]
        return cls(
            task_id=metadata["uid"],
            sdk_app_id=sdk_app_id,
            spec=CloudRecordingSpec.model_validate(resource["spec"]),
            status=CloudRecordingStatus.model_validate(resource.get("status") or {}),
            deleted="deletionTimestamp" in metadata,
        )


def known(task: Task | None, *, task_id: str, sdk_app_id: int, now: datetime) -> Task:
    """The task, if calls of this application still reach it.

    Raises ApiFault ResourceNotFound, with one message for what is unknown, another application's, ended or expired: a
    stranger learns nothing.
    """
    reached = (
        task is not None
        and task.sdk_app_id == sdk_app_id
        and not (task.status.phase is not None and task.status.phase.terminal)
        and not (task.spec.api_expires_at is not None and now >= task.spec.api_expires_at)
    )
    if task is None or not reached:
        message = f"TaskId: {shown(task_id)} given; SdkAppId {sdk_app_id} has no such task, or it has ended or expired"
        raise ApiFault(RESOURCE_NOT_FOUND, message)
    return task


def described(task: Task) -> DescribeCloudRecordingResponse:
    """What is told of a task that `known` let through."""
    return DescribeCloudRecordingResponse(
        task_id=task.task_id, status=_status(task), storage_file_list=storage_files(task)
    )


def storage_files(task: Task) -> list[StorageFile]:
    """Every playlist of every attempt, in the attempts' order; BeginTimeStamp as in event 307 and in the playlist.

    Nothing of a recording to VOD: events 311 have its files.
    """
    if task.spec.storage.vod is not None:
        return []
    room = task.spec.room
    return [
        StorageFile(
            user_id=file.user_id,
            file_name=FileNames(task.sdk_app_id, room.id, room.type, attempt.index).recorded(
                task.spec.mode, file.user_id, file.media, file.kind
            ),
            track_type=file.kind,
            begin_time_stamp=file.begin_time_stamp,
        )
        for attempt in sorted(task.status.attempts, key=lambda each: each.index)
        if attempt.role == "Record" and attempt.report is not None
        for file in attempt.report.files
    ]


def _status(task: Task) -> Status:
    told_to_end = task.spec.desired_state is DesiredState.STOPPED or task.status.replaced_by is not None
    if task.deleted or told_to_end:
        return "Exited"
    return _STATUS[task.status.phase]
