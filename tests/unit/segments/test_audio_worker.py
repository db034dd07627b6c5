"""Sound is transcoded on a thread of its own: nothing waits for it, nothing comes out of order, too much is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudrec_contract.naming import parse_single
from cloudrec_contract.spool import SegmentRecord
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments import audio_track, audio_worker
from cloudrec_recorder.segments.audio_worker import AudioWorker
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.mpegts import CLOCK, PTS_OFFSET
from cloudrec_recorder.segments.segmenter import FLUSH_SECONDS, Segmenter
from tests.unit.segments import samples

WAIT = 20


class Gate:
    """Stands before all transcoding; `reached` when somebody waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        push = audio_track.OpusToAac.push

        def held(run: audio_track.OpusToAac, packet: bytes, time: float) -> list[audio_track.AacFrame]:
            self.reached.set()
            assert self.open.wait(WAIT)
            return push(run, packet, time)

        monkeypatch.setattr(audio_track.OpusToAac, "push", held)


@pytest.fixture
def worker() -> Iterator[AudioWorker]:
    made = AudioWorker()
    yield made
    made.close(WAIT)


def test_jobs_are_done_in_order_elsewhere_and_their_calls_are_made_here(worker: AudioWorker) -> None:
    heard: list[tuple[int, int]] = []
    threads = set()

    def job(number: int) -> None:
        threads.add(threading.get_ident())
        worker.call(lambda: heard.append((number, threading.get_ident())))

    for number in range(100):
        worker.submit(lambda number=number: job(number))
        worker.turn(number / 50)
    assert worker.close(WAIT)
    worker.take()
    here = threading.get_ident()
    assert heard == [(number, here) for number in range(100)]
    assert len(threads) == 1
    assert here not in threads
    assert worker.ended


def test_work_is_handed_over_twenty_times_a_second(worker: AudioWorker) -> None:
    done: list[float] = []
    for number in range(27):  # half a second
        worker.submit(lambda number=number: done.append(number))
        worker.turn(number / 50)
    samples.until(lambda: not worker.waiting)
    assert done == list(range(len(done)))
    assert 24 <= len(done) < 27  # the rest waits for the next time


def test_a_thread_that_was_never_needed_is_never_begun() -> None:
    worker = AudioWorker()
    before = threading.active_count()
    worker.turn(0.0)
    assert worker.close(0)
    assert worker.ended
    assert threading.active_count() == before


def test_too_much_is_left_out_and_told_until_half_of_it_is_done(
    worker: AudioWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_worker, "WAITING_MAX", 10)
    go_on = threading.Event()
    taken = 0

    def offer(count: int) -> None:
        nonlocal taken
        for _ in range(count):
            if worker.room():
                taken += 1
                worker.submit(lambda: go_on.wait(WAIT) and None)

    offer(20)
    assert worker.overloaded
    assert (taken, worker.left_out) == (11, 9)
    worker.turn(1.0)
    go_on.set()
    samples.until(lambda: not worker.waiting)
    offer(3)
    assert not worker.overloaded
    assert (taken, worker.left_out) == (14, 9)


