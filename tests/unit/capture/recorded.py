"""RTP and RTCP packets of a real LiveKit server, as tests/media/record_packets.py kept them.

A file is a row of packets: arrival (float64, seconds since the recording's epoch), whether it is RTCP (uint8), length
(uint16), all little-endian, and the packet.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "packets"
_HEAD = struct.Struct("<dBH")


@dataclass(frozen=True, slots=True)
class Packet:
    """A decrypted packet."""

    arrival: float
    rtcp: bool
    data: bytes


def write(path: Path, packets: Iterable[Packet]) -> None:
    path.write_bytes(b"".join(_HEAD.pack(p.arrival, p.rtcp, len(p.data)) + p.data for p in packets))


def read(path: Path) -> list[Packet]:
    data, at, packets = path.read_bytes(), 0, []
    while at < len(data):
        arrival, rtcp, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        packets.append(Packet(arrival, bool(rtcp), data[at : at + length]))
        at += length
    return packets
