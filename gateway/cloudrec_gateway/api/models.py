"""Requests and responses of the four actions, TRTC's names verbatim (shared API facts, sections 1.1 to 1.5).

What one field allows stands in its type; what fields allow each other is a validator beside them. `parse.py` turns
what pydantic finds into TRTC's error codes.
"""

from __future__ import annotations

import re
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_pascal

from cloudrec_contract.naming import NAME_BYTES, room_fault
from cloudrec_contract.resources import BucketName, Mode, Prefix, Region, Robot, RoomType
from cloudrec_gateway.api.fields import INT64_MAX, LIST_MAX, Key, Params, Text, UserId, UserSig, fault
from cloudrec_gateway.api.mix import MixLayoutParams, MixTranscodeParams
from cloudrec_gateway.errors import INVALID_PARAMETER, INVALID_ROOM_ID, OUT_OF_RANGE, missing_parameter, shown

SINGLE: Final = 1
MIXED: Final = 2

OBJECT_KEY_BYTES: Final = 1024
"""Of S3."""
PREFIX_BYTES: Final = OBJECT_KEY_BYTES - NAME_BYTES - len("/00000000-0000-0000-0000-000000000000/")
"""What the joined FileNamePrefix may have, so that every file's key is short enough."""

_ROBOT: Final[dict[str, Any]] = Robot.model_json_schema()["properties"]["userId"]
"""What the resource has room for is what is let through."""


class SubscribeStreamUserIds(Params):
    """A kind that is left out records everybody. `prefix.*$` stands for every id that begins with the prefix."""

    subscribe_audio_user_ids: list[UserId] | None = Field(None, max_length=LIST_MAX)
    un_subscribe_audio_user_ids: list[UserId] | None = Field(None, max_length=LIST_MAX)
    subscribe_video_user_ids: list[UserId] | None = Field(None, max_length=LIST_MAX)
    un_subscribe_video_user_ids: list[UserId] | None = Field(None, max_length=LIST_MAX)

    @model_validator(mode="after")
    def _exclusive(self) -> Self:
        for kind, white, black in (
            ("Audio", self.subscribe_audio_user_ids, self.un_subscribe_audio_user_ids),
            ("Video", self.subscribe_video_user_ids, self.un_subscribe_video_user_ids),
        ):
            if white and black:
                names = f"Subscribe{kind}UserIds and UnSubscribe{kind}UserIds"
                fault(INVALID_PARAMETER, f"{names} are both given; only one of the two is allowed")
        return self


class RecordParams(Params):
    record_mode: int = Field(ge=1, le=2, description="1: every user apart, 2: one mixed picture")
    max_idle_time: int = Field(30, ge=5, le=86_400, description="seconds")
    stream_type: int = Field(0, ge=0, le=2, description="0: audio and video, 1: audio, 2: video")
    subscribe_stream_user_ids: SubscribeStreamUserIds | None = None
    output_format: int = Field(
        0, ge=0, le=4, description="with CloudStorage: 0: hls, 1: hls+mp4, 2: hls+aac, 3: mp4, 4: aac"
    )
    av_merge: int = Field(0, ge=0, le=1, description="single mode: 1 puts a user's audio and video into one file")
    max_media_file_duration: int = Field(1440, ge=1, le=1440, description="minutes; mp4 and aac only")
    media_id: int = Field(0, ge=0, le=2, description="0: main and aux, 1: main, 2: aux")
    fill_type: int = Field(0, ge=0, le=1, description="a picture that stops: 0 repeats the last frame, 1 is black")
    subscribe_ability: int = Field(0, ge=0, le=1, description="1: also record robots that publish a mixed stream")


class CloudStorage(Params):
    vendor: int = Field(ge=0, le=1, description="0: Tencent COS, 1: AWS")
    region: Region
    bucket: BucketName
    access_key: Key
    secret_key: Key
    file_name_prefix: list[Prefix] | None = Field(None, max_length=16)

    @model_validator(mode="after")
    def _key_length(self) -> Self:
        length = len("/".join(self.file_name_prefix or []))
        if length > PREFIX_BYTES:
            given = f"joined with '/' it has {length} characters; at most {PREFIX_BYTES} are allowed"
            fault(OUT_OF_RANGE, given, "FileNamePrefix")
        return self


class TencentVod(Params):
    """Bounds are the resource's (`Vod` of the contract)."""

    procedure: str | None = Field(None, max_length=256, description="task flow that VOD runs on each file")
    expire_time: int = Field(0, ge=0, le=3_155_760_000, description="seconds from the upload on; 0: for ever")
    storage_region: str | None = Field(None, max_length=64)
    class_id: int = Field(0, ge=0, le=INT64_MAX)
    sub_app_id: int | None = Field(None, ge=0, le=INT64_MAX)
    session_context: str | None = Field(None, max_length=1000)
    source_context: str | None = Field(None, max_length=250)
    media_type: int = Field(
        0, ge=0, le=4, description="0: mp4, 1: hls, 2: aac, 3: hls+mp4, 4: hls+aac; 2 and 4 with StreamType 1 only"
    )
    user_define_record_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="files are called <this>__UserDefine_u_<name>"
    )


class CloudVod(Params):
    tencent_vod: TencentVod


class StorageParams(Params):
    """One of the two: where the files go."""

    cloud_storage: CloudStorage | None = None
    cloud_vod: CloudVod | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.cloud_storage and self.cloud_vod:
            fault(INVALID_PARAMETER, "CloudStorage and CloudVod are both given; only one of the two is allowed")
        if not self.cloud_storage and not self.cloud_vod:
            fault(missing_parameter("CloudStorage"), "required (or CloudVod in its place)", "CloudStorage")
        return self


