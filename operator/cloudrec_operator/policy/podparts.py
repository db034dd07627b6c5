"""What the Pods of recorders and finishers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloudrec_contract.finish import ConvertTask, VodAccount, VodTask, vod_store
from cloudrec_contract.resources import (
    API_VERSION,
    BackupBucket,
    Bucket,
    CloudRecordingSpec,
    OutputFormat,
    RecordingAppSpec,
    SecretRef,
)
from cloudrec_contract.storage import bucket_of, object_store
from cloudrec_operator.observed import Recording
from cloudrec_operator.policy import acceptance
from cloudrec_operator.settings import Settings

SERVICE_ACCOUNT = "cloudrec-recorder"
MANAGED_BY = {"app.kubernetes.io/managed-by": "cloudrec"}
BUCKET = "/run/cloudrec/bucket"
BACKUP = "/run/cloudrec/backup"
VOD = "/run/cloudrec/vod"
SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
TERMINATION_LOG = "/dev/termination-log"
TMP = "/tmp"  # noqa: S108 - an emptyDir of each container's own
USER = 65532
DAY_MINUTES = 1440
"""Of an MP4 or AAC file, unless the recording says less."""


def metadata(recording: Recording, name: str, component: str, container: str, hints: dict[str, str]) -> dict[str, Any]:
    """Of a Pod that is the recording's; `container` is the one whose log `kubectl logs` shows."""
    return {
        "name": name,
        "namespace": recording.namespace,
        "labels": {
            "app.kubernetes.io/name": "cloudrec",
            **MANAGED_BY,
            "app.kubernetes.io/component": component,
            "cloudrec.dev/recording": recording.name,
            "cloudrec.dev/task": recording.uid,
        },
        "annotations": {"kubectl.kubernetes.io/default-container": container, **hints},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "CloudRecording",
                "name": recording.name,
                "uid": recording.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def basics(grace_seconds: float) -> dict[str, Any]:
    """Of a Pod's spec: who it runs as, and that it is never restarted as a whole."""
    return {
        "restartPolicy": "Never",
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": int(grace_seconds),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def store(bucket: Bucket | BackupBucket, app: RecordingAppSpec, recording: Recording) -> str:
    """The bucket as the uploader and the finisher read it. Raises ValueError when its endpoint is not known."""
    found = object_store(bucket, app.storage, recording.uid)
    return found.model_dump_json(by_alias=True, exclude_none=True)


def stores(spec: CloudRecordingSpec, app: RecordingAppSpec) -> list[tuple[str, Bucket | BackupBucket, str]]:
    """(volume, bucket, mount path) of the bucket, and of its backup if there is one.

    Raises ValueError when the recording is for VOD and the app has none.
    """
    found: list[tuple[str, Bucket | BackupBucket, str]] = [("bucket", bucket_of(spec, app), BUCKET)]
    backup = acceptance.backup_of(spec, app)
    return [*found, ("backup", backup, BACKUP)] if backup is not None else found


def convert_task(recording: Recording, spec: CloudRecordingSpec, app: RecordingAppSpec) -> str:
    """What finishers are to make of the recording, as they and the uploader read it; no secret is in it.

    Raises ValueError when the endpoint of VOD's bucket is not known.
    """
    task = ConvertTask(
        sdk_app_id=app.sdk_app_id,
        room=spec.room,
        mode=spec.mode,
        formats=[wanted for wanted in OutputFormat if wanted in spec.formats],
        max_file_minutes=spec.output.max_file_minutes or DAY_MINUTES,
        vod=_vod(recording, spec, app),
    )
    return task.model_dump_json(by_alias=True, exclude_none=True)


def _vod(recording: Recording, spec: CloudRecordingSpec, app: RecordingAppSpec) -> VodTask | None:
    options, vod = spec.storage.vod, acceptance.vod_of(spec, app)
    if options is None or vod is None:
        return None
    if vod.bucket is not None:
        return VodTask(options=options, store=vod_store(vod.bucket, options, app.storage, recording.uid))
    if vod.tencent is None:
        raise ValueError("the RecordingApp's spec.vod names no backend")
    account = VodAccount(
        region=vod.tencent.region,
        endpoint=vod.tencent.endpoint,
        upload_endpoint=vod.tencent.upload_endpoint,
        sub_app_id=vod.tencent.sub_app_id if options.sub_app_id is None else options.sub_app_id,
    )
    return VodTask(options=options, account=account)


def keys(volume: str, ref: SecretRef, names: Sequence[str] = acceptance.BUCKET_KEYS) -> dict[str, Any]:
    """The volume with these keys of the Secret, and no others."""
    return {
        "name": volume,
        "secret": {
            "secretName": ref.name,
            "defaultMode": 0o440,
            "items": [{"key": key, "path": key} for key in names],
        },
    }


def service_account() -> dict[str, Any]:
    """The volume with the Pod's bound token."""
    sources: list[dict[str, Any]] = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return {"name": "serviceaccount", "projected": {"defaultMode": 0o440, "sources": sources}}


def container(name: str, command: list[str], settings: Settings) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.recorder_image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def env(**values: str) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]
