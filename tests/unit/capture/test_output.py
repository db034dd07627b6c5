from __future__ import annotations

import itertools

import pytest

from cloudrec_recorder.capture.depacketize import Frame
from cloudrec_recorder.capture.output import HOLD_BYTES, TrackOutput
from cloudrec_recorder.capture.timeline import ParticipantClock
from cloudrec_recorder.media import Held, TrackKey
from tests.unit.capture.kit import AUDIO, VIDEO, Sink


class Copy:
    """A `Held` that takes so many frames."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.frames: list[tuple[float, int]] = []
        self.offset: float | None = None
        self.asked = 0

    def frame(self, arrival: float, timestamp: int, data: bytes, *, keyframe: bool) -> bool:
        self.asked += 1
        if len(self.frames) >= self.room:
            return False
        self.frames.append((arrival, timestamp))
        return True

    def placed(self, offset: float) -> None:
        self.offset = offset


class KeepingSink(Sink):
    """A sink that keeps copies of what is held."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__()
        self.copies: list[Copy] = []
        self._room = room

    def hold(self, key: TrackKey, codec: str, clock_rate: int) -> Held:
        self.copies.append(Copy(self._room))
        return self.copies[-1]


class Stage:
    """A TrackOutput, fed by frame number at 30 fps."""

    def __init__(self, key: TrackKey = VIDEO, sink: Sink | None = None) -> None:
        self.sink = sink or Sink()
        self.participant = ParticipantClock()
        self.asked = 0
        self.output = TrackOutput(
            key, "H264", 90_000, self.participant, self.sink, itertools.count(1).__next__, self._ask
        )

    def _ask(self) -> None:
        self.asked += 1

    def frame(self, index: int, *, key: bool = False, delay: float = 0.0, base: int = 0, data: bytes = b"x") -> None:
        self.output.frame(10 + index / 30 + delay, Frame((base + index * 3000) & 0xFFFFFFFF, data, key))


def test_held_until_the_first_report_and_mapped_back() -> None:
    stage = Stage()
    for index in range(45):
        stage.frame(index, key=index == 0, delay=0.5 if index < 3 else 0.1)
    assert not stage.sink.units
    # the publisher captured frame 0 at NTP 1000, a delay of 0.1 s
    stage.output.sender_report(11.6, 1001.5, 45 * 3000)
    assert len(stage.sink.units) == 45
    assert stage.sink.times[0] == pytest.approx(10.1)
    assert stage.sink.times[44] == pytest.approx(10.1 + 44 / 30)
    stage.frame(45, delay=0.1)
    assert len(stage.sink.units) == 46


def test_without_a_report_held_five_seconds() -> None:
    stage = Stage()
    for index in range(146):
        stage.frame(index, key=index == 0, delay=0.2 if index % 7 else 0.1)
    assert not stage.sink.units
    stage.output.service(15.2)
    assert len(stage.sink.units) == 146
    assert stage.sink.times[0] == pytest.approx(10.1)


def test_a_short_track_comes_out_at_its_end() -> None:
    stage = Stage()
    for index in range(60):
        stage.frame(index, key=index == 0)
    stage.output.close()
    assert len(stage.sink.units) == 60


def test_held_bytes_are_bounded() -> None:
    stage = Stage()
    stage.frame(0, key=True, data=bytes(HOLD_BYTES))
    assert not stage.sink.units
    stage.frame(1)
    assert len(stage.sink.units) == 2


def test_an_rtp_jump_starts_a_new_source_at_a_keyframe() -> None:
    stage = Stage()
    stage.frame(0, key=True)
    stage.output.close()
    stage.frame(1, base=1 << 30)
    stage.frame(2, base=1 << 30)
    assert stage.asked
    stage.frame(3, base=1 << 30, key=True)
    stage.frame(4, base=1 << 30)
    stage.output.close()
    assert [unit.source for unit in stage.sink.units] == [1, 2, 2]
    assert stage.sink.times[1:] == pytest.approx([10.1, 10 + 4 / 30])


def test_what_was_held_before_a_jump_is_placed_by_its_own_time_base() -> None:
    stage = Stage()
    for index in range(10):
        stage.frame(index, key=index == 0)
    stage.frame(10, key=True, base=1 << 31)
    stage.output.close()
    assert stage.sink.times == pytest.approx([10 + index / 30 for index in range(11)])


def test_a_video_step_waits_for_a_keyframe_and_asks_for_one() -> None:
    stage = Stage()
    for index in range(160):
        stage.frame(index, key=index == 0, delay=0.15)
    assert stage.sink.units
    for at in (160 / 30, 161 / 30):  # the first alone disagrees with what arrived
        stage.output.sender_report(10 + at, 1000 + at, round(at * 90_000))
    stage.frame(160, delay=0.15)
    assert stage.asked == 1
    assert stage.sink.units[-1].source == 1
    stage.frame(161, key=True, delay=0.15)
    assert stage.sink.units[-1].source == 2
    assert stage.sink.times[-1] == pytest.approx(10 + 161 / 30)


def test_audio_steps_at_once() -> None:
    stage = Stage(AUDIO)
    for index in range(160):
        stage.frame(index, key=True, delay=0.15)
    for at in (160 / 30, 161 / 30):  # the first alone disagrees with what arrived
        stage.output.sender_report(10 + at, 1000 + at, round(at * 90_000))
    stage.frame(160, key=True, delay=0.15)
    assert stage.sink.units[-1].source == 2


def test_time_grows_strictly_even_where_rtp_time_does_not() -> None:
    stage = Stage()
    for _ in range(5):
        stage.output.frame(10.0, Frame(7, b"x", True))
    stage.output.close()
    assert all(b > a for a, b in zip(stage.sink.times, stage.sink.times[1:], strict=False))


def test_a_gap_tells_how_much_is_missing() -> None:
    stage = Stage()
    stage.frame(0, key=True)
    stage.output.close()
    stage.output.gap()
    stage.frame(30, key=True)
    stage.frame(31)
    assert stage.sink.losses == pytest.approx([1.0])


def test_a_copy_of_what_is_held_can_be_placed_as_it_was() -> None:
    sink = KeepingSink()
    stage = Stage(sink=sink)
    for index in range(45):
        stage.frame(index, key=index == 0, delay=0.5 if index < 3 else 0.1)
    (copy,) = sink.copies
    assert len(copy.frames) == 45
    assert copy.offset is None
    stage.output.sender_report(11.6, 1001.5, 45 * 3000)
    stage.frame(45, delay=0.1)
    assert copy.offset is not None
    placed = [timestamp / 90_000 + copy.offset for _, timestamp in copy.frames]
    assert placed == pytest.approx(sink.times)
    stage.frame(46, key=True, base=1 << 31)  # another source
    stage.output.close()
    assert len(sink.copies) == 2
    assert len(copy.frames) == 46
    assert sink.copies[1].offset is not None


def test_a_copy_that_takes_no_more_is_told_all_the_same_where_its_frames_went() -> None:
    sink = KeepingSink(room=10)
    stage = Stage(sink=sink)
    for index in range(20):
        stage.frame(index, key=index == 0)
    stage.output.close()
    (copy,) = sink.copies
    assert copy.offset == pytest.approx(10.0)
    stage.frame(20)
    asked = copy.asked
    stage.frame(21)
    assert copy.asked == asked
    assert len(sink.units) == 22
