"""A recorder's Pod as a pure function of the recording and its app.

`recorder` parses hostile media, so it gets its room token and nothing else: no API token, no bucket keys. `uploader` is
a native sidecar with both; the two share the spool.
"""

from __future__ import annotations

from typing import Any

from cloudrec_contract import naming, spool
from cloudrec_contract.resources import (
    API_VERSION,
    CloudRecordingSpec,
    RecordingAppSpec,
    StreamKind,
    StreamMedia,
    Streams,
)
from cloudrec_contract.storage import object_store
from cloudrec_operator.observed import RECORDER, UPLOADER, Recording
from cloudrec_operator.policy import tokens
from cloudrec_operator.settings import Settings

SERVICE_ACCOUNT = "cloudrec-recorder"
MANAGED_BY = {"app.kubernetes.io/managed-by": "cloudrec"}
SPOOL = "/spool"
ROOM = "/run/cloudrec/room"
BUCKET = "/run/cloudrec/bucket"
SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
TERMINATION_LOG = "/dev/termination-log"
TMP = "/tmp"  # noqa: S108 - an emptyDir of each container's own
USER = 65532
MOST_STREAMS = 25
NODE_GONE_SECONDS = 10

# (streams up to, CPU, memory) that a recorder asks for. The memory limit is that of the largest: who is recorded can be
# changed while the Pod runs. No CPU limit: throttled capture loses packets.
RECORDER_SIZES = ((4, "100m", "160Mi"), (10, "200m", "256Mi"), (MOST_STREAMS, "400m", "384Mi"))
RECORDER_MEMORY_LIMIT = "1Gi"
UPLOADER_SIZE = ("50m", "128Mi")
UPLOADER_MEMORY_LIMIT = "512Mi"

# The recorder touches its heartbeat each 2 s. `find` because it is in any base image and starts in a millisecond; the
# path is an argument of its own so that a node that maps paths can map it.
ALIVE = ["sh", "-c", 'test -n "$(find "$0" -mmin -0.5)"', f"{SPOOL}/{spool.ALIVE}"]


def streams_expected(streams: Streams) -> int:
    """How many (user, media) streams there may be at once, as far as the spec tells; at most 25."""
    wanted = {"audio": streams.subscribe.audio, "video": streams.subscribe.video}
    if streams.kind is not StreamKind.AUDIO_VIDEO:
        wanted.pop("video" if streams.kind is StreamKind.AUDIO else "audio")
    users: set[str] = set()
    for chosen in wanted.values():
        if chosen is None or chosen.include is None or any(user.endswith(".*$") for user in chosen.include):
            return MOST_STREAMS
        users.update(chosen.include)
    return min(MOST_STREAMS, len(users) * (2 if streams.media is StreamMedia.BOTH else 1))


def recorder_resources(streams: Streams) -> dict[str, Any]:
    expected = streams_expected(streams)
    cpu, memory = next((cpu, memory) for most, cpu, memory in RECORDER_SIZES if expected <= most)
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": RECORDER_MEMORY_LIMIT}}


def task(recording: Recording, spec: CloudRecordingSpec, app: RecordingAppSpec, index: int, epoch: int) -> spool.Task:
    """What the recorder is to do, as of now; the sidecar keeps what may change up to date."""
    return spool.Task(
        task_id=recording.uid,
        sdk_app_id=app.sdk_app_id,
        index=index,
        epoch=epoch,
        room=spec.room,
        livekit=spool.LiveKitRoomTask(
            url=app.room.livekit.url, room_name=tokens.room_name(app.room.livekit.room_names, spec.room)
        ),
        robot_user_id=spec.robot.user_id,
        mode=spec.mode,
        desired_state=spec.desired_state,
        max_idle_seconds=spec.max_idle_seconds,
        streams=spec.streams,
        merge_audio_video=spec.output.merge_audio_video,
    )


