"""Segments as a player gets them: joints, cuts, breaks, what the journal says."""

import io
import shutil
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from cloudrec_contract.naming import parse_single
from cloudrec_contract.spool import SegmentRecord, TrackRecord
from cloudrec_recorder.h264 import parameter_sets
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments import segmenter as segmenter_module
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.mpegts import CLOCK, PTS_OFFSET, with_delimiter
from cloudrec_recorder.segments.segmenter import Segmenter
from tests.unit.segments import samples
from tests.unit.segments.samples import AUDIO, EPOCH_MS, VIDEO, demuxed


class Bench:
    """A segmenter on a real disk, with a clock that is set by hand."""

    def __init__(self, folder: Path, **settings: float) -> None:
        self.folder = folder
        self.disk = Disk()
        self.asked: list[TrackKey] = []
        self.time = self.ticked = 0.0
        self.output = samples.output(folder, self.disk, self.asked, **settings)
        self.segmenter = Segmenter(self.output, lambda: self.time)

    def feed(self, units: list[AccessUnit]) -> None:
        """In real time by the units' own time stamps, with a tick every 0.2 s."""
        for unit in units:
            self.time = max(self.time, unit.time)
            if self.time - self.ticked > 0.2:
                self.ticked = self.time
                self.tick()
            self.segmenter.media(unit)

    def tick(self) -> None:
        samples.let_sound_catch_up(self.segmenter)
        self.segmenter.tick()

    def end(self) -> None:
        self.segmenter.finish()
        assert self.disk.close(10)
        assert self.disk.error is None

    @property
    def tracks(self) -> list[TrackRecord]:
        return [record for record in samples.records(self.folder) if isinstance(record, TrackRecord)]

    @property
    def segments(self) -> list[SegmentRecord]:
        return [record for record in samples.records(self.folder) if isinstance(record, SegmentRecord)]

    def data(self, segment: SegmentRecord) -> bytes:
        return (self.output.folder / segment.file).read_bytes()

    def whole(self) -> bytes:
        return b"".join(map(self.data, self.segments))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path, target=2.0)
    yield made
    made.disk.close(10)


def keyframes_every(count: int, step: int) -> list[tuple[bytes, bool]]:
    return samples.h264(count, keyframes=frozenset(range(0, count, step)))


def assert_joined(segments: list[SegmentRecord]) -> None:
    for one, two in pairwise(segments):
        assert one.start + one.duration * 1000 == pytest.approx(two.start, abs=0.01)
        assert not two.discontinuity


def test_video_is_cut_at_keyframes_without_gap_or_overlap(bench: Bench) -> None:
    bench.feed(samples.video_units(keyframes_every(240, 24)))
    bench.end()
    segments = bench.segments
    assert len(segments) == 5
    assert_joined(segments)
    assert segments[0].start == pytest.approx(EPOCH_MS + 1000)
    assert sum(s.duration for s in segments) == pytest.approx(8.0, abs=0.001)
    assert all(s.bytes == len(bench.data(s)) for s in segments)
    track = bench.tracks
    assert len(track) == 1
    assert (track[0].begin_time_stamp, track[0].width, track[0].height) == (EPOCH_MS + 1000, 320, 240)
    assert track[0].track.endswith("__UserId_s_YWxpY2U.__UserId_e_main_video.m3u8")
    name = parse_single(segments[1].file)
    assert name.start_ms == int(segments[1].start)
    assert bench.asked == []  # they came by themselves


def test_a_keyframe_is_asked_for_just_before_the_cut(bench: Bench) -> None:
    units = samples.video_units(samples.h264(178))
    asked_at: list[float] = []
    for unit in units:
        before = len(bench.asked)
        bench.segmenter.media(unit)
        asked_at += [unit.time] * (len(bench.asked) - before)
    # 150 ms before 2 s, then 1.2 s later, then 2.4 s later
    assert asked_at == pytest.approx([2.867, 4.067, 6.467], abs=0.04)
    bench.end()
    assert [s.duration for s in bench.segments] == pytest.approx([178 / 30], abs=0.001)


def test_nothing_before_the_first_keyframe(bench: Bench) -> None:
    units = samples.video_units(keyframes_every(60, 30))[5:]
    bench.feed(units)
    bench.end()
    assert bench.asked
    assert bench.segments[0].start == pytest.approx(EPOCH_MS + 2000)
    assert not bench.segments[0].discontinuity


