"""Sample values that the operator's tests vary."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudrec_contract.resources import Attempt, CloudRecordingStatus, Exit, Phase
from cloudrec_contract.secret import Secret
from cloudrec_operator import times
from cloudrec_operator.observed import FINALIZER, App, Container, Observed, Pod, Recording, SecretData
from cloudrec_operator.settings import Settings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "0b9d2c4e-0000-4000-8000-000000000001"
POD = "lesson-0b9d2-0"
POD_UID = "c0ffee00-0000-4000-8000-000000000002"
SETTINGS = Settings()

SPEC: dict[str, Any] = {
    "appRef": {"name": "demo"},
    "room": {"id": "12345"},
    "storage": {
        "bucket": {
            "endpoint": "http://bucket.test:8333",
            "bucket": "recordings",
            "prefix": ["school", "2026"],
            "credentialsSecretRef": {"name": "bucket-keys"},
        }
    },
}
APP_SPEC: dict[str, Any] = {
    "sdkAppId": 1400123456,
    "room": {
        "livekit": {
            "url": "ws://livekit.test:7880",
            "apiKeySecretRef": {"name": "livekit-keys"},
            "roomNames": {"string": "s-{id}"},
        }
    },
}

VOD_SPEC: dict[str, Any] = {**SPEC, "storage": {"vod": {"procedure": "check", "expireSeconds": 90_000}}}
SPOOL = {"endpoint": "http://spool.test:8333", "bucket": "spool", "credentialsSecretRef": {"name": "spool-keys"}}
BUCKET_VOD: dict[str, Any] = {
    **APP_SPEC,
    "vod": {
        "spool": SPOOL,
        "bucket": {
            "endpoint": "http://vod.test:8333",
            "bucket": "films",
            "prefix": ["tv"],
            "publicUrl": "https://cdn.test/films",
            "credentialsSecretRef": {"name": "vod-keys"},
        },
    },
}
TENCENT_VOD: dict[str, Any] = {
    **APP_SPEC,
    "vod": {"spool": SPOOL, "tencent": {"subAppId": 7, "credentialsSecretRef": {"name": "cam-keys"}}},
}


def raw(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **meta: Any) -> dict[str, Any]:
    """A CloudRecording as the API server gives it."""
    return {
        "apiVersion": "cloudrec.dev/v1alpha1",
        "kind": "CloudRecording",
        "metadata": {
            "name": "lesson",
            "namespace": "school",
            "uid": UID,
            "resourceVersion": "7",
            "generation": 3,
            "finalizers": [FINALIZER],
            **meta,
        },
        "spec": SPEC if spec is None else spec,
        "status": status or {},
    }


def recording(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **meta: Any) -> Recording:
    return Recording.parse(raw(spec, status, **meta))


def seen(rec: Recording | None = None, now: datetime = NOW, pod: Pod | None = None, **around: Any) -> Observed:
    """Everything that a recording names is there, unless told otherwise. `pod`: the only one there is."""
    found: dict[str, Any] = {
        "app": App.parse({"spec": APP_SPEC}),
        "app_secret": keys("livekit-keys", apiKey="devkey", apiSecret="s" * 32),
        "bucket_secret": keys("bucket-keys", accessKey="AK", secretKey="SK"),
        "pods": {} if pod is None else {pod.name: pod},
        **around,
    }
    return Observed(rec or recording(), now, **found)


def keys(secret_name: str, /, **values: str) -> SecretData:
    return SecretData(secret_name, {key: Secret(value) for key, value in values.items()})


def pod(**changes: Any) -> Pod:
    """A running Pod of attempt 0."""
    running = Pod(
        name=POD,
        uid=POD_UID,
        owner=UID,
        phase="Running",
        recorder=Container(running=True),
        uploader=Container(running=True),
    )
    return replace(running, **changes)


def exited(code: int, reason: str = "", message: str = "") -> Container:
    return Container(exit=Exit(code=code, reason=reason, message=message))


def attempt(index: int = 0, report: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """An attempt of a status; `ago` seconds since its end."""
    ago = more.pop("ago", None)
    if ago is not None:
        more["endedAt"] = times.render(NOW - timedelta(seconds=ago))
    return {"pod": f"lesson-0b9d2-{index}", "podUID": f"uid-{index}", "index": index, "report": report, **more}


def pods(*some: Pod) -> dict[str, Pod]:
    return {pod.name: pod for pod in some}


def nth(index: int, **changes: Any) -> Pod:
    """A running Pod of that attempt, as `attempt` makes them."""
    return pod(**{"name": f"lesson-0b9d2-{index}", "uid": f"uid-{index}", **changes})


def accepted(
    report: dict[str, Any] | None = None,
    phase: Phase = Phase.RECORDING,
    since: timedelta = timedelta(seconds=5),
    age: timedelta = timedelta(seconds=10),
    pod_uid: str | None = POD_UID,
    **more: Any,
) -> dict[str, Any]:
    """The status of an accepted recording in `phase` for `since`, accepted `age` ago."""
    attempt: dict[str, Any] = {"pod": POD, "index": 0, "report": report}
    if pod_uid:
        attempt["podUID"] = pod_uid
    status = CloudRecordingStatus.model_validate(
        {
            "phase": phase,
            "phaseSince": times.render(NOW - since),
            "observedGeneration": 3,
            "taskId": UID,
            "epoch": times.to_ms(NOW - age),
            "attempt": 0,
            "files": 0,
            "attempts": [Attempt.model_validate(attempt)],
            **more,
        }
    )
    return status.wire()
