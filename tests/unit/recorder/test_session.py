"""The recorder's life against a scripted room: states, idle timer, leave codes, and what the journal says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.spool import (
    ALIVE,
    DRAINED,
    MEDIA,
    ClockRecord,
    ConditionRecord,
    EndRecord,
    JoinedRecord,
    JournalRecord,
    LeftRecord,
    SegmentRecord,
    StateRecord,
    TrackRecord,
)
from cloudrec_recorder import recording
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.recording import Clock, Outcome
from cloudrec_recorder.rooms import Joined, Left, Published, Unreachable
from cloudrec_recorder.segments.disk import LOST_IN_A_ROW
from cloudrec_recorder.session import Limits, Session
from cloudrec_recorder.tasks import TaskFile
from tests.unit.recorder import scripted
from tests.unit.recorder.scripted import EPOCH_MS, ScriptedRoom, Time
from tests.unit.segments import samples

R = TypeVar("R", bound=JournalRecord)


class Bench:
    """A session that runs, its room, its clock and its spool."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = Time()
        self.room: ScriptedRoom | None = None
        self.leaves = True
        self.session = Session(
            folder,
            TaskFile(folder / "task.json"),
            self._make_room,
            Clock(self.time, lambda: EPOCH_MS),
            Limits(task=10, drain=50, tick=0.002),
        )
        self.running: asyncio.Task[Outcome] | None = None

    def _make_room(self, _task: object, sink: object) -> ScriptedRoom:
        self.room = ScriptedRoom(sink, leaves=self.leaves)  # type: ignore[arg-type]
        return self.room

    async def start(self, *users: str, **changes: object) -> ScriptedRoom:
        """Write the task and join; with users the room is said to hold them."""
        scripted.write_task(self.folder, scripted.task(**changes))
        self.running = asyncio.create_task(self.session.run())
        await self.until(lambda: self.room is not None)
        assert self.room is not None
        self.room.joined(*users)
        await self.until(lambda: bool(self.of(JoinedRecord)))
        return self.room

    async def end(self) -> Outcome:
        """Play the uploader, and wait for the end."""
        assert self.running is not None
        async with asyncio.timeout(20):
            while not self.running.done():
                if any(isinstance(record, EndRecord) for record in self.records()):
                    (self.folder / DRAINED).touch()
                await asyncio.sleep(0.002)
        return self.running.result()

    async def until(self, condition: Callable[[], bool]) -> None:
        """The session's time goes on meanwhile, as fast as ours."""
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)
                self.time.value += 0.002

    async def ended(self) -> Outcome:
        """Wait for an end that nobody is asked for."""
        assert self.running is not None
        await self.until(self.running.done)
        return self.running.result()

    async def ticks(self, count: int = 5) -> None:
        """Let the session see the time as it is now."""
        await asyncio.sleep(0.002 * count * 2)

    def records(self) -> list[JournalRecord]:
        return scripted.records(self.folder)

    def of(self, kind: type[R]) -> list[R]:
        return [record for record in self.records() if isinstance(record, kind)]

    @property
    def states(self) -> list[str]:
        return [record.state.value for record in self.of(StateRecord)]

    def conditions(self) -> dict[str, str]:
        """In force, as the uploader would see them."""
        out: dict[str, str] = {}
        for record in self.of(ConditionRecord):
            if record.status:
                out[record.reason] = record.message
            else:
                out.pop(record.reason, None)
        return out


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.running is not None and not made.running.done():
        made.session.stop("the test is over")
        await made.end()


def voice(user: str = "alice", start: float = 1.0) -> list[AccessUnit]:
    key = TrackKey(user, "main", "audio")
    packets = samples.opus(samples.beeps(1, [0.5]))
    return [AccessUnit(key, "OPUS", data, start + index * 0.02, True, 1) for index, data in enumerate(packets)]


async def test_a_whole_recording(bench: Bench) -> None:
    room = await bench.start("alice")
    await bench.until(lambda: room.subscribed == {"alice/audio", "alice/video"})
    assert bench.states == ["Idle"]
    room.media(*voice())
    await bench.until(lambda: bench.states == ["Idle", "Recording"] and bool(bench.of(TrackRecord)))
    scripted.write_task(bench.folder, scripted.task(desiredState="Stopped"))
    outcome = await bench.end()
    assert (outcome.failed, outcome.leave_code) == (False, 0)
    assert room.left
    kinds = [record.type for record in bench.records()]
    assert [kind for kind in kinds if kind != "track"] == [
        "joined",
        "state",
        "state",
        "state",
        "segment",
        "left",
        "end",
    ]
    assert bench.states[-1] == "Stopping"
    assert bench.of(LeftRecord)[0].leave_code == 0
    assert not bench.of(EndRecord)[0].failed
    segment = bench.of(SegmentRecord)[0]
    assert (bench.folder / MEDIA / segment.file).stat().st_size == segment.bytes
    assert segment.track == bench.of(TrackRecord)[0].track
    assert (bench.folder / ALIVE).exists()


