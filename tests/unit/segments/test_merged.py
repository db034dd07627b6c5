"""Sound and picture of a user in one playlist, judged by what a player makes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.naming import parse_single
from cloudrec_contract.spool import SegmentRecord, TrackRecord
from cloudrec_local.playback.decode import Recording, load
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.files import SegmentSettings
from cloudrec_recorder.segments.mpegts import CLOCK, PTS_OFFSET
from cloudrec_recorder.segments.segmenter import Segmenter
from tests.unit.segments import samples
from tests.unit.segments.pictures import FPS, encoded
from tests.unit.segments.playlists import playlist
from tests.unit.segments.samples import AUDIO, EPOCH_MS, VIDEO

KEYS = range(0, 10_000, 30)


class Bench:
    """A merging segmenter; what is fed goes by the units' own time, with a tick each 0.2 s of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = Disk()
        self.asked: list[TrackKey] = []
        self.time = self.ticked = 0.0
        self.output = samples.output(folder, self.disk, self.asked, target=2.0, gap=1.0)
        self.segmenter = Segmenter(self.output, lambda: self.time, merge=True)

    def feed(self, *streams: list[AccessUnit]) -> None:
        for unit in sorted((unit for units in streams for unit in units), key=lambda unit: unit.time):
            self.until(unit.time)
            self.segmenter.media(unit)

    def until(self, time: float) -> None:
        while time - self.ticked > 0.2:
            self.time = self.ticked = self.ticked + 0.2
            samples.let_sound_catch_up(self.segmenter)
            self.segmenter.tick()
        self.time = max(self.time, time)

    def end(self, but: str = "nothing") -> Recording:
        """The recording, in which nothing is wrong `but` this."""
        self.segmenter.stop()
        assert self.segmenter.settle(30)
        self.segmenter.finish()
        assert self.disk.close(10)
        assert self.disk.error is None
        records = samples.records(self.folder)
        (self.track,) = [record for record in records if isinstance(record, TrackRecord)]
        self.segments = [record for record in records if isinstance(record, SegmentRecord)]
        made = load(playlist(records, self.track.track), lambda name: (self.output.folder / name).read_bytes())
        assert [fault for fault in made.faults if not fault.endswith(but)] == []
        assert made.playlist.start == pytest.approx(EPOCH_MS / 1000 + made.segments[0].first_pts / CLOCK - 10, abs=1e-3)
        return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.segmenter.finish()
    made.disk.close(10)


def video(first: int, count: int, *, source: int = 1, codec: str = "H264", keys: Any = KEYS) -> list[AccessUnit]:
    """Pictures whose number is their time: number 30 is at 1 s."""
    numbers = range(first, first + count)
    return [
        AccessUnit(VIDEO, codec, data, number / FPS, key, source)
        for number, (data, key) in zip(numbers, encoded(codec, numbers, keyframes=keys), strict=True)
    ]


def audio(start: float, seconds: float, *, source: int = 2, channels: int = 1) -> list[AccessUnit]:
    """A beep at each whole second."""
    pcm = samples.beeps(start + seconds, [float(n) for n in range(1, int(start + seconds) + 1)], channels=channels)
    packets = samples.opus(pcm[:, round(start * samples.RATE) :], bit_rate=32_000 * channels)
    return samples.audio_units(packets, start=start, source=source)


def in_step(made: Recording, numbers: list[int], beeps: list[int]) -> None:
    """Pictures are these and at their times; sound too."""
    assert [picture.code.frame for picture in made.pictures if picture.code] == numbers
    for picture, number in zip(made.pictures, numbers, strict=True):
        assert (picture.pts - PTS_OFFSET) / CLOCK == pytest.approx(number / FPS, abs=1e-4)
    heard = [
        (sound.pts - PTS_OFFSET) / CLOCK + onset for sound in made.sounds for onset in samples.onsets(sound.samples)
    ]
    # a beep of 50 ms in which a discontinuity falls is heard in two
    whole = [at for before, at in pairwise([-1.0, *heard]) if at - before > 0.06]
    assert whole == pytest.approx(beeps, abs=0.003)


def flags(bench: Bench) -> list[bool]:
    return [segment.discontinuity for segment in bench.segments]


