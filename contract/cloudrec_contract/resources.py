"""The resources `CloudRecording` and `RecordingApp` (group `cloudrec.dev`, version `v1alpha1`).

Field names follow Kubernetes API conventions; each field of the TRTC API that is implemented has one place here. CEL
rules live beside the fields they guard (`x-kubernetes-validations`) and are enforced by the API server: no webhook.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from cloudrec_contract.mix import Mix
from cloudrec_contract.model import Lenient, Model, cel, frozen

GROUP = "cloudrec.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
RECORDINGS = "cloudrecordings"
APPS = "recordingapps"

REPLAY_ANNOTATION = "cloudrec.dev/replay-callbacks"
"""On a recording: another value than before has its dead letters sent again."""

MADE_BY_LABEL = "cloudrec.dev/made-by"
GATEWAY = "gateway"
"""The label's value on recordings that the gateway made: a client waits for the answer, so one that is too many fails
at once instead of waiting for its turn."""


ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
"""A name that Kubernetes gives an object (RFC 1123 subdomain); it becomes part of a path at the API server."""


class SecretRef(Model):
    """A Secret in the namespace of the resource that names it."""

    name: ObjectName


class AppRef(Model):
    """A RecordingApp in the same namespace."""

    name: ObjectName


# --- RecordingApp ---------------------------------------------------------------------------------------------------


class RoomNames(Model):
    """How a room's id becomes the media server's room name; `{id}` stands for the id."""

    number: str = Field("{id}", pattern=r"^[^{}]*\{id\}[^{}]*$", max_length=128)
    string: str = Field("{id}", pattern=r"^[^{}]*\{id\}[^{}]*$", max_length=128)


class LiveKitServer(Model):
    """A LiveKit server. The Secret holds `apiKey` and `apiSecret`."""

    url: str = Field(
        pattern=r"^(ws|wss|http|https)://[^/\s]+(/\S*)?$",
        max_length=512,
        description="ws:// or wss:// address of the LiveKit server",
    )
    api_key_secret_ref: SecretRef
    room_names: RoomNames = RoomNames()


class RoomServer(Model):
    """Where the app's rooms are: exactly one kind of media server."""

    livekit: LiveKitServer


class Vendor(StrEnum):
    """Kinds of S3-compatible store. For AWS and TencentCOS the endpoint follows from the region; `S3` is any other."""

    AWS = "AWS"
    TENCENT_COS = "TencentCOS"
    S3 = "S3"


Region = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$")]
BucketName = Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")]
Prefix = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
_ONE_ADDRESS = ("has(self.vendor) != has(self.endpoint)", "give exactly one of vendor and endpoint")

Endpoint = Annotated[
    str,
    Field(
        pattern=r"^https?://[^/\s]+$",
        max_length=512,
        description="http(s)://host[:port] of any S3-compatible store",
    ),
]


class BackupBucket(Model):
    """Where files go when the bucket does not take them: as `Bucket`, and best of another provider."""

    vendor: Vendor | None = None
    endpoint: Endpoint | None = None
    region: Region = "us-east-1"
    bucket: BucketName
    prefix: list[Prefix] = Field([], max_length=16, description="folders above the task's own, joined by /")
    credentials_secret_ref: SecretRef

    model_config = ConfigDict(json_schema_extra=cel(_ONE_ADDRESS))


