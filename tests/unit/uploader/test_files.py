"""Tailing the journal, the own log, task.json."""

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.mix import Mix
from cloudrec_contract.resources import DesiredState, Room, Subscription, UserList
from cloudrec_contract.spool import JoinedRecord, JournalRecord, LiveKitRoomTask, Task, decode_record, encode_record
from cloudrec_recorder.uploader.tail import LONGEST, Tail
from cloudrec_recorder.uploader.taskfile import TaskFile
from cloudrec_recorder.uploader.uploadlog import LogRecord, Recovered, UploadLog, decode


def task(**more: object) -> Task:
    values = {
        "task_id": "7b1c",
        "sdk_app_id": 1400123456,
        "epoch": 1,
        "room": Room(id="1"),
        "livekit": LiveKitRoomTask(url="ws://livekit", room_name="1"),
        "robot_user_id": "cloudrec",
    }
    return Task.model_validate({**values, **more})


def read(path: Path) -> Task:
    return Task.model_validate_json(path.read_bytes())


# --- tail ---


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "journal", decode_record)
    assert tail.read() == []
    assert list(tail.read_all()) == []


@given(cuts=st.lists(st.integers(1, 60), max_size=30), number=st.integers(0, 12))
def test_lines_come_once_and_whole_however_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], number: int
) -> None:
    path = tmp_path_factory.mktemp("tail") / "journal"
    data = b"".join(encode_record(JoinedRecord(ts=n)) for n in range(number))
    tail: Tail[JournalRecord] = Tail(path, decode_record)
    got: list[JournalRecord] = []
    with path.open("ab", buffering=0) as file:
        for cut in cuts:
            file.write(data[:cut])
            data = data[cut:]
            got += tail.read()
        assert len(got) <= number
        file.write(data)
    got += tail.read_all()
    tail.close()
    assert [record.ts for record in got] == list(range(number))


def test_damaged_and_unheard_of_lines_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal"
    good = encode_record(JoinedRecord(ts=1))
    path.write_bytes(good + b'{"type":"hello"}\n\n\xff\n' + b"x" * (LONGEST + 1) + b"\n" + good + b'{"type":"joi')
    tail = Tail(path, decode_record)
    with caplog.at_level(logging.WARNING):
        assert len(list(tail.read_all())) == 2
    assert len(caplog.records) == 3
    tail.close()


def test_an_endless_line_is_not_kept_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    tail = Tail(path, decode_record)
    with path.open("ab", buffering=0) as file:
        for _ in range(4):
            file.write(b"x" * LONGEST)
            assert tail.read() == []
            assert len(tail._rest) <= 2 * LONGEST
        file.write(b"\n" + encode_record(JoinedRecord(ts=1)))
        assert tail.read() == [JoinedRecord(ts=1)]
    tail.close()


# --- own log ---


def test_a_torn_line_of_a_killed_predecessor_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "uploads.jsonl"
    for torn in (b"", b'{"type":"reco', b"x" * 200_000):
        log = UploadLog(path)
        log.append(Recovered(ts=1))
        log.close()
        with path.open("ab") as file:
            file.write(torn)
    log = UploadLog(path)
    log.append(Recovered(ts=2))
    log.close()
    tail: Tail[LogRecord] = Tail(path, decode)
    assert [record.ts for record in tail.read_all()] == [1, 1, 1, 2]
    tail.close()
    assert path.read_bytes().count(b"\n") == 4


def test_a_log_of_only_a_torn_line_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "uploads.jsonl"
    path.write_bytes(b"{")
    UploadLog(path).close()
    assert path.read_bytes() == b""


def test_the_log_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "uploads.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):
        UploadLog(tmp_path / "uploads.jsonl")


# --- task.json ---


def test_the_task_is_written_when_allowed(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    file = TaskFile(path, task())
    file.change(DesiredState.RUNNING, Subscription(audio=UserList(include=["alice"])))
    assert not path.exists()
    file.allow()
    assert read(path).streams.subscribe.audio == UserList(include=["alice"])
    assert json.loads(path.read_bytes())["desiredState"] == "Running"
    file.change(DesiredState.RUNNING, Subscription())
    assert read(path).streams.subscribe == Subscription()
    file.change(DesiredState.RUNNING, None)
    assert read(path) == task()
    assert [p.name for p in tmp_path.iterdir()] == ["task.json"]


def test_of_a_mix_layout_and_watermarks_change_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    begun = Mix.model_validate({"video": {"fps": 30}, "fill": "Black"})
    file = TaskFile(path, task().model_copy(update={"mix": begun}))
    file.allow()
    wanted = Mix.model_validate({"video": {"fps": 60}, "layout": {"template": "Floating"}})
    file.change(DesiredState.RUNNING, None, wanted)
    assert read(path).mix == begun.model_copy(update={"layout": wanted.layout})
    file.change(DesiredState.RUNNING, None, None)  # it could not be read
    assert read(path).mix == begun.model_copy(update={"layout": wanted.layout})
    assert TaskFile(path, task().model_copy(update={"mix": begun})).task.mix == read(path).mix


def test_a_stop_is_written_even_before(tmp_path: Path) -> None:
    file = TaskFile(tmp_path / "task.json", task())
    file.change(DesiredState.STOPPED, None)
    assert read(tmp_path / "task.json").desired_state is DesiredState.STOPPED


def test_a_stopped_task_never_runs_again(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    file = TaskFile(path, task())
    file.change(DesiredState.STOPPED, None)
    file.change(DesiredState.RUNNING, Subscription())
    again = TaskFile(path, task())
    again.change(DesiredState.RUNNING, Subscription())
    again.allow()
    assert read(path).desired_state is DesiredState.STOPPED


def test_an_unchanged_task_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    file = TaskFile(path, task())
    file.allow()
    inode = path.stat().st_ino
    file.change(DesiredState.RUNNING, Subscription())
    again = TaskFile(path, task())
    again.allow()
    assert path.stat().st_ino == inode


def test_a_damaged_task_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_text("{")
    TaskFile(path, task()).allow()
    assert read(path) == task()


def test_a_superseded_task_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    file = TaskFile(path, task())
    file.allow()
    assert not read(path).superseded
    file.change(DesiredState.RUNNING, None, superseded=True)
    assert read(path).superseded
    file.change(DesiredState.RUNNING, Subscription())
    again = TaskFile(path, task())
    again.allow()
    assert read(path).superseded
    assert read(path).desired_state is DesiredState.RUNNING


def test_why_a_task_was_stopped_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    file = TaskFile(path, task())
    file.allow()
    file.change(DesiredState.STOPPED, None, replaced=True)
    assert read(path).replaced
    file.change(DesiredState.STOPPED, None)
    again = TaskFile(path, task())
    again.allow()
    assert read(path).replaced
    other = TaskFile(tmp_path / "other.json", task())
    other.change(DesiredState.STOPPED, None)
    other.change(DesiredState.STOPPED, None, replaced=True)
    assert not read(tmp_path / "other.json").replaced
