"""RTP payloads to encoded frames: H.264 (RFC 6184), VP8 (RFC 7741), Opus (RFC 7587), RED (RFC 2198).

VP9 and AV1, whose pictures may be made of layers, are in `depacketize_layers`.

A depacketizer is fed the payloads of one stream in sequence order and told of gaps. It never emits a frame that is not
whole, and after a loss no video frame before the next keyframe: what reaches the file is always decodable.
"""

from __future__ import annotations

from collections.abc import Sequence

from cloudrec_recorder.capture.depacketize_layers import Av1Depacketizer, Vp9Depacketizer
from cloudrec_recorder.capture.frames import Depacketizer, Frame, VideoDepacketizer
from cloudrec_recorder.capture.rtp import Buffer
from cloudrec_recorder.h264 import (
    NAL_AUD,
    NAL_FU_A,
    NAL_IDR,
    NAL_PPS,
    NAL_SPS,
    NAL_STAP_A,
    START_CODE,
    picture_size,
)

__all__ = [
    "Depacketizer",
    "Frame",
    "H264Depacketizer",
    "OpusDepacketizer",
    "RedDepacketizer",
    "Vp8Depacketizer",
    "is_blank_opus",
    "make_depacketizer",
    "vp8_size",
]

_PPS_MAX = 16
_BLANK_SIDE_MAX = 8
# what LiveKit's SFU writes itself when a track is muted or ends; a publisher's own DTX frames are shorter
_BLANK_OPUS_HEAD = b"\xf8\xff\xfe"
_BLANK_OPUS_BYTES_MIN = 40


class OpusDepacketizer:
    """Each payload is an Opus packet."""

    needs_keyframe = False

    def push(self, buffer: Buffer, start: int, end: int, timestamp: int, marker: bool) -> Sequence[Frame]:
        data = bytes(buffer[start:end])
        if is_blank_opus(data):
            return ()
        return (Frame(timestamp, data, True),)

    def gap(self) -> None:
        """Opus packets stand alone."""

    def may_begin(self, buffer: Buffer, start: int, end: int) -> bool:
        return True


class RedDepacketizer:
    """Opus in RED: the primary block, and after a gap the redundant blocks that were not seen yet."""

    needs_keyframe = False

    def __init__(self) -> None:
        self._last: int | None = None

    def push(self, buffer: Buffer, start: int, end: int, timestamp: int, marker: bool) -> Sequence[Frame]:
        frames = []
        for time, data in _red_blocks(bytes(buffer[start:end]), timestamp):
            newer = self._last is None or 0 < (time - self._last) & 0xFFFFFFFF < 0x80000000
            # a block older than the first packet seen is none of ours
            if not newer or (self._last is None and time != timestamp):
                continue
            self._last = time
            if not is_blank_opus(data):
                frames.append(Frame(time, data, True))
        return frames

    def gap(self) -> None:
        """The redundant blocks of the next packet fill what they can."""

    def may_begin(self, buffer: Buffer, start: int, end: int) -> bool:
        return True


def _red_blocks(data: bytes, timestamp: int) -> list[tuple[int, bytes]]:
    """The blocks of a RED payload, oldest first, as (RTP time, data); [] when it is malformed."""
    headers = []
    at = 0
    while True:
        if at >= len(data):
            return []
        if not data[at] & 0x80:
            at += 1
            break
        if at + 4 > len(data):
            return []
        word = int.from_bytes(data[at + 1 : at + 4], "big")
        headers.append(((timestamp - (word >> 10)) & 0xFFFFFFFF, word & 0x3FF))
        at += 4
    blocks = []
    for time, length in headers:
        if at + length > len(data):
            return []
        if length:
            blocks.append((time, data[at : at + length]))
        at += length
    if at < len(data):
        blocks.append((timestamp, data[at:]))
    return blocks


def is_blank_opus(data: bytes) -> bool:
    """Whether the SFU wrote this silence in place of a muted or ended track."""
    return (
        len(data) >= _BLANK_OPUS_BYTES_MIN
        and data.startswith(_BLANK_OPUS_HEAD)
        and not any(data[len(_BLANK_OPUS_HEAD) :])
    )


class Vp8Depacketizer(VideoDepacketizer):
    """VP8: one partition after the other, the payload descriptor cut off."""

    def _starts_frame(self, buffer: Buffer, start: int, end: int) -> bool:
        return buffer[start] & 0x17 == 0x10

    def _collect(self, buffer: Buffer, start: int, end: int) -> bool:
        first = buffer[start]
        at = start + 1
        if first & 0x80:
            if at >= end:
                return False
            flags = buffer[at]
            at += 1
            if flags & 0x80:
                if at >= end:
                    return False
                at += 2 if buffer[at] & 0x80 else 1
            if flags & 0x40:
                at += 1
            if flags & 0x30:
                at += 1
        if at >= end:
            return False
        # a frame's first payload, and no other, has S set and partition 0
        if self._starts_frame(buffer, start, end) == bool(self._parts):
            return False
        self._add(buffer[at:end])
        return True

    def _finish(self, timestamp: int) -> Frame | None:
        data = b"".join(self._parts)
        keyframe = not data[0] & 1
        if keyframe:
            size = vp8_size(data)
            if size is None:
                self._drop()
                return None
            if max(size) <= _BLANK_SIDE_MAX:
                return None
            self.needs_keyframe = False
        elif self.needs_keyframe:
            return None
        return Frame(timestamp, data, keyframe)