class VodBucket(BackupBucket):
    """A bucket that files are played from. Its keys need to write; to have files deleted after `expireSeconds` (in
    whole days), to write lifecycle rules, too. The Secret holds `accessKey` and `secretKey`."""

    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@\s]+(/[^?#\s]*)?$",
        max_length=512,
        description="where the bucket's content is to be had by everybody; left out: addresses are signed",
    )
    presign_seconds: int = Field(604800, ge=60, le=604800, description="how long a signed address is good")


class TencentVod(Model):
    """Tencent Cloud VOD, by its API. The Secret holds `secretId` and `secretKey`."""

    credentials_secret_ref: SecretRef
    sub_app_id: int | None = Field(None, ge=0, description="for recordings that name none")
    region: Region = "ap-guangzhou"
    endpoint: Endpoint = Field("https://vod.tencentcloudapi.com", description="of the VOD API")
    upload_endpoint: Endpoint | None = Field(
        None, description="instead of the COS endpoint of the region that VOD names for an upload"
    )


class VodSpool(BackupBucket):
    """Where the recordings are until they are in VOD; what could not be brought there stays."""


_ONE_BACKEND = ("has(self.bucket) != has(self.tencent)", "give exactly one of bucket and tencent")


class AppVod(Model):
    """Recording to VOD: segments go to the spool while recording, and files to one backend after the end."""

    spool: VodSpool
    bucket: VodBucket | None = None
    tencent: TencentVod | None = None

    model_config = ConfigDict(json_schema_extra=cel(_ONE_BACKEND))


class StoreEndpoint(Model):
    """Where a vendor's region really is."""

    vendor: Vendor
    region: str = Field(min_length=1, max_length=64)
    endpoint: Endpoint


class AppStorage(Model):
    """Stores that recordings name by vendor and region only, as the TRTC API does."""

    endpoints: list[StoreEndpoint] = Field([], max_length=32)
    backup: BackupBucket | None = Field(None, description="for recordings that name no backup of their own")


class AppApi(Model):
    """Who may call the gateway for this app. In the Secret each key is a SecretId and its value the SecretKey."""

    credentials_secret_ref: SecretRef
    allow_unsigned_payload: bool = Field(
        False, description="let in calls whose signature leaves the body out (X-TC-Content-SHA256: UNSIGNED-PAYLOAD)"
    )


class AppLimits(Model):
    """How much this app may do at a time."""

    max_concurrent_tasks: int = Field(
        100, ge=1, le=100000, description="recordings from their acceptance until the recorder has left the room"
    )
    requests_per_second: int = Field(
        20, ge=1, le=100000, description="calls of the gateway, over all of its ready replicas"
    )


class UserSigCheck(Model):
    """Verify the UserSig of the robot of every recording made by the gateway. The Secret holds `key`."""

    key_secret_ref: SecretRef
    private_map_key: bool = Field(
        False, description="PrivateMapKey has to be there, too, and to let the robot enter the room and receive media"
    )


class AppImages(Model):
    """Images that layouts and watermarks of mixed recordings name."""

    allow_private_addresses: bool = Field(
        False, description="let them come from hosts at private, loopback or link-local addresses"
    )


class CallbackHeader(Model):
    """A header of every callback; its value is `key` of the Secret."""

    name: str = Field(
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9-]+$",
        json_schema_extra=cel(
            (
                "!self.lowerAscii().startsWith('x-cloudrec-') && !(self.lowerAscii() in ['content-type', "
                "'content-length', 'sign', 'sdkappid', 'host', 'connection', 'transfer-encoding', 'idempotency-key'])",
                "this header is set by the sender",
            )
        ),
    )
    secret_ref: SecretRef
    key: str = Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")


class Callback(Model):
    """Where the app's server hears of recordings (events 301 to 312). The key's Secret holds `key`."""

    url: str = Field(
        pattern=r"^https?://[^/?#@\s]+([/?][^#\s]*)?$",
        max_length=1024,
        description="http(s)://host[:port][/path]; answers 200 within 5 s. Redirects are not followed",
    )
    key_secret_ref: SecretRef | None = Field(None, description="signs the body (header Sign); without it none is sent")
    headers: list[CallbackHeader] = Field([], max_length=16)
    events: list[Annotated[int, Field(ge=301, le=312)]] | None = Field(
        None, max_length=12, description="only these; left out: all"
    )
    allow_private_addresses: bool = Field(
        False, description="let the host be at a private, loopback or link-local address"
    )
    ca_bundle: str | None = Field(
        None, max_length=65536, description="PEM certificates to trust instead of the well-known ones"
    )


