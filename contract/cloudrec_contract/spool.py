"""The spool that a Pod's two containers share: what the recorder is told, and what it says.

`task.json` is written whole by the uploader (temporary file, rename). `journal.jsonl` is appended to by the recorder
alone, one JSON object a line; a torn last line is ignored. `drained` appears when all of the journal is in the bucket.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from cloudrec_contract.model import Lenient
from cloudrec_contract.naming import FileNames, robot_identity
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
    """All that a recorder needs to know but its room token. Only `desiredState` and `streams.subscribe` change."""

    task_id: str
    sdk_app_id: int
    index: int = 0
    epoch: int = Field(description="time zero of presentation times, ms since the Unix epoch")
    room: Room
    livekit: LiveKitRoomTask
    robot_user_id: str
    mode: Mode = Mode.SINGLE
    desired_state: DesiredState = DesiredState.RUNNING
    max_idle_seconds: int = 30
    streams: Streams = Streams()
    segment_seconds: float = Field(10.0, gt=0)

    @property
    def names(self) -> FileNames:
        return FileNames(self.sdk_app_id, self.room.id, self.room.type, self.index)

    @property
    def identity(self) -> str:
        return robot_identity(self.robot_user_id, self.index)


class Record(Lenient):
    ts: int = Field(description="ms since the Unix epoch")


class JoinedRecord(Record):
    type: Literal["joined"] = "joined"


class StateRecord(Record):
    type: Literal["state"] = "state"
    state: ReportState


class ConditionRecord(Record):
    """`status` False clears what was said under this reason."""

    type: Literal["condition"] = "condition"
    reason: str
    message: str = ""
    status: bool = True


class TrackRecord(Record):
    """First media of a (user, media, kind); `track` is the playlist's name."""

    type: Literal["track"] = "track"
    track: str
    user_id: str
    media: Literal["main", "aux"]
    kind: Literal["audio", "video", "audio_video"]
    codec: str
    begin_time_stamp: int
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0


class SegmentRecord(Record):
    """A closed segment at `media/<file>`: `start` in ms since the Unix epoch, `duration` in s, `bytes` its size."""

    type: Literal["segment"] = "segment"
    track: str
    file: str
    start: float
    duration: float = Field(ge=0)
    bytes: int = Field(ge=0)
    discontinuity: bool = False


class LeftRecord(Record):
    """The robot left the room; `leaveCode` as in event 302."""

    type: Literal["left"] = "left"
    leave_code: int
    message: str = ""


class EndRecord(Record):
    """Nothing follows."""

    type: Literal["end"] = "end"
    failed: bool = False
    reason: str = ""
    message: str = ""


JournalRecord = Annotated[
    JoinedRecord | StateRecord | ConditionRecord | TrackRecord | SegmentRecord | LeftRecord | EndRecord,
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
