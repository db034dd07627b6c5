"""Real packets of one user's camera and microphone by way of LiveKit: whole, out of order, lost, and corrupted."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from dataclasses import replace

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from cloudrec_recorder.capture.rtp import parse_rtp
from cloudrec_recorder.capture.sdp import parse_offer
from cloudrec_recorder.media import AccessUnit, TrackKey
from tests.unit.capture.kit import AUDIO, VIDEO, Sink
from tests.unit.capture.recorded import FOLDER, Packet, read

PACKETS = read(FOLDER / "anna.bin")
STREAMS = parse_offer((FOLDER / "anna.sdp").read_text()).streams()
WANTED = {
    stream.track_sid: WantedTrack(VIDEO if stream.kind == "video" else AUDIO, stream.participant_sid)
    for stream in STREAMS.values()
}
KINDS = {ssrc: stream.kind for ssrc, stream in STREAMS.items()}


class Replay:
    """A receiver that gets these packets at these times, and what came of it."""

    def __init__(self, packets: Iterable[Packet]) -> None:
        self.now = 0.0
        self.sink = Sink()
        self.sent: list[bytes] = []
        clock = TaskClock(0, lambda: self.now, lambda: self.now)
        self.receiver = MediaReceiver(clock, self.sink, itertools.count(1), self.sent.append)
        self.receiver.set_descriptions(STREAMS)
        self.receiver.set_wanted(WANTED)
        for packet in packets:
            self.now = packet.arrival
            if packet.rtcp:
                self.receiver.rtcp(packet.data, self.now)
            else:
                self.receiver.rtp(bytearray(packet.data), 0, len(packet.data), self.now)
            self.receiver.service()
        self.receiver.close()

    def units(self, key: TrackKey) -> list[AccessUnit]:
        return [unit for unit in self.sink.units if unit.key == key]


WHOLE = Replay(PACKETS)


def payloads(kind: str) -> list[int]:
    """Indexes in PACKETS of this kind's packets."""
    found = []
    for index, packet in enumerate(PACKETS):
        parsed = None if packet.rtcp else parse_rtp(packet.data, 0, len(packet.data))
        if parsed is not None and KINDS[parsed[4]] == kind and parsed[6] > parsed[5]:
            found.append(index)
    return found


def data(units: Iterable[AccessUnit]) -> list[bytes]:
    return [unit.data for unit in units]


def times(units: Iterable[AccessUnit]) -> list[float]:
    return [unit.time for unit in units]


def assert_grows(units: Iterable[AccessUnit]) -> None:
    last: dict[tuple[TrackKey, int], float] = {}
    for unit in units:
        assert unit.time > last.get((unit.key, unit.source), float("-inf"))
        last[unit.key, unit.source] = unit.time


def test_whole() -> None:
    video, audio = WHOLE.units(VIDEO), WHOLE.units(AUDIO)
    assert {unit.codec for unit in video} == {"H264"}
    assert [unit.keyframe for unit in video] == [True] + [False] * (len(video) - 1)
    decoder = av.CodecContext.create("h264", "r")
    pictures = [frame for unit in video for frame in decoder.decode(av.Packet(unit.data))] + decoder.decode(None)
    assert len(pictures) == len(video) > 40
    assert {(picture.width, picture.height) for picture in pictures} == {(320, 240)}
    assert len(audio) == len(payloads("audio")) > 100
    assert not WHOLE.sink.losses
    assert WHOLE.receiver.counters.malformed == 0
    assert_grows(WHOLE.sink.units)


def test_times_are_the_publishers_pace() -> None:
    sound = [b - a for a, b in itertools.pairwise(times(WHOLE.units(AUDIO)))]
    assert max(abs(step - 0.02) for step in sound) < 0.002
    picture = [b - a for a, b in itertools.pairwise(times(WHOLE.units(VIDEO)))]
    assert sum(picture) / len(picture) == pytest.approx(0.05, abs=0.005)


@given(st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_out_of_order_is_put_in_order(random: random.Random) -> None:
    """Each packet up to four places from its own, within what a network does."""
    order = sorted(range(len(PACKETS)), key=lambda index: index + random.uniform(0, 4))
    order.remove(0)  # the first one of a stream cannot come late
    found = Replay(replace(PACKETS[index], arrival=PACKETS[place].arrival) for place, index in enumerate([0, *order]))
    for key in (VIDEO, AUDIO):
        assert data(found.units(key))[-40:] == data(WHOLE.units(key))[-40:]
    assert not found.sink.losses
    assert_grows(found.sink.units)


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_what_is_lost_is_asked_for_and_fits_in_when_it_comes(kind: str) -> None:
    lost = payloads(kind)[30]
    late = replace(PACKETS[lost], arrival=PACKETS[lost].arrival + 0.1)
    rest = [packet for packet in PACKETS if packet is not PACKETS[lost]]
    found = Replay(sorted([*rest, late], key=lambda packet: packet.arrival))
    assert any(packet[1] == 205 for packet in found.sent)
    for key in (VIDEO, AUDIO):
        assert data(found.units(key)) == data(WHOLE.units(key))


@given(st.sets(st.integers(1, len(PACKETS) - 1), max_size=40))
@settings(max_examples=40, deadline=None)
def test_what_stays_lost_is_left_out_and_nothing_else_is_made_of_it(lost: set[int]) -> None:
    found = Replay(packet for index, packet in enumerate(PACKETS) if index not in lost)
    for key in (VIDEO, AUDIO):
        whole = iter(data(WHOLE.units(key)))
        assert all(unit in whole for unit in data(found.units(key)))  # a subsequence
    assert_grows(found.sink.units)


@given(
    st.lists(
        st.tuples(st.integers(0, len(PACKETS) - 1), st.integers(0, 1500), st.integers(0, 255), st.booleans()),
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None)
def test_corrupted_packets_break_nothing(changes: list[tuple[int, int, int, bool]]) -> None:
    packets = list(PACKETS)
    for index, place, value, cut in changes:
        spoiled = bytearray(packets[index].data)
        place %= max(1, len(spoiled))
        if cut:
            del spoiled[place:]
        elif spoiled:
            spoiled[place] = value
        packets[index] = replace(packets[index], data=bytes(spoiled))
    found = Replay(packets)
    assert_grows(found.sink.units)
