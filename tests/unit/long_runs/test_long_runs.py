"""Days of a recording in seconds: from RTP packets to closed segments, with a clock that jumps from packet to packet.

The publisher's media clock runs fast or slow against the recorder's. Pictures are rare and small, so that thirty hours
are 54,000 of them; sound is recorded in stretches, the rest of it is DTX.
"""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from cloudrec_contract.spool import SegmentRecord
from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from cloudrec_recorder.capture.sdp import StreamDescription
from cloudrec_recorder.h264 import NAL_IDR, nal_units
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.mpegts import CLOCK, PTS_OFFSET
from cloudrec_recorder.segments.segmenter import Segmenter
from tests.unit.capture.kit import rtp, sender_report, stap
from tests.unit.segments import samples
from tests.unit.segments.samples import AUDIO, EPOCH_MS, VIDEO, demuxed

HOURS = 30
FPS = 0.5
SEGMENT = 60.0
NTP_BASE = EPOCH_MS / 1000 - 100.0  # the publisher's clock is set wrong
VIDEO_SSRC, AUDIO_SSRC = 7, 8
WRAP = 1 << 33


@dataclass
class Publisher:
    """A clock that runs `ppm` fast, RTP time that begins near its wrap, SRs every 5 s."""

    ppm: float

    def rtp_time(self, now: float, rate: int) -> int:
        return (0xFFFFF000 + round(now * (1 + self.ppm / 1e6) * rate)) & 0xFFFFFFFF

    def ntp(self, now: float) -> float:
        return NTP_BASE + now * (1 + self.ppm / 1e6)


def description(ssrc: int, kind: str, codec: str, payload_type: int, rate: int) -> StreamDescription:
    return StreamDescription(ssrc, kind, "PA_anna", f"TR_{kind}", {payload_type: codec}, {payload_type: rate}, {}, None)


class Simulation:
    """A receiver, a segmenter and their files."""

    def __init__(self, folder: Path, ppm: float) -> None:
        self.now = 5.0
        self.folder = folder
        self.publisher = Publisher(ppm)
        self.disk = Disk()
        self.asked: list[TrackKey] = []
        self.output = samples.output(folder, self.disk, self.asked, target=SEGMENT)
        self.segmenter = Segmenter(self.output, lambda: self.now)
        clock = TaskClock(0, lambda: self.now, lambda: self.now)
        self.receiver = MediaReceiver(clock, self.segmenter, itertools.count(1), lambda _: None)
        described = (
            description(VIDEO_SSRC, "video", "H264", 108, 90_000),
            description(AUDIO_SSRC, "audio", "OPUS", 111, 48_000),
        )
        self.receiver.set_descriptions({stream.ssrc: stream for stream in described})
        wanted = {"TR_video": WantedTrack(VIDEO, "PA_anna"), "TR_audio": WantedTrack(AUDIO, "PA_anna")}
        self.receiver.set_wanted(wanted)
        self.pictures: Iterator[bytes] = itertools.cycle(self._pictures())
        self._sent = {VIDEO_SSRC: 65_000, AUDIO_SSRC: 65_000}
        self._reported = float("-inf")
        self._ticked = 0.0

    def _pictures(self) -> list[bytes]:
        """Every tenth a keyframe; what is between them is real, and never looked into."""
        made = []
        for data, key in samples.h264(10, width=64, height=64):
            units = list(nal_units(data))
            assert any(unit[0] & 0x1F == NAL_IDR for unit in units) is key
            made.append(stap(*units) if len(units) > 1 else units[0])
        return made

    def send(self, ssrc: int, payload_type: int, rate: int, payload: bytes) -> None:
        timestamp = self.publisher.rtp_time(self.now, rate)
        packet = bytearray(rtp(ssrc, payload_type, self._sent[ssrc], timestamp, payload))
        self._sent[ssrc] += 1
        self.receiver.rtp(packet, 0, len(packet), self.now + 0.02)

    def picture(self) -> None:
        self.send(VIDEO_SSRC, 108, 90_000, next(self.pictures))

    def to(self, now: float) -> None:
        """Time goes on; reports and ticks come as they do."""
        self.now = now
        if now - self._reported >= 5:
            self._reported = now
            for ssrc, rate in ((VIDEO_SSRC, 90_000), (AUDIO_SSRC, 48_000)):
                report = sender_report(ssrc, self.publisher.ntp(now), self.publisher.rtp_time(now, rate))
                self.receiver.rtcp(report, now + 0.02)
        self.receiver.service()
        if now - self._ticked >= 1:
            self._ticked = now
            samples.let_sound_catch_up(self.segmenter)
            self.segmenter.tick()

    def written(self) -> None:
        """Wait for the disk, which has only a part of a second for each hour."""
        done = threading.Event()
        self.disk.submit(done.set)
        assert done.wait(30)

    def end(self) -> None:
        self.receiver.close()
        self.segmenter.finish()
        assert self.disk.close(30)
        assert self.disk.error is None

    def segments(self, kind: str) -> list[SegmentRecord]:
        records = samples.records(self.folder)
        return [r for r in records if isinstance(r, SegmentRecord) and f"_{kind}" in r.track]


