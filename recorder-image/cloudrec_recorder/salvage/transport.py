"""What is whole of a transport stream that ends anywhere, as `segments.mpegts` writes it. Pure.

That muxer writes each PES packet in one go, fills up only its last transport packet, and puts null packets at a file's
end alone: so the media ends at the first null packet, and whatever follows a picture proves that it is whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloudrec_recorder.segments.mpegts import CLOCK, PACKET, PID_AUDIO, PID_PMT, PID_VIDEO, Streams

PID_NULL: Final = 0x1FFF
_WRAP: Final = 1 << 33
_FRAME_SAMPLES: Final = 1024
_RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_USUAL_INTERVAL: Final = CLOCK // 30
_LAST_INTERVALS: Final = 8
_FIRST_STUFFED: Final = 7  # longer than flags and PCR: the adaptation field fills the packet up

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sound:
    """What the first ADTS header says."""

    rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class Whole:
    """The part of a file up to `packets`; times in 90 kHz ticks as written, but `last` ones may exceed 33 bits.

    `video` and `audio` are (first time stamp, end of the last access unit), None when there is none of it.
    """

    packets: int
    tables: tuple[int, ...]
    """Which packets are programme map tables."""
    video: tuple[int, int] | None = None
    audio: tuple[int, int] | None = None
    discontinuity: bool = False
    keyframe: bytes = b""
    """The first access unit of the pictures."""
    sound: Sound | None = None

    @property
    def streams(self) -> Streams | None:
        if self.video is None and self.audio is None:
            return None
        return Streams(video=self.video is not None, audio=self.audio is not None)


@dataclass(frozen=True, slots=True)
class _Pes:
    """One PES packet in the transport packets `rows`; `payload` begins behind its header."""

    rows: NDArray[np.intp]
    stamp: int
    whole: bool
    skip: int
    marked: bool
    """Its first packet has the discontinuity_indicator."""


class _Broken(Exception):
    """From transport packet `row` on this is no stream of ours."""

    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def whole(data: bytes) -> Whole:
    """What of a file's bytes is whole. Nothing raises: bytes that are no transport stream are no part of it."""
    packets = np.frombuffer(data[: len(data) // PACKET * PACKET], np.uint8).reshape(-1, PACKET)
    while True:
        try:
            return _whole(packets)
        except _Broken as broken:
            packets = packets[: broken.row]


def _whole(packets: Bytes) -> Whole:
    _refuse(packets[:, 0] != 0x47)
    pids = (packets[:, 1].astype(np.int32) & 0x1F) << 8 | packets[:, 2]
    nulls = np.flatnonzero(pids == PID_NULL)
    end = int(nulls[0]) if len(nulls) else len(packets)
    sealed = len(packets) > end
    packets, pids = packets[:end], pids[:end]
    offsets = _payload_offsets(packets)
    found = {
        pid: _elementary(packets, np.flatnonzero(pids == pid), offsets, sealed=sealed) for pid in (PID_VIDEO, PID_AUDIO)
    }
    cut = _cut(found[PID_VIDEO] + found[PID_AUDIO], end)
    kept = {pid: [p for p in pes if p.whole and p.rows[0] < cut] for pid, pes in found.items()}
    made = Whole(cut, tuple(int(row) for row in np.flatnonzero(pids[:cut] == PID_PMT)))
    if kept[PID_VIDEO] or kept[PID_AUDIO]:
        first = min((pes[0] for pes in kept.values() if pes), key=lambda pes: int(pes.rows[0]))
        made = replace(made, discontinuity=first.marked)
    if pictures := kept[PID_VIDEO]:
        keyframe = _payload(packets, pictures[0], offsets)
        made = replace(made, video=_pictures_span([p.stamp for p in pictures]), keyframe=keyframe)
    if sounds := kept[PID_AUDIO]:
        frames, sound = _adts(_payload(packets, sounds[-1], offsets))
        if sound is None:
            raise _Broken(int(sounds[-1].rows[0]))
        last = sounds[0].stamp + (sounds[-1].stamp - sounds[0].stamp) % _WRAP
        end_of_sound = last + round(frames * _FRAME_SAMPLES * CLOCK / sound.rate)
        made = replace(made, audio=(sounds[0].stamp, end_of_sound), sound=sound)
    return made


def _refuse(wrong: NDArray[np.bool_]) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise _Broken(int(rows[0]))


def _payload_offsets(packets: Bytes) -> NDArray[np.int32]:
    control = packets[:, 3] >> 4 & 3
    offsets = np.where(control & 2, packets[:, 4].astype(np.int32) + 5, 4)
    _refuse((control & 1 == 0) | (offsets >= PACKET))
    return offsets.astype(np.int32)


def _elementary(packets: Bytes, rows: NDArray[np.intp], offsets: NDArray[np.int32], *, sealed: bool) -> list[_Pes]:
    """All PES packets of one PID; only the last may be in part."""
    if not len(rows):
        return []
    begins = np.flatnonzero(packets[rows, 1] & 0x40)
    if not len(begins) or begins[0] != 0:
        raise _Broken(int(rows[0]))
    found = []
    for part in np.split(rows, begins[1:]):
        first, last = int(part[0]), int(part[-1])
        stuffed = packets[last, 3] & 0x20 and (last != first or packets[last, 4] > _FIRST_STUFFED)
        followed = last + 1 < len(packets) or sealed
        found.append(_pes(packets, part, offsets, ended=bool(stuffed) or followed))
    return found


def _pes(packets: Bytes, rows: NDArray[np.intp], offsets: NDArray[np.int32], *, ended: bool) -> _Pes:
    first = int(rows[0])
    at = int(offsets[first])
    head = packets[first, at:].tobytes()
    if len(head) < 14 or head[:3] != b"\x00\x00\x01" or not head[7] & 0x80 or head[8] < 5:
        raise _Broken(first)
    stamp = (head[9] & 0x0E) << 29 | head[10] << 22 | (head[11] & 0xFE) << 14 | head[12] << 7 | head[13] >> 1
    length = head[4] << 8 | head[5]
    if length:
        size = len(rows) * PACKET - int(offsets[rows].sum())
        ended = size >= length + 6
    marked = bool(packets[first, 3] & 0x20 and packets[first, 4] and packets[first, 5] & 0x80)
    return _Pes(rows, stamp, ended, 9 + head[8], marked)


def _cut(found: list[_Pes], end: int) -> int:
    """Before the first packet of a PES packet that is not whole, or would not be once cut there."""
    cut = min((int(pes.rows[0]) for pes in found if not pes.whole), default=end)
    for pes in sorted(found, key=lambda pes: -int(pes.rows[0])):
        if pes.rows[0] < cut <= pes.rows[-1]:
            cut = int(pes.rows[0])
    return cut


def _payload(packets: Bytes, pes: _Pes, offsets: NDArray[np.int32]) -> bytes:
    return b"".join(packets[row, offsets[row] :].tobytes() for row in pes.rows)[pes.skip :]


def _pictures_span(stamps: list[int]) -> tuple[int, int]:
    """The last picture is given the length of the ones before."""
    steps = [(b - a) % _WRAP for a, b in pairwise(stamps)]
    recent = [step for step in steps[-_LAST_INTERVALS:] if step < CLOCK]
    interval = round(median(recent)) if recent else _USUAL_INTERVAL
    return stamps[0], stamps[0] + (stamps[-1] - stamps[0]) % _WRAP + interval


def _adts(payload: bytes) -> tuple[int, Sound | None]:
    """Whole frames of a PES packet's payload (ISO/IEC 13818-7, 6.2), and what the first one is."""
    at = frames = 0
    sound = None
    while at + 7 <= len(payload):
        rate = payload[at + 2] >> 2 & 0x0F
        length = (payload[at + 3] & 3) << 11 | payload[at + 4] << 3 | payload[at + 5] >> 5
        if payload[at] != 0xFF or payload[at + 1] & 0xF6 != 0xF0 or rate >= len(_RATES) or length < 7:
            break
        if at + length > len(payload):
            break
        sound = sound or Sound(_RATES[rate], (payload[at + 2] & 1) << 2 | payload[at + 3] >> 6)
        at += length
        frames += 1
    return frames, sound
