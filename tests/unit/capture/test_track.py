from __future__ import annotations

import itertools
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.capture.output import TrackOutput
from cloudrec_recorder.capture.timeline import ParticipantClock
from cloudrec_recorder.capture.track import PENDING_MAX, PliPolicy, RtpStream
from cloudrec_recorder.media import TrackKey
from tests.unit.capture.kit import AUDIO, VIDEO, Sink, picture

LOCAL = 99


class Stage:
    """An RtpStream of one-packet frames, number `index` at 25 fps, with a clock that the test moves."""

    def __init__(self, key: TrackKey = VIDEO, first: int = 65_530) -> None:
        self.sink = Sink()
        self.first = first
        self.now = 10.0
        self.sent: list[bytes] = []
        self.key = key
        rate = 90_000 if key.kind == "video" else 48_000
        output = TrackOutput(
            key, "H264", rate, ParticipantClock(), self.sink, itertools.count(1).__next__, lambda: None
        )
        codecs = {108: "H264", 102: "H264", 96: "VP8"} if key.kind == "video" else {111: "OPUS", 63: "RED"}
        self.stream = RtpStream(7, codecs, output, self.now)
        self.payload_type = next(iter(codecs))
        output.sender_report = lambda *_: None  # type: ignore[method-assign]

    def packet(self, index: int, *, key: bool = False, payload: bytes | None = None, pt: int | None = None) -> None:
        if payload is None:
            payload = picture(index, key=key) if self.key.kind == "video" else index.to_bytes(4, "big")
        rate = 3600 if self.key.kind == "video" else 960
        self.stream.packet(
            bytearray(payload),
            0,
            len(payload),
            pt or self.payload_type,
            (self.first + index) & 0xFFFF,
            (4_294_960_000 + index * rate) & 0xFFFFFFFF,
            True,
            self.now,
        )

    def tick(self, seconds: float = 0.02) -> None:
        self.now += seconds
        self.stream.service(self.now, LOCAL, self.sent.append)

    def indices(self) -> list[int]:
        """The numbers of the frames that came out."""
        self.stream.output.close()
        at = -24 if self.key.kind == "video" else 0
        return [int.from_bytes(unit.data[at:][:4], "big") for unit in self.sink.units]

    def kinds(self) -> list[int]:
        return [packet[1] for packet in self.sent]


def test_in_order_over_the_wrap() -> None:
    stage = Stage()
    for index in range(40):
        stage.packet(index, key=index == 0)
    assert stage.indices() == list(range(40))
    assert not stage.sent
    report = stage.stream.report(stage.now)
    assert (report.lost, report.fraction_lost, report.highest) == (0, 0, 65_530 + 39)


@given(st.integers(0, 65535), st.randoms(use_true_random=False), st.integers(1, 30))
def test_reordering_and_duplicates_change_nothing(first: int, rng: random.Random, spread: int) -> None:
    stage = Stage(first=first)
    stage.packet(0, key=True)
    order = sorted([*range(1, 100), *rng.sample(range(1, 100), 20)], key=lambda i: i + rng.uniform(0, spread))
    for index in order:
        stage.packet(index)
    assert stage.indices() == list(range(100))
    assert stage.stream.lost == 0


def test_a_hole_is_asked_for_again_and_again_and_then_given_up() -> None:
    stage = Stage()
    stage.packet(0, key=True)
    stage.packet(3)
    stage.tick()
    assert stage.sent == [struct.pack("!BBHLLHH", 0x81, 205, 3, LOCAL, 7, 65_531, 1)]
    stage.tick()
    assert len(stage.sent) == 1
    for _ in range(54):
        stage.tick()
    assert stage.kinds().count(205) in range(12, 18)
    assert stage.stream.lost == 2
    stage.packet(4)
    stage.packet(5, key=True)
    assert stage.indices() == [0, 5]
    assert stage.sink.losses == pytest.approx([0.2])


def test_what_is_sent_again_fills_the_hole() -> None:
    stage = Stage()
    stage.packet(0, key=True)
    stage.packet(2)
    stage.tick()
    stage.packet(1)
    stage.packet(3)
    stage.tick(2)
    assert stage.indices() == [0, 1, 2, 3]
    assert stage.kinds() == [205]


@pytest.mark.parametrize("key", [VIDEO, AUDIO])
def test_a_hole_that_nobody_could_ask_for_is_asked_for_before_it_is_given_up(key: TrackKey) -> None:
    stage = Stage(key)
    stage.packet(0, key=True)
    stage.packet(2)
    stage.tick(3)  # the machine had no time for this process
    assert stage.kinds() == [205]
    stage.packet(1)
    stage.tick()
    assert stage.stream.lost == 0
    assert stage.indices() == [0, 1, 2]


