"""The task file: a recorder's task as people write it, in YAML or JSON, with all left out that can be made up. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator

from cloudrec_contract.mix import faults
from cloudrec_contract.model import Model
from cloudrec_contract.naming import ATTEMPTS_MAX, room_fault
from cloudrec_contract.resources import Mode, Robot, Room, RoomType, Streams, UserList
from cloudrec_contract.spool import LiveKitRoomTask, Task

SDK_APP_ID: Final = 1
"""Part of every file's name; nobody's but the operator's apps have one of their own."""
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,9}")
_NUMBER_MAX: Final = 4294967295
_SHOWN: Final = 60


class BadTask(Exception):
    """The file is no task: `args` are lines, each with a field, what was given and what is allowed."""


class _LiveKit(LiveKitRoomTask):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(pattern=r"^(ws|wss|http|https)://[^/]")
    room_name: str = Field(min_length=1)


class _Given(Task):
    """The fields of a task, with the bounds of CloudRecording; a field that there is not is refused."""

    model_config = ConfigDict(extra="forbid")

    task_id: str = Field(min_length=1, max_length=64)
    sdk_app_id: int = Field(ge=1, le=4294967295)
    index: int = Field(0, ge=0, lt=ATTEMPTS_MAX)
    epoch: int = Field(ge=0)
    livekit: _LiveKit
    robot_user_id: str = Field(min_length=1, max_length=32, pattern=r"^[A-Za-z0-9_.@-]+$")
    max_idle_seconds: int = Field(30, ge=5, le=86400)
    segment_seconds: float = Field(10.0, ge=1, le=60)

    @model_validator(mode="after")
    def _whole(self) -> _Given:
        _check_room(self.room, self.sdk_app_id, self.mode)
        _check_streams(self.streams)
        if self.mix is not None and self.mode is not Mode.MIXED:
            raise ValueError("mix: is for mode: Mixed")
        for fault in faults(self.mix) if self.mix is not None else ():
            raise ValueError(f"mix.{fault}")
        return self


def read_task(text: str, now_ms: int, *, url: str | None = None, url_if_none: str | None = None) -> Task:
    """The task in a file's text. `url` is the server's, whatever the file says; `url_if_none` where it says nothing;
    `now_ms` in ms since the Unix epoch.

    Raises BadTask.
    """
    data = _parse(text)
    defaults = {
        "taskId": f"local-{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%d-%H%M%S}",
        "sdkAppId": SDK_APP_ID,
        "epoch": now_ms,
        "robotUserId": Robot().user_id,
    }
    data = {**defaults, **data}
    data["room"] = _room(data.get("room"))
    data["livekit"] = _livekit(data.get("livekit"), data["room"], url, url_if_none)
    try:
        return Task.model_validate(_Given.model_validate(data).model_dump())
    except ValidationError as error:
        raise BadTask(*_complaints(error)) from None


def _parse(text: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise BadTask(f"{where}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise BadTask(str(error).splitlines()[0]) from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise BadTask("it has to be a mapping, such as  room: demo")
    return data


def _room(given: Any) -> Any:
    """`room: demo` and `room: 7` for short; an id that looks like a number is one unless `type` says otherwise."""
    if given is None:
        raise BadTask("room: is missing; give a name, a number, or {id: …, type: Number or String}")
    if not isinstance(given, dict):
        given = {"id": given}
    room = dict(given)
    if isinstance(room.get("id"), int) and not isinstance(room["id"], bool):
        room["id"] = str(room["id"])
    if isinstance(room.get("id"), str) and "type" not in room:
        room["type"] = (RoomType.NUMBER if _is_number(room["id"]) else RoomType.STRING).value
    return room


def _livekit(given: Any, room: Any, url: str | None, url_if_none: str | None) -> Any:
    if given is None:
        given = {}
    if not isinstance(given, dict):
        return given
    name = room.get("id")
    livekit = {
        "roomName": name if isinstance(name, str) else "unknown",
        "url": url_if_none,
        **given,
        **({"url": url} if url else {}),
    }
    if not livekit["url"]:
        raise BadTask("livekit.url: is missing; give it here, as --url, or as LIVEKIT_URL in the environment")
    return livekit


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and int(text) <= _NUMBER_MAX


def _check_room(room: Room, sdk_app_id: int, mode: Mode) -> None:
    if room.type is RoomType.NUMBER and not _is_number(room.id):
        raise ValueError(
            f"room: {room.id!r} is no Number room, which is 1 to {_NUMBER_MAX} without leading zeros; "
            "use type: String for other ids"
        )
    if fault := room_fault(sdk_app_id, room.id, room.type, mode):
        raise ValueError(f"room.id: {fault}")


def _check_streams(streams: Streams) -> None:
    def both(name: str, users: UserList | None) -> None:
        if users is not None and users.include is not None and users.exclude is not None:
            raise ValueError(f"streams.subscribe.{name}: give include or exclude, not both")

    both("audio", streams.subscribe.audio)
    both("video", streams.subscribe.video)


def _complaints(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False):
        path = ".".join(map(str, one["loc"]))
        match one["type"]:
            case "extra_forbidden":
                yield f"{path}: there is no such field{_meant(one['loc'])}"
            case "model_type":
                yield f"{path}: {_short(one['input'])} was given; it has to be a mapping"
            case "string_pattern_mismatch" if path == "livekit.url":
                yield f"{path}: {_short(one['input'])} was given; it begins with ws://, wss://, http:// or https://"
            case "missing":
                yield f"{path}: is missing"
            case "value_error":
                yield str(one["ctx"]["error"])
            case _:
                yield f"{path}: {_short(one['input'])} was given; {_lower(one['msg'])}"


def _meant(place: tuple[int | str, ...]) -> str:
    """What is allowed where an unknown field was, and what was probably meant."""
    model: type[Model] | None = _Given
    for step in place[:-1]:
        model = _inner(model, str(step)) if model else None
    if model is None:
        return ""
    names = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(str(place[-1]), names, 1)
    return (f" (is it {close[0]}?)" if close else "") + f"; there are {', '.join(names)}"


def _inner(model: type[Model], alias: str) -> type[Model] | None:
    for name, field in model.model_fields.items():
        if alias in (name, field.alias):
            candidates: Iterator[Any] = iter((field.annotation, *getattr(field.annotation, "__args__", ())))
            return next((c for c in candidates if isinstance(c, type) and issubclass(c, Model)), None)
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
