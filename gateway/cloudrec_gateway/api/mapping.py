"""A request as a CloudRecording, its Secret and its patches. Pure.

Without effect, and taken all the same: what TRTC gives no meaning for the kind of recording. In single mode that is
MixTranscodeParams and MixLayoutParams (at Create as at Modify: "valid only for mixed-stream recording") and FillType
(streams are kept as they came: where there is no picture there is no file); in mixed mode AvMerge (it is always
merged); in both SubscribeAbility (no robot publishes a mixed stream into a room here), with HLS alone
MaxMediaFileDuration, and with CloudVod OutputFormat, in whose place MediaType decides. All are validated before.
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
    OutputFormat,
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
    Vod,
)
from cloudrec_gateway.api import mixing
from cloudrec_gateway.api.models import (
    CloudStorage,
    CreateCloudRecordingRequest,
    ModifyCloudRecordingRequest,
    SubscribeStreamUserIds,
    TencentVod,
)

Object = dict[str, Any]

VENDORS: Final = MappingProxyType({0: Vendor.TENCENT_COS, 1: Vendor.AWS})
_KINDS: Final = (StreamKind.AUDIO_VIDEO, StreamKind.AUDIO, StreamKind.VIDEO)
_MEDIA: Final = (StreamMedia.BOTH, StreamMedia.MAIN, StreamMedia.AUX)
_HLS, _MP4, _AAC = OutputFormat.HLS, OutputFormat.MP4, OutputFormat.AAC
_OUTPUT_FORMATS: Final = ((_HLS,), (_HLS, _MP4), (_HLS, _AAC), (_MP4,), (_AAC,))
"""By OutputFormat, of what goes into a bucket."""
_MEDIA_TYPES: Final = ((_MP4,), (_HLS,), (_AAC,), (_HLS, _MP4), (_HLS, _AAC))
"""By MediaType, of what goes to VOD."""


def secret_name(recording: str) -> str:
    """Of the Secret with the bucket's keys."""
    return f"{recording}-bucket"


def recording(
    request: CreateCloudRecordingRequest,
    *,
    name: str,
    namespace: str,
    app: str,
    now: datetime,
    ttl_seconds_after_finished: int | None = None,
) -> Object:
    """The CloudRecording to make. `app` is the RecordingApp's name, `now` is aware.

    One into a bucket names its Secret (`bucket_secret`), which is made after it and owned by it.
    """
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
        output=_output(request),
        mix=mixing.mix(request.mix_transcode_params, request.mix_layout_params, record.fill_type) if mixed else None,
        storage=_storage(request, name),
        api_expires_at=now.replace(microsecond=0) + timedelta(hours=request.resource_expired_hour),
        ttl_seconds_after_finished=ttl_seconds_after_finished,
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "CloudRecording",
        "metadata": {"name": name, "namespace": namespace, "labels": {MADE_BY_LABEL: GATEWAY}},
        "spec": spec.wire(),
    }


def bucket_secret(request: CreateCloudRecordingRequest, made: Mapping[str, Any]) -> Object | None:
    """The Secret with the bucket's keys, owned by the recording `made` as the API server gave it back. None for VOD,
    whose keys are the app's.

    The only place where the keys are shown.
    """
    storage = request.storage_params.cloud_storage
    if storage is None:
        return None
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


def _output(request: CreateCloudRecordingRequest) -> Output:
    """HLS in VOD is one playlist for each user: sound and picture of a single recording are merged for it."""
    record, vod = request.record_params, request.vod
    formats = _OUTPUT_FORMATS[record.output_format] if vod is None else _MEDIA_TYPES[vod.media_type]
    merged = record.av_merge == 1 or (vod is not None and _HLS in formats)
    return Output(
        formats=list(formats),
        merge_audio_video=merged and request.mode is Mode.SINGLE,
        max_file_minutes=None if formats == (_HLS,) else record.max_media_file_duration,
    )


def _storage(request: CreateCloudRecordingRequest, name: str) -> Storage:
    if request.vod is not None:
        return Storage(vod=_vod(request.vod))
    cloud = request.storage_params.cloud_storage
    assert cloud is not None  # of both, StorageParams has one
    return Storage(bucket=_bucket(cloud, name))


def _bucket(storage: CloudStorage, name: str) -> Bucket:
    return Bucket(
        vendor=VENDORS[storage.vendor],
        region=storage.region,
        bucket=storage.bucket,
        prefix=storage.file_name_prefix or [],
        credentials_secret_ref=SecretRef(name=secret_name(name)),
    )


def _vod(vod: TencentVod) -> Vod:
    return Vod(
        procedure=vod.procedure,
        expire_seconds=vod.expire_time,
        storage_region=vod.storage_region,
        class_id=vod.class_id,
        sub_app_id=vod.sub_app_id,
        session_context=vod.session_context,
        source_context=vod.source_context,
        user_define_record_id=vod.user_define_record_id,
    )


def _users(white: list[str] | None, black: list[str] | None) -> UserList | None:
    return UserList(include=white, exclude=black) if white or black else None


def _replaced(users: UserList | None) -> Object | None:
    """With null for what a merge patch is to take away."""
    return None if users is None else {"include": users.include, "exclude": users.exclude}