async def test_state_follows_what_is_published(bench: Bench) -> None:
    room = await bench.start("alice")
    room.media(*voice())
    await bench.until(lambda: bench.states == ["Idle", "Recording"])
    room.present()
    await bench.until(lambda: bench.states == ["Idle", "Recording", "Idle"])
    room.present("bob")
    await bench.ticks()
    assert bench.states == ["Idle", "Recording", "Idle"]
    room.media(*voice("bob", 3.0))
    await bench.until(lambda: bench.states == ["Idle", "Recording", "Idle", "Recording"])


async def test_nobody_ever_comes(bench: Bench) -> None:
    await bench.start()
    bench.time.value += 29
    await bench.ticks()
    assert not bench.running.done() if bench.running else False
    bench.time.value += 1
    outcome = await bench.end()
    assert (outcome.failed, outcome.leave_code, outcome.reason) == (False, 99, Reason.NOBODY_IN_ROOM)
    assert bench.of(LeftRecord)[0].leave_code == 99


async def test_idle_counts_from_the_last_anchors_leaving(bench: Bench) -> None:
    room = await bench.start("alice", "bob")
    bench.time.value += 1000
    await bench.ticks()
    room.present("bob")
    await bench.ticks()
    bench.time.value += 1000
    await bench.ticks()
    room.present()
    await bench.ticks()
    bench.time.value += 29.5
    await bench.ticks()
    assert not room.left
    bench.time.value += 0.5
    assert (await bench.end()).leave_code == 99


async def test_an_anchor_who_sends_nothing_is_somebody(bench: Bench) -> None:
    room = await bench.start()
    room.present("alice", tracks=())
    await bench.ticks()
    bench.time.value += 1000
    await bench.ticks()
    assert not room.left
    assert bench.states == ["Idle"]


async def test_the_idle_timer_goes_on_over_a_rejoin(bench: Bench) -> None:
    """LiveKit closes an empty room long before maxIdleSeconds: the robot joins again, and the time counts."""
    room = await bench.start("alice")
    room.present()
    await bench.ticks()
    bench.time.value += 20
    room.say(Unreachable(Reason.LIVEKIT_UNREACHABLE, "the room was closed"))
    room.say(Joined(rejoined=True))
    room.present()
    await bench.ticks()
    bench.time.value += 9
    await bench.ticks()
    assert not room.left
    bench.time.value += 1
    assert (await bench.end()).leave_code == 99
    assert len(bench.of(JoinedRecord)) == 1


async def test_somebody_comes_in_time(bench: Bench) -> None:
    room = await bench.start()
    bench.time.value += 29
    await bench.ticks()
    room.present("alice")
    await bench.ticks()
    bench.time.value += 29
    await bench.ticks()
    assert not room.left


async def test_out_of_reach_is_a_condition_until_joined(bench: Bench) -> None:
    room = await bench.start("alice")
    room.say(Unreachable(Reason.LIVEKIT_UNREACHABLE, "connection refused"))
    await bench.until(lambda: bench.conditions() == {"LiveKitUnreachable": "connection refused"})
    room.say(Unreachable(Reason.LIVEKIT_UNREACHABLE, "connection refused"))
    room.say(Unreachable(Reason.MEDIA_UNREACHABLE, "no ICE pair"))
    await bench.until(lambda: len(bench.conditions()) == 2)
    room.say(Joined(rejoined=True))
    await bench.until(lambda: bench.conditions() == {})
    assert len(bench.of(ConditionRecord)) == 4  # said once each, cleared once each


@pytest.mark.parametrize(
    ("code", "reason"),
    [(1, "RemovedByApi"), (2, "RoomDeleted"), (3, "RemovedByServer"), (100, "RejoinTimeout"), (101, "RepeatedEntry")],
)
async def test_the_room_ends_it(bench: Bench, code: int, reason: str) -> None:
    room = await bench.start("alice")
    room.media(*voice())
    room.say(Left(code, reason, "why"))
    outcome = await bench.end()
    assert outcome == Outcome(False, reason, "why", code)
    assert not room.left
    assert bench.of(LeftRecord)[0].leave_code == code
    assert len(bench.of(SegmentRecord)) == 1