def test_every_picture_is_there_once(bench: Bench) -> None:
    units = keyframes_every(200, 30)
    bench.feed(samples.video_units(units))
    bench.end()
    found = demuxed(bench.whole())
    assert [data for _, data in found] == [with_delimiter(data) for data, _ in units]
    stamps = [stamp for stamp, _ in found]
    assert stamps == [PTS_OFFSET + round((1.0 + index / 30) * CLOCK) for index in range(200)]


def test_a_change_of_size_is_a_new_encoding(bench: Bench) -> None:
    large = samples.h264(30, width=640, height=480)
    bench.feed(samples.video_units(samples.h264(30)))
    bench.feed(samples.video_units(large, start=2.0))
    bench.end()
    one, two = bench.segments
    assert not one.discontinuity
    assert two.discontinuity
    assert one.start + one.duration * 1000 == pytest.approx(two.start, abs=0.01)
    assert len(bench.tracks) == 1
    assert bench.tracks[0].width == 320


def decoded_pictures(data: bytes) -> list[tuple[int, int]]:
    """Width and luma of the first pixel of each picture; nothing may be wrong with any."""
    with av.open(io.BytesIO(data), format="mpegts") as container:
        pictures = list(container.decode(video=0))
    assert not any(picture.is_corrupt for picture in pictures)
    return [(picture.width, int(picture.to_ndarray(format="gray")[8, 8])) for picture in pictures]


def test_a_publisher_without_keyframes_is_cut_all_the_same(bench: Bench) -> None:
    """Three targets at the most: its media is uploaded, and somebody who plays on sees every picture."""
    units = samples.h264(420)
    bench.feed(samples.video_units(units))
    bench.end()
    assert [s.duration for s in bench.segments] == pytest.approx([6.0, 6.0, 2.0], abs=0.001)
    assert_joined(bench.segments)
    assert len(decoded_pictures(bench.whole())) == 420
    # somebody who begins with the second has parameter sets at once, and pictures from the next keyframe on
    first = demuxed(bench.data(bench.segments[1]))[0][1]
    assert parameter_sets(first) == parameter_sets(units[0][0])
    assert 3 <= len(bench.asked) <= 8


