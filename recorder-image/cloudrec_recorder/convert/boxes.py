"""The boxes of an MP4 (ISO/IEC 14496-12, -14, -15) that is written here: one H.264 and one AAC track at most."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloudrec_recorder.convert.demux import RATES, Sound
from cloudrec_recorder.h264 import ParameterSets
from cloudrec_recorder.segments.mpegts import CLOCK

AAC_SAMPLES: Final = 1024
FTYP: Final = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41"
MDAT_HEADER: Final = 16
_MATRIX: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_DELTA_MAX: Final = 1 << 31
_COARSE: Final = 1000
"""Ticks a second in a file with a picture that stands for longer than 2^31 of 90 kHz, 6.6 h."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A track's samples in the file: `sizes` of all, and of each chunk its offset and how many samples it has."""

    sizes: Sequence[int]
    offsets: Sequence[int]
    counts: Sequence[int]


@dataclass(frozen=True, slots=True)
class VideoTable:
    """`times` (90 kHz, the part begins at 0) of all pictures, `end` of the last; `keyframes` are numbers from 0."""

    size: tuple[int, int]
    sets: ParameterSets
    layout: Layout
    times: NDArray[np.int64]
    end: int
    keyframes: Sequence[int]


@dataclass(frozen=True, slots=True)
class AudioTable:
    """Frames without a gap from `start` (90 kHz, the part begins at 0) on."""

    sound: Sound
    layout: Layout
    start: int


Box = list[bytes]
"""A box in pieces: its tables may have 50 MB, and boxes lie five deep in each other."""


def box(kind: bytes, *parts: bytes | Box) -> Box:
    pieces = [piece for part in parts for piece in ([part] if isinstance(part, bytes) else part)]
    return [struct.pack(">I4s", 8 + sum(map(len, pieces)), kind), *pieces]


def _full(kind: bytes, version: int, flags: int, *parts: bytes | Box) -> Box:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def mdat_header(size: int) -> bytes:
    """Of `size` bytes of media, in the long form."""
    return struct.pack(">I4sQ", 1, b"mdat", MDAT_HEADER + size)


def moov(video: VideoTable | None, audio: AudioTable | None) -> Box:
    """Everything about the media; offsets in it count from the beginning of the file."""
    traks: list[Box] = []
    duration = 0
    if video is not None:
        traks.append(_video(len(traks) + 1, video))
        duration = max(duration, video.end)
    if audio is not None:
        traks.append(_audio(len(traks) + 1, audio))
        duration = max(duration, audio.start + _length(audio))
    header = struct.pack(">QQIQIH10x", 0, 0, CLOCK, duration, 0x10000, 0x100) + _MATRIX + bytes(24)
    return box(b"moov", _full(b"mvhd", 1, 0, header, struct.pack(">I", len(traks) + 1)), *traks)


def _length(audio: AudioTable) -> int:
    """In ticks of 90 kHz."""
    return round(len(audio.layout.sizes) * AAC_SAMPLES * CLOCK / audio.sound.rate)


