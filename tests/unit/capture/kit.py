"""Shared by the tests of capture: a sink that remembers, and RTP packets."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from cloudrec_recorder.media import AccessUnit, Held, NotKept, TrackKey

SPS = bytes.fromhex("674d401fda014016e840000003004000000f03c60ca8")
PPS = b"\x68\xee\x3c\x80"
VIDEO = TrackKey("anna", "main", "video")
AUDIO = TrackKey("anna", "main", "audio")
NTP_UNIX = 2_208_988_800


@dataclass
class Sink:
    units: list[AccessUnit] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def hold(self, key: TrackKey, codec: str, clock_rate: int) -> Held:
        return NotKept()

    def media(self, unit: AccessUnit) -> None:
        self.units.append(unit)

    def lost(self, key: TrackKey, seconds: float) -> None:
        self.losses.append(seconds)

    @property
    def times(self) -> list[float]:
        return [unit.time for unit in self.units]


def stap(*units: bytes) -> bytes:
    return b"\x78" + b"".join(struct.pack("!H", len(unit)) + unit for unit in units)


def picture(index: int, *, key: bool = False) -> bytes:
    """One H.264 frame in one payload."""
    body = index.to_bytes(4, "big") + bytes(20)
    return stap(SPS, PPS, b"\x65" + body) if key else b"\x41" + body


def rtp(ssrc: int, payload_type: int, sequence: int, timestamp: int, payload: bytes, *, marker: bool = True) -> bytes:
    head = struct.pack("!BBHLL", 0x80, marker << 7 | payload_type, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc)
    return head + payload


def sender_report(ssrc: int, ntp: float, timestamp: int) -> bytes:
    fixed = int((ntp + NTP_UNIX) * 2**32)
    return struct.pack("!BBHLQLLL", 0x80, 200, 6, ssrc, fixed, timestamp & 0xFFFFFFFF, 1, 2)
