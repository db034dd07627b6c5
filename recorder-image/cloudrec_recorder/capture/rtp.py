"""RTP and RTCP on the wire: RFC 3550, RFC 4585 (NACK, PLI), RFC 4588 (RTX).

Everything here takes what a stranger may have written: parsers answer None or stop, they never raise.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Buffer = bytes | bytearray  # a slice of either is a copy

RTCP_SR = 200
RTCP_RR = 201
RTCP_RTPFB = 205
RTCP_PSFB = 206
_FMT_NACK = 1
_FMT_PLI = 1

_NTP_UNIX = 2_208_988_800  # seconds from 1900 to 1970
_NACK_PAIRS_MAX = 250  # keeps the packet below any MTU
_BLOCKS_MAX = 31

_header = struct.Struct("!BBHLL").unpack_from
_sr = struct.Struct("!LQL").unpack_from


# payload type, marker, sequence, timestamp, ssrc, and where the payload starts and ends in the buffer (padding removed,
# may be empty); a plain tuple, made for every packet
RtpPacket = tuple[int, bool, int, int, int, int, int]


def parse_rtp(buffer: Buffer, start: int, end: int) -> RtpPacket | None:
    """Parse the RTP packet in `buffer[start:end]`; None when it is none."""
    if end - start < 12:
        return None
    first, second, sequence, timestamp, ssrc = _header(buffer, start)
    if first & 0xC0 != 0x80:
        return None
    start += 12
    if first & 0x3F:
        start += 4 * (first & 0x0F)
        if first & 0x10:
            if start + 4 > end:
                return None
            start += 4 + 4 * (buffer[start + 2] << 8 | buffer[start + 3])
        if first & 0x20:
            end -= buffer[end - 1]
        if start > end:
            return None
    return second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, start, end


def extend(reference: int, value: int, bits: int) -> int:
    """The unbounded number nearest to `reference` whose low `bits` are `value`: a signed difference."""
    half = 1 << (bits - 1)
    return reference + ((value - reference + half) & ((1 << bits) - 1)) - half


class SenderReport(NamedTuple):
    """What an SR says of one stream: at `ntp` (Unix seconds by the sender's clock) RTP time was `timestamp`."""

    ssrc: int
    ntp: float
    timestamp: int
    lsr: int  # the middle 32 bits, to be echoed in receiver reports


def sender_reports(data: Buffer) -> Iterator[SenderReport]:
    """The SRs of a compound packet; anything else, and a truncated rest, is skipped."""
    at, size = 0, len(data)
    while at + 8 <= size and data[at] & 0xC0 == 0x80:
        if data[at + 1] == RTCP_SR and at + 20 <= size:
            ssrc, ntp, timestamp = _sr(data, at + 4)
            # an NTP time of zero says that the sender has no clock (RFC 3550 section 6.4.1)
            if ntp:
                yield SenderReport(ssrc, ntp / 2**32 - _NTP_UNIX, timestamp, ntp >> 16 & 0xFFFFFFFF)
        at += 4 + 4 * (data[at + 2] << 8 | data[at + 3])


def build_nack(sender: int, media: int, lost: Sequence[int]) -> bytes:
    """Generic NACK (RFC 4585 section 6.2.1) for sequence numbers in ascending (wrapping) order; bounded in size."""
    pairs: list[bytes] = []
    i = 0
    while i < len(lost) and len(pairs) < _NACK_PAIRS_MAX:
        first, mask = lost[i], 0
        i += 1
        while i < len(lost) and 0 < (distance := (lost[i] - first) & 0xFFFF) <= 16:
            mask |= 1 << (distance - 1)
            i += 1
        pairs.append(struct.pack("!HH", first, mask))
    return struct.pack("!BBHLL", 0x80 | _FMT_NACK, RTCP_RTPFB, 2 + len(pairs), sender, media) + b"".join(pairs)


def build_pli(sender: int, media: int) -> bytes:
    """Picture Loss Indication (RFC 4585 section 6.3.1)."""
    return struct.pack("!BBHLL", 0x80 | _FMT_PLI, RTCP_PSFB, 2, sender, media)


class ReportBlock(NamedTuple):
    """One stream in a receiver report (RFC 3550 section 6.4.1); `delay` since the last SR in seconds."""

    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int
    lsr: int
    delay: float

    def __bytes__(self) -> bytes:
        lost = max(-0x800000, min(0x7FFFFF, self.lost)) & 0xFFFFFF
        delay = min(0xFFFFFFFF, max(0, int(self.delay * 65536))) if self.lsr else 0
        return struct.pack(
            "!LLLLLL",
            self.ssrc,
            min(255, max(0, self.fraction_lost)) << 24 | lost,
            self.highest & 0xFFFFFFFF,
            self.jitter & 0xFFFFFFFF,
            self.lsr,
            delay,
        )


def build_receiver_reports(sender: int, blocks: Sequence[ReportBlock]) -> list[bytes]:
    """Receiver reports of at most 31 blocks each; one empty report when there are no streams."""
    packets = []
    for at in range(0, max(1, len(blocks)), _BLOCKS_MAX):
        part = blocks[at : at + _BLOCKS_MAX]
        head = struct.pack("!BBHL", 0x80 | len(part), RTCP_RR, 1 + 6 * len(part), sender)
        packets.append(head + b"".join(map(bytes, part)))
    return packets
