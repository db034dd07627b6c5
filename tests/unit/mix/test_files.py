"""The composer's output as segments of one mixed playlist, judged by what a player makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from cloudrec_contract.mix import MixAudio, MixVideo
from cloudrec_contract.resources import StreamKind
from cloudrec_contract.spool import SegmentRecord, TrackRecord
from cloudrec_local.playback.decode import Recording, load
from cloudrec_recorder.mix.files import MixedFiles
from cloudrec_recorder.mix.wire import Picture, Sound
from cloudrec_recorder.segments.audio import RATE, OpusToAac
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.mpegts import CLOCK, PTS_OFFSET
from tests.unit.segments import samples
from tests.unit.segments.pictures import FPS, encoded
from tests.unit.segments.playlists import playlist

VIDEO = MixVideo(width=320, height=180, fps=FPS)
STEM = "1400000001_12345"


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = Disk()
        self.output = samples.output(folder, self.disk, [], target=2.0)
        self.files = self.made(StreamKind.AUDIO_VIDEO)

    def made(self, kind: StreamKind) -> MixedFiles:
        return MixedFiles(self.output, kind, VIDEO, MixAudio(channels=1))

    def feed(self, *messages: list[Picture] | list[Sound]) -> None:
        """In the order of their times, with a flush each 0.2 s of it."""
        flushed = 0.0
        for message in sorted((m for part in messages for m in part), key=time):
            if isinstance(message, Picture):
                self.files.picture(message)
            else:
                self.files.sound(message)
            if time(message) - flushed > 0.2:
                flushed = time(message)
                self.files.flush()

    def end(self) -> Recording:
        self.files.interrupt()
        assert self.disk.close(10)
        assert self.disk.error is None
        records = samples.records(self.folder)
        (self.track,) = [record for record in records if isinstance(record, TrackRecord)]
        self.segments = [record for record in records if isinstance(record, SegmentRecord)]
        made = load(playlist(records, self.track.track), lambda name: (self.output.folder / name).read_bytes())
        assert list(made.faults) == []
        return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.files.interrupt()
    made.disk.close(10)


def time(message: Picture | Sound) -> float:
    return message.time if isinstance(message, Picture) else message.position / RATE


def pictures(first: int, count: int, *, keys: range = range(0, 10_000, 30)) -> list[Picture]:
    """Number 30 is at 1 s."""
    numbers = range(first, first + count)
    made = encoded("H264", numbers, keyframes=keys)
    return [Picture(number / FPS, key, data) for number, (data, key) in zip(numbers, made, strict=True)]


def sound(start: float, seconds: float) -> list[Sound]:
    """A beep at each whole second."""
    pcm = samples.beeps(start + seconds, [float(n) for n in range(1, int(start + seconds) + 1)])
    aac = OpusToAac(1, start)
    frames = [
        frame
        for number, packet in enumerate(samples.opus(pcm[:, round(start * RATE) :]))
        for frame in aac.push(packet, start + number * 0.02)
    ]
    return [Sound(frame.position, frame.data) for frame in frames + aac.finish()]


def heard(made: Recording) -> list[float]:
    found = [(s.pts - PTS_OFFSET) / CLOCK + onset for s in made.sounds for onset in samples.onsets(s.samples)]
    return [at for before, at in pairwise([-1.0, *found]) if at - before > 0.06]


def test_pictures_and_sound_are_where_they_were(bench: Bench) -> None:
    bench.feed(pictures(30, 150), sound(1.0, 5.0))
    made = bench.end()
    assert [picture.code.frame for picture in made.pictures if picture.code] == list(range(30, 180))
    assert heard(made) == pytest.approx([1, 2, 3, 4, 5], abs=0.003)


def test_it_is_cut_at_keyframes_and_named_after_the_room_alone(bench: Bench) -> None:
    bench.feed(pictures(30, 150), sound(1.0, 5.0))
    bench.end()
    assert bench.track.track == f"{STEM}.m3u8"
    assert (bench.track.user_id, bench.track.kind, bench.track.codec) == ("", "audio_video", "H264")
    assert (bench.track.width, bench.track.height, bench.track.sample_rate) == (320, 180, 48000)
    assert [segment.duration for segment in bench.segments] == pytest.approx([2.0, 2.0, 1.0])
    assert [segment.discontinuity for segment in bench.segments] == [False, False, False]
    assert bench.segments[0].file == f"{STEM}_20231114221321000.ts"


def test_the_successor_of_a_dead_composer_goes_on_behind_a_discontinuity(bench: Bench) -> None:
    bench.feed(pictures(30, 40), sound(1.0, 1.4))
    bench.files.interrupt()
    bench.feed(pictures(90, 40), sound(3.0, 1.4))
    made = bench.end()
    assert [segment.discontinuity for segment in bench.segments] == [False, True]
    assert [segment.start - samples.EPOCH_MS for segment in bench.segments] == [1000, 3000]
    assert [p.code.frame for p in made.pictures if p.code] == [*range(30, 70), *range(90, 130)]
    assert heard(made) == pytest.approx([1, 2, 3, 4], abs=0.003)


def test_nothing_is_written_before_a_keyframe(bench: Bench) -> None:
    bench.feed(pictures(30, 60)[5:], sound(1.2, 2.0))
    made = bench.end()
    assert made.pictures[0].code is not None
    assert made.pictures[0].code.frame == 60


def test_sound_alone_is_cut_by_its_length(bench: Bench) -> None:
    bench.files = bench.made(StreamKind.AUDIO)
    bench.feed(sound(1.0, 5.0))
    made = bench.end()
    assert (bench.track.kind, bench.track.codec, bench.track.width) == ("audio", "AAC", 0)
    assert [segment.duration for segment in bench.segments] == pytest.approx([2.0, 2.0, 1.05], abs=0.1)
    assert heard(made) == pytest.approx([1, 2, 3, 4, 5], abs=0.003)


def test_pictures_alone(bench: Bench) -> None:
    bench.files = bench.made(StreamKind.VIDEO)
    bench.feed(pictures(30, 70))
    made = bench.end()
    assert (bench.track.kind, bench.track.sample_rate) == ("video", 0)
    assert [picture.code.frame for picture in made.pictures if picture.code] == list(range(30, 100))