def placed(now: float) -> float:
    """Where the recorder is to place what was captured at this moment: the least way from the publisher is 20 ms."""
    return now + 0.02


@pytest.mark.parametrize("ppm", [200.0, -200.0])
def test_thirty_hours_of_pictures(tmp_path: Path, ppm: float) -> None:
    simulation = Simulation(tmp_path, ppm)
    step = 1 / FPS
    memory: list[int] = []
    for index in range(round(HOURS * 3600 * FPS)):
        simulation.to(5.0 + index * step)
        simulation.picture()
        if index % 3000 == 2999:
            simulation.written()
            gc.collect()
            memory.append(sys.getallocatedblocks())
    last = simulation.now
    simulation.end()
    segments = simulation.segments("video")
    assert len(segments) == pytest.approx(HOURS * 3600 / SEGMENT, rel=0.01)
    for one, two in pairwise(segments):
        assert not two.discontinuity
        assert one.start + one.duration * 1000 == pytest.approx(two.start, abs=0.01)
    assert segments[0].start == pytest.approx(EPOCH_MS + placed(5.0) * 1000, abs=5)
    # the time line is ours: it follows a clock that went 21 s wrong
    assert segments[-1].start + segments[-1].duration * 1000 == pytest.approx(EPOCH_MS + last * 1000, abs=100)
    assert not simulation.segmenter.lost_seconds
    # nothing grows
    assert max(memory[1:]) < memory[0] + 2000, memory
    stamps = [pts for s in segments for pts, _ in demuxed((simulation.output.folder / s.file).read_bytes())]
    assert len(stamps) == round(HOURS * 3600 * FPS)
    at, wraps = 0, 0
    for pts in stamps:
        assert pts is not None
        if pts + wraps * WRAP < at:
            wraps += 1
        following = pts + wraps * WRAP
        assert not at or abs(following - at - step * CLOCK) < 0.02 * CLOCK
        at = following
    assert wraps == 1  # 26.5 h
    assert at == pytest.approx((placed(last) * CLOCK) + PTS_OFFSET, abs=0.1 * CLOCK)


@pytest.mark.parametrize("ppm", [200.0, -200.0])
def test_sound_and_picture_stay_together(tmp_path: Path, ppm: float) -> None:
    """Two hours: three minutes of sound at the beginning and at the end, pictures all the while."""
    simulation = Simulation(tmp_path, ppm)
    packet = samples.opus(samples.beeps(0.1, [0.0]))[0]
    stretches = ((5.0, 185.0), (7020.0, 7205.0))
    units: list[tuple[float, float]] = []  # sound: when it was captured, where it was placed
    taken = simulation.segmenter.media

    def media(unit: object) -> None:
        if getattr(unit, "key", None) == AUDIO:
            units.append((simulation.now, getattr(unit, "time", 0.0)))
        taken(unit)  # type: ignore[arg-type]

    simulation.segmenter.media = media  # type: ignore[method-assign]
    now, picture_at = 5.0, 5.0
    for begin, end in stretches:
        while now < begin:
            now += 1.0
            simulation.to(now)
            simulation.picture()
        picture_at = now
        while now < end:
            now += 0.02
            simulation.to(now)
            simulation.send(AUDIO_SSRC, 111, 48_000, packet)
            if now >= picture_at:
                picture_at += 1.0
                simulation.picture()
    simulation.end()
    errors = [abs(at - placed(now)) for now, at in units if now > 20]
    assert max(errors) < 0.05
    segments = simulation.segments("audio")
    assert [s.discontinuity for s in segments].count(True) == 1
    total = sum(s.duration for s in segments)
    assert total == pytest.approx(180 + 185, abs=1)
    assert sum(s.duration for s in simulation.segments("video")) == pytest.approx(now - 5, abs=2)


def test_sequence_numbers_wrap_many_times(tmp_path: Path) -> None:
    """One packet in five hundred comes late: four wraps of 16 bits, nothing lost."""
    simulation = Simulation(tmp_path, 0.0)
    delivered: list[float] = []
    simulation.segmenter.media = lambda unit: delivered.append(unit.time)  # type: ignore[method-assign]
    late: list[tuple[int, bytearray]] = []
    total = 4 * 65_536 + 100
    for index in range(total):
        simulation.now = 5.0 + index * 0.02
        if index % 250 == 0:
            simulation.to(simulation.now)
        timestamp = simulation.publisher.rtp_time(simulation.now, 48_000)
        packet = bytearray(rtp(AUDIO_SSRC, 111, 65_000 + index, timestamp, b"\x78opus"))
        if index % 500 == 77:
            late.append((index + 2, packet))
            continue
        simulation.receiver.rtp(packet, 0, len(packet), simulation.now + 0.02)
        while late and late[0][0] <= index:
            held = late.pop(0)[1]
            simulation.receiver.rtp(held, 0, len(held), simulation.now + 0.02)
    stream = simulation.receiver._streams[AUDIO_SSRC]
    report = stream.report(simulation.now)
    simulation.end()
    assert len(delivered) == total
    assert all(0.019 < b - a < 0.021 for a, b in pairwise(delivered))
    assert stream.lost == 0
    assert (report.highest, report.lost) == (65_000 + total - 1, 0)
