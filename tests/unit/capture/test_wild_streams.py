"""Streams that no honest publisher sends: clocks that are wrong or set, RTP time that jumps, SSRCs given twice.

Each case is one stream of pictures at 25 fps and sender reports every 3 s, and an honest one of sound beside it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from cloudrec_recorder.capture.sdp import StreamDescription
from cloudrec_recorder.media import AccessUnit, TrackKey
from tests.unit.capture.kit import Sink, picture, rtp, sender_report

FPS = 25
ANNA, BEN = TrackKey("anna", "main", "video"), TrackKey("ben", "main", "audio")
VIDEO = StreamDescription(7, "video", "PA_anna", "TR_anna", {108: "H264"}, {108: 90_000}, {}, None)
AUDIO = StreamDescription(8, "audio", "PA_ben", "TR_ben", {111: "OPUS"}, {111: 48_000}, {}, None)
WANTED = {"TR_anna": WantedTrack(ANNA, "PA_anna"), "TR_ben": WantedTrack(BEN, "PA_ben")}
NTP = 1_700_000_000.0

# of a moment (s): what is added to the publisher's NTP time (s), and to its RTP time (s)
Lie = Callable[[float], tuple[float, float]]


class Stage:
    def __init__(self, *descriptions: StreamDescription) -> None:
        self.now = 0.0
        self.sink = Sink()
        self.asked = 0
        self.receiver = MediaReceiver(
            TaskClock(0, lambda: self.now, lambda: self.now), self.sink, itertools.count(1), self._send
        )
        self.receiver.set_descriptions({stream.ssrc: stream for stream in descriptions or (VIDEO, AUDIO)})
        self.receiver.set_wanted(WANTED)
        self._frame = 0
        self._key_at = 0

    def _send(self, packet: bytes) -> None:
        if packet[1] == 206:
            self.asked += 1
            self._key_at = self._frame + 1

    def run(self, seconds: float, lie: Lie) -> None:
        for tick in range(int(seconds * 50)):
            self.now = 10.0 + tick / 50
            at = tick / 50
            self.put(rtp(8, 111, tick, 5000 + round(at * 48_000), b"\x78" + tick.to_bytes(4, "big")))
            ntp, extra = lie(at)
            if tick % 2 == 0:
                stamp = 77 + round((at + extra) * 90_000)
                payload = picture(self._frame, key=self._frame % 100 == 0 or self._frame == self._key_at)
                self.put(rtp(7, 108, self._frame, stamp, payload))
                self._frame += 1
            if tick % 150 == 60:
                self.report(7, NTP + at + ntp, 77 + round((at + extra) * 90_000))
                self.report(8, NTP + 5 + at, 5000 + round(at * 48_000))
            self.receiver.service()

    def put(self, packet: bytes) -> None:
        self.receiver.rtp(bytearray(packet), 0, len(packet), self.now)

    def report(self, ssrc: int, ntp: float, stamp: int) -> None:
        self.receiver.rtcp(sender_report(ssrc, ntp % 2**31, stamp), self.now)

    def of(self, key: TrackKey) -> list[AccessUnit]:
        return [unit for unit in self.sink.units if unit.key == key]


def assert_grows(units: list[AccessUnit]) -> None:
    for _, run in itertools.groupby(units, lambda unit: unit.source):
        times = [unit.time for unit in run]
        assert all(before < after for before, after in itertools.pairwise(times))


CASES: dict[str, tuple[Lie, float]] = {
    # and how far off a picture may be placed at most once the time line has settled (s)
    "100 s ahead": (lambda at: (100.0, 0.0), 0.01),
    "100 s behind": (lambda at: (-100.0, 0.0), 0.01),
    "200 ppm fast": (lambda at: (at * 2e-4, at * 2e-4), 0.03),
    "200 ppm slow": (lambda at: (at * -2e-4, at * -2e-4), 0.03),
    "RTP 200 ppm off its own NTP": (lambda at: (0.0, at * 2e-4), 0.03),
    "set by an hour in the midst": (lambda at: (3600.0 * (at > 60), 0.0), 0.1),
    "set back and forth": (lambda at: (50.0 * (int(at / 20) % 2), 0.0), 0.1),
    "NTP at random": (lambda at: (1e6 * math.sin(at * 1234.5), 0.0), 0.1),
    "RTP an hour ahead": (lambda at: (0.0, 3600.0 * (at > 60)), 0.1),
    "RTP an hour back": (lambda at: (0.0, -3600.0 * (at > 60)), 0.1),
    "RTP by half of 32 bits": (lambda at: (0.0, 23860.93 * (at > 60)), 0.1),
    "RTP jumps every ten seconds": (lambda at: (0.0, 1000.0 * int(at / 10)), 0.1),
}


@pytest.mark.parametrize("name", CASES)
def test_a_liar_is_placed_by_our_clock_and_harms_nobody(name: str) -> None:
    lie, tolerance = CASES[name]
    stage = Stage()
    stage.run(120, lie)
    stage.receiver.close()
    video, audio = stage.of(ANNA), stage.of(BEN)
    assert_grows(video)
    assert_grows(audio)
    # the honest user is whole, in one piece, and where he was
    assert len({unit.source for unit in audio}) == 1
    assert [int.from_bytes(unit.data[1:], "big") for unit in audio] == list(range(6000))
    assert all(abs(unit.time - 10 - index / 50) < 0.002 for index, unit in enumerate(audio))
    # the liar's pictures are nearly all there, and not far from where they were
    assert len(video) > 0.97 * 3000
    number = [int.from_bytes(unit.data[-24:][:4], "big") for unit in video]
    errors = [abs(unit.time - 10 - index / FPS) for index, unit in zip(number, video, strict=True)]
    settled = [error for index, error in zip(number, errors, strict=True) if index > 10 * FPS]
    assert sorted(settled)[int(0.97 * len(settled))] <= tolerance
    assert max(errors) < 12


def test_one_ssrc_for_two_users() -> None:
    """An offer that gives a number twice: one of the two has it, and nothing breaks."""
    stage = Stage(VIDEO, AUDIO, replace(VIDEO, participant_sid="PA_eve", track_sid="TR_eve"))
    stage.receiver.set_wanted({**WANTED, "TR_eve": WantedTrack(TrackKey("eve", "main", "video"), "PA_eve")})
    stage.run(10, lambda at: (0.0, 0.0))
    stage.receiver.close()
    assert {unit.key.user_id for unit in stage.sink.units} == {"eve", "ben"}
    assert len(stage.of(BEN)) == 500


def test_two_senders_under_one_ssrc() -> None:
    """Their packets are mingled, which no server can authenticate: nothing good comes of it, and nothing bad."""
    stage = Stage()
    intruder = itertools.count()

    def both(at: float) -> tuple[float, float]:
        index = next(intruder)
        stage.put(rtp(7, 108, 30_000 + index, 5 + index * 1800, picture(index, key=index % 50 == 0)))
        return 0.0, 0.0

    stage.run(30, both)
    stage.receiver.close()
    assert_grows(stage.of(ANNA))
    assert len(stage.of(BEN)) == 1500
    assert all(len(stream._pending) < 1025 for stream in stage.receiver._streams.values())


def test_an_ssrc_goes_to_another_user() -> None:
    stage = Stage()
    stage.run(10, lambda at: (0.0, 0.0))
    moved = replace(VIDEO, participant_sid="PA_eve", track_sid="TR_eve")
    stage.receiver.set_descriptions({7: moved, 8: AUDIO})
    stage.receiver.set_wanted({**WANTED, "TR_eve": WantedTrack(TrackKey("eve", "main", "video"), "PA_eve")})
    stage.put(rtp(7, 108, 9, 9, picture(0, key=True)))
    stage.receiver.close()
    assert len(stage.of(ANNA)) == 250
    (eve,) = stage.of(TrackKey("eve", "main", "video"))
    assert eve.source not in {unit.source for unit in stage.of(ANNA)}