def build(
    recording: Recording,
    spec: CloudRecordingSpec,
    app: RecordingAppSpec,
    index: int,
    epoch: int,
    settings: Settings,
) -> dict[str, Any]:
    """The manifest of attempt `index`. `epoch`: the task's time zero, ms since the Unix epoch."""
    name = naming.pod_name(recording.name, recording.uid, index)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": recording.namespace,
            "labels": {
                "app.kubernetes.io/name": "cloudrec",
                **MANAGED_BY,
                "app.kubernetes.io/component": "recorder",
                "cloudrec.dev/recording": recording.name,
                "cloudrec.dev/task": recording.uid,
            },
            "annotations": {
                "kubectl.kubernetes.io/default-container": RECORDER,
                "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            },
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
        },
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": int(settings.finalize_seconds),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [
                {
                    "key": f"node.kubernetes.io/{taint}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": NODE_GONE_SECONDS,
                }
                for taint in ("not-ready", "unreachable")
            ],
            "initContainers": [_uploader(recording, spec, app, index, epoch, settings)],
            "containers": [_recorder(spec, settings)],
            "volumes": [
                {"name": "spool", "emptyDir": {"sizeLimit": settings.spool_size}},
                {"name": "recorder-tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                {"name": "uploader-tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                {"name": "room", "secret": {"secretName": tokens.secret_name(name), "defaultMode": 0o440}},
                {
                    "name": "bucket",
                    "secret": {
                        "secretName": spec.storage.bucket.credentials_secret_ref.name,
                        "defaultMode": 0o440,
                        "items": [{"key": key, "path": key} for key in ("accessKey", "secretKey")],
                    },
                },
                {"name": "serviceaccount", "projected": {"defaultMode": 0o440, "sources": _service_account()}},
            ],
        },
    }


def _service_account() -> list[dict[str, Any]]:
    return [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]


def _container(name: str, command: str, settings: Settings) -> dict[str, Any]:
    return {
        "name": name,
        "image": settings.recorder_image,
        "imagePullPolicy": "IfNotPresent",
        "command": [command],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _env(**values: str) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _recorder(spec: CloudRecordingSpec, settings: Settings) -> dict[str, Any]:
    return {
        **_container(RECORDER, "cloudrec-recorder", settings),
        "env": _env(
            CLOUDREC_SPOOL=SPOOL,
            CLOUDREC_ROOM_TOKEN=f"{ROOM}/{tokens.KEY}",
            CLOUDREC_TERMINATION_LOG=TERMINATION_LOG,
            HOME=TMP,
            TMPDIR=TMP,
        ),
        "resources": recorder_resources(spec.streams),
        "livenessProbe": {
            "exec": {"command": ALIVE},
            "initialDelaySeconds": 30,
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
        },
        "volumeMounts": [
            {"name": "spool", "mountPath": SPOOL},
            {"name": "recorder-tmp", "mountPath": TMP},
            {"name": "room", "mountPath": ROOM, "readOnly": True},
        ],
    }


def _uploader(
    recording: Recording, spec: CloudRecordingSpec, app: RecordingAppSpec, index: int, epoch: int, settings: Settings
) -> dict[str, Any]:
    cpu, memory = UPLOADER_SIZE
    static_task = task(recording, spec, app, index, epoch)
    store = object_store(spec.storage.bucket, app.storage, recording.uid)
    return {
        **_container(UPLOADER, "cloudrec-uploader", settings),
        "restartPolicy": "Always",
        "env": [
            *_env(CLOUDREC_NAMESPACE=recording.namespace, CLOUDREC_RECORDING=recording.name),
            {"name": "CLOUDREC_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "CLOUDREC_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            *_env(
                CLOUDREC_TASK=static_task.model_dump_json(by_alias=True, exclude_none=True),
                CLOUDREC_STORE=store.model_dump_json(by_alias=True, exclude_none=True),
                CLOUDREC_SPOOL=SPOOL,
                CLOUDREC_BUCKET_CREDENTIALS=BUCKET,
                CLOUDREC_SERVICEACCOUNT=SERVICE_ACCOUNT_FOLDER,
                HOME=TMP,
                TMPDIR=TMP,
            ),
        ],
        "resources": {
            "requests": {"cpu": cpu, "memory": memory},
            "limits": {"memory": UPLOADER_MEMORY_LIMIT},
        },
        "volumeMounts": [
            {"name": "spool", "mountPath": SPOOL},
            {"name": "uploader-tmp", "mountPath": TMP},
            {"name": "bucket", "mountPath": BUCKET, "readOnly": True},
            {"name": "serviceaccount", "mountPath": SERVICE_ACCOUNT_FOLDER, "readOnly": True},
        ],
    }
