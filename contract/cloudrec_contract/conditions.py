"""Every reason that a condition may carry, in one place, with what deserves a retry."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Reasons of CloudRecording's conditions (CamelCase, as Kubernetes asks)."""

    # Accepted
    ACCEPTED = "Accepted"
    APP_NOT_FOUND = "AppNotFound"
    APP_INVALID = "AppInvalid"
    ENDPOINT_UNKNOWN = "EndpointUnknown"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_INVALID = "SecretInvalid"
    INVALID_SPEC = "InvalidSpec"
    TOO_MANY_TASKS = "TooManyTasks"
    USER_SIG_EXPIRES = "UserSigExpires"

    # RecorderReady, seen by the operator on the Pod
    POD_STARTING = "PodStarting"
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_MISSING = "ImageMissing"
    POD_REFUSED = "PodRefused"
    START_TIMEOUT = "StartTimeout"
    RECORDER_FAILED = "RecorderFailed"
    POD_LOST = "PodLost"
    NODE_LOST = "NodeLost"
    EVICTED = "Evicted"
    TOO_MANY_FAILURES = "TooManyFailures"
    READY = "Ready"

    # RecorderReady, told by the recorder
    LIVEKIT_UNREACHABLE = "LiveKitUnreachable"
    MEDIA_UNREACHABLE = "MediaUnreachable"
    TOKEN_REFUSED = "TokenRefused"
    REMOVED_BY_API = "RemovedByApi"
    ROOM_DELETED = "RoomDeleted"
    REMOVED_BY_SERVER = "RemovedByServer"
    ROOM_CLOSED = "RoomClosed"
    REJOIN_TIMEOUT = "RejoinTimeout"
    REPEATED_ENTRY = "RepeatedEntry"
    HANDED_OVER = "HandedOver"
    RECORDER_DIED = "RecorderDied"

    # Recording
    NOT_STARTED = "NotStarted"
    NO_MEDIA = "NoMedia"
    NOBODY_IN_ROOM = "NobodyInRoom"
    RECORDING = "Recording"
    STREAMS_WAITING = "StreamsWaiting"
    CODEC_UNSUPPORTED = "CodecUnsupported"
    NAME_TOO_LONG = "NameTooLong"
    TRANSCODED = "Transcoded"
    TRANSCODE_OVERLOAD = "TranscodeOverload"
    MIX_OVERLOAD = "MixOverload"
    COMPOSER_FAILED = "ComposerFailed"
    IMAGE_UNUSABLE = "ImageUnusable"
    SLOW_DISK = "SlowDisk"
    SPOOL_FAILED = "SpoolFailed"
    TASK_MISSING = "TaskMissing"
    STOPPED = "Stopped"

    # Uploaded
    BUCKET_CHECKED = "BucketChecked"
    UPLOADING = "Uploading"
    BUCKET_REFUSED = "BucketRefused"
    BUCKET_UNREACHABLE = "BucketUnreachable"
    UPLOAD_FAILED = "UploadFailed"
    BACKUP_IN_USE = "BackupInUse"
    BACKUP_FAILED = "BackupFailed"
    SPOOL_FULL = "SpoolFull"
    FINISHER_FAILED = "FinisherFailed"
    UPLOADED = "Uploaded"

    # Converted
    CONVERTING = "Converting"
    REMUXED = "Remuxed"
    REENCODED = "Reencoded"
    NOTHING_TO_CONVERT = "NothingToConvert"
    HLS_KEPT = "HLSKept"
    CONVERT_FAILED = "ConvertFailed"
    VOD_UNREACHABLE = "VodUnreachable"
    VOD_REFUSED = "VodRefused"
    EXPIRY_REFUSED = "ExpiryRefused"

    # CallbacksDelivered
    DELIVERED = "Delivered"
    CALLBACK_FAILING = "CallbackFailing"
    DEAD_LETTERS = "DeadLetters"
    NO_CALLBACK = "NoCallback"


FINAL = frozenset({Reason.TOKEN_REFUSED, Reason.BUCKET_REFUSED, Reason.INVALID_SPEC})
"""Reasons that another attempt cannot mend: the task fails at once."""
