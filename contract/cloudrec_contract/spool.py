"""The spool that a Pod's two containers share: what the recorder is told, and what it says.

`task.json` is written whole by the uploader (temporary file, rename). `journal.jsonl` is appended to by the recorder
alone, one JSON object a line; a torn last line is ignored. `drained` appears when all of the journal is in the bucket.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from cloudrec_contract.mix import Mix
from cloudrec_contract.model import Lenient
from cloudrec_contract.naming import NAME_BYTES, FileNames, robot_identity
from cloudrec_contract.resources import DesiredState, Mode, ReportState, Room, Streams

TASK = "task.json"
JOURNAL = "journal.jsonl"
MEDIA = "media"
DRAINED = "drained"
ALIVE = "recorder.alive"


class LiveKitRoomTask(Lenient):
    url: str
    room_name: str


class Task(Lenient):
    """What a recorder needs to know, but its room token. `desiredState`, `superseded`, `replaced` and
    `streams.subscribe` change."""

    task_id: str
    sdk_app_id: int
    index: int = 0
    epoch: int = Field(description="time zero of presentation times, ms since the Unix epoch")
    room: Room
    livekit: LiveKitRoomTask
    robot_user_id: str
    mode: Mode = Mode.SINGLE
    desired_state: DesiredState = DesiredState.RUNNING
    superseded: bool = Field(False, description="a later attempt is in the room: leave it to that one")
    replaced: bool = Field(False, description="stopped because another task of the same app, room and robot began")
    max_idle_seconds: int = 30
    streams: Streams = Streams()
    merge_audio_video: bool = Field(False, description="one playlist with both for each (user, media)")
    mix: Mix | None = None
    segment_seconds: float = Field(10.0, gt=0)

    @property
    def names(self) -> FileNames:
        return FileNames(self.sdk_app_id, self.room.id, self.room.type, self.index)

    @property
    def identity(self) -> str:
        return robot_identity(self.robot_user_id, self.index)


MESSAGE_MAX = 1024
"""Characters of a message; what is beyond is cut off."""

# The journal's reader trusts its writer with nothing: every value has bounds in which all that follows can be computed.
_TIME_MAX = 4_102_444_800_000  # the year 2100
_DURATION_MAX = 31 * 86_400
_SIZE_MAX = 2**53

Time = Annotated[int, Field(ge=0, le=_TIME_MAX, description="ms since the Unix epoch")]
Message = Annotated[str, AfterValidator(lambda text: text[:MESSAGE_MAX])]
Name = Annotated[str, Field(max_length=NAME_BYTES)]
UserId = Annotated[str, Field(max_length=1024)]
ReasonName = Annotated[str, Field(max_length=64)]


class Record(Lenient):
    ts: Time


class JoinedRecord(Record):
    type: Literal["joined"] = "joined"


class StateRecord(Record):
    type: Literal["state"] = "state"
    state: ReportState


class ConditionRecord(Record):
    """`status` False clears what was said under this reason."""

    type: Literal["condition"] = "condition"
    reason: ReasonName = Field(min_length=1)
    message: Message = ""
    status: bool = True


class TrackRecord(Record):
    """First media of a (user, media, kind); `track` is the playlist's name."""

    type: Literal["track"] = "track"
    track: Name
    user_id: UserId
    media: Literal["main", "aux"]
    kind: Literal["audio", "video", "audio_video"]
    codec: str = Field(max_length=32)
    begin_time_stamp: Time
    width: int = Field(0, ge=0, le=65535)
    height: int = Field(0, ge=0, le=65535)
    sample_rate: int = Field(0, ge=0, le=768_000)
    channels: int = Field(0, ge=0, le=255)
    transcoded: bool = Field(False, description="the publisher's codec was another; `codec` is what the file holds")


class SegmentRecord(Record):
    """A closed segment at `media/<file>`: `start` in ms since the Unix epoch, `duration` in s, `bytes` its size."""

    type: Literal["segment"] = "segment"
    track: Name
    file: Name
    start: float = Field(ge=0, le=_TIME_MAX, allow_inf_nan=False)
    duration: float = Field(ge=0, le=_DURATION_MAX, allow_inf_nan=False)
    bytes: int = Field(ge=0, le=_SIZE_MAX)
    discontinuity: bool = False


class ClockRecord(Record):
    """By how many ms a publisher's clock was behind ours, as last known: attempts on two nodes can be aligned by it."""

    type: Literal["clock"] = "clock"
    user_id: UserId
    offset: float = Field(ge=-_TIME_MAX, le=_TIME_MAX, allow_inf_nan=False)


class LeftRecord(Record):
    """The robot left the room; `leaveCode` as in event 302."""

    type: Literal["left"] = "left"
    leave_code: int = Field(ge=0, le=999)
    message: Message = ""


class EndRecord(Record):
    """Nothing follows."""

    type: Literal["end"] = "end"
    failed: bool = False
    reason: ReasonName = ""
    message: Message = ""


JournalRecord = Annotated[
    JoinedRecord | StateRecord | ConditionRecord | TrackRecord | SegmentRecord | ClockRecord | LeftRecord | EndRecord,
    Field(discriminator="type"),
]

_RECORD: TypeAdapter[JournalRecord] = TypeAdapter(JournalRecord)


def encode_record(record: Record) -> bytes:
    """One line of the journal, newline included."""
    return record.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"


def decode_record(line: bytes) -> JournalRecord:
    """Inverse of `encode_record`. Raises pydantic.ValidationError."""
    return _RECORD.validate_json(line)


class ObjectStore(Lenient):
    """Where the uploader puts files; credentials come from a mounted Secret, never from here."""

    endpoint: str
    region: str
    bucket: str
    key_prefix: str = Field(description="above every file of the task, with its trailing slash")
    path_style: bool = True


def parse_task(data: bytes | str | dict[str, Any]) -> Task:
    """Raises pydantic.ValidationError on anything that is not a task."""
    return Task.model_validate(data) if isinstance(data, dict) else Task.model_validate_json(data)
