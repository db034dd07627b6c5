from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudrec_contract.resources import RoomType
from cloudrec_contract.spool import Task
from cloudrec_recorder.standalone.taskfile import BadTask, read_task
from tests.unit.recorder import scripted

NOW = 1_795_373_852_814
URL = "ws://127.0.0.1:7880"
EXAMPLE = Path(__file__).parents[3] / "examples" / "task.yaml"


def read(text: str) -> Task:
    return read_task(text, NOW, url_if_none=URL)


def complaints(text: str) -> list[str]:
    with pytest.raises(BadTask) as error:
        read(text)
    return list(error.value.args)


def test_only_the_room_has_to_be_said() -> None:
    task = read("room: demo")
    assert (task.room.id, task.room.type) == ("demo", RoomType.STRING)
    assert (task.livekit.url, task.livekit.room_name) == (URL, "demo")
    assert task.epoch == NOW
    assert task.task_id == "local-20261122-185732"
    assert task.names.playlist("a", "main", "video") == "1_ZGVtbw..__UserId_s_YQ..__UserId_e_main_video.m3u8"


@pytest.mark.parametrize(
    ("text", "room", "kind"),
    [
        ("room: 7", "7", RoomType.NUMBER),
        ("room: '7'", "7", RoomType.NUMBER),
        ("room: {id: 7}", "7", RoomType.NUMBER),
        ("room: {id: 7, type: String}", "7", RoomType.STRING),
        ("room: '007'", "007", RoomType.STRING),
        ("room: 4294967296", "4294967296", RoomType.STRING),
        ('{"room": {"id": "math", "type": "String"}}', "math", RoomType.STRING),
    ],
)
def test_rooms(text: str, room: str, kind: RoomType) -> None:
    task = read(text)
    assert (task.room.id, task.room.type) == (room, kind)
    assert task.livekit.room_name == room


def test_the_example() -> None:
    task = read(EXAMPLE.read_text())
    assert task.room.id == "demo"
    assert task.merge_audio_video
    every_field = EXAMPLE.read_text().replace("# livekit", "livekit").replace("# streams", "streams")
    lines = [line.replace("#   ", "  ", 1) if line.startswith("#   ") else line for line in every_field.splitlines()]
    whole = "\n".join(line for line in lines if "export" not in line and "--task" not in line)
    task = read(whole)
    assert task.livekit.url == "wss://livekit.example.com"
    assert task.streams.subscribe.video is not None


def test_a_pods_task_file_is_one() -> None:
    wire = scripted.task(streams={"kind": "Audio"}).model_dump_json(by_alias=True, exclude_none=True)
    assert read(wire) == scripted.task(streams={"kind": "Audio"})


def test_the_servers_address() -> None:
    text = "room: demo\nlivekit: {url: 'wss://there'}"
    assert read(text).livekit.url == "wss://there"
    assert read_task(text, NOW, url="ws://here").livekit.url == "ws://here"
    with pytest.raises(BadTask, match="LIVEKIT_URL"):
        read_task("room: demo", NOW)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it has to be a mapping, such as  room: demo"),
        ("- room", "it has to be a mapping, such as  room: demo"),
        ("room: [", "line 1, column 8: expected the node content, but found '<stream end>'"),
        ("maxIdleSeconds: 30", "room: is missing; give a name, a number, or {id: …, type: Number or String}"),
        ("room: {type: String}", "room.id: is missing"),
        ("room: true", "room.id: True was given; input should be a valid string"),
        ("room: {id: x, type: Number}", "room: 'x' is no Number room, which is 1 to 4294967295 without leading zeros; "
         "use type: String for other ids"),
        ("room: {id: x, type: Text}", "room.type: 'Text' was given; input should be 'Number' or 'String'"),
        ("room: a\nmaxIdleSeconds: 2", "maxIdleSeconds: 2 was given; input should be greater than or equal to 5"),
        ("room: a\nstreams: {kind: Sound}", "streams.kind: 'Sound' was given; input should be 'AudioVideo', 'Audio' or "
         "'Video'"),
        ("room: a\nstreams: {subscribe: {audio: {include: [a], exclude: [b]}}}",
         "streams.subscribe.audio: give include or exclude, not both"),
        ("room: a\nlivekit: {url: 'localhost'}", "livekit.url: 'localhost' was given; it begins with ws://, wss://, "
         "http:// or https://"),
        ("room: a\nlivekit: {uri: x}", "livekit.uri: there is no such field (is it url?); there are url, roomName"),
        ("room: a\nlivekit: 5", "livekit: 5 was given; it has to be a mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(text: str, told: str) -> None:
    assert complaints(text) == [told]


def test_everything_wrong_is_told_at_once() -> None:
    first, second = complaints("room: a\nsegmentSeconds: soon\nmaxIdelSeconds: 5\n")
    assert first.startswith("segmentSeconds: 'soon' was given")
    assert second.startswith("maxIdelSeconds: there is no such field (is it maxIdleSeconds?); there are taskId, ")


def test_a_room_whose_files_cannot_be_named() -> None:
    (told,) = complaints(yaml.safe_dump({"room": {"id": "é" * 127, "type": "String"}}))
    assert told.startswith("room.id: is too long")


@pytest.mark.parametrize("given", [{"room": {"id": "a" * 5000}}, {"room": "a", "streams": {"kind": "b" * 5000}}])
def test_what_was_given_is_cut_short(given: dict[str, Any]) -> None:
    assert all(len(line) < 300 for line in complaints(yaml.safe_dump(given)))
