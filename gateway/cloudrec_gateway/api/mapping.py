"""A request as a CloudRecording, its Secret and its patches. Pure.

Without effect, and taken all the same: what TRTC gives no meaning for the kind of recording. In single mode that is
MixTranscodeParams and MixLayoutParams (at Create as at Modify: "valid only for mixed-stream recording") and FillType
(streams are kept as they came: where there is no picture there is no file); in mixed mode AvMerge (it is always
merged); in both SubscribeAbility (no robot publishes a mixed stream into a room here) and, with HLS,
MaxMediaFileDuration. All are validated before.

What cannot be done yet is refused by `check_supported`, never half done.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from cloudrec_contract.resources import (
    API_VERSION,
    GATEWAY,
    MADE_BY_LABEL,
    AppRef,
    Bucket,
    CloudRecordingSpec,
    Mode,
    Output,
    Robot,
    Room,
    SecretRef,
    Storage,
    StreamKind,
    StreamMedia,
    Streams,
    Subscription,
    UserList,
    Vendor,
)
from cloudrec_gateway.api import mixing
from cloudrec_gateway.api.models import (
    CloudStorage,
    CreateCloudRecordingRequest,
    ModifyCloudRecordingRequest,
    SubscribeStreamUserIds,
)
from cloudrec_gateway.errors import UNSUPPORTED_OPERATION, ApiFault

Object = dict[str, Any]

VENDORS: Final = MappingProxyType({0: Vendor.TENCENT_COS, 1: Vendor.AWS})
_KINDS: Final = (StreamKind.AUDIO_VIDEO, StreamKind.AUDIO, StreamKind.VIDEO)
_MEDIA: Final = (StreamMedia.BOTH, StreamMedia.MAIN, StreamMedia.AUX)


def secret_name(recording: str) -> str:
    """Of the Secret with the bucket's keys."""
    return f"{recording}-bucket"


def check_supported(request: CreateCloudRecordingRequest) -> CloudStorage:
    """The bucket that a supported request records to. Raises ApiFault UnsupportedOperation, naming the field."""
    record, storage = request.record_params, request.storage_params.cloud_storage
    if storage is None:
        raise _unsupported("StorageParams.CloudVod: recording to VOD is not supported yet, to CloudStorage it is")
    if record.output_format != 0:
        raise _unsupported(
            f"RecordParams.OutputFormat: {record.output_format} given; MP4 and AAC are not supported yet, 0 (HLS) is"
        )
    return storage


def recording(
    request: CreateCloudRecordingRequest,
    *,
    name: str,
    namespace: str,
    app: str,
    now: datetime,
    ttl_seconds_after_finished: int | None = None,
) -> Object:
    """The CloudRecording to make. It names its Secret (`bucket_secret`), which is made after it and owned by it.

    `app` is the RecordingApp's name, `now` is aware. Raises ApiFault as `check_supported` does.
    """
    storage = check_supported(request)
    record = request.record_params
    mixed = request.mode is Mode.MIXED
    spec = CloudRecordingSpec(
        app_ref=AppRef(name=app),
        room=Room(id=request.room_id, type=request.room_type),
        robot=Robot(user_id=request.user_id),
        mode=request.mode,
        max_idle_seconds=record.max_idle_time,
        streams=Streams(
            kind=_KINDS[record.stream_type],
            media=_MEDIA[record.media_id],
            subscribe=subscription(record.subscribe_stream_user_ids),
        ),
        output=Output(merge_audio_video=record.av_merge == 1 and not mixed),
        mix=mixing.mix(request.mix_transcode_params, request.mix_layout_params, record.fill_type) if mixed else None,
        storage=Storage(
            bucket=Bucket(
                vendor=VENDORS[storage.vendor],
                region=storage.region,
                bucket=storage.bucket,
                prefix=storage.file_name_prefix or [],
                credentials_secret_ref=SecretRef(name=secret_name(name)),
            )
        ),
        api_expires_at=now.replace(microsecond=0) + timedelta(hours=request.resource_expired_hour),
        ttl_seconds_after_finished=ttl_seconds_after_finished,
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "CloudRecording",
        "metadata": {"name": name, "namespace": namespace, "labels": {MADE_BY_LABEL: GATEWAY}},
        "spec": spec.wire(),
    }


def bucket_secret(request: CreateCloudRecordingRequest, made: Mapping[str, Any]) -> Object:
    """The Secret with the bucket's keys, owned by the recording `made` as the API server gave it back.

    The only place where the keys are shown. Raises ApiFault as `check_supported` does.
    """
    storage = check_supported(request)
    metadata = made["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": secret_name(metadata["name"]),
            "namespace": metadata["namespace"],
            "labels": {MADE_BY_LABEL: GATEWAY},
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "CloudRecording",
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                }
            ],
        },
        "stringData": {
            "accessKey": storage.access_key.get_secret_value(),
            "secretKey": storage.secret_key.get_secret_value(),
        },
    }


def subscription(lists: SubscribeStreamUserIds | None) -> Subscription:
    """Whom to record; nothing given is everybody."""
    if lists is None:
        return Subscription()
    return Subscription(
        audio=_users(lists.subscribe_audio_user_ids, lists.un_subscribe_audio_user_ids),
        video=_users(lists.subscribe_video_user_ids, lists.un_subscribe_video_user_ids),
    )


def modified(request: ModifyCloudRecordingRequest, now: CloudRecordingSpec) -> Object:
    """A merge patch (RFC 7396) that replaces the subscription whole, and layout and watermarks of a mixed recording:
    what is left out goes back to everybody and to the defaults. `now` is the recording as it is.

    Raises ApiFault OutOfRange when a window is not inside its canvas.
    """
    wanted = subscription(request.subscribe_stream_user_ids)
    spec: Object = {
        "streams": {"subscribe": {"audio": _replaced(wanted.audio), "video": _replaced(wanted.video)}},
    }
    if now.mix is not None:
        spec["mix"] = mixing.replaced(request.mix_layout_params, now.mix)
    return {"spec": spec}


def stopped() -> Object:
    """A merge patch that ends the recording."""
    return {"spec": {"desiredState": "Stopped"}}


def _users(white: list[str] | None, black: list[str] | None) -> UserList | None:
    return UserList(include=white, exclude=black) if white or black else None


def _replaced(users: UserList | None) -> Object | None:
    """With null for what a merge patch is to take away."""
    return None if users is None else {"include": users.include, "exclude": users.exclude}


def _unsupported(message: str) -> ApiFault:
    return ApiFault(UNSUPPORTED_OPERATION, message)
