"""What the Pods of recorders and finishers have in common."""

from __future__ import annotations

from typing import Any

from cloudrec_contract.resources import (
    API_VERSION,
    BackupBucket,
    Bucket,
    CloudRecordingSpec,
    RecordingAppSpec,
)
from cloudrec_contract.storage import object_store
from cloudrec_operator.observed import Recording
from cloudrec_operator.policy import acceptance
from cloudrec_operator.settings import Settings

SERVICE_ACCOUNT = "cloudrec-recorder"
MANAGED_BY = {"app.kubernetes.io/managed-by": "cloudrec"}
BUCKET = "/run/cloudrec/bucket"
BACKUP = "/run/cloudrec/backup"
SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
TERMINATION_LOG = "/dev/termination-log"
TMP = "/tmp"  # noqa: S108 - an emptyDir of each container's own
USER = 65532


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
    """(volume, bucket, mount path) of the bucket, and of its backup if there is one."""
    found: list[tuple[str, Bucket | BackupBucket, str]] = [("bucket", spec.storage.bucket, BUCKET)]
    backup = acceptance.backup_of(spec, app)
    return [*found, ("backup", backup, BACKUP)] if backup is not None else found


def keys(volume: str, bucket: Bucket | BackupBucket) -> dict[str, Any]:
    return {
        "name": volume,
        "secret": {
            "secretName": bucket.credentials_secret_ref.name,
            "defaultMode": 0o440,
            "items": [{"key": key, "path": key} for key in acceptance.BUCKET_KEYS],
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