async def test_a_refused_token_fails_at_once(bench: Bench) -> None:
    scripted.write_task(bench.folder, scripted.task())
    bench.running = asyncio.create_task(bench.session.run())
    await bench.until(lambda: bench.room is not None)
    assert bench.room is not None
    bench.room.say(Left(None, "TokenRefused", "401"))
    outcome = await asyncio.wait_for(bench.running, 20)  # nobody drains: a failed attempt does not wait
    assert outcome == Outcome(True, "TokenRefused", "401")
    assert bench.conditions() == {"TokenRefused": "401"}
    assert [record.type for record in bench.records()] == ["condition", "end"]
    assert bench.of(EndRecord)[0].failed


async def test_a_stop_seals_and_ends(bench: Bench) -> None:
    room = await bench.start("alice")
    room.media(*voice())
    bench.session.stop("told to end by SIGINT")
    outcome = await bench.end()
    assert (outcome.failed, outcome.leave_code) == (False, 0)
    assert bench.of(EndRecord)[0].message == "told to end by SIGINT"
    assert len(bench.of(SegmentRecord)) == 1


async def handing_over(bench: Bench) -> ScriptedRoom:
    """A recording whose Pod has been told to go."""
    room = await bench.start("alice")
    room.media(*voice())
    await bench.until(lambda: bench.states == ["Idle", "Recording"])
    bench.session.go_away("SIGTERM")
    await bench.ticks()
    assert not room.left
    return room


async def test_a_pod_that_has_to_go_waits_for_its_successor(bench: Bench) -> None:
    room = await handing_over(bench)
    room.media(*voice(start=2.0))
    bench.time.value += 59
    await bench.ticks()
    assert bench.states == ["Idle", "Recording"]
    assert not room.left
    scripted.write_task(bench.folder, scripted.task(superseded=True))
    await bench.ticks()
    bench.time.value += recording.OVERLAP_SECONDS - 0.1
    await bench.ticks()
    assert not room.left, "the successor has no keyframe yet"
    bench.time.value += 0.1
    outcome = await bench.end()
    assert (outcome.failed, outcome.reason, outcome.leave_code) == (False, Reason.HANDED_OVER, None)
    assert room.left
    assert bench.states == ["Idle", "Recording", "Stopping"]
    assert not bench.of(LeftRecord)  # the robot's successor is in the room: no 302
    assert bench.of(EndRecord)[0].reason == Reason.HANDED_OVER
    assert sum(record.duration for record in bench.of(SegmentRecord)) > 1.9


async def test_no_successor_comes(bench: Bench) -> None:
    await handing_over(bench)
    bench.time.value += 60
    outcome = await bench.end()
    assert (outcome.failed, outcome.reason, outcome.leave_code) == (False, Reason.HANDED_OVER, None)
    assert "no successor" in bench.of(EndRecord)[0].message
    assert not bench.of(LeftRecord)


async def test_stopped_while_a_successor_is_waited_for(bench: Bench) -> None:
    await handing_over(bench)
    scripted.write_task(bench.folder, scripted.task(desiredState="Stopped"))
    assert (await bench.end()).reason == Reason.STOPPED
    assert bench.of(LeftRecord)[0].leave_code == 0


async def test_another_task_of_the_same_robot_began(bench: Bench) -> None:
    await bench.start("alice")
    scripted.write_task(bench.folder, scripted.task(desiredState="Stopped", replaced=True))
    outcome = await bench.end()
    assert (outcome.failed, outcome.reason, outcome.leave_code) == (False, Reason.REPEATED_ENTRY, 101)
    assert bench.of(LeftRecord)[0].leave_code == 101


async def test_told_to_go_twice(bench: Bench) -> None:
    await handing_over(bench)
    bench.session.go_away("SIGTERM again")
    assert (await bench.end()).reason == Reason.HANDED_OVER
    assert bench.of(EndRecord)[0].message == "SIGTERM again"


async def test_the_room_may_end_before_the_successor_comes(bench: Bench) -> None:
    room = await handing_over(bench)
    room.say(Left(2, "RoomDeleted", "why"))
    assert (await bench.end()).leave_code == 2
    assert bench.of(LeftRecord)[0].leave_code == 2


