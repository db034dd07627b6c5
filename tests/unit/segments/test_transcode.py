"""VP8, VP9 and AV1 in, H.264 segments out: judged by the code in each picture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.spool import SegmentRecord, TrackRecord
from cloudrec_local.playback.decode import Picture, load
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments import transcode
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.segmenter import Segmenter
from tests.unit.segments import samples
from tests.unit.segments.pictures import FPS, encoded
from tests.unit.segments.playlists import playlist
from tests.unit.segments.samples import VIDEO


class Bench:
    """A segmenter with 1 s segments; `end` waits for what is transcoded, as a recording does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = Disk()
        self.asked: list[TrackKey] = []
        self.output = samples.output(folder, self.disk, self.asked, target=1.0)
        self.segmenter = Segmenter(self.output, lambda: 0.0)

    def feed(self, units: list[AccessUnit]) -> None:
        for unit in units:
            self.segmenter.media(unit)
            self.segmenter.tick()

    def end(self) -> None:
        self.segmenter.stop()
        assert self.segmenter.settle(30)
        self.segmenter.finish()
        assert self.disk.close(10)
        assert self.disk.error is None

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in samples.records(self.folder) if isinstance(record, kind)]

    def pictures(self) -> list[Picture]:
        (track,) = {record.track for record in self.of(TrackRecord)}
        recording = load(playlist(samples.records(self.folder), track), self.read)
        assert recording.faults == []
        return recording.pictures

    def read(self, name: str) -> bytes:
        return (self.output.folder / name).read_bytes()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(transcode, "WAITING_MAX", 1000)  # a test feeds faster than real time
    made = Bench(tmp_path)
    yield made
    made.segmenter.finish()
    made.disk.close(10)


def units(codec: str, frames: list[tuple[bytes, bool]], *, start: float = 1.0, source: int = 1) -> list[AccessUnit]:
    return [
        AccessUnit(VIDEO, codec, data, start + place / FPS, key, source) for place, (data, key) in enumerate(frames)
    ]


def numbers(pictures: list[Picture]) -> list[int]:
    assert all(picture.code is not None and picture.code.user == 7 for picture in pictures)
    return [picture.code.frame for picture in pictures if picture.code is not None]


@pytest.mark.parametrize("codec", ["VP8", "VP9", "AV1"])
def test_every_picture_survives_at_its_time_and_segments_are_as_long_as_wanted(bench: Bench, codec: str) -> None:
    fed = units(codec, encoded(codec, range(75)))
    assert len(fed) == 75
    bench.feed(fed)
    assert bench.segmenter.transcoded == {VIDEO: codec}
    bench.end()
    pictures = bench.pictures()
    assert numbers(pictures) == list(range(75))
    assert [p.wall - pictures[0].wall for p in pictures] == pytest.approx([n / FPS for n in range(75)], abs=0.0001)
    segments = bench.of(SegmentRecord)
    assert [s.duration for s in segments] == pytest.approx([1.0, 1.0, 0.5], abs=0.001)
    assert not any(s.discontinuity for s in segments)
    (track,) = bench.of(TrackRecord)
    assert (track.codec, track.transcoded, track.width, track.height) == ("H264", True, 320, 180)
    assert bench.asked == []  # the publisher has to send no keyframe for it


def test_h264_is_not_transcoded(bench: Bench) -> None:
    bench.feed(units("H264", encoded("H264", range(10))))
    assert bench.segmenter.transcoded == {}
    bench.end()
    assert not bench.of(TrackRecord)[0].transcoded


@pytest.mark.parametrize("codec", ["VP8", "VP9", "AV1", "H264"])
def test_a_change_of_size_is_a_new_encoding(bench: Bench, codec: str) -> None:
    small, large = encoded(codec, range(20)), encoded(codec, range(20, 40), width=640, height=360)
    bench.feed(units(codec, small) + units(codec, large, start=1.0 + 20 / FPS))
    bench.end()
    pictures = bench.pictures()
    assert numbers(pictures) == list(range(40))
    assert [p.width for p in pictures] == [320] * 20 + [640] * 20
    assert [s.discontinuity for s in bench.of(SegmentRecord)] == [False, True]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
def test_another_codec_in_mid_stream(bench: Bench, codec: str) -> None:
    other = "H264" if codec == "VP8" else "VP8"
    first = units(codec, encoded(codec, range(20)))
    bench.feed(first + units(other, encoded(other, range(20, 40)), start=1.0 + 20 / FPS, source=2))
    bench.end()
    assert numbers(bench.pictures()) == list(range(40))
    assert [s.discontinuity for s in bench.of(SegmentRecord)] == [False, True]


def test_odd_sizes_lose_a_row_and_a_column(bench: Bench) -> None:
    bench.feed(units("VP8", encoded("VP8", range(10), width=321, height=181)))
    bench.end()
    pictures = bench.pictures()
    assert {(p.width, p.height) for p in pictures} == {(320, 180)}
    assert numbers(pictures) == list(range(10))


def test_what_cannot_be_decoded_costs_up_to_the_next_keyframe(bench: Bench) -> None:
    fed = units("VP8", encoded("VP8", range(40), keyframes=[20]))
    assert fed[20].keyframe
    fed[10] = replace(fed[10], data=b"\x01")
    for unit in fed[:15]:
        bench.segmenter.media(unit)
    wait(lambda: bench.segmenter._video[VIDEO]._transcoder.idle or bool(bench.segmenter.tick()))
    bench.feed(fed[15:])
    bench.end()
    assert numbers(bench.pictures()) == [*range(10), *range(20, 40)]
    assert VIDEO in bench.asked


def test_an_encoder_that_is_behind_drops_up_to_a_keyframe_and_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcode, "WAITING_MAX", 10)
    go_on = threading.Event()
    process = transcode._Work.process

    def slow(work: Any, unit: AccessUnit) -> list[tuple[AccessUnit, bool]]:
        go_on.wait(20)
        return process(work, unit)

    monkeypatch.setattr(transcode._Work, "process", slow)
    fed = units("VP8", encoded("VP8", range(60), keyframes=[20, 50]))
    bench.feed(fed[:30])
    assert bench.segmenter.transcoding_behind == [VIDEO]
    assert bench.asked == []  # in vain as long as there is no room
    go_on.set()
    video = bench.segmenter._video[VIDEO]
    wait(lambda: video._transcoder is not None and video._transcoder._count == 0)
    bench.feed(fed[30:40])
    assert VIDEO in bench.asked
    bench.feed(fed[40:52])
    assert bench.segmenter.transcoding_behind == []
    bench.end()
    assert numbers(bench.pictures()) == [*range(10), 50, 51]


def test_threads_end_when_nobody_sends(bench: Bench) -> None:
    before = threading.active_count()
    bench.feed(units("VP8", encoded("VP8", range(5))))
    assert threading.active_count() == before + 1
    bench.segmenter.stop()
    assert bench.segmenter.settle(10)
    assert threading.active_count() == before


def wait(done: Any, seconds: float = 20) -> None:
    deadline = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if done():
            return
        deadline.wait(0.01)
    raise TimeoutError
