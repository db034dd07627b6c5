from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.capture.depacketize import (
    Depacketizer,
    Frame,
    H264Depacketizer,
    OpusDepacketizer,
    RedDepacketizer,
    Vp8Depacketizer,
    make_depacketizer,
    vp8_size,
)

SC = b"\x00\x00\x00\x01"
SPS = bytes.fromhex("674d401fda014016e840000003004000000f03c60ca8")
BLANK_SPS = bytes.fromhex("6742c01f0fd91f888884000003000400000300c83c60c920")
PPS = b"\x68\xee\x3c\x80"
IDR = b"\x65" + bytes(range(1, 100))
SLICE = b"\x41" + bytes(range(1, 50))


def stap(*units: bytes) -> bytes:
    return b"\x78" + b"".join(struct.pack("!H", len(unit)) + unit for unit in units)


def fragments(unit: bytes, count: int) -> list[bytes]:
    size = -(-len(unit[1:]) // count)
    parts = [unit[1 + i * size : 1 + (i + 1) * size] for i in range(count)]
    kind = unit[0] & 0x1F
    flags = [(0x80 if i == 0 else 0) | (0x40 if i == count - 1 else 0) for i in range(count)]
    return [bytes((unit[0] & 0xE0 | 28, flag | kind)) + part for flag, part in zip(flags, parts, strict=True)]


def feed(depacketizer: Depacketizer, payloads: Sequence[bytes], timestamp: int, *, marker: bool = True) -> list[Frame]:
    frames: list[Frame] = []
    for index, payload in enumerate(payloads):
        # as from the network: somewhere in a buffer that is used again
        buffer = bytearray(b"head" + payload + b"tail")
        last = marker and index == len(payloads) - 1
        frames += depacketizer.push(buffer, 4, 4 + len(payload), timestamp, last)
        buffer[:] = bytes(len(buffer))
    return frames


def started() -> H264Depacketizer:
    depacketizer = H264Depacketizer()
    assert feed(depacketizer, [stap(SPS, PPS), IDR], 0)
    return depacketizer


def test_a_keyframe_with_its_parameter_sets() -> None:
    frames = feed(H264Depacketizer(), [stap(SPS, PPS), *fragments(IDR, 4)], 90)
    assert frames == [Frame(90, SC + SPS + SC + PPS + SC + IDR, True)]


def test_nothing_before_the_first_keyframe() -> None:
    depacketizer = H264Depacketizer()
    assert not feed(depacketizer, [SLICE], 1)
    assert depacketizer.needs_keyframe
    assert feed(depacketizer, [SPS, PPS, IDR], 2)
    assert not depacketizer.needs_keyframe
    assert feed(depacketizer, [SLICE], 3) == [Frame(3, SC + SLICE, False)]


def test_parameter_sets_sent_apart_are_put_before_the_keyframe() -> None:
    depacketizer = H264Depacketizer()
    assert not feed(depacketizer, [SPS], 1)
    assert not feed(depacketizer, [PPS], 1)
    assert feed(depacketizer, [IDR], 2) == [Frame(2, SC + SPS + SC + PPS + SC + IDR, True)]
    assert feed(depacketizer, [IDR], 3)[0].data == SC + SPS + SC + PPS + SC + IDR


def test_a_keyframe_without_parameter_sets_is_of_no_use() -> None:
    depacketizer = H264Depacketizer()
    assert not feed(depacketizer, [IDR], 1)
    assert depacketizer.needs_keyframe


def test_a_frame_cut_short_is_dropped_and_so_is_what_depends_on_it() -> None:
    depacketizer = started()
    assert not feed(depacketizer, fragments(SLICE, 3)[:2], 10, marker=False)
    assert not feed(depacketizer, [SLICE], 20)
    assert depacketizer.cut == 1
    assert depacketizer.needs_keyframe
    assert not feed(depacketizer, [SLICE], 30)
    assert feed(depacketizer, [stap(SPS, PPS), IDR], 40)
    assert feed(depacketizer, [SLICE], 50)


def test_the_keyframe_after_a_cut_counts() -> None:
    depacketizer = started()
    feed(depacketizer, fragments(SLICE, 3)[:1], 10, marker=False)
    assert feed(depacketizer, [stap(SPS, PPS), IDR], 20)


def test_after_a_gap_the_rest_of_a_frame_is_not_taken_for_a_frame() -> None:
    depacketizer = started()
    depacketizer.gap()
    assert not feed(depacketizer, [IDR], 10)  # may be the second slice of two
    assert feed(depacketizer, [IDR], 20)


def test_after_a_gap_a_frame_that_surely_starts_is_taken() -> None:
    depacketizer = started()
    depacketizer.gap()
    assert depacketizer.needs_keyframe
    assert feed(depacketizer, [stap(SPS, PPS), IDR], 10)


@pytest.mark.parametrize(
    "payloads",
    [
        fragments(SLICE, 3)[1:],
        [*fragments(SLICE, 3)[:2], SLICE],
        [*fragments(SLICE, 3)[:2], *fragments(SLICE, 3)],
        fragments(SLICE, 3)[:2],
        [b"\x78\x00"],
        [b"\x78\x00\xffabc"],
        [b"\x78\x00\x00"],
        [b"\x7c"],
        [b"\x79abcdef"],
        [b"\x00"],
    ],
)
def test_malformed_frames_are_dropped(payloads: list[bytes]) -> None:
    depacketizer = started()
    assert not feed(depacketizer, payloads, 10)
    assert depacketizer.needs_keyframe
    assert feed(depacketizer, [stap(SPS, PPS), IDR], 20)


def test_livekits_blank_frames_are_dropped() -> None:
    assert not feed(started(), [stap(BLANK_SPS, PPS), IDR], 10)


def test_a_frame_too_large_is_dropped() -> None:
    depacketizer = started()
    huge = b"\x41" + bytes(60_000)
    assert not feed(depacketizer, [huge] * 150, 10)
    assert depacketizer.needs_keyframe


# --- VP8

VP8_KEY = bytes.fromhex("10020a9d012a4001f000") + bytes(range(90))
VP8_BLANK = bytes.fromhex("10020a9d012a08000800") + bytes(20)
VP8_INTER = b"\x11" + bytes(range(60))


@pytest.mark.parametrize("descriptor", [b"\x10", b"\x90\x80\x05", b"\x90\x80\x85\x01", b"\x90\xf0\x81\x00\x07\x20"])
def test_vp8_frames(descriptor: bytes) -> None:
    depacketizer = Vp8Depacketizer()
    rest = bytes((descriptor[0] & ~0x10,)) + descriptor[1:]
    assert feed(depacketizer, [descriptor + VP8_KEY[:50], rest + VP8_KEY[50:]], 1) == [Frame(1, VP8_KEY, True)]
    assert feed(depacketizer, [descriptor + VP8_INTER], 2) == [Frame(2, VP8_INTER, False)]


def test_vp8_waits_for_a_keyframe_after_a_gap_or_a_cut() -> None:
    depacketizer = Vp8Depacketizer()
    assert feed(depacketizer, [b"\x10" + VP8_KEY], 1)
    depacketizer.gap()
    assert not feed(depacketizer, [b"\x00" + VP8_INTER], 2)
    assert not feed(depacketizer, [b"\x10" + VP8_INTER], 3)
    assert feed(depacketizer, [b"\x10" + VP8_KEY], 4)
    assert not feed(depacketizer, [b"\x10" + VP8_INTER], 5, marker=False)
    assert not feed(depacketizer, [b"\x10" + VP8_INTER], 6)
    assert feed(depacketizer, [b"\x10" + VP8_KEY], 7)


def test_vp8_blank_and_malformed_frames_are_dropped() -> None:
    depacketizer = Vp8Depacketizer()
    assert not feed(depacketizer, [b"\x10" + VP8_BLANK], 1)
    for payload in (b"\x90", b"\x90\x80", b"\x90\xf0\x81", b"\x10", b"\x10\x10\x00\x00"):
        assert not feed(depacketizer, [payload], 2)
    assert vp8_size(VP8_KEY) == (320, 240)


# --- Opus and RED


def red(*redundant: tuple[int, bytes], primary: bytes) -> bytes:
    heads = b"".join(struct.pack("!L", 1 << 31 | 111 << 24 | offset << 10 | len(d)) for offset, d in redundant)
    return heads + bytes((111,)) + b"".join(data for _, data in redundant) + primary


def test_opus_passes_and_the_servers_silence_does_not() -> None:
    depacketizer = OpusDepacketizer()
    assert feed(depacketizer, [b"\xf8\xff\xfe"], 1) == [Frame(1, b"\xf8\xff\xfe", True)]
    assert not feed(depacketizer, [b"\xf8\xff\xfe" + bytes(77)], 2)


def test_red_recovers_what_was_lost_and_repeats_nothing() -> None:
    depacketizer = RedDepacketizer()
    assert feed(depacketizer, [red((960, b"zero"), primary=b"one")], 960) == [Frame(960, b"one", True)]
    assert feed(depacketizer, [red((960, b"one"), primary=b"two")], 1920) == [Frame(1920, b"two", True)]
    depacketizer.gap()
    frames = feed(depacketizer, [red((1920, b"two"), (960, b"three"), primary=b"four")], 3840)
    assert frames == [Frame(2880, b"three", True), Frame(3840, b"four", True)]


@pytest.mark.parametrize("payload", [b"\xef", b"\xef\x00\x00\xff", b"\xef\x00\x03\xff\x6fabc", b"\x6f"])
def test_malformed_red_gives_nothing(payload: bytes) -> None:
    assert not feed(RedDepacketizer(), [payload], 5)


# --- anything at all

PAYLOADS = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.sampled_from([stap(SPS, PPS), IDR, SLICE, *fragments(IDR, 3), *fragments(SLICE, 2)]),
    st.sampled_from([b"\x10" + VP8_KEY, b"\x10" + VP8_INTER, b"\x00" + VP8_INTER]),
)
PACKETS = st.lists(st.tuples(PAYLOADS, st.integers(0, 5), st.booleans(), st.booleans()), max_size=40)


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1", "OPUS", "RED"])
@given(packets=PACKETS)
def test_no_payload_breaks_a_depacketizer(codec: str, packets: list[tuple[bytes, int, bool, bool]]) -> None:
    depacketizer = make_depacketizer(codec)
    assert depacketizer is not None
    emitted = 0
    for payload, timestamp, marker, gap in packets:
        if gap:
            depacketizer.gap()
        for frame in feed(depacketizer, [payload], timestamp, marker=marker):
            assert frame.data
            if codec not in ("OPUS", "RED") and not emitted:
                assert frame.keyframe
            emitted += 1


def test_unknown_codecs_have_none() -> None:
    assert make_depacketizer("H265") is None