class RecordingAppSpec(Model):
    """What TRTC calls an application: an id and the rooms that belong to it."""

    sdk_app_id: int = Field(ge=1, le=4294967295, description="TRTC's SdkAppId; part of every file name")
    room: RoomServer
    storage: AppStorage = AppStorage()
    api: AppApi | None = Field(None, description="without it the gateway knows nothing of the app")
    limits: AppLimits = AppLimits()
    user_sig: UserSigCheck | None = Field(None, description="without it every UserSig is taken")
    images: AppImages = AppImages()
    vod: AppVod | None = Field(None, description="without it recordings with storage.vod are not accepted")
    callback: Callback | None = Field(None, description="without it events are in the recordings' status alone")

    model_config = ConfigDict(
        json_schema_extra=cel(("self.sdkAppId == oldSelf.sdkAppId", "sdkAppId cannot be changed"))
    )


# --- CloudRecording -------------------------------------------------------------------------------------------------


class RoomType(StrEnum):
    NUMBER = "Number"
    STRING = "String"


class Room(Model):
    """The room to record. A Number room is 1 to 4294967295; ids are always given as strings."""

    id: str = Field(min_length=1, max_length=127, pattern=r"^[^\x00-\x1f\x7f]+$")
    type: RoomType = RoomType.NUMBER

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.type != 'Number' || (self.id.matches('^[1-9][0-9]{0,9}$') && int(self.id) <= 4294967295)",
                "a Number room's id is an integer from 1 to 4294967295 without leading zeros; "
                "use type: String for other ids",
            )
        )
    )


class Robot(Model):
    """The hidden participant that records. It joins as `<userId>~<attempt>`."""

    user_id: str = Field("cloudrec", min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_.@-]+$")
    user_sig_expires_at: AwareDatetime | None = Field(
        None, description="when the UserSig ends that the gateway verified; too early is a warning"
    )


UserId = Annotated[str, Field(min_length=1, max_length=128)]


class UserList(Model):
    """Whom to record. `include` records only these, `exclude` all but these; `prefix.*$` matches every id that begins
    with the prefix (an id of exactly that spelling in the room is taken as that user)."""

    include: list[UserId] | None = Field(None, max_length=32)
    exclude: list[UserId] | None = Field(None, max_length=32)

    model_config = ConfigDict(
        json_schema_extra=cel(
            ("!(has(self.include) && has(self.exclude))", "give include or exclude, not both"),
        )
    )


class Subscription(Model):
    """Whose audio and whose video; a kind left out means everybody. Can be changed while recording."""

    audio: UserList | None = None
    video: UserList | None = None


class StreamKind(StrEnum):
    AUDIO_VIDEO = "AudioVideo"
    AUDIO = "Audio"
    VIDEO = "Video"


class StreamMedia(StrEnum):
    BOTH = "Both"
    MAIN = "Main"
    AUX = "Aux"


class Streams(Model):
    """What to record: camera and microphone are Main, screen share and its sound are Aux."""

    kind: StreamKind = StreamKind.AUDIO_VIDEO
    media: StreamMedia = StreamMedia.BOTH
    subscribe: Subscription = Subscription()

    model_config = ConfigDict(json_schema_extra=cel(*frozen("kind", "media")))


class OutputFormat(StrEnum):
    HLS = "HLS"
    MP4 = "MP4"
    AAC = "AAC"


class Output(Model):
    """What the recording becomes. MP4 (a file for each user's main and aux, or of the mixed picture) and AAC (the sound
    alone) are made of HLS after the end; without HLS among the formats it is deleted once they are safely stored."""

    formats: list[OutputFormat] | None = Field(
        None,
        min_length=1,
        max_length=3,
        description="left out: HLS in a bucket, MP4 in VOD",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    merge_audio_video: bool = Field(
        False, description="one playlist with sound and picture for each user's main and aux, instead of one for each"
    )
    max_file_minutes: int | None = Field(
        None, ge=1, le=1440, description="of an MP4 or AAC file, else a day; above 2 GB another is begun in any case"
    )


class Bucket(Model):
    """An S3-compatible bucket: of a vendor, or at an endpoint. The Secret holds `accessKey` and `secretKey`.

    A vendor's region is looked up in the RecordingApp's `storage.endpoints` first, then at the vendor itself.
    """

    vendor: Vendor | None = None
    endpoint: Endpoint | None = None
    region: Region = "us-east-1"
    bucket: BucketName
    prefix: list[Prefix] = Field([], max_length=16, description="folders above the task's own, joined by /")
    credentials_secret_ref: SecretRef
    backup: BackupBucket | None = Field(None, description="instead of the RecordingApp's")

    model_config = ConfigDict(json_schema_extra=cel(_ONE_ADDRESS))


class Vod(Model):
    """Record for video on demand: to the RecordingApp's `vod.spool`, and after the end to its backend, which gives each
    file an address to play it from (events 311 and 312). Fields as in TRTC's TencentVod."""

    procedure: str | None = Field(None, max_length=256, description="task flow that VOD runs on each file")
    expire_seconds: int = Field(0, ge=0, le=3155760000, description="VOD deletes the file so long after; 0: never")
    storage_region: str | None = Field(None, min_length=1, max_length=64)
    class_id: int = Field(0, ge=0)
    sub_app_id: int | None = Field(None, ge=0)
    session_context: str | None = Field(None, max_length=1000, description="passed through")
    source_context: str | None = Field(None, max_length=250, description="passed through")
    user_define_record_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="files are called <this>__UserDefine_u_<name>"
    )