def test_audio_gives_up_sooner() -> None:
    stage = Stage(AUDIO)
    stage.packet(0)
    stage.packet(2)
    for _ in range(9):
        stage.tick()
    assert stage.indices() == [0, 2]
    assert 206 not in stage.kinds()


def test_a_loss_of_video_asks_for_a_keyframe_until_one_comes() -> None:
    stage = Stage()
    stage.packet(0, key=True)
    stage.packet(2)
    for _ in range(60):
        stage.tick()
    assert stage.kinds().count(206) == 1
    for _ in range(65):
        stage.tick()
    assert stage.kinds().count(206) == 6
    stage.packet(3, key=True)
    for _ in range(100):
        stage.tick()
    assert stage.kinds().count(206) == 6


def test_pli_policy() -> None:
    policy = PliPolicy(0.0)
    assert not policy.due(0.05, needed=True)
    assert policy.due(0.2, needed=True)
    assert not policy.due(0.4, needed=True)
    assert not policy.due(1.5, needed=False)
    policy.ask()
    assert policy.due(1.5, needed=False)
    policy.keyframe()
    assert not policy.due(10, needed=False)
    asked = [now / 10 for now in range(100, 600) if policy.due(now / 10, needed=True)]
    assert [b - a for a, b in itertools.pairwise(asked)] == pytest.approx([*[0.3] * 6, *[1.2] * 4, *[5.0] * 8])


def test_what_the_first_packet_has_overtaken_is_waited_for() -> None:
    stage = Stage()
    stage.packet(1)
    stage.packet(2)
    stage.tick()
    assert stage.kinds() == [205]
    stage.packet(0, key=True)
    for _ in range(20):
        stage.tick()
    stage.packet(3)
    assert stage.indices() == [0, 1, 2, 3]
    assert stage.stream.lost == 0
    assert stage.stream.report(stage.now).lost == 0


def test_a_stream_that_begins_in_the_midst_waits_for_a_keyframe() -> None:
    stage = Stage()
    for index in range(40):
        stage.packet(index, key=index == 30)
        stage.tick()
    assert stage.indices() == list(range(30, 40))
    assert stage.stream.lost == 0
    assert 206 in stage.kinds()


def test_pending_is_bounded() -> None:
    stage = Stage()
    stage.packet(0, key=True)
    for index in range(2, 3 * PENDING_MAX["video"]):
        stage.packet(index)
        assert len(stage.stream._pending) <= PENDING_MAX["video"]


def test_a_stream_that_starts_anew_elsewhere_is_followed() -> None:
    stage = Stage(first=1000)
    stage.packet(0, key=True)
    stage.packet(1)
    stage.packet(30_000)  # a stray
    stage.packet(2)
    for index in (20_000, 20_001, 20_002):
        stage.packet(index)
    stage.packet(20_003, key=True)
    assert stage.indices() == [0, 1, 2, 20_003]


def test_padding_is_no_frame_and_no_hole() -> None:
    stage = Stage()
    stage.packet(0, key=True)
    stage.packet(1, payload=b"")
    stage.packet(2)
    assert stage.indices() == [0, 2]
    stage.tick()
    assert not stage.sent


def test_payload_types() -> None:
    stage = Stage()
    stage.packet(0, key=True)
    stage.packet(1, pt=102)  # another profile of the same codec
    stage.packet(2, pt=33)
    assert not stage.stream.stale
    stage.packet(3, pt=96)
    assert stage.stream.stale
    assert stage.indices() == [0, 1]


def test_red_and_opus_take_turns() -> None:
    stage = Stage(AUDIO)
    stage.packet(0)
    stage.packet(1, payload=b"\x6f" + (1).to_bytes(4, "big"), pt=63)
    stage.packet(2)
    assert stage.indices() == [0, 1, 2]


@given(
    st.lists(
        st.tuples(st.integers(0, 65535), st.integers(0, 2**32 - 1), st.binary(max_size=30), st.booleans()), max_size=80
    )
)
def test_anything_at_all_does_no_harm(packets: list[tuple[int, int, bytes, bool]]) -> None:
    for key in (VIDEO, AUDIO):
        stage = Stage(key)
        for sequence, timestamp, payload, marker in packets:
            stage.stream.packet(payload, 0, len(payload), stage.payload_type, sequence, timestamp, marker, stage.now)
            stage.tick()
            bytes(stage.stream.report(stage.now))
        stage.stream.close()
