"""Payloads against every callback in the guide.

guide/callbacks.json holds them as printed there; of 309 a trailing comma, which is no JSON, is taken away.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.events import EventType, LeaveCode, TaskFacts, args, payload

CALLBACKS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "guide" / "callbacks.json").read_text())


def test_the_guide_shows_every_event() -> None:
    assert {c["EventType"] for c in CALLBACKS} == {e.value for e in EventType} == set(range(301, 313))
    assert len(CALLBACKS) == 14


@pytest.mark.parametrize("example", CALLBACKS, ids=[f"{i}-{c['EventType']}" for i, c in enumerate(CALLBACKS)])
def test_payload_is_the_guides(example: dict[str, Any]) -> None:
    info = example["EventInfo"]
    ts_ms = int(info["EventTs"]) * 1000 + 123
    task = TaskFacts(task_id=info["TaskId"], room_id=info["RoomId"], robot_user_id=info["UserId"])
    body = payload(example["EventType"], ts_ms, info["Payload"], task, example["CallbackTs"])
    assert body["EventInfo"].pop("EventMsTs") == ts_ms
    assert body == example
    # The same types, too: 1 == True and 1 == 1.0, but not as JSON.
    assert json.dumps(body, sort_keys=True) == json.dumps(example, sort_keys=True)


@pytest.mark.parametrize("event", list(EventType))
def test_event_ts_is_a_string_in_301_302_and_307_only(event: EventType) -> None:
    example = next(c for c in CALLBACKS if c["EventType"] == event)
    body = payload(event, 1622186275913, example["EventInfo"]["Payload"], TaskFacts("t", "20015", "robot"), 1)
    expected = "1622186275" if event in (301, 302, 307) else 1622186275
    assert body["EventInfo"]["EventTs"] == expected
    assert type(body["EventInfo"]["EventTs"]) is type(expected)
    assert body["EventInfo"]["EventMsTs"] == 1622186275913
    assert body["EventInfo"]["RoomId"] == "20015"
    assert body["EventGroupId"] == 3


def test_optional_arguments() -> None:
    message = [{"FileName": "a.mp4", "UserId": "u", "TrackType": "audio_video", "MediaId": "main"}]
    assert args(EventType.MP4_STOP, FileMessage=message, FileList=["a.mp4"], Status=0) == {
        "Status": 0,
        "FileList": ["a.mp4"],
        "FileMessage": message,
    }


@pytest.mark.parametrize("fields", [{}, {"Status": 0, "Extra": 1}, {"LeaveCode": 0}])
def test_wrong_arguments_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="event 301"):
        args(EventType.RECORDER_START, **fields)


def test_unknown_event_is_refused() -> None:
    with pytest.raises(ValueError):
        payload(313, 0, {}, TaskFacts("t", "1", "r"), 0)


def test_leave_codes_of_the_guide() -> None:
    assert {code.value for code in LeaveCode} == {0, 1, 2, 3, 4, 99, 100, 101}


def test_a_mixed_recordings_playlist_is_nobodys() -> None:
    told = args(
        EventType.FILE_SLICE, FileName="1_2.m3u8", UserId="", TrackType="audio_video", BeginTimeStamp=1622186279144
    )
    body = payload(307, 1622186289148, told, TaskFacts("t", "20015", "robot"), 1)
    assert (body["EventInfo"]["UserId"], body["EventInfo"]["Payload"]) == ("robot", told)