class Storage(Model):
    """Exactly one of the two."""

    bucket: Bucket | None = None
    vod: Vod | None = None

    model_config = ConfigDict(
        json_schema_extra=cel(("has(self.bucket) != has(self.vod)", "give exactly one of bucket and vod"))
    )


class Mode(StrEnum):
    SINGLE = "Single"
    MIXED = "Mixed"


class DesiredState(StrEnum):
    RUNNING = "Running"
    STOPPED = "Stopped"


class CloudRecordingSpec(Model):
    """One recording of one room."""

    app_ref: AppRef
    room: Room
    robot: Robot = Robot()
    mode: Mode = Field(Mode.SINGLE, description="Single: every user apart; Mixed: one composed recording of the room")
    desired_state: DesiredState = Field(DesiredState.RUNNING, description="Stopped ends the recording for good")
    max_idle_seconds: int = Field(
        30, ge=5, le=86400, description="end when nobody who may publish has been in the room for so long"
    )
    streams: Streams = Streams()
    output: Output = Output()
    mix: Mix | None = Field(None, description="of mode Mixed, and of no other")
    storage: Storage
    api_expires_at: AwareDatetime | None = Field(
        None, description="when the gateway stops knowing this task; the recording itself goes on"
    )
    ttl_seconds_after_finished: int | None = Field(
        None, ge=0, le=315360000, description="delete the resource (never the files) so long after its end"
    )

    model_config = ConfigDict(
        json_schema_extra=cel(
            *frozen("appRef", "room", "robot", "mode", "maxIdleSeconds", "output", "storage", "apiExpiresAt"),
            (
                "!has(self.output.maxFileMinutes) || has(self.storage.vod) || "
                "(has(self.output.formats) && self.output.formats.exists(f, f != 'HLS'))",
                "output.maxFileMinutes is for MP4 and AAC: name one of them in output.formats",
            ),
            (
                "!has(self.storage.vod) || !has(self.output.formats) || !('HLS' in self.output.formats) || "
                "self.mode == 'Mixed' || self.output.mergeAudioVideo",
                "HLS in VOD has one playlist for each user: set output.mergeAudioVideo",
            ),
            ("has(self.mix) == (self.mode == 'Mixed')", "mix is for mode: Mixed, which needs it (mix: {} will do)"),
            (
                "oldSelf.desiredState != 'Stopped' || self.desiredState == 'Stopped'",
                "a stopped recording cannot be started again: make a new one",
            ),
        )
    )

    @property
    def formats(self) -> frozenset[OutputFormat]:
        """What the recording becomes."""
        usual = OutputFormat.MP4 if self.storage.vod is not None else OutputFormat.HLS
        return frozenset(self.output.formats or (usual,))

    @property
    def converts(self) -> bool:
        """Whether something is to be made, or brought, after the recording's end."""
        return self.storage.vod is not None or self.formats != {OutputFormat.HLS}


# --- status ---------------------------------------------------------------------------------------------------------


