"""A recorder's Pod as a pure function of the recording and its app.

`recorder` parses hostile media, so it gets its room token and nothing else: no API token, no bucket keys. `uploader` is
a native sidecar with both; the two share the spool.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from cloudrec_contract import naming, spool
from cloudrec_contract.mix import PIXELS_MAX, Mix
from cloudrec_contract.resources import CloudRecordingSpec, RecordingAppSpec, StreamKind, StreamMedia, Streams
from cloudrec_operator.observed import RECORDER, UPLOADER, Recording
from cloudrec_operator.policy import disruption, tokens
from cloudrec_operator.policy.podparts import (
    BACKUP,
    BUCKET,
    SERVICE_ACCOUNT_FOLDER,
    TERMINATION_LOG,
    TMP,
    basics,
    container,
    convert_task,
    env,
    keys,
    metadata,
    service_account,
    store,
    stores,
)
from cloudrec_operator.settings import Settings

SPOOL = "/spool"
ROOM = "/run/cloudrec/room"
MOST_STREAMS = 25
HUNG_GRACE_SECONDS = 5
GIVE_UP_PART = 5 / 6
"""Of the time for uploading the rest: what is left is for saying what is missing, before the Pod is killed."""

# (streams up to, CPU, memory) that a recorder asks for. The memory limit is that of the largest: who is recorded can be
# changed while the Pod runs. No CPU limit: throttled capture loses packets.
RECORDER_SIZES = ((4, "100m", "160Mi"), (10, "200m", "256Mi"), (MOST_STREAMS, "400m", "384Mi"))
RECORDER_MEMORY_LIMIT = "1Gi"
# A mixed recording in thousandths of a CPU: whatever is in the room, for each stream (decoded and scaled), and for each
# million pixels a second of the picture (copied and encoded). Twenty-five streams onto 1280x720 at 15 frames a second
# come to 450m, onto 1920x1080 at 30 to 1000m.
MIXED_BASE, MIXED_STREAM, MIXED_MEGAPIXEL = 100, 6, 12
MIXED_AUDIO = ("200m", "256Mi")
MIXED_MEMORY, MIXED_MEMORY_CANVAS = 300, 200  # MiB, the latter for the largest canvas
MIXED_MEMORY_LIMIT = "2Gi"  # without smaller layers to choose from, 25 decoders hold pictures of any size
UPLOADER_SIZE = ("50m", "128Mi")
UPLOADER_MEMORY_LIMIT = "512Mi"

VARIABLE_BYTES = 120_000
"""Linux takes 128 KiB (MAX_ARG_STRLEN), the name included."""

# The recorder touches its heartbeat each 2 s; one that hangs is killed within 40 s. A shell, because it is in any base
# image (also as busybox's) and starts in a millisecond; the path is an argument of its own so that a node that maps
# paths can map it.
ALIVE = ["sh", "-c", 'test $(($(date +%s) - $(stat -c %Y "$0"))) -lt 15', f"{SPOOL}/{spool.ALIVE}"]


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


def mixed_resources(streams: Streams, mix: Mix) -> dict[str, Any]:
    """By the size and rate of the picture, and by who is expected; rounded up to 50m."""
    video = mix.video
    pixels = video.width * video.height
    cpu, memory = MIXED_AUDIO
    if streams.kind is not StreamKind.AUDIO:
        needed = MIXED_BASE + MIXED_STREAM * streams_expected(streams) + MIXED_MEGAPIXEL * pixels * video.fps / 1e6
        cpu = f"{ceil(needed / 50) * 50}m"
        memory = f"{MIXED_MEMORY + MIXED_MEMORY_CANVAS * pixels // PIXELS_MAX}Mi"
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": MIXED_MEMORY_LIMIT}}


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
        mix=spec.mix,
        private_images=app.images.allow_private_addresses,
    )


def _told(task: spool.Task) -> str:
    """As JSON for the environment. Watermarks that are too long for it are left to the resource: the sidecar reads it
    at once."""
    text = task.model_dump_json(by_alias=True, exclude_none=True)
    if task.mix is None or len(text.encode()) <= VARIABLE_BYTES:
        return text
    mix = task.mix.model_copy(update={"watermarks": []})
    return task.model_copy(update={"mix": mix}).model_dump_json(by_alias=True, exclude_none=True)


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
        "metadata": metadata(recording, name, "recorder", RECORDER, disruption.HINTS),
        "spec": {
            **basics(settings.finalize_seconds),
            "tolerations": disruption.TOLERATIONS,
            "initContainers": [_uploader(recording, spec, app, index, epoch, settings)],
            "containers": [_recorder(spec, settings)],
            "volumes": [
                {"name": "spool", "emptyDir": {"sizeLimit": settings.spool_size}},
                {"name": "recorder-tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                {"name": "uploader-tmp", "emptyDir": {"sizeLimit": "256Mi"}},
                {"name": "room", "secret": {"secretName": tokens.secret_name(name), "defaultMode": 0o440}},
                *(keys(name, bucket.credentials_secret_ref) for name, bucket, _ in stores(spec, app)),
                service_account(),
            ],
        },
    }


def _recorder(spec: CloudRecordingSpec, settings: Settings) -> dict[str, Any]:
    port = settings.recorder_metrics_port
    metrics = {"CLOUDREC_METRICS_PORT": str(port)} if port else {}
    return {
        **container(RECORDER, ["cloudrec-recorder"], settings),
        "env": env(
            CLOUDREC_SPOOL=SPOOL,
            CLOUDREC_ROOM_TOKEN=f"{ROOM}/{tokens.KEY}",
            CLOUDREC_TERMINATION_LOG=TERMINATION_LOG,
            HOME=TMP,
            TMPDIR=TMP,
            **metrics,
        ),
        **({"ports": [{"name": "metrics", "containerPort": port}]} if port else {}),
        "resources": mixed_resources(spec.streams, spec.mix) if spec.mix else recorder_resources(spec.streams),
        "livenessProbe": {
            "exec": {"command": ALIVE},
            "initialDelaySeconds": 30,
            "periodSeconds": 5,
            "timeoutSeconds": 5,
            "failureThreshold": 3,
            # The Pod's own grace is for uploading; a recorder that hangs has nothing to do with it.
            "terminationGracePeriodSeconds": HUNG_GRACE_SECONDS,
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
    named = {name: (bucket, path) for name, bucket, path in stores(spec, app)}
    more: dict[str, str] = {}
    if "backup" in named:
        more = {
            "CLOUDREC_BACKUP_STORE": store(named["backup"][0], app, recording),
            "CLOUDREC_BACKUP_CREDENTIALS": BACKUP,
        }
    if spec.converts:
        # Its keys need to list and to read then, which is better found out now than at the end.
        more["CLOUDREC_CONVERT"] = convert_task(recording, spec, app)
    return {
        **container(UPLOADER, ["cloudrec-uploader"], settings),
        "restartPolicy": "Always",
        "env": [
            *env(CLOUDREC_NAMESPACE=recording.namespace, CLOUDREC_RECORDING=recording.name),
            {"name": "CLOUDREC_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "CLOUDREC_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            *env(
                CLOUDREC_TASK=_told(task(recording, spec, app, index, epoch)),
                CLOUDREC_STORE=store(named["bucket"][0], app, recording),
                CLOUDREC_SPOOL=SPOOL,
                CLOUDREC_SPOOL_SIZE=settings.spool_size,
                CLOUDREC_GIVE_UP_SECONDS=str(int(settings.finalize_seconds * GIVE_UP_PART) or 1),
                CLOUDREC_BUCKET_CREDENTIALS=BUCKET,
                CLOUDREC_SERVICEACCOUNT=SERVICE_ACCOUNT_FOLDER,
                HOME=TMP,
                TMPDIR=TMP,
                **more,
            ),
        ],
        "resources": {
            "requests": {"cpu": cpu, "memory": memory},
            "limits": {"memory": UPLOADER_MEMORY_LIMIT},
        },
        "volumeMounts": [
            {"name": "spool", "mountPath": SPOOL},
            {"name": "uploader-tmp", "mountPath": TMP},
            *({"name": name, "mountPath": path, "readOnly": True} for name, (_, path) in named.items()),
            {"name": "serviceaccount", "mountPath": SERVICE_ACCOUNT_FOLDER, "readOnly": True},
        ],
    }