class Request(Params):
    """What all four actions have."""

    sdk_app_id: int = Field(ge=1, le=4_294_967_295)


class CreateCloudRecordingRequest(Request):
    room_id: str = Field(max_length=127)
    user_id: str = Field(
        min_length=_ROBOT["minLength"],
        max_length=_ROBOT["maxLength"],
        pattern=_ROBOT["pattern"],
        description="the recording robot's",
    )
    user_sig: UserSig
    record_params: RecordParams
    storage_params: StorageParams
    room_id_type: int = Field(1, ge=0, le=1, description="0: string room, 1: numeric room")
    mix_transcode_params: MixTranscodeParams | None = None
    mix_layout_params: MixLayoutParams | None = None
    resource_expired_hour: int = Field(72, ge=6, le=720)
    private_map_key: UserSig | None = None

    @property
    def room_type(self) -> RoomType:
        return RoomType.NUMBER if self.room_id_type == 1 else RoomType.STRING

    @property
    def mode(self) -> Mode:
        return Mode.MIXED if self.record_params.record_mode == MIXED else Mode.SINGLE

    @property
    def vod(self) -> TencentVod | None:
        """None when it goes into a bucket."""
        cloud = self.storage_params.cloud_vod
        return cloud.tencent_vod if cloud is not None else None

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.room_type is RoomType.NUMBER:
            if not re.fullmatch(r"[1-9][0-9]{0,9}", self.room_id) or int(self.room_id) > 4_294_967_295:
                allowed = "an integer from 1 to 4294967295 without leading zeros is allowed (RoomIdType 0: other ids)"
                fault(INVALID_ROOM_ID, f"{shown(self.room_id)} given; {allowed}", "RoomId")
            return self
        if re.search(r"[\x00-\x1f\x7f]", self.room_id):
            allowed = "1 to 127 characters without control characters are allowed"
            fault(INVALID_ROOM_ID, f"{shown(self.room_id)} given; {allowed}", "RoomId")
        if why := room_fault(self.sdk_app_id, self.room_id, self.room_type, self.mode):
            fault(INVALID_ROOM_ID, why, "RoomId")
        return self

    @model_validator(mode="after")
    def _aac_is_audio(self) -> Self:
        stream_type = self.record_params.stream_type
        if self.vod is not None and self.vod.media_type in (2, 4) and stream_type != 1:
            fault(
                INVALID_PARAMETER,
                f"{self.vod.media_type} given; 2 and 4 are allowed with RecordParams.StreamType 1 only, which is "
                f"{stream_type}",
                "StorageParams",
                "CloudVod",
                "TencentVod",
                "MediaType",
            )
        return self

    @model_validator(mode="after")
    def _canvas(self) -> Self:
        if self.mode is Mode.MIXED and self.mix_layout_params:
            width, height = (self.mix_transcode_params or MixTranscodeParams()).canvas
            if found := self.mix_layout_params.beyond(width, height):
                path, message = found
                fault(OUT_OF_RANGE, message, "MixLayoutParams", *path)
        return self


class DescribeCloudRecordingRequest(Request):
    task_id: str = Field(max_length=128)
    recorder_key: Text | None = None


class ModifyCloudRecordingRequest(Request):
    task_id: str = Field(max_length=128)
    mix_layout_params: MixLayoutParams | None = None
    subscribe_stream_user_ids: SubscribeStreamUserIds | None = None


class DeleteCloudRecordingRequest(Request):
    task_id: str = Field(max_length=128)


class Answer(BaseModel):
    """Part of a response; made from Python names, told with TRTC's."""

    model_config = ConfigDict(
        alias_generator=to_pascal,
        field_title_generator=lambda name, _: to_pascal(name),
        populate_by_name=True,
        extra="forbid",
        frozen=True,
    )


class Response(Answer):
    """What an action answers; the envelope adds RequestId."""

    task_id: str

    @cached_property
    def json_bytes(self) -> bytes:
        """With TRTC's names; made once, as the same answer is given until the recording changes."""
        return self.model_dump_json(by_alias=True).encode()


class CreateCloudRecordingResponse(Response):
    pass


class ModifyCloudRecordingResponse(Response):
    pass


class DeleteCloudRecordingResponse(Response):
    pass


class StorageFile(Answer):
    """A playlist. `begin_time_stamp`: ms since the Unix epoch of its first sample."""

    user_id: str
    file_name: str
    track_type: Literal["audio", "video", "audio_video"]
    begin_time_stamp: int


class DescribeCloudRecordingResponse(Response):
    status: Literal["Idle", "InProgress", "Exited"]
    storage_file_list: list[StorageFile]
    recorder_key: str = Field("", description="of recordings of relayed streams, which these are not")


REQUESTS: Final = MappingProxyType[str, type[Request]](
    {
        "CreateCloudRecording": CreateCloudRecordingRequest,
        "DescribeCloudRecording": DescribeCloudRecordingRequest,
        "ModifyCloudRecording": ModifyCloudRecordingRequest,
        "DeleteCloudRecording": DeleteCloudRecordingRequest,
    }
)
"""By action."""

RESPONSES: Final = MappingProxyType[str, type[Response]](
    {
        "CreateCloudRecording": CreateCloudRecordingResponse,
        "DescribeCloudRecording": DescribeCloudRecordingResponse,
        "ModifyCloudRecording": ModifyCloudRecordingResponse,
        "DeleteCloudRecording": DeleteCloudRecordingResponse,
    }
)
"""By action."""