def vp8_size(frame: Buffer) -> tuple[int, int] | None:
    """Width and height in a VP8 keyframe's header (RFC 6386 section 9.1); None when it is none."""
    if len(frame) < 10 or frame[0] & 1 or bytes(frame[3:6]) != b"\x9d\x01\x2a":
        return None
    return (frame[6] | frame[7] << 8) & 0x3FFF, (frame[8] | frame[9] << 8) & 0x3FFF


class H264Depacketizer(VideoDepacketizer):
    """H.264, packetization modes 0 and 1, to Annex B with four-byte start codes.

    Parameter sets are remembered, so that a keyframe whose publisher sent them apart gets them put before it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._sps: bytes | None = None
        self._blank: bool | None = None  # whether it is of a blank end frame; None: not looked at yet
        self._pps: dict[bytes, bytes] = {}  # by the first bytes, which hold the id
        self._types: set[int] = set()
        self._fragment: int | None = None  # NAL type of the fragmented unit that is open

    def _clear(self) -> None:
        super()._clear()
        self._types = set()
        self._fragment = None

    def _starts_frame(self, buffer: Buffer, start: int, end: int) -> bool:
        kind = buffer[start] & 0x1F
        if kind == NAL_STAP_A and start + 3 < end:
            kind = buffer[start + 3] & 0x1F
        return kind in (NAL_SPS, NAL_AUD)

    def _collect(self, buffer: Buffer, start: int, end: int) -> bool:
        first = buffer[start]
        kind = first & 0x1F
        if kind == NAL_FU_A:
            return self._collect_fragment(buffer, start, end)
        if self._fragment is not None:
            return False
        if kind == NAL_STAP_A:
            at = start + 1
            while at + 2 < end:
                size = buffer[at] << 8 | buffer[at + 1]
                at += 2
                if not size or at + size > end:
                    return False
                self._unit(bytes(buffer[at : at + size]))
                at += size
            return at == end
        if 0 < kind < NAL_STAP_A:
            self._unit(bytes(buffer[start:end]))
            return True
        return False  # STAP-B, MTAP, FU-B: interleaved mode is never negotiated

    def _collect_fragment(self, buffer: Buffer, start: int, end: int) -> bool:
        if start + 2 >= end:
            return False
        second = buffer[start + 1]
        kind = second & 0x1F
        if second & 0x80:
            if self._fragment is not None or not 0 < kind < NAL_STAP_A:
                return False
            self._fragment = kind
            self._types.add(kind)
            self._parts.append(START_CODE + bytes((buffer[start] & 0xE0 | kind,)))
        elif self._fragment != kind:
            return False
        self._add(buffer[start + 2 : end])
        if second & 0x40:
            self._fragment = None
        return True

    def _unit(self, unit: bytes) -> None:
        kind = unit[0] & 0x1F
        self._types.add(kind)
        if kind == NAL_SPS:
            if unit != self._sps:
                self._pps.clear()
                self._blank = None
            self._sps = unit
        elif kind == NAL_PPS:
            self._pps.pop(unit[1:2], None)  # the newest goes last: of one id the last counts
            if len(self._pps) < _PPS_MAX:
                self._pps[unit[1:2]] = unit
        self._add(START_CODE)
        self._add(unit)

    def _finish(self, timestamp: int) -> Frame | None:
        if self._fragment is not None:
            self._drop()
            return None
        if not any(0 < kind <= NAL_IDR for kind in self._types):
            return None  # parameter sets or SEI alone
        keyframe = NAL_IDR in self._types
        if keyframe:
            if self._sps is None or not self._pps:
                self._drop()
                return None
            if self._blank is None:
                size = picture_size(self._sps)
                self._blank = size is not None and max(size) <= _BLANK_SIDE_MAX
            if self._blank:
                return None
            if NAL_SPS not in self._types:
                sets = [self._sps, *(() if NAL_PPS in self._types else self._pps.values())]
                self._parts[:0] = [part for unit in sets for part in (START_CODE, unit)]
            self.needs_keyframe = False
        elif self.needs_keyframe:
            return None
        return Frame(timestamp, b"".join(self._parts), keyframe)


def make_depacketizer(codec: str) -> Depacketizer | None:
    """The depacketizer of an SDP codec name in upper case; None when the codec is not known."""
    match codec:
        case "H264":
            return H264Depacketizer()
        case "VP8":
            return Vp8Depacketizer()
        case "VP9":
            return Vp9Depacketizer()
        case "AV1":
            return Av1Depacketizer()
        case "OPUS":
            return OpusDepacketizer()
        case "RED":
            return RedDepacketizer()
        case _:
            return None
