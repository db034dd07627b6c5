"""Records of the spool, tasks, and secrets that do not print."""

import json
import logging

import pytest
from pydantic import ValidationError

from cloudrec_contract.resources import DesiredState, ReportState, Room, RoomType
from cloudrec_contract.secret import Secret
from cloudrec_contract.spool import (
    MESSAGE_MAX,
    ClockRecord,
    ConditionRecord,
    EndRecord,
    JoinedRecord,
    JournalRecord,
    LeftRecord,
    LiveKitRoomTask,
    ObjectStore,
    SegmentRecord,
    StateRecord,
    Task,
    TrackRecord,
    decode_record,
    encode_record,
    parse_task,
)

RECORDS: list[JournalRecord] = [
    JoinedRecord(ts=1),
    StateRecord(ts=2, state=ReportState.RECORDING),
    ConditionRecord(ts=3, reason="LiveKitUnreachable", message="no route"),
    ConditionRecord(ts=4, reason="LiveKitUnreachable", status=False),
    TrackRecord(
        ts=5,
        track="t.m3u8",
        user_id="alice",
        media="main",
        kind="video",
        codec="h264",
        begin_time_stamp=1622186279144,
        width=640,
        height=360,
    ),
    SegmentRecord(ts=6, track="t.m3u8", file="t_1.ts", start=1622186279144.25, duration=10.02, bytes=7),
    ClockRecord(ts=7, user_id="alice", offset=-12.5),
    LeftRecord(ts=7, leave_code=99, message="idle"),
    EndRecord(ts=8, failed=True, reason="TokenRefused", message="expired"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.type)
def test_records_are_lines(record: JournalRecord) -> None:
    line = encode_record(record)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_record(line) == record
    assert json.loads(line)["type"] == record.type


def test_names_on_the_wire_are_camel_case() -> None:
    assert json.loads(encode_record(RECORDS[4])) == {
        "type": "track",
        "ts": 5,
        "track": "t.m3u8",
        "userId": "alice",
        "media": "main",
        "kind": "video",
        "codec": "h264",
        "beginTimeStamp": 1622186279144,
        "width": 640,
        "height": 360,
        "sampleRate": 0,
        "channels": 0,
        "transcoded": False,
    }


def test_a_newer_recorders_fields_are_ignored_but_not_its_types() -> None:
    assert decode_record(b'{"type":"joined","ts":1,"new":true}') == JoinedRecord(ts=1)
    with pytest.raises(ValidationError):
        decode_record(b'{"type":"unheard","ts":1}')


@pytest.mark.parametrize("line", [b"", b"{", b'{"type":"segment","ts":1}', b'{"type":"joined"}', b"[]"])
def test_damaged_lines_are_refused(line: bytes) -> None:
    with pytest.raises(ValidationError):
        decode_record(line)


@pytest.mark.parametrize(
    ("record", "field", "value"),
    [
        (5, "start", "NaN"),
        (5, "start", "1e30"),
        (5, "start", "-1"),
        (5, "duration", "1e999"),
        (5, "duration", "1e12"),
        (5, "bytes", "9223372036854775808"),
        (5, "ts", "9223372036854775808"),
        (5, "file", '"' + "x" * 256 + '"'),
        (4, "beginTimeStamp", "253402300800000"),
        (4, "width", "-1"),
        (4, "height", "4294967296"),
        (4, "userId", '"' + "x" * 1025 + '"'),
        (6, "offset", "Infinity"),
        (7, "leaveCode", "9223372036854775808"),
        (2, "reason", '""'),
    ],
)
def test_values_that_cannot_be_are_refused(record: int, field: str, value: str) -> None:
    fields = json.loads(encode_record(RECORDS[record]))
    line = json.dumps({**fields, field: 0}).replace(f'"{field}": 0', f'"{field}": {value}')
    with pytest.raises(ValidationError):
        decode_record(line.encode())


def test_a_long_message_is_cut_off_and_not_refused() -> None:
    made = EndRecord(ts=1, failed=True, reason="RecorderFailed", message="x" * 5000)
    assert len(made.message) == MESSAGE_MAX
    assert decode_record(encode_record(made)) == made


def test_tasks() -> None:
    task = Task(
        task_id="7b1c",
        sdk_app_id=1400123456,
        index=2,
        epoch=1,
        room=Room(id="lobby", type=RoomType.STRING),
        livekit=LiveKitRoomTask(url="ws://livekit:7880", room_name="lobby"),
        robot_user_id="cloudrec",
    )
    again = parse_task(task.model_dump_json(by_alias=True))
    assert again == task == parse_task(task.wire())
    assert again.desired_state is DesiredState.RUNNING
    assert again.identity == "cloudrec~2"
    assert again.names.mixed_playlist() == "ha2_1400123456_bG9iYnk..m3u8"


def test_object_store_on_the_wire() -> None:
    store = ObjectStore(endpoint="http://s3", region="r", bucket="b", key_prefix="p/t/")
    assert store.wire() == {
        "endpoint": "http://s3",
        "region": "r",
        "bucket": "b",
        "keyPrefix": "p/t/",
        "pathStyle": True,
    }


def test_a_secret_never_prints(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("hunter2")
    with caplog.at_level(logging.INFO):
        logging.getLogger("x").info("%s %r %s", secret, [secret], {"key": secret})
    shown = [repr(secret), str(secret), f"{secret} {secret!r} {secret:>20}", caplog.text, repr({"s": (secret,)})]
    assert not any("hunter2" in text for text in shown)
    assert all("***" in text for text in shown)
    assert secret.reveal() == "hunter2"
    assert bool(secret)
    assert not Secret("")
