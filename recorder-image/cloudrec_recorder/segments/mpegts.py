"""An MPEG-TS muxer (ISO/IEC 13818-1) for the segments of one track.

Why not libavformat: its muxer restarts the continuity counters with each file (players and ffprobe complain about the
concatenation), buffers, and costs a Python object per packet. This one has no state but the counters, so a segment can
be cut between any two calls and a file cut off anywhere still plays.

Times are in 90 kHz ticks since the task's epoch and may be any integers; `PTS_OFFSET` is added before they are
written modulo 2^33.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CLOCK: Final = 90_000  # ticks a second
PTS_OFFSET: Final = 10 * CLOCK
"""Written time stamp of the epoch itself: what lies shortly before it (AAC's priming) must not come out negative."""
PCR_LEAD: Final = CLOCK // 2
"""The clock reference shows this much less than the time stamps: the decoder's time to fill its buffer."""
PACKET: Final = 188

PID_PMT: Final = 0x1000
PID_VIDEO: Final = 0x100
PID_AUDIO: Final = 0x101
STREAM_TYPE_H264: Final = 0x1B
STREAM_TYPE_AAC: Final = 0x0F
_STREAM_ID_VIDEO: Final = 0xE0
_STREAM_ID_AUDIO: Final = 0xC0

_PAYLOAD: Final = PACKET - 4
_MASK33: Final = (1 << 33) - 1
_PES_LENGTH_MAX: Final = 0xFFFF
_AUD: Final = b"\x00\x00\x00\x01\x09\xf0"
_ROWS: Final = 1024  # packets in a template; larger access units are rare and get their own


def null_packets(count: int) -> bytes:
    """Packets that every reader skips (PID 0x1FFF)."""
    return (b"\x47\x1f\xff\x10" + b"\xff" * _PAYLOAD) * count


def crc32_mpeg(data: bytes) -> int:
    """CRC of a PSI section (ISO/IEC 13818-1 annex A): polynomial 0x04C11DB7, MSB first, no final inversion."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = ((crc << 1) ^ 0x04C11DB7) & 0xFFFFFFFF if crc & 0x80000000 else crc << 1
    return crc


def with_delimiter(data: bytes) -> bytes:
    """The H.264 access unit (Annex B) beginning with an access unit delimiter, which HLS players expect."""
    if data.startswith((b"\x00\x00\x00\x01\x09", b"\x00\x00\x01\x09")):
        return data
    return _AUD + data


def ticks(seconds: float) -> int:
    """Seconds since the epoch as 90 kHz ticks, rounded to the nearest."""
    return round(seconds * CLOCK)


@dataclass(frozen=True, slots=True)
class Streams:
    """What a transport stream carries: H.264, AAC, or both (merged)."""

    video: bool
    audio: bool

    def __post_init__(self) -> None:
        if not (self.video or self.audio):
            raise ValueError("a transport stream carries video, audio or both")


class _Pid:
    """One PID's continuity counter and its packet headers, made ready for copying."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.counter = 0
        self._template = self._make(_ROWS + 16)

    def _make(self, rows: int) -> NDArray[np.uint8]:
        out = np.zeros((rows, PACKET), np.uint8)
        out[:, 0] = 0x47
        out[:, 1] = self.pid >> 8
        out[:, 2] = self.pid & 0xFF
        out[:, 3] = 0x10 | (np.arange(rows) & 0x0F)
        return out

    def packets(self, count: int) -> NDArray[np.uint8]:
        """`(count, 188)` packets whose headers are written: payload only, counters running on."""
        first = self.counter
        self.counter = (first + count) & 0x0F
        if count > _ROWS:
            return self._make(first + count)[first:]
        return self._template[first : first + count].copy()


def _timestamp(marker: int, value: int) -> bytes:
    """A PTS or DTS field of a PES header (33 bits in 5 bytes with marker bits)."""
    return bytes(
        (
            marker << 4 | (value >> 29 & 0x0E) | 1,
            value >> 22 & 0xFF,
            (value >> 14 & 0xFE) | 1,
            value >> 7 & 0xFF,
            (value << 1 & 0xFE) | 1,
        )
    )


def _pcr(value: int) -> bytes:
    """A program clock reference whose 27 MHz extension is 0 (6 bytes)."""
    return (value << 15 | 0x7E00).to_bytes(6, "big")


class TsMuxer:
    """Turns access units of one track into transport packets; every call returns whole packets.

    The continuity counters go on over segments, so the files of a track may be concatenated.
    """

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self._pat = _Pid(0)
        self._pmt = _Pid(PID_PMT)
        self._video = _Pid(PID_VIDEO)
        self._audio = _Pid(PID_AUDIO)
        self._pat_section = _section(0x00, 1, (1).to_bytes(2, "big") + (0xE000 | PID_PMT).to_bytes(2, "big"))
        self._pmt_section = _section(0x02, 1, self._programme())

    def _programme(self) -> bytes:
        pcr_pid = PID_VIDEO if self.streams.video else PID_AUDIO
        body = (0xE000 | pcr_pid).to_bytes(2, "big") + b"\xf0\x00"
        if self.streams.video:
            body += bytes((STREAM_TYPE_H264,)) + (0xE000 | PID_VIDEO).to_bytes(2, "big") + b"\xf0\x00"
        if self.streams.audio:
            body += bytes((STREAM_TYPE_AAC,)) + (0xE000 | PID_AUDIO).to_bytes(2, "big") + b"\xf0\x00"
        return body

    def tables(self) -> bytes:
        """PAT and PMT: each segment begins with them."""
        return _table(self._pat, self._pat_section) + _table(self._pmt, self._pmt_section)

    def video(self, data: bytes, pts: int, *, keyframe: bool, discontinuity: bool = False) -> bytes:
        """One H.264 access unit (Annex B). DTS equals PTS: WebRTC has no B-frames."""
        stamp = (pts + PTS_OFFSET) & _MASK33
        # The length is left open, as is allowed for video: a cut-off last picture is then no error of its own.
        pes = (
            b"\x00\x00\x01"
            + bytes((_STREAM_ID_VIDEO, 0, 0, 0x84, 0x80, 5))
            + _timestamp(0x2, stamp)
            + with_delimiter(data)
        )
        flags = 0x10 | (0x40 if keyframe else 0) | (0x80 if discontinuity else 0)
        return _packetise(self._video, pes, bytes((flags,)) + _pcr((stamp - PCR_LEAD) & _MASK33))

    def audio(self, frames: bytes, pts: int, *, discontinuity: bool = False) -> bytes:
        """Whole ADTS frames back to back, `pts` the first one's; at most about 64 KiB together."""
        stamp = (pts + PTS_OFFSET) & _MASK33
        length = len(frames) + 8
        if length > _PES_LENGTH_MAX:
            raise ValueError(f"{len(frames)} bytes of audio are too many for one PES packet")
        pes = (
            b"\x00\x00\x01"
            + bytes((_STREAM_ID_AUDIO, length >> 8, length & 0xFF, 0x84, 0x80, 5))
            + _timestamp(0x2, stamp)
            + frames
        )
        flags = 0x40 | (0x80 if discontinuity else 0)
        if self.streams.video:
            return _packetise(self._audio, pes, bytes((flags,)))
        return _packetise(self._audio, pes, bytes((flags | 0x10,)) + _pcr((stamp - PCR_LEAD) & _MASK33))


def _section(table_id: int, number: int, body: bytes) -> bytes:
    """A PSI section with its CRC. `number` is the transport stream's or the programme's id."""
    head = bytes((table_id,)) + (0xB000 | len(body) + 9).to_bytes(2, "big") + number.to_bytes(2, "big")
    section = head + bytes((0xC1, 0, 0)) + body
    return section + crc32_mpeg(section).to_bytes(4, "big")


def _table(pid: _Pid, section: bytes) -> bytes:
    """One packet with a PSI section, filled up with 0xFF."""
    packet = pid.packets(1)
    packet[0, 1] |= 0x40
    packet[0, 4:] = np.frombuffer((b"\x00" + section).ljust(_PAYLOAD, b"\xff"), np.uint8)
    return packet.tobytes()


def _packetise(pid: _Pid, pes: bytes, adaptation: bytes) -> bytes:
    """One PES packet as transport packets: `adaptation` (flags on) goes into the first, stuffing into the last."""
    size = len(pes)
    room = _PAYLOAD - 1 - len(adaptation)
    if size <= room:
        packet = pid.packets(1)
        field = bytes((_PAYLOAD - 1 - size,)) + adaptation.ljust(_PAYLOAD - 1 - size, b"\xff")
        packet[0, 1] |= 0x40
        packet[0, 3] |= 0x20
        packet[0, 4:] = np.frombuffer(field + pes, np.uint8)
        return packet.tobytes()
    full, tail = divmod(size - room, _PAYLOAD)
    packets = pid.packets(1 + full + (tail > 0))
    payload = np.frombuffer(pes, np.uint8)
    packets[0, 1] |= 0x40
    packets[0, 3] |= 0x20
    packets[0, 4] = len(adaptation)
    packets[0, 5 : 5 + len(adaptation)] = np.frombuffer(adaptation, np.uint8)
    packets[0, PACKET - room :] = payload[:room]
    if full:
        packets[1 : 1 + full, 4:] = payload[room : room + full * _PAYLOAD].reshape(full, _PAYLOAD)
    if tail:
        last = packets[-1]
        last[3] |= 0x20
        stuffing = _PAYLOAD - tail
        last[4] = stuffing - 1
        if stuffing > 1:
            last[5] = 0
            last[6 : 4 + stuffing] = 0xFF
        last[PACKET - tail :] = payload[size - tail :]
    return packets.tobytes()