class Bench:
    """A segmenter fed with one track's sound in its own time; nobody waits for the worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = Disk()
        self.time = self.ticked = 0.0
        self.output = samples.output(folder, self.disk, [], target=2.0)
        self.segmenter = Segmenter(self.output, lambda: self.time)

    def feed(self, units: list[AccessUnit]) -> None:
        for unit in units:
            self.time = max(self.time, unit.time)
            if self.time - self.ticked >= FLUSH_SECONDS:
                self.ticked = self.time
                self.segmenter.tick()
            self.segmenter.media(unit)

    def end(self) -> list[SegmentRecord]:
        self.segmenter.finish()
        assert self.disk.close(10)
        return [record for record in samples.records(self.folder) if isinstance(record, SegmentRecord)]

    def whole(self, segments: list[SegmentRecord]) -> bytes:
        return b"".join((self.output.folder / segment.file).read_bytes() for segment in segments)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.segmenter.finish()
    made.disk.close(10)


def test_pictures_and_the_loop_go_on_while_transcoding_hangs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    at = [0.5, 1.5, 3.5]
    sound = samples.audio_units(samples.opus(samples.beeps(4, at)))
    pictures = samples.video_units(samples.h264(120, keyframes=frozenset(range(0, 120, 30))))
    bench.feed(sorted([*sound, *pictures], key=lambda unit: unit.time))
    assert gate.reached.wait(WAIT)
    done = threading.Event()
    bench.disk.submit(done.set)
    assert done.wait(WAIT)
    written = [record for record in samples.records(bench.folder) if isinstance(record, SegmentRecord)]
    assert [parse_single(segment.file).kind for segment in written] == ["video"]
    gate.open.set()
    heard = [segment for segment in bench.end() if "audio" in segment.file]
    begin, pcm = samples.decoded_audio(bench.whole(heard), bench.folder)
    found = [begin - PTS_OFFSET / CLOCK + at for at in samples.onsets(pcm)]
    assert found == pytest.approx([1.0 + t for t in at], abs=0.0015)


def test_an_overload_leaves_out_sound_and_the_rest_is_where_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_worker, "WAITING_MAX", 50)
    gate = Gate(monkeypatch)
    at = [0.5, 2.0, 3.5]
    units = samples.audio_units(samples.opus(samples.beeps(4, at)))
    bench.feed(units[:125])
    assert bench.segmenter.audio_behind
    gate.open.set()
    samples.until(lambda: not bench.segmenter.audio_waiting)
    for unit in units[125:]:
        bench.feed([unit])
        samples.until(lambda: not bench.segmenter.audio_waiting)
    assert not bench.segmenter.audio_behind
    assert 60 < bench.segmenter.audio_left_out < 80
    begin, pcm = samples.decoded_audio(bench.whole(bench.end()), bench.folder)
    found = [begin - PTS_OFFSET / CLOCK + at for at in samples.onsets(pcm)]
    assert found == pytest.approx([1.5, 4.5], abs=0.0015)  # the one at 3 s was left out


def test_a_packet_that_breaks_the_transcoder_ends_a_segment_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push = audio_track.OpusToAac.push

    def breaks(run: audio_track.OpusToAac, packet: bytes, time: float) -> list[audio_track.AacFrame]:
        if time == units[50].time:
            raise MemoryError
        return push(run, packet, time)

    monkeypatch.setattr(audio_track.OpusToAac, "push", breaks)
    units = samples.audio_units(samples.opus(samples.beeps(2, [0.2, 1.5])))
    bench.feed(units)
    one, two = bench.end()
    assert "transcoding broke off" in caplog.text
    assert two.discontinuity
    begin, pcm = samples.decoded_audio(bench.whole([two]), bench.folder)
    assert begin - PTS_OFFSET / CLOCK + samples.onsets(pcm)[0] == pytest.approx(2.5, abs=0.0015)
    assert one.duration == pytest.approx(1.0, abs=0.06)


def test_a_thread_that_does_not_come_back_costs_its_sound_only(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudrec_recorder.segments.segmenter.STOP_SECONDS", 0.2)
    units = samples.audio_units(samples.opus(samples.beeps(2, [])))
    bench.feed(units[:60])
    samples.until(lambda: not bench.segmenter.audio_waiting)
    gate = Gate(monkeypatch)
    bench.feed(units[60:])
    (segment,) = bench.end()
    assert segment.duration == pytest.approx(1.1, abs=0.1)
    gate.open.set()


def test_a_killed_process_loses_less_than_half_a_second_of_sound(bench: Bench) -> None:
    """At the worst moment: just before a tick. Capture holds another 30 ms."""
    units = samples.audio_units(samples.opus(samples.beeps(4, [])))
    lost = []
    for unit in units:
        bench.feed([unit])
        samples.until(lambda: not bench.segmenter.audio_waiting)
        if unit.time > 2:
            done = threading.Event()
            bench.disk.submit(done.set)
            assert done.wait(WAIT)
            written = b"".join(path.read_bytes() for path in sorted(bench.output.folder.glob("*.ts")))
            stamp, frames = samples.demuxed(written, "audio")[-1]
            assert stamp is not None
            lost.append(unit.time + 0.02 - (stamp - PTS_OFFSET) / CLOCK - len(frames) / len(frames) * 0.0213)
    assert max(lost) < 0.45


def test_tracks_share_the_thread_and_keep_their_own_order(bench: Bench) -> None:
    keys = [TrackKey(f"user{number}", "main", "audio") for number in range(3)]
    packets = samples.opus(samples.beeps(2, [1.0]))
    bench.feed(
        [
            AccessUnit(key, "OPUS", packet, 1.0 + index * 0.02 + number * 0.005, True, number)
            for index, packet in enumerate(packets)
            for number, key in enumerate(keys)
        ]
    )
    segments = bench.end()
    for number, key in enumerate(keys):
        own = [segment for segment in segments if parse_single(segment.file).user_id == key.user_id]
        begin, pcm = samples.decoded_audio(bench.whole(own), bench.folder)
        found = begin - PTS_OFFSET / CLOCK + samples.onsets(pcm)[0]
        assert found == pytest.approx(2.0 + number * 0.005, abs=0.0015)