def test_parameters_that_change_all_the_time_make_no_storm_of_segments(bench: Bench) -> None:
    small, large = samples.h264(3), samples.h264(3, width=640, height=480)
    units = [unit for index in range(60) for unit in (large if index % 2 else small)]
    bench.feed(samples.video_units(units))
    bench.end()
    segments = bench.segments
    assert 4 <= len(segments) <= 8  # of 6 s, with 60 changes
    assert all(s.duration >= 0.2 for s in segments[:-1])
    assert [s.discontinuity for s in segments] == [False] + [True] * (len(segments) - 1)
    widths = [width for segment in segments for width, _ in decoded_pictures(bench.data(segment))]
    assert widths == [640 if index // 3 % 2 else 320 for index in range(180)]


def test_a_change_right_after_another_gets_its_segment_soon(bench: Bench) -> None:
    """As a simulcast layer after the other comes: what is in between is not lost, and a keyframe is asked for."""
    small, large = samples.h264(3), samples.h264(40, width=640, height=480, keyframes=frozenset({0, 6}))
    bench.feed(samples.video_units(small))
    bench.feed(samples.video_units(large, start=1.1))
    bench.end()
    one, two = bench.segments[:2]
    assert (one.duration, two.discontinuity) == (pytest.approx(0.3, abs=0.001), True)
    assert bench.asked  # a tenth of the target after the segment began
    assert [width for width, _ in decoded_pictures(bench.data(two))] == [640] * round(two.duration * 30)


def test_keyframes_a_tick_apart_have_names_of_their_own(bench: Bench) -> None:
    small, large = samples.h264(1)[0][0], samples.h264(1, width=640, height=480)[0][0]
    bench.segmenter.media(AccessUnit(VIDEO, "H264", small, 1.0, True, 1))
    bench.segmenter.media(AccessUnit(VIDEO, "H264", large, 1.0 + 1 / CLOCK, True, 2))
    bench.end()
    one, two = bench.segments
    assert one.file != two.file
    assert two.start - one.start == pytest.approx(1000 / CLOCK, abs=1e-3)


@pytest.mark.parametrize("pause", [1.0, 8.0])
def test_leaving_and_coming_back_goes_on_in_the_same_playlist(bench: Bench, pause: float) -> None:
    units = samples.h264(45)
    sound = samples.opus(samples.beeps(1.5, [0.5]))
    back = 1.0 + 1.5 + pause
    first = samples.video_units(units) + samples.audio_units(sound)
    second = samples.video_units(units, start=back, source=2) + samples.audio_units(sound, start=back, source=3)
    for units_ in (first, second):
        bench.feed(sorted(units_, key=lambda unit: unit.time))
    bench.end()
    assert len(bench.tracks) == 2
    for kind in ("video", "audio"):
        one, two = (s for s in bench.segments if parse_single(s.file).kind == kind)
        assert one.track == two.track
        assert not one.discontinuity
        assert two.discontinuity
        assert one.start + one.duration * 1000 <= two.start
        assert two.start == pytest.approx(EPOCH_MS + back * 1000, abs=30)
        assert one.duration == pytest.approx(1.5, abs=0.06)


def test_silence_ends_a_segment_while_nobody_sends(bench: Bench) -> None:
    """It is uploaded then, not only when somebody speaks again."""
    bench.feed(samples.video_units(samples.h264(30)) + samples.audio_units(samples.opus(samples.beeps(1, []))))
    assert bench.segments == []
    bench.time += 5.1
    bench.tick()  # the sound's end is on its way to the worker
    bench.tick()
    done = threading.Event()
    bench.disk.submit(done.set)
    assert done.wait(10)
    assert len(bench.segments) == 2
    bench.end()
    assert {parse_single(s.file).kind for s in bench.segments} == {"audio", "video"}
    assert [s.duration for s in bench.segments if "video" in s.file] == pytest.approx([1.0], abs=0.001)


def test_sound_is_one_line_over_segments_and_short_mutes(bench: Bench, tmp_path: Path) -> None:
    at = [0.5, 2.0, 3.999, 7.3, 8.4]
    packets = samples.audio_units(samples.opus(samples.beeps(9, at)))
    heard = [unit for unit in packets if not 5.2 < unit.time < 8.0]  # a mute of 2.8 s
    bench.feed(heard)
    bench.end()
    segments = bench.segments
    assert len(segments) == 5
    assert_joined(segments)
    assert all(s.duration == pytest.approx(2.0, abs=0.022) for s in segments[:-1])
    begin, pcm = samples.decoded_audio(bench.whole(), tmp_path)
    written = PTS_OFFSET / CLOCK
    found = np.array([begin - written + t for t in samples.onsets(pcm)])
    assert np.abs(found - (np.array(at) + 1.0)).max() < 0.0015
    assert segments[0].start == pytest.approx(EPOCH_MS + (begin - written) * 1000, abs=0.02)


def test_a_long_mute_is_a_discontinuity(bench: Bench, tmp_path: Path) -> None:
    packets = samples.audio_units(samples.opus(samples.beeps(12, [0.5, 11.0])))
    bench.feed([unit for unit in packets if unit.time < 2.5 or unit.time > 11.0])
    bench.end()
    _, two = bench.segments
    assert two.discontinuity
    assert two.start == pytest.approx(EPOCH_MS + 11_000, abs=60)
    begin, pcm = samples.decoded_audio(bench.data(two), tmp_path)
    assert begin - PTS_OFFSET / CLOCK + samples.onsets(pcm)[0] == pytest.approx(12.0, abs=0.0015)


def test_a_time_line_that_steps_back_is_cut(bench: Bench) -> None:
    packets = samples.opus(samples.beeps(2, []))
    bench.feed(samples.audio_units(packets[:50]) + samples.audio_units(packets[50:], start=1.8))
    bench.end()
    one, two = bench.segments
    assert two.discontinuity
    assert two.start >= one.start + one.duration * 1000 - 0.01


def test_stereo_is_told_by_the_packets(bench: Bench) -> None:
    mono = samples.opus(samples.beeps(1, [0.2]))
    stereo = samples.opus(samples.beeps(1, [0.2], channels=2), bit_rate=96_000)
    bench.feed(samples.audio_units(mono) + samples.audio_units(stereo, start=2.0))
    bench.end()
    assert bench.tracks[0].channels == 1
    _, two = bench.segments
    assert two.discontinuity
    with av.open(str(bench.output.folder / two.file)) as container:
        assert container.streams.audio[0].channels == 2


def test_old_units_of_a_source_that_was_left_are_passed_over(bench: Bench) -> None:
    units = samples.h264(30)
    bench.feed(samples.video_units(units, source=1))
    bench.feed(samples.video_units(units, start=2.5, source=2))
    bench.feed(samples.video_units(units, start=4.0, source=1))
    bench.end()
    assert len(bench.segments) == 2


def test_other_codecs_are_named_and_left_out(bench: Bench) -> None:
    bench.segmenter.media(AccessUnit(VIDEO, "H265", b"\x00", 1.0, True, 1))
    bench.feed(samples.audio_units(samples.opus(samples.beeps(1, []))))
    assert bench.segmenter.unsupported == {VIDEO: "H265"}
    bench.end()
    assert [record.kind for record in bench.tracks] == ["audio"]


def test_a_killed_process_has_all_but_the_last_tick(bench: Bench, tmp_path: Path) -> None:
    """What is in the files when nothing is closed: at most a tick (0.2 s) is missing, and both files play."""
    units = samples.video_units(samples.h264(60)) + samples.audio_units(samples.opus(samples.beeps(2, [1.9])))
    bench.feed(sorted(units, key=lambda unit: unit.time))
    done = threading.Event()
    bench.disk.submit(done.set)
    assert done.wait(10)
    by_kind = {parse_single(path.name).kind: path.read_bytes() for path in bench.output.folder.iterdir()}
    stamp = demuxed(by_kind["video"])[-1][0]
    assert stamp is not None
    assert (stamp - PTS_OFFSET) / CLOCK > 3.0 - 0.3
    begin, pcm = samples.decoded_audio(by_kind["audio"], tmp_path)
    assert begin - PTS_OFFSET / CLOCK + len(pcm) / samples.RATE > 3.0 - 0.35
    assert bench.segments == []


def test_a_disk_that_is_behind_costs_media_and_not_the_loop(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter_module, "BACKLOG_MAX", 50_000)
    go_on = threading.Event()
    units = keyframes_every(120, 15)

    def slow() -> None:
        go_on.wait(20)

    bench.disk.submit(slow)
    bench.feed(samples.video_units(units[:90]))
    assert bench.segmenter.overloaded
    assert bench.segmenter.left_out > 0
    go_on.set()
    done = threading.Event()
    bench.disk.submit(done.set)
    assert done.wait(10)
    bench.feed(samples.video_units(units[90:], start=4.0))
    assert not bench.segmenter.overloaded
    bench.end()
    assert bench.segments[-1].discontinuity
    assert bench.segments[-1].start >= EPOCH_MS + 4000
    assert all(s.bytes == len(bench.data(s)) for s in bench.segments)


def test_a_failed_write_is_remembered_and_the_file_not_called_whole(bench: Bench) -> None:
    shutil.rmtree(bench.output.folder)
    bench.feed(samples.video_units(samples.h264(30)))
    bench.segmenter.finish()
    assert bench.disk.close(10)
    assert isinstance(bench.disk.error, FileNotFoundError)
    assert bench.segments == []
    assert len(bench.tracks) == 1


def test_no_file_is_overwritten(bench: Bench) -> None:
    unit = samples.video_units(samples.h264(1))[0]
    path = bench.output.folder / bench.output.names.segment("alice", "main", "video", EPOCH_MS + 1000)
    path.write_bytes(b"of an earlier attempt")
    bench.segmenter.media(unit)
    bench.segmenter.finish()
    bench.disk.close(10)
    assert (bench.disk.lost_files, bench.disk.error) == (1, None)
    assert path.read_bytes() == b"of an earlier attempt"


def test_losses_are_added_up(bench: Bench) -> None:
    bench.segmenter.lost(AUDIO, 0.5)
    bench.segmenter.lost(AUDIO, 0.25)
    assert bench.segmenter.lost_seconds == {AUDIO: 0.75}


def test_ffprobe_has_nothing_to_say_about_files_and_whole(bench: Bench, tmp_path: Path) -> None:
    units = samples.video_units(keyframes_every(200, 30)) + samples.audio_units(
        samples.opus(samples.beeps(6.6, [1.0, 3.0]))
    )
    bench.feed(sorted(units, key=lambda unit: unit.time))
    bench.end()
    for kind in ("video", "audio"):
        parts = [bench.data(s) for s in bench.segments if parse_single(s.file).kind == kind]
        assert len(parts) >= 3
        for index, data in enumerate([*parts, b"".join(parts)]):
            path = tmp_path / f"{kind}{index}.ts"
            path.write_bytes(data)
            samples.ffprobe(path, "-show_packets", "-show_frames")


def test_files_are_readable_by_the_uploader(bench: Bench) -> None:
    bench.feed(samples.video_units(samples.h264(30)))
    bench.end()
    mode = (bench.output.folder / bench.segments[0].file).stat().st_mode
    assert mode & 0o444 == 0o444
