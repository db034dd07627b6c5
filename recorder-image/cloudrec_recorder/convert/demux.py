"""A segment's bytes (as `segments.mpegts` writes them) as samples for MP4: all of a segment at once.

Reading with libavformat costs some microseconds of Python for each of half a million packets; here numpy finds where
they are, and a picture costs two slices and a search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloudrec_recorder.h264 import NAL_AUD, NAL_PPS, NAL_SPS, START_CODE, ParameterSets, picture_size
from cloudrec_recorder.segments.mpegts import PACKET, PID_AUDIO, PID_VIDEO

ADTS_HEADER: Final = 7
RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_PAYLOAD: Final = PACKET - 4
_CODE: Final = b"\x00\x00\x01"

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sound:
    """What AAC frames are: samples a second, and channels."""

    rate: int
    channels: int


@dataclass(slots=True)
class Pictures:
    """In order. `stamps`: 33 bits, 90 kHz; `samples`: NAL units behind their lengths in four bytes (ISO 14496-15)."""

    stamps: list[int] = field(default_factory=list)
    samples: list[bytes] = field(default_factory=list)
    keyframes: dict[int, ParameterSets] = field(default_factory=dict)
    """Which pictures are keyframes that one can begin with, and their parameter sets."""


@dataclass(frozen=True, slots=True)
class Frames:
    """AAC frames without headers that follow each other; `stamp` is the first one's."""

    stamp: int
    sound: Sound
    frames: list[bytes]


@dataclass(slots=True)
class Demuxed:
    """`fault`: why the file is not used to its end; empty when all is well."""

    pictures: Pictures = field(default_factory=Pictures)
    sound: list[Frames] = field(default_factory=list)
    fault: str = ""


class _Foreign(ValueError):
    """No stream as the recorder writes it."""


def demux(data: bytes, *, video: bool = True, audio: bool = True) -> Demuxed:
    """Everything in a segment, or only what is wanted. Damage ends it there, and is told."""
    made = Demuxed()
    count = len(data) // PACKET
    if count * PACKET != len(data):
        made.fault = "cut off inside a packet"
    if not count:
        made.fault = "empty"
    packets = np.frombuffer(data, np.uint8, count * PACKET).reshape(count, PACKET)
    unsynced = np.flatnonzero(packets[:, 0] != 0x47)
    if len(unsynced):
        made.fault = f"no transport stream from byte {int(unsynced[0]) * PACKET} on"
        packets = packets[: unsynced[0]]
    pids = (packets[:, 1].astype(np.int32) & 0x1F) << 8 | packets[:, 2]
    try:
        if video:
            _pictures(_Elementary(_only(packets, pids == PID_VIDEO), whole=not made.fault), made.pictures)
        if audio:
            for stamp, payload in _Elementary(_only(packets, pids == PID_AUDIO), whole=not made.fault):
                made.sound += _frames(stamp, payload)
    except _Foreign as error:
        made.fault = made.fault or str(error)
    return made


def _only(packets: Bytes, wanted: NDArray[np.bool_]) -> Bytes:
    """Those packets; without a copy where they follow each other, as in segments with one track."""
    rows = np.flatnonzero(wanted)
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return packets[rows[0] : rows[-1] + 1]
    return packets[rows]