async def test_told_to_go_before_it_was_in_the_room(bench: Bench) -> None:
    scripted.write_task(bench.folder, scripted.task())
    bench.running = asyncio.create_task(bench.session.run())
    await bench.until(lambda: bench.room is not None)
    bench.session.go_away("SIGTERM")
    assert (await bench.end()).reason == Reason.HANDED_OVER
    assert not bench.of(LeftRecord)


async def test_a_successor_that_nobody_announced(bench: Bench) -> None:
    """The Pod's node was given up for lost, but the recorder lives on."""
    await bench.start("alice")
    scripted.write_task(bench.folder, scripted.task(superseded=True, desiredState="Stopped"))
    assert (await bench.end()).reason == Reason.HANDED_OVER
    assert not bench.of(LeftRecord)


async def test_a_task_that_is_superseded_already(bench: Bench) -> None:
    scripted.write_task(bench.folder, scripted.task(superseded=True))
    bench.running = asyncio.create_task(bench.session.run())
    assert (await bench.end()).reason == Reason.HANDED_OVER
    assert bench.room is None


async def test_a_room_that_cannot_be_left(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "LEAVE_SECONDS", 0.05)
    bench.leaves = False
    await bench.start("alice")
    bench.session.stop("enough")
    assert (await bench.end()).leave_code == 0


async def test_told_to_go_before_the_task_came(bench: Bench) -> None:
    bench.running = asyncio.create_task(bench.session.run())
    await bench.ticks()
    bench.session.go_away("told to end by SIGTERM")
    assert not (await bench.end()).failed
    assert bench.room is None


async def test_a_task_that_is_stopped_already(bench: Bench) -> None:
    scripted.write_task(bench.folder, scripted.task(desiredState="Stopped"))
    bench.running = asyncio.create_task(bench.session.run())
    assert not (await bench.end()).failed
    assert bench.room is None
    assert [record.type for record in bench.records()] == ["end"]


async def test_no_task(bench: Bench) -> None:
    bench.running = asyncio.create_task(bench.session.run())
    await bench.ticks()
    bench.time.value += 11
    outcome = await asyncio.wait_for(bench.running, 20)
    assert (outcome.failed, outcome.reason) == (True, Reason.TASK_MISSING)