def test_both_are_in_each_segment_and_in_step(bench: Bench) -> None:
    bench.feed(video(30, 180), audio(0.9, 6.1))
    made = bench.end()
    in_step(made, list(range(30, 210)), [1, 2, 3, 4, 5, 6])
    assert made.kind == "audio_video"
    assert len(made.sounds) == 1  # without a gap over all segments
    assert flags(bench) == [False] * 3
    assert [s.duration for s in bench.segments] == pytest.approx([2.1, 2.0, 2.0], abs=0.07)
    assert bench.segments[0].start == pytest.approx(EPOCH_MS + 900, abs=30)
    track = bench.track
    assert (track.kind, track.codec, track.width, track.sample_rate) == ("audio_video", "H264", 320, 48_000)
    assert parse_single(track.track).kind == "audio_video"


def test_sound_stays_with_its_segment(bench: Bench) -> None:
    bench.feed(video(30, 180), audio(1.0, 6.0))
    made = bench.end()
    for before, after in pairwise(made.segments):
        assert abs(after.first_pts - before.end_pts) < 0.12 * CLOCK


@pytest.mark.parametrize("codec", ["VP8"])
def test_transcoded_pictures_are_merged_as_well(bench: Bench, codec: str) -> None:
    bench.feed(video(30, 120, codec=codec, keys=()), audio(1.0, 4.0))
    made = bench.end()
    in_step(made, list(range(30, 150)), [1, 2, 3, 4])
    assert bench.track.transcoded


