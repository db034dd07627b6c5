from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.capture.rtp import (
    ReportBlock,
    build_nack,
    build_pli,
    build_receiver_reports,
    extend,
    parse_rtp,
    sender_reports,
)

NTP_UNIX = 2_208_988_800


def rtp(payload: bytes = b"payload", *, first: int = 0x80, middle: bytes = b"") -> bytes:
    return struct.pack("!BBHLL", first, 0x80 | 108, 65535, 0xFFFFFFFF, 77) + middle + payload


def sr(ssrc: int, ntp: int, timestamp: int, blocks: int = 0) -> bytes:
    body = struct.pack("!LQLLL", ssrc, ntp, timestamp, 1, 2) + bytes(24 * blocks)
    return struct.pack("!BBH", 0x80 | blocks, 200, len(body) // 4) + body


def test_plain_packet() -> None:
    data = rtp()
    packet = parse_rtp(data, 0, len(data))
    assert packet is not None
    assert packet == (108, True, 65535, 0xFFFFFFFF, 77, 12, 19)


def test_csrcs_extension_and_padding_are_skipped() -> None:
    middle = bytes(8) + struct.pack("!HH", 0xBEDE, 2) + bytes(8)
    data = rtp(b"payload" + b"\x00\x00\x03", first=0x80 | 0x20 | 0x10 | 2, middle=middle)
    packet = parse_rtp(data, 0, len(data))
    assert packet is not None
    assert data[packet[5] : packet[6]] == b"payload"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        rtp()[:11],
        rtp(first=0x40),
        rtp(b"", first=0x8F),
        rtp(b"", first=0x90),
        rtp(b"", first=0x90, middle=b"\xbe\xde\xff\xff"),
        rtp(b"\xff", first=0xA0),
    ],
)
def test_malformed_packets_are_refused(data: bytes) -> None:
    packet = parse_rtp(data, 0, len(data))
    assert packet is None or packet[6] <= len(data)


def test_a_packet_of_padding_only_has_an_empty_payload() -> None:
    data = rtp(bytes(9) + b"\x0a", first=0xA0)
    packet = parse_rtp(data, 0, len(data))
    assert packet is not None
    assert packet[5] == packet[6]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_parsing_never_raises_and_stays_inside(data: bytes, length: int) -> None:
    length = min(length, len(data))
    packet = parse_rtp(data, 0, length)
    assert packet is None or 12 <= packet[5] <= packet[6] <= length


@given(st.integers(0, 2**40), st.integers(-(2**15) + 1, 2**15 - 1))
def test_extend_undoes_the_wrap(reference: int, difference: int) -> None:
    assert extend(reference, (reference + difference) & 0xFFFF, 16) == reference + difference


def test_a_step_back_is_no_wrap() -> None:
    assert extend(5, 0xFFFFFFFE, 32) == -2
    assert extend(2**32 + 5, 0xFFFFFFFE, 32) == 2**32 - 2


def test_sender_reports_in_a_compound_packet_with_a_long_sdes() -> None:
    first = sr(1, (1_000 + NTP_UNIX) << 32 | 1 << 31, 90_000, blocks=3)
    sdes = struct.pack("!BBH", 0x81, 202, 60) + bytes(240)
    found = list(sender_reports(first + sdes + sr(2, (5 + NTP_UNIX) << 32, 7)))
    assert [(r.ssrc, r.ntp, r.timestamp) for r in found] == [(1, 1000.5, 90_000), (2, 5.0, 7)]
    assert found[0].lsr == ((1_000 + NTP_UNIX) & 0xFFFF) << 16 | 0x8000


def test_a_sender_without_a_clock_is_ignored() -> None:
    assert not list(sender_reports(sr(1, 0, 7)))


@given(st.binary(max_size=300))
def test_rtcp_parsing_never_raises(data: bytes) -> None:
    assert len(list(sender_reports(data))) <= len(data) // 20


@given(st.integers(0, 65535), st.sets(st.integers(0, 400), min_size=1, max_size=100))
def test_nack_names_exactly_what_is_lost(base: int, offsets: set[int]) -> None:
    lost = [(base + offset) & 0xFFFF for offset in sorted(offsets)]
    packet = build_nack(1, 2, lost)
    assert len(packet) == 4 + 4 * struct.unpack_from("!H", packet, 2)[0]
    named = []
    for at in range(12, len(packet), 4):
        first, mask = struct.unpack_from("!HH", packet, at)
        named += [first, *((first + bit + 1) & 0xFFFF for bit in range(16) if mask >> bit & 1)]
    assert named == lost


def test_nack_is_bounded() -> None:
    assert len(build_nack(1, 2, range(0, 65000, 20))) <= 1200


def test_pli() -> None:
    assert build_pli(1, 2) == bytes.fromhex("81ce0002 00000001 00000002")


def test_receiver_reports_are_split_and_bounded() -> None:
    block = ReportBlock(9, 300, 1 << 30, 1 << 33, 0, 5, 1e9)
    packets = build_receiver_reports(1, [block] * 33)
    assert [packet[0] & 0x1F for packet in packets] == [31, 2]
    assert all(len(p) == 4 + 4 * struct.unpack_from("!H", p, 2)[0] for p in packets)
    assert bytes(block)[4:8] == b"\xff\x7f\xff\xff"
    assert len(build_receiver_reports(1, [])) == 1