async def test_something_unforeseen(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    room = await bench.start("alice")
    room.media(*voice())
    room.say(RuntimeError("boom"))
    assert bench.running is not None
    outcome = await asyncio.wait_for(bench.running, 20)
    assert outcome == Outcome(True, Reason.RECORDER_FAILED, "RuntimeError: boom")
    assert len(bench.of(SegmentRecord)) == 1
    assert bench.of(EndRecord)[0].failed
    assert "the recording broke off" in caplog.text


async def test_a_spool_that_cannot_be_written(bench: Bench) -> None:
    room = await bench.start("alice")
    (bench.folder / MEDIA).rmdir()
    room.media(*voice())
    outcome = await bench.ended()
    assert (outcome.failed, outcome.reason, outcome.leave_code) == (True, Reason.SPOOL_FAILED, None)
    assert bench.of(EndRecord)[0].reason == Reason.SPOOL_FAILED
    assert not bench.of(LeftRecord)  # no code of the guide's is true


def names_of(user: str, *starts: float) -> list[str]:
    """Of segments with this user's voice; the AAC encoder's delay, 27.8 ms, lies before it."""
    names = scripted.task().names
    return [names.segment(user, "main", "audio", EPOCH_MS + start * 1000 - 28) for start in starts]


async def test_a_file_that_cannot_be_written_costs_that_segment(bench: Bench) -> None:
    room = await bench.start("alice")
    lost, kept = names_of("alice", 1.0, 20.0)
    (bench.folder / MEDIA / lost).write_bytes(b"another's")
    room.media(*voice())
    await bench.until(lambda: "SpoolFailed" in bench.conditions())
    room.media(*voice(start=20.0))
    assert bench.conditions()["SpoolFailed"] == "segments not written: 1 (File exists)"
    bench.session.stop("enough")
    outcome = await bench.end()
    assert not outcome.failed
    assert [record.file for record in bench.of(SegmentRecord)] == [kept]
    assert (bench.folder / MEDIA / lost).read_bytes() == b"another's"


async def test_files_that_cannot_be_written_one_after_the_other_end_it(bench: Bench) -> None:
    room = await bench.start("alice")
    starts = [float(start) for start in range(1, 20 * LOST_IN_A_ROW, 20)]
    for name in names_of("alice", *starts):
        (bench.folder / MEDIA / name).mkdir()
    for start in starts:
        room.media(*voice(start=start))
    outcome = await bench.ended()
    assert (outcome.failed, outcome.reason) == (True, Reason.SPOOL_FAILED)
    assert bench.conditions()["SpoolFailed"].startswith(f"segments not written: {LOST_IN_A_ROW - 1}")


async def test_the_uploader_is_not_waited_for_without_end(bench: Bench) -> None:
    await bench.start("alice")
    bench.session.stop("enough")
    await bench.until(lambda: bool(bench.of(EndRecord)))
    await bench.ticks()
    assert bench.running is not None
    assert not bench.running.done()
    bench.time.value += 51
    assert not (await asyncio.wait_for(bench.running, 20)).failed


async def test_lists_change_while_it_runs(bench: Bench) -> None:
    room = await bench.start("alice", "bob")
    await bench.until(lambda: len(room.subscribed) == 4)
    streams = {"subscribe": {"audio": {"include": ["bob"]}, "video": {"exclude": ["bob"]}}}
    scripted.write_task(bench.folder, scripted.task(streams=streams))
    await bench.until(lambda: room.subscribed == {"bob/audio", "alice/video"})


async def test_a_user_whose_files_cannot_be_named_is_left_out_and_told_of(bench: Bench) -> None:
    long = "x" * 200
    room = await bench.start("alice", long)
    await bench.until(lambda: "NameTooLong" in bench.conditions())
    assert room.subscribed == {"alice/audio", "alice/video"}
    assert f"{'x' * 32}… (200 bytes, 138 can be)" in bench.conditions()["NameTooLong"]
    room.present("alice", "x" * 138)
    await bench.until(lambda: "NameTooLong" not in bench.conditions())
    assert len(room.subscribed) == 4
    room.media(*voice("x" * 138))
    bench.session.stop("enough")
    outcome = await bench.end()
    assert not outcome.failed
    assert len(bench.of(SegmentRecord)) == 1
    assert "200 bytes" in bench.conditions()["NameTooLong"]  # at the end it is told of those too who have left


async def test_the_name_of_a_merged_file_is_longer(bench: Bench) -> None:
    room = await bench.start("x" * 138, mergeAudioVideo=True)
    await bench.until(lambda: "NameTooLong" in bench.conditions())
    assert not room.subscribed


async def test_publishers_clocks_are_noted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    room = await bench.start("alice")
    room.offsets = {"alice": -3600.0005}
    bench.session.stop("enough")
    await bench.end()
    (record,) = bench.of(ClockRecord)
    assert (record.user_id, record.offset) == ("alice", -3600000.5)
    assert any(getattr(entry, "offset_ms", None) == -3600000.5 for entry in caplog.records)


async def test_the_26th_stream_waits_and_is_told_of(bench: Bench) -> None:
    users = [f"u{number:02}" for number in range(27)]
    room = await bench.start(*users)
    await bench.until(lambda: "StreamsWaiting" in bench.conditions())
    assert "u25 (main), u26 (main)" in bench.conditions()["StreamsWaiting"]
    assert len(room.subscribed) == 50
    room.present(*users[2:])
    await bench.until(lambda: "StreamsWaiting" not in bench.conditions())
    assert "u26/video" in room.subscribed


async def test_an_unsupported_codec_is_told_of_while_it_is_there(bench: Bench) -> None:
    room = await bench.start("alice")
    room.media(AccessUnit(TrackKey("alice", "main", "video"), "H265", b"\x00", 1.0, True, 7), *voice())
    await bench.until(lambda: bench.conditions() == {"CodecUnsupported": "not recorded: H265 of alice (main)"})
    key = TrackKey("alice", "main", "audio")
    room.present("alice", tracks=(Published("alice/audio", key, ""),))
    await bench.until(lambda: bench.conditions() == {})
    await bench.until(lambda: [record.kind for record in bench.of(TrackRecord)] == ["audio"])
    room.say(Left(99, "Stopped", "idle"))
    await bench.end()
    assert bench.conditions() == {"CodecUnsupported": "not recorded: H265 of alice (main)"}


async def test_keyframes_are_asked_of_the_room(bench: Bench) -> None:
    room = await bench.start("alice")
    key = TrackKey("alice", "main", "video")
    data = samples.h264(2)[1][0]
    room.media(AccessUnit(key, "H264", data, 1.0, False, 7))
    assert room.asked == [key]