def test_sound_alone_until_pictures_come(bench: Bench) -> None:
    bench.feed(audio(1.0, 9.0), video(180, 90))
    made = bench.end()
    in_step(made, list(range(180, 270)), [1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert bench.track.codec == "AAC"
    assert flags(bench) == [False, False, False, True, False]
    assert len(made.sounds) == 2  # one decoder before the discontinuity, one after
    assert made.sounds[0].end == pytest.approx(made.sounds[1].wall, abs=0.001)


def test_pictures_alone_until_sound_comes(bench: Bench) -> None:
    bench.feed(video(30, 360), audio(8.1, 4.9))
    made = bench.end()
    in_step(made, list(range(30, 390)), [9, 10, 11, 12])
    assert bench.asked  # a keyframe is wanted, so that sound may begin
    assert flags(bench).count(True) == 1
    joined = next(s for s in bench.segments if s.discontinuity)
    assert joined.start == pytest.approx(EPOCH_MS + 9000, abs=1)
    assert sounding(made) == pytest.approx(12.0, abs=0.1)  # silence at first


def test_sound_that_comes_soon_is_in_the_first_segment(bench: Bench) -> None:
    bench.feed(video(30, 240), audio(5.1, 3.9))
    made = bench.end()
    in_step(made, list(range(30, 270)), [6, 7, 8])
    assert not any(flags(bench))


@pytest.mark.parametrize("first", ["audio", "video"])
def test_what_capture_held_of_both_is_in_each_segment(bench: Bench, first: str) -> None:
    """Both are let out at once, one after the other, and then go on together."""
    sound, pictures = audio(1.0, 9.0), video(30, 270)
    held = [[unit for unit in units if unit.time < 6.0] for units in (sound, pictures)]
    bench.until(6.0)
    for unit in [*held[first == "video"], *held[first != "video"]]:
        bench.segmenter.media(unit)
    bench.feed([unit for unit in sound if unit.time >= 6.0], [unit for unit in pictures if unit.time >= 6.0])
    made = bench.end()
    in_step(made, list(range(30, 300)), list(range(1, 10)))
    assert not any(flags(bench))
    for segment in bench.segments[:-1]:
        data = (bench.output.folder / segment.file).read_bytes()
        stamps = [(stamp - PTS_OFFSET) / CLOCK for stamp, _ in samples.demuxed(data, "audio") if stamp is not None]
        start = (segment.start - EPOCH_MS) / 1000
        assert min(stamps) < start + 0.3
        assert max(stamps) > start + segment.duration - 0.5


def test_pictures_that_were_held_find_their_place(bench: Bench) -> None:
    """Capture lets them out at once, up to 5 s late."""
    sound, pictures = audio(1.0, 11.0), video(195, 165)
    bench.feed([unit for unit in sound if unit.time < 11.0])
    for unit in pictures[:135]:
        bench.segmenter.media(unit)
    bench.feed([unit for unit in sound if unit.time >= 11.0], pictures[135:])
    made = bench.end()
    in_step(made, list(range(195, 360)), list(range(1, 12)))
    assert flags(bench).count(True) == 1


def test_sound_does_not_wait_for_a_keyframe_without_end(bench: Bench) -> None:
    bench.feed(video(30, 390, keys=()), audio(8.1, 5.9))
    made = bench.end("does not begin with a keyframe")
    in_step(made, list(range(30, 420)), [9, 10, 11, 12, 13])
    assert [round(s.duration) for s in bench.segments] == [6, 6, 1]
    assert not any(flags(bench))


def test_sound_goes_on_alone_when_the_camera_is_off_and_pictures_return(bench: Bench) -> None:
    bench.feed(video(30, 90), video(240, 60), audio(1.0, 9.0))
    made = bench.end()
    in_step(made, [*range(30, 120), *range(240, 300)], [1, 2, 3, 4, 5, 6, 7, 8, 9])
    marked = [s.start for s in bench.segments if s.discontinuity]
    assert len(marked) == 2
    assert marked[1] == pytest.approx(EPOCH_MS + 8000, abs=1)


def test_pictures_go_on_alone_in_a_mute_and_sound_returns(bench: Bench) -> None:
    bench.feed(video(30, 270), audio(1.0, 2.9), audio(7.1, 2.9))
    made = bench.end()
    in_step(made, list(range(30, 300)), [1, 2, 3, 8, 9])
    assert flags(bench).count(True) == 1
    assert sounding(made) == pytest.approx(9.0, abs=0.1)  # silence in the mute


def sounding(made: Recording) -> float:
    """Seconds of sound, silence among it."""
    return sum(sound.end - sound.wall for sound in made.sounds)


def test_both_leave_and_return(bench: Bench) -> None:
    later = [replace(unit, source=unit.source + 10) for unit in video(240, 60) + audio(8.0, 2.0)]
    bench.feed(video(30, 60), audio(1.0, 1.9), later)
    made = bench.end()
    in_step(made, [*range(30, 90), *range(240, 300)], [1, 2, 8, 9])
    assert flags(bench) == [False, True]


def test_a_change_of_size(bench: Bench) -> None:
    numbers = range(75, 120)
    large = [
        AccessUnit(VIDEO, "H264", data, number / FPS, key, 1)
        for number, (data, key) in zip(numbers, encoded("H264", numbers, width=640, height=360), strict=True)
    ]
    bench.feed(video(30, 45), large, audio(1.0, 3.0))
    made = bench.end()
    in_step(made, list(range(30, 120)), [1, 2, 3])
    assert flags(bench) == [False, True]
    assert {p.width for p in made.pictures} == {320, 640}


def test_stereo_begins_in_mid_stream(bench: Bench) -> None:
    bench.feed(video(30, 150), audio(1.0, 2.0), audio(3.0, 3.0, channels=2))
    made = bench.end()
    assert [p.code.frame for p in made.pictures if p.code] == list(range(30, 180))
    assert flags(bench).count(True) == 1


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_one_kind_alone_is_an_audio_video_playlist_too(bench: Bench, kind: str) -> None:
    bench.feed(video(30, 90) if kind == "video" else audio(1.0, 3.0))
    made = bench.end()
    assert made.kind == ("audio" if kind == "audio" else "audio_video")
    assert bench.track.kind == "audio_video"
    assert not any(flags(bench))
    assert made.seconds == pytest.approx(3.0, abs=0.06)
    assert sounding(made) == pytest.approx(3.0, abs=0.1)


def test_screen_and_camera_are_apart(bench: Bench) -> None:
    sound, picture = TrackKey("alice", "aux", "audio"), TrackKey("alice", "aux", "video")
    for unit in [*video(30, 30), *audio(1.0, 1.0)]:
        aux = replace(unit, key=picture if unit.key == VIDEO else sound, source=unit.source + 10)
        bench.segmenter.media(unit)
        bench.segmenter.media(aux)
    bench.segmenter.stop()
    bench.segmenter.finish()
    assert bench.disk.close(10)
    tracks = [record for record in samples.records(bench.folder) if isinstance(record, TrackRecord)]
    assert sorted((track.media, track.kind) for track in tracks) == [("aux", "audio_video"), ("main", "audio_video")]
    assert AUDIO.kind != VIDEO.kind


def test_a_short_recording_of_transcoded_pictures(bench: Bench) -> None:
    """All of it is still with the transcoder when the end comes."""
    pictures, sound = video(30, 20, codec="VP8", keys=()), audio(0.9, 0.8)
    bench.feed(pictures, sound)
    made = bench.end()
    in_step(made, list(range(30, 50)), [1])
    assert len(bench.segments) == 1


def written_until(bench: Bench) -> float:
    """Where the sound ends that is in the files now, in seconds since the epoch."""
    samples.let_sound_catch_up(bench.segmenter)
    done = threading.Event()
    bench.disk.submit(done.set)
    assert done.wait(10)
    data = b"".join(path.read_bytes() for path in sorted(bench.output.folder.glob("*.ts")))
    stamps = [stamp for stamp, _ in samples.demuxed(data, "audio") if stamp is not None]
    return (max(stamps) - PTS_OFFSET) / CLOCK + 0.021


@pytest.mark.parametrize("expected", [True, False])
def test_sound_waits_for_pictures_only_while_some_are_expected(bench: Bench, *, expected: bool) -> None:
    bench.segmenter.expect({VIDEO} if expected else {AUDIO})
    bench.feed(audio(1.0, 5.0))
    if expected:
        assert not list(bench.output.folder.glob("*.ts"))
        bench.segmenter.expect(set())  # the camera is off
        bench.until(6.5)
    assert written_until(bench) > 6.0 - 0.5
    made = bench.end()
    in_step(made, [], [1, 2, 3, 4, 5])


def test_pictures_that_are_expected_late_find_their_place(bench: Bench) -> None:
    """Somebody turns on the camera after a minute; capture lets its pictures out five seconds late."""
    bench.segmenter.expect({AUDIO})
    sound, pictures = audio(1.0, 11.0), video(105, 165)
    bench.feed([unit for unit in sound if unit.time < 3.4])
    bench.segmenter.expect({AUDIO, VIDEO})
    bench.feed([unit for unit in sound if 3.4 <= unit.time < 8.4])
    assert written_until(bench) < 3.5
    for unit in pictures[:147]:
        bench.segmenter.media(unit)
    bench.feed([unit for unit in sound if unit.time >= 8.4], pictures[147:])
    made = bench.end()
    in_step(made, list(range(105, 270)), list(range(1, 12)))
    assert flags(bench).count(True) == 2  # pictures begin, pictures end


def test_pictures_that_nobody_expected_begin_where_there_is_room(bench: Bench) -> None:
    bench.segmenter.expect({AUDIO})
    sound, pictures = audio(1.0, 8.0), video(105, 135)
    bench.feed([unit for unit in sound if unit.time < 5.0])
    for unit in pictures[:45]:
        bench.segmenter.media(unit)
    bench.feed([unit for unit in sound if unit.time >= 5.0], pictures[45:])
    made = bench.end()
    in_step(made, list(range(150, 240)), list(range(1, 9)))


def test_a_killed_process_loses_less_than_half_a_second_of_both(bench: Bench) -> None:
    units = sorted([*video(30, 60), *audio(1.0, 4.0)], key=lambda unit: unit.time)  # pictures end at 3 s
    bench.segmenter.expect(set())  # and nobody says that others come
    lost = []
    for unit in units:
        bench.feed([unit])
        if unit.time > 2:
            lost.append(unit.time - written_until(bench))
    assert max(lost) < 0.47


def test_tracks_that_begin_together_are_cut_at_different_times() -> None:
    settings = SegmentSettings(target=10.0, stagger=0.4)
    firsts = [settings.first(TrackKey(f"user{number}", "main", "video")) for number in range(100)]
    assert all(6 <= first <= 10 for first in firsts)
    spread = sorted(firsts)
    assert max(b - a for a, b in pairwise(spread)) < 0.4
    assert SegmentSettings(target=10.0).first(VIDEO) == 10.0