class Phase(StrEnum):
    PENDING = "Pending"
    STARTING = "Starting"
    IDLE = "Idle"
    RECORDING = "Recording"
    STOPPING = "Stopping"
    FINALIZING = "Finalizing"
    COMPLETED = "Completed"
    FAILED = "Failed"

    @property
    def terminal(self) -> bool:
        return self in (Phase.COMPLETED, Phase.FAILED)


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"
    RECORDER_READY = "RecorderReady"
    RECORDING = "Recording"
    UPLOADED = "Uploaded"
    CONVERTED = "Converted"
    CALLBACKS_DELIVERED = "CallbacksDelivered"


class Condition(Lenient):
    """As in Kubernetes' `metav1.Condition`; `lastTransitionTime` is RFC 3339 in UTC."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str = Field(min_length=1, max_length=1024)
    message: str = Field("", max_length=32768)
    last_transition_time: str = Field(json_schema_extra={"format": "date-time"})
    observed_generation: int | None = None


LAST_MS = 253402300799999
"""The last millisecond of the year 9999: what is later is no time to anybody who calculates with it."""
LAST_SEQ = 8_999_999
"""An attempt's events have places of their own in the order of a task's callbacks, up to here."""
_MS: dict[str, Any] = {"minimum": 0, "maximum": LAST_MS}


def _at_most(characters: int) -> dict[str, Any]:
    """For texts of a report: the API server holds sidecars to it, and nobody else has to."""
    return {"maxLength": characters}


class RecordedFile(Lenient):
    """A playlist; its name follows from these and the attempt's index (`naming.FileNames.recorded`)."""

    user_id: str = Field(json_schema_extra=_at_most(1024))
    media: Literal["main", "aux"]
    kind: Literal["audio", "video", "audio_video"]
    begin_time_stamp: int = Field(description="ms since the Unix epoch of the first sample", json_schema_extra=_MS)
    transcoded: bool = Field(False, description="the publisher's video was no H.264")


class EventFact(Lenient):
    """One TRTC event as a fact; `events.payload` renders it."""

    seq: int = Field(ge=1, json_schema_extra={"maximum": LAST_SEQ})
    type: int = Field(ge=301, le=312)
    ts: int = Field(description="ms since the Unix epoch", json_schema_extra=_MS)
    args: dict[str, Any] = {}


class ReportState(StrEnum):
    STARTING = "Starting"
    IDLE = "Idle"
    RECORDING = "Recording"
    STOPPING = "Stopping"
    ENDED = "Ended"


class ReportedCondition(Lenient):
    """Something is wrong, or noteworthy, in the Pod; `reason` is one of `conditions.py`."""

    reason: str = Field(json_schema_extra=_at_most(128))
    message: str = Field("", json_schema_extra=_at_most(2048))


class Conversion(Lenient):
    """How far a finisher is with MP4, AAC and VOD. `reason` is one of `conditions.py`: Converting, then what became of
    it."""

    reason: str = Field(json_schema_extra=_at_most(128))
    message: str = Field("", json_schema_extra=_at_most(4096))
    percent: int = Field(0, ge=0, le=100)
    done: bool = Field(False, description="nothing follows")
    files: int = Field(0, description="how many are stored under their final names")
    failed: int = Field(0, description="streams of which something could not be made, or not stored")


class Report(Lenient):
    """What an attempt's sidecar says, or its finisher; whole at each write."""

    state: ReportState = ReportState.STARTING
    ready: bool = Field(False, description="the bucket passed its write check and the robot was in the room")
    leave_code: int | None = None
    conditions: list[ReportedCondition] = Field([], max_length=16)
    files: list[RecordedFile] = Field([], max_length=512)
    events: list[EventFact] = Field([], max_length=64)
    uploaded: bool = Field(False, description="everything that was recorded is in the bucket; nothing follows")
    missing: int = Field(0, description="files given up on")
    backup: int = Field(0, description="files that are in the backup store and not in the bucket")
    conversion: Conversion | None = Field(None, description="of a finisher that makes files, or brings them to VOD")


class Exit(Lenient):
    """How the recorder container ended."""

    code: int
    reason: str = ""
    message: str = Field("", max_length=4096)
    finished_at: str | None = Field(None, json_schema_extra={"format": "date-time"})


