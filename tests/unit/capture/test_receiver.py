from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from cloudrec_recorder.capture.sdp import parse_offer
from tests.unit.capture.kit import AUDIO, VIDEO, Sink, picture, rtp, sender_report

OFFERS = Path(__file__).parent / "offers"
SSRC, RTX_SSRC, AUDIO_SSRC = 204109726, 3489249479, 2507933699
H264, H264_RTX, OPUS = 108, 109, 111
ANNA = {
    "TR_VCiQUuzosfTkxQ": WantedTrack(VIDEO, "PA_qwKgWGkHoBxr"),
    "TR_AMc3NUdrSroLV6": WantedTrack(AUDIO, "PA_qwKgWGkHoBxr"),
}


class Stage:
    def __init__(self) -> None:
        self.now = 1000.0
        self.sink = Sink()
        self.sent: list[bytes] = []
        clock = TaskClock(0, lambda: self.now, lambda: self.now)
        self.receiver = MediaReceiver(clock, self.sink, itertools.count(1), self.sent.append)
        self.offer("anna")
        self.receiver.set_wanted(ANNA)

    def offer(self, name: str) -> None:
        self.receiver.set_descriptions(parse_offer((OFFERS / f"{name}.sdp").read_text()).streams())

    def video(self, index: int, *, key: bool = False) -> None:
        self.put(rtp(SSRC, H264, index, index * 3000, picture(index, key=key)))

    def put(self, packet: bytes) -> None:
        self.receiver.rtp(bytearray(packet), 0, len(packet), self.now)

    def numbers(self) -> list[int]:
        return [int.from_bytes(unit.data[-24:][:4], "big") for unit in self.sink.units]


def test_what_is_wanted_is_delivered_and_closed_with_its_track() -> None:
    stage = Stage()
    for index in range(3):
        stage.video(index, key=index == 0)
    assert not stage.sink.units
    stage.receiver.set_wanted({})
    assert stage.numbers() == [0, 1, 2]
    assert {unit.key for unit in stage.sink.units} == {VIDEO}
    stage.video(3)
    assert stage.receiver.counters.unknown == 1
    assert stage.receiver.counters.received == 3


def test_a_stream_ends_when_the_offer_drops_it() -> None:
    stage = Stage()
    stage.video(0, key=True)
    stage.offer("anna-left")
    assert stage.numbers() == [0]


def test_strangers_and_other_tracks_are_ignored() -> None:
    stage = Stage()
    stage.put(rtp(5, H264, 0, 0, picture(0, key=True)))
    stage.receiver.set_wanted({"TR_AMc3NUdrSroLV6": WantedTrack(AUDIO, "PA_qwKgWGkHoBxr")})
    stage.video(0, key=True)
    stage.put(rtp(SSRC, 34, 0, 0, b"unknown payload type"))
    stage.put(rtp(AUDIO_SSRC, 0, 0, 0, b"PCMU"))
    stage.receiver.close()
    assert not stage.sink.units
    assert stage.receiver.counters.unknown == 4


def test_rtx_fills_a_hole_and_empty_probes_do_nothing() -> None:
    stage = Stage()
    stage.video(0, key=True)
    stage.video(2)
    stage.now += 0.02
    stage.receiver.service()
    assert [packet[1] for packet in stage.sent] == [205, 201]
    stage.put(rtp(RTX_SSRC, H264_RTX, 70, 0, b""))
    stage.put(rtp(RTX_SSRC, H264_RTX, 71, 3000, (1).to_bytes(2, "big") + picture(1)))
    stage.receiver.close()
    assert stage.numbers() == [0, 1, 2]
    assert stage.receiver.counters.retransmitted == 1


def test_reports_place_both_tracks_by_one_clock() -> None:
    stage = Stage()
    stage.video(0, key=True)
    stage.put(rtp(AUDIO_SSRC, OPUS, 9, 48_000, b"opus"))
    stage.receiver.rtcp(sender_report(SSRC, 500.0, 0) + sender_report(AUDIO_SSRC, 500.0, 48_000), 1000.05)
    assert [(unit.key, unit.codec, round(unit.time, 3)) for unit in stage.sink.units] == [
        (VIDEO, "H264", 1000.05),  # captured at 500.0 by the publisher's clock
        (AUDIO, "OPUS", 1000.05),
    ]
    assert stage.receiver.clock_offsets() == {"PA_qwKgWGkHoBxr": pytest.approx(500.05)}
    stage.receiver.set_wanted({})
    assert stage.receiver.clock_offsets() == {}


def test_a_codec_switch_begins_a_new_stream() -> None:
    stage = Stage()
    stage.video(0, key=True)
    vp8_key = b"\x10" + bytes.fromhex("10020a9d012a4001f000") + bytes(20)
    stage.put(rtp(SSRC, 96, 1, 3000, vp8_key))
    stage.receiver.service()
    stage.put(rtp(SSRC, 96, 2, 6000, vp8_key))
    stage.receiver.close()
    assert [(unit.codec, unit.source) for unit in stage.sink.units] == [("H264", 1), ("VP8", 2)]


def test_a_keyframe_is_asked_for_by_key() -> None:
    stage = Stage()
    stage.video(0, key=True)
    stage.now += 1
    stage.receiver.service()
    stage.receiver.request_keyframe(VIDEO)
    stage.receiver.request_keyframe(AUDIO)
    stage.receiver.service()
    assert [packet[1] for packet in stage.sent].count(206) == 1


def test_receiver_reports_once_a_second() -> None:
    stage = Stage()
    stage.video(0, key=True)
    for _ in range(100):
        stage.now += 0.02
        stage.receiver.service()
    assert [packet[1] for packet in stage.sent].count(201) in (2, 3)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("raw"), st.binary(max_size=60)),
            st.tuples(st.just("rtcp"), st.binary(max_size=60)),
            st.builds(
                lambda ssrc, pt, seq, ts, payload: ("raw", rtp(ssrc, pt, seq, ts, payload)),
                st.sampled_from([SSRC, RTX_SSRC, AUDIO_SSRC]),
                st.sampled_from([H264, H264_RTX, OPUS, 63, 96, 97]),
                st.integers(0, 65535),
                st.integers(0, 2**32 - 1),
                st.binary(max_size=40),
            ),
            st.builds(
                lambda ssrc, ntp, ts: ("rtcp", sender_report(ssrc, ntp, ts)),
                st.sampled_from([SSRC, AUDIO_SSRC]),
                st.integers(0, 2_000_000_000),
                st.integers(0, 2**32 - 1),
            ),
        ),
        max_size=60,
    )
)
def test_nothing_received_raises(packets: list[tuple[str, bytes]]) -> None:
    stage = Stage()
    for kind, data in packets:
        stage.now += 0.01
        if kind == "raw":
            stage.put(data)
        else:
            stage.receiver.rtcp(data, stage.now)
        stage.receiver.service()
    stage.receiver.close()
    last: dict[tuple[object, int], float] = {}
    for unit in stage.sink.units:
        assert unit.time > last.get((unit.key, unit.source), float("-inf"))
        last[unit.key, unit.source] = unit.time