def _video(number: int, table: VideoTable) -> Box:
    times = table.times
    start = int(times[0])
    scale = CLOCK
    deltas = np.diff(times, append=table.end)
    if int(deltas.max()) >= _DELTA_MAX:
        scale = _COARSE
        deltas = np.diff(times * _COARSE // CLOCK, append=table.end * _COARSE // CLOCK)
    width, height = table.size
    entry = box(
        b"avc1",
        struct.pack(">6xH16xHHIIIH32xHh", 1, width, height, 0x480000, 0x480000, 0, 1, 24, -1),
        box(b"avcC", _avcc_record(table.sets)),
    )
    keys = np.asarray(table.keyframes, np.int64) + 1
    stss = _full(b"stss", 0, 0, struct.pack(">I", len(keys)), keys.astype(">u4").tobytes())
    stts = _runs(deltas)
    media = int(deltas.sum())
    return _trak(
        number, b"vide", (width, height), start, table.end - start, scale, media, entry, [*stts, *stss], table.layout
    )


def _audio(number: int, table: AudioTable) -> Box:
    sound = table.sound
    config = (2 << 11 | RATES.index(sound.rate) << 7 | sound.channels << 3).to_bytes(2, "big")  # AAC-LC
    decoder = _descriptor(4, struct.pack(">BB3xII", 0x40, 0x15, 0, 0), _descriptor(5, config))
    esds = _full(b"esds", 0, 0, _descriptor(3, struct.pack(">HB", number, 0), decoder, _descriptor(6, b"\x02")))
    entry = box(b"mp4a", struct.pack(">6xH8xHHIH2x", 1, sound.channels, 16, 0, sound.rate), esds)
    count = len(table.layout.sizes)
    stts = _full(b"stts", 0, 0, struct.pack(">III", 1, count, AAC_SAMPLES))
    return _trak(
        number,
        b"soun",
        (0, 0),
        table.start,
        _length(table),
        sound.rate,
        count * AAC_SAMPLES,
        entry,
        stts,
        table.layout,
    )


def _descriptor(tag: int, *parts: bytes) -> bytes:
    """ISO/IEC 14496-1, 8.3.3; all are short."""
    content = b"".join(parts)
    return bytes((tag, len(content))) + content


def _avcc_record(sets: ParameterSets) -> bytes:
    """AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1.2)."""
    first = sets.sps[0]
    record = bytes((1, first[1], first[2], first[3], 0xFF, 0xE0 | len(sets.sps)))
    record += b"".join(struct.pack(">H", len(unit)) + unit for unit in sets.sps)
    record += bytes((len(sets.pps),))
    record += b"".join(struct.pack(">H", len(unit)) + unit for unit in sets.pps)
    if first[1] in (100, 110, 122, 144):
        record += b"\xfd\xf8\xf8\x00"  # 4:2:0, 8 bits: WebRTC has no other
    return record


def _runs(deltas: NDArray[np.int64]) -> Box:
    """stts: how long each sample lasts, run by run."""
    begins = np.flatnonzero(np.append(True, deltas[1:] != deltas[:-1]))
    counts = np.diff(np.append(begins, len(deltas)))
    table = np.empty((len(begins), 2), ">u4")
    table[:, 0], table[:, 1] = counts, deltas[begins]
    return _full(b"stts", 0, 0, struct.pack(">I", len(table)), table.tobytes())


def _trak(
    number: int,
    handler: bytes,
    size: tuple[int, int],
    start: int,
    duration: int,
    scale: int,
    media: int,
    entry: Box,
    tables: Box,
    layout: Layout,
) -> Box:
    """`start` and `duration` in the movie's ticks, `media` the same duration in the track's (`scale` a second)."""
    volume = 0x100 if handler == b"soun" else 0
    tkhd = struct.pack(">QQI4xQ8xHHH2x", 0, 0, number, start + duration, 0, 0, volume) + _MATRIX
    tkhd += struct.pack(">II", size[0] << 16, size[1] << 16)
    edits = [(duration, 0)] if not start else [(start, -1), (duration, 0)]
    elst = b"".join(struct.pack(">QqHH", length, at, 1, 0) for length, at in edits)
    header = b"smhd" if handler == b"soun" else b"vmhd"
    media_header = _full(header, 0, 0, bytes(4)) if handler == b"soun" else _full(header, 0, 1, bytes(8))
    name = b"SoundHandler\x00" if handler == b"soun" else b"VideoHandler\x00"
    return box(
        b"trak",
        _full(b"tkhd", 1, 3, tkhd),
        box(b"edts", _full(b"elst", 1, 0, struct.pack(">I", len(edits)), elst)),
        box(
            b"mdia",
            _full(b"mdhd", 1, 0, struct.pack(">QQIQHH", 0, 0, scale, media, 0x55C4, 0)),
            _full(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, handler), name),
            box(
                b"minf",
                media_header,
                box(b"dinf", _full(b"dref", 0, 0, struct.pack(">I", 1), _full(b"url ", 0, 1))),
                box(b"stbl", _full(b"stsd", 0, 0, struct.pack(">I", 1), entry), tables, _where(layout)),
            ),
        ),
    )


def _where(layout: Layout) -> Box:
    counts = np.asarray(layout.counts, np.int64)
    begins = np.flatnonzero(np.append(True, counts[1:] != counts[:-1]))
    runs = np.stack([begins + 1, counts[begins], np.ones_like(begins)], axis=1).astype(">u4")
    sizes = np.asarray(layout.sizes).astype(">u4")
    offsets = np.asarray(layout.offsets, np.int64).astype(">u8")
    return [
        *_full(b"stsc", 0, 0, struct.pack(">I", len(runs)), runs.tobytes()),
        *_full(b"stsz", 0, 0, struct.pack(">II", 0, len(sizes)), sizes.tobytes()),
        *_full(b"co64", 0, 0, struct.pack(">I", len(offsets)), offsets.tobytes()),
    ]
