"""The operator's part of a status: what it applies, and whether that differs from what is there."""

from __future__ import annotations

from typing import Any

from cloudrec_contract.resources import API_VERSION, CloudRecordingStatus
from cloudrec_operator.observed import Recording


def owned(status: CloudRecordingStatus) -> dict[str, Any]:
    """All but the attempts' reports, which are the sidecars'."""
    wire = status.wire()
    wire["attempts"] = [
        {key: value for key, value in attempt.items() if key != "report"} for attempt in wire.get("attempts", [])
    ]
    return {key: value for key, value in wire.items() if value != []}


def body(recording: Recording, status: CloudRecordingStatus) -> dict[str, Any]:
    """For server-side apply. The resourceVersion makes it a Conflict when anything has changed since it was read."""
    return {
        "apiVersion": API_VERSION,
        "kind": "CloudRecording",
        "metadata": {
            "name": recording.name,
            "namespace": recording.namespace,
            "uid": recording.uid,
            "resourceVersion": recording.resource_version,
        },
        "status": owned(status),
    }


def differs(old: CloudRecordingStatus, new: CloudRecordingStatus) -> bool:
    return owned(old) != owned(new)
