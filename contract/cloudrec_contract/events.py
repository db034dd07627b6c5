"""TRTC's recording events 301 to 312: facts in, callback bodies out. Pure; delivery is elsewhere.

Types of the fields follow the guide's examples: EventTs is a string in 301, 302 and 307 and a number elsewhere;
EventMsTs is always there; RoomId is always a string.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

EVENT_GROUP_CLOUD_RECORDING = 3


class EventType(IntEnum):
    RECORDER_START = 301
    RECORDER_STOP = 302
    UPLOAD_START = 303
    FILE_INFO = 304
    UPLOAD_STOP = 305
    FAILOVER = 306
    FILE_SLICE = 307
    UPLOAD_ERROR = 308
    DOWNLOAD_IMAGE_ERROR = 309
    MP4_STOP = 310
    VOD_COMMIT = 311
    VOD_STOP = 312


_STRING_TS = frozenset({EventType.RECORDER_START, EventType.RECORDER_STOP, EventType.FILE_SLICE})

# The arguments of each event's fact, named as in its Payload: (required, optional).
_FIELDS: Mapping[EventType, tuple[tuple[str, ...], tuple[str, ...]]] = {
    EventType.RECORDER_START: (("Status",), ()),
    EventType.RECORDER_STOP: (("LeaveCode",), ()),
    EventType.UPLOAD_START: (("Status",), ()),
    EventType.FILE_INFO: (("FileList",), ()),
    EventType.UPLOAD_STOP: (("Status",), ()),
    EventType.FAILOVER: (("Status",), ()),
    EventType.FILE_SLICE: (("FileName", "UserId", "TrackType", "BeginTimeStamp"), ()),
    EventType.UPLOAD_ERROR: (("Code", "Message"), ()),
    EventType.DOWNLOAD_IMAGE_ERROR: (("Url",), ()),
    EventType.MP4_STOP: (("Status", "FileList"), ("FileMessage",)),
    EventType.VOD_COMMIT: (("Status", "TencentVod"), ("Errmsg",)),
    EventType.VOD_STOP: (("Status",), ()),
}


class LeaveCode(IntEnum):
    """Why the robot left (Payload of 302)."""

    NORMAL = 0
    REMOVED_BY_API = 1
    ROOM_DELETED = 2
    REMOVED_BY_SERVER = 3
    ROOM_CLOSED_BY_SERVER = 4
    IDLE = 99
    TIMEOUT = 100
    REPEATED_ENTRY = 101


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What every event of a task repeats."""

    task_id: str
    room_id: str
    robot_user_id: str


def args(event: EventType, **fields: Any) -> dict[str, Any]:
    """Checked arguments of a fact, in the order of the guide. Raises ValueError on a missing or unknown one."""
    required, optional = _FIELDS[event]
    missing = [name for name in required if name not in fields]
    unknown = [name for name in fields if name not in required and name not in optional]
    if missing or unknown:
        raise ValueError(f"event {event.value}: missing {missing}, unknown {unknown}")
    return {name: fields[name] for name in (*required, *optional) if name in fields}


def payload(
    event_type: int, ts_ms: int, arguments: Mapping[str, Any], task: TaskFacts, callback_ts_ms: int
) -> dict[str, Any]:
    """The callback's JSON body. `ts_ms` is when it happened, `callback_ts_ms` when it is sent (both ms, Unix epoch).

    Raises ValueError on an unknown event or arguments that do not fit it.
    """
    event = EventType(event_type)
    seconds = ts_ms // 1000
    return {
        "EventGroupId": EVENT_GROUP_CLOUD_RECORDING,
        "EventType": event.value,
        "CallbackTs": callback_ts_ms,
        "EventInfo": {
            "RoomId": task.room_id,
            "EventTs": str(seconds) if event in _STRING_TS else seconds,
            "EventMsTs": ts_ms,
            "UserId": task.robot_user_id,
            "TaskId": task.task_id,
            "Payload": args(event, **arguments),
        },
    }