class _Elementary:
    """The PES packets of one PID, as (time stamp, payload)."""

    def __init__(self, packets: Bytes, *, whole: bool) -> None:
        starts = np.flatnonzero(packets[:, 1] & 0x40)
        if len(packets) and (not len(starts) or starts[0]):
            raise _Foreign("begins inside a PES packet")
        self._data = packets[:, 4:].tobytes()
        flat = np.frombuffer(self._data, np.uint8)
        adaptation = (packets[:, 3] & 0x20) != 0
        skips = np.where(adaptation, packets[:, 4].astype(np.int64) + 1, 0)
        lasts = np.append(starts[1:], len(packets))[: len(starts)] - 1
        odd = adaptation.copy()
        odd[starts] = odd[lasts] = False
        if odd.any() or (skips > _PAYLOAD).any() or (starts * _PAYLOAD + skips[starts] + 14 > len(flat)).any():
            raise _Foreign("packets that the recorder does not write")
        head = starts * _PAYLOAD + skips[starts]
        if (flat[head] | flat[head + 1]).any() or (flat[head + 2] != 1).any() or (flat[head + 7] & 0x80 == 0).any():
            raise _Foreign("a PES packet without time stamp")
        field = [flat[head + 9 + place].astype(np.int64) for place in range(5)]
        stamps = (field[0] & 0x0E) << 29 | field[1] << 22 | (field[2] & 0xFE) << 14 | field[3] << 7 | field[4] >> 1
        flags = np.where(adaptation[starts] & (packets[starts, 4] > 0), packets[starts, 5], 0)
        self.random_access: list[bool] = (flags & 0x40 != 0).tolist()
        begins = head + 9 + flat[head + 8]
        ends = lasts * _PAYLOAD
        tails = ends + np.where(lasts > starts, skips[lasts], 0)
        count = len(starts) if whole else len(starts) - 1
        self._rows = list(zip(stamps.tolist(), begins.tolist(), ends.tolist(), tails.tolist(), strict=True))[
            : max(count, 0)
        ]

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        data = self._data
        for stamp, begin, end, tail in self._rows:
            if end <= begin:  # one transport packet
                yield stamp, data[begin : end + _PAYLOAD]
            else:
                yield stamp, data[begin:end] + data[tail : end + _PAYLOAD]


def _pictures(stream: _Elementary, made: Pictures) -> None:
    stamps, samples = made.stamps, made.samples
    for (stamp, payload), random_access in zip(stream, stream.random_access, strict=False):
        if random_access:
            sample, sets = _keyframe(payload)
            if sets is not None:
                made.keyframes[len(stamps)] = sets
        else:
            sample = avcc(payload)
        if sample:
            stamps.append(stamp)
            samples.append(sample)


def _keyframe(payload: bytes) -> tuple[bytes, ParameterSets | None]:
    sample = avcc(payload)
    units = list(length_prefixed(sample))
    sps = tuple(unit for unit in units if unit[0] & 0x1F == NAL_SPS)
    pps = tuple(unit for unit in units if unit[0] & 0x1F == NAL_PPS)
    usable = sps and pps and picture_size(sps[-1]) is not None
    return sample, ParameterSets(sps, pps) if usable else None


def avcc(data: bytes) -> bytes:
    """An access unit (Annex B) with lengths instead of start codes; the access unit delimiter is left out."""
    out = []
    find = data.find
    at = find(_CODE)
    while at >= 0:
        begin = at + 3
        at = find(_CODE, begin)
        if at < 0:
            end = len(data)
        else:
            end = at
            while data[end - 1] == 0 and end > begin:
                end -= 1
        if end > begin and data[begin] & 0x1F != NAL_AUD:
            out.append((end - begin).to_bytes(4, "big"))
            out.append(data[begin:end])
    return b"".join(out)


def length_prefixed(sample: bytes) -> Iterator[bytes]:
    """The NAL units of `avcc`."""
    at = 0
    while at + 4 < len(sample):
        size = int.from_bytes(sample[at : at + 4], "big")
        yield sample[at + 4 : at + 4 + size]
        at += 4 + size


def annex_b(sample: bytes) -> bytes:
    """The inverse of `avcc`, without delimiter."""
    return b"".join(START_CODE + unit for unit in length_prefixed(sample))


def _frames(stamp: int, payload: bytes) -> list[Frames]:
    """The ADTS frames of a PES packet (ISO/IEC 13818-7, 6.2); what is cut off at its end is left out."""
    at, size = 0, len(payload)
    frames: list[bytes] = []
    sound = None
    while at + ADTS_HEADER < size:
        if payload[at] != 0xFF or payload[at + 1] & 0xF6 != 0xF0:
            raise _Foreign("sound that is no ADTS")
        length = (payload[at + 3] & 3) << 11 | payload[at + 4] << 3 | payload[at + 5] >> 5
        if length <= ADTS_HEADER or at + length > size:
            break
        if sound is None:
            rate = payload[at + 2] >> 2 & 0x0F
            channels = (payload[at + 2] & 1) << 2 | payload[at + 3] >> 6
            if rate >= len(RATES) or channels not in (1, 2):
                raise _Foreign("sound that the recorder does not write")
            sound = Sound(RATES[rate], channels)
        frames.append(payload[at + (7 if payload[at + 1] & 1 else 9) : at + length])
        at += length
    return [Frames(stamp, sound, frames)] if sound else []