class Attempt(Lenient):
    """One Pod. The operator owns all but `report`, which is the Pod's own."""

    pod: str
    pod_uid: str | None = Field(None, alias="podUID")
    index: int = Field(ge=0, le=15, description="of those of its role")
    role: Literal["Record", "Finish"] = Field(
        "Record",
        description="Finish: after the end; brings what the backup store has into the bucket, and makes MP4 and AAC",
    )
    reason: str = Field("", description="why it has ended or was succeeded; empty while the task rests on it")
    message: str = Field("", max_length=512, description="the same, for people")
    failed: bool = Field(False, description="it counts as a failure; four end the task")
    ended_at: str | None = Field(
        None, json_schema_extra={"format": "date-time"}, description="since when the task does not rest on it any more"
    )
    acked: int = Field(0, description="events up to this seq need not be reported again")
    exit: Exit | None = None
    report: Report | None = None


class DeadLetter(Lenient):
    """An event that could not be delivered for a day; `sequence` is its place in the task's order."""

    sequence: int
    key: str = Field(max_length=128, description="the idempotency key that it was sent with")
    type: int
    ts: int = Field(description="ms since the Unix epoch")
    args: dict[str, Any] = {}
    error: str = Field("", max_length=256, description="how the last try ended")
    again_since: int | None = Field(
        None, description="it is being replayed since then (ms since the Unix epoch), for a day at most"
    )


class CallbackStatus(Lenient):
    """How the task's callbacks stand. Settled is an event that was delivered, filtered out, or is a dead letter."""

    watermark: int = Field(0, description="how many events are settled")
    acked: int = Field(0, description="the operator's events up to this seq are settled; attempts have their own")
    pending: int = Field(0, description="events that were known and not settled at the last change")
    dead_letters: int = Field(0, description="events given up on")
    last_error: str | None = Field(None, max_length=256, description="why the last try failed; absent once one did not")
    dead: list[DeadLetter] = Field([], max_length=100, description="the newest of the events given up on")
    replayed: str | None = Field(None, max_length=256, description="the annotation's value that was obeyed last")
    settled_at: str | None = Field(
        None, json_schema_extra={"format": "date-time"}, description="since when nothing more is to be delivered"
    )


class CloudRecordingStatus(Lenient):
    phase: Phase | None = None
    phase_since: str | None = Field(
        None,
        json_schema_extra={"format": "date-time"},
        description="when the phase began; its deadline counts from here",
    )
    observed_generation: int | None = None
    task_id: str | None = None
    replaced_by: str | None = Field(
        None, description="task id of a later recording of the same app, room and robot: this one ends for it"
    )
    epoch: int | None = Field(None, description="time zero of all attempts, ms since the Unix epoch")
    attempt: int | None = Field(None, description="index of the newest attempt")
    files: int | None = Field(None, description="number of playlists")
    started_at: str | None = Field(None, json_schema_extra={"format": "date-time"})
    ended_at: str | None = Field(None, json_schema_extra={"format": "date-time"})
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = []
    attempts: Annotated[
        list[Attempt],
        Field(
            max_length=24,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["pod"]},
        ),
    ] = []
    operator_events: list[EventFact] = Field([], max_length=64)
    callbacks: CallbackStatus | None = Field(None, description="absent while the app names no callback")


COLUMNS = {
    RECORDINGS: [
        {"name": "Mode", "type": "string", "jsonPath": ".spec.mode"},
        {"name": "Room", "type": "string", "jsonPath": ".spec.room.id"},
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "Attempt", "type": "integer", "jsonPath": ".status.attempt"},
        {"name": "Files", "type": "integer", "jsonPath": ".status.files"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {
            "name": "Reason",
            "type": "string",
            "priority": 1,
            "jsonPath": '.status.conditions[?(@.status=="False")].reason',
        },
        {"name": "Task", "type": "string", "priority": 1, "jsonPath": ".status.taskId"},
    ],
    APPS: [
        {"name": "SdkAppId", "type": "integer", "jsonPath": ".spec.sdkAppId"},
        {"name": "LiveKit", "type": "string", "jsonPath": ".spec.room.livekit.url"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ],
}
