"""RTP payloads of VP9 (RFC 9628) and AV1 (AV1 RTP specification 1.0).

A frame is a whole picture with all spatial layers that the SFU forwards: what one RTP time has, up to the marker.
"""

from __future__ import annotations

from cloudrec_recorder.capture.frames import Frame, VideoDepacketizer
from cloudrec_recorder.capture.rtp import Buffer

_OBU_SEQUENCE_HEADER = 1
_OBU_TEMPORAL_DELIMITER = 2
_OBU_FRAME_HEADER = 3
_OBU_FRAME = 6
_OBU_PADDING = 15
_LEB128_MAX = 5  # bytes: 35 bits are more than any frame
_TEMPORAL_DELIMITER = b"\x12\x00"


class Vp9Depacketizer(VideoDepacketizer):
    """VP9: the layer frames of a picture back to back, as libvpx takes them; flexible mode or not."""

    def __init__(self) -> None:
        super().__init__()
        self._inside = False  # of a layer frame

    def _clear(self) -> None:
        super()._clear()
        self._inside = False

    def _starts_frame(self, buffer: Buffer, start: int, end: int) -> bool:
        first = buffer[start]
        if not first & 0x08:
            return False
        at = start + 1
        if first & 0x80:
            at += 2 if at < end and buffer[at] & 0x80 else 1
        return not first & 0x20 or (at < end and not buffer[at] & 0x0E)

    def _collect(self, buffer: Buffer, start: int, end: int) -> bool:
        first = buffer[start]
        begins, ends = bool(first & 0x08), bool(first & 0x04)
        at = _vp9_payload(buffer, start, end)
        if at is None or begins == self._inside:
            return False
        self._inside = not ends
        self._add(buffer[at:end])
        return True

    def _finish(self, timestamp: int) -> Frame | None:
        if self._inside:
            self._drop()
            return None
        data = b"".join(self._parts)
        keyframe = vp9_keyframe(data)
        if keyframe:
            self.needs_keyframe = False
        elif self.needs_keyframe:
            return None
        return Frame(timestamp, data, keyframe)


def _vp9_payload(buffer: Buffer, start: int, end: int) -> int | None:
    """Where the payload descriptor ends; None when nothing follows it (RFC 9628 section 4.2)."""
    first = buffer[start]
    at = start + 1
    if first & 0x80:  # picture id
        if at >= end:
            return None
        at += 2 if buffer[at] & 0x80 else 1
    if first & 0x20:  # layer indices
        at += 1 if first & 0x10 else 2
    if first & 0x50 == 0x50:  # reference indices, three at most
        for _ in range(3):
            if at >= end:
                return None
            at += 1
            if not buffer[at - 1] & 1:
                break
    if first & 0x02:  # scalability structure
        if at >= end:
            return None
        head = buffer[at]
        at += 1
        if head & 0x10:
            at += 4 * ((head >> 5) + 1)
        if head & 0x08:
            if at >= end:
                return None
            pictures = buffer[at]
            at += 1
            for _ in range(pictures):
                if at >= end:
                    return None
                at += 1 + (buffer[at] >> 2 & 3)
    return at if at < end else None


def vp9_keyframe(frame: Buffer) -> bool:
    """Whether a VP9 frame is a keyframe, by its uncompressed header (VP9 bitstream, section 6.2)."""
    first = frame[0]
    if first & 0xC0 != 0x80:
        return False
    return not first & (0x06 if first & 0x30 == 0x30 else 0x0C)


class Av1Depacketizer(VideoDepacketizer):
    """AV1: the OBUs of a temporal unit, with the sizes and the delimiter that RTP leaves out put back."""

    def __init__(self) -> None:
        super().__init__()
        self._open = False  # the last OBU goes on in the next packet

    def _clear(self) -> None:
        super()._clear()
        self._open = False

    def _starts_frame(self, buffer: Buffer, start: int, end: int) -> bool:
        return buffer[start] & 0x88 == 0x08  # of a coded video sequence: no other matters after a loss

    def _collect(self, buffer: Buffer, start: int, end: int) -> bool:
        head = buffer[start]
        continues, count = bool(head & 0x80), head >> 4 & 3
        at, index = start + 1, 0
        if continues != self._open or at >= end:
            return False
        while at < end:
            index += 1
            size = end - at
            if index != count:
                read = _leb128(buffer, at, end)
                if read is None:
                    return False
                size, at = read
                if at + size > end:
                    return False
            part = bytes(buffer[at : at + size])
            at += size
            if index == 1 and continues:
                self._parts[-1] = bytes(self._parts[-1]) + part
                self._bytes += size
            else:
                self._add(part)
        self._open = bool(head & 0x40)
        return index == count or not count

    def _finish(self, timestamp: int) -> Frame | None:
        if self._open:
            self._drop()
            return None
        data, sequence, key = [_TEMPORAL_DELIMITER], False, None
        for part in self._parts:
            unit = bytes(part)
            kind = unit[0] >> 3 & 0x0F if unit else _OBU_PADDING
            if kind in (_OBU_TEMPORAL_DELIMITER, _OBU_PADDING):
                continue
            made = _sized(unit)
            if made is None:
                self._drop()
                return None
            data.append(made[0])
            sequence = sequence or kind == _OBU_SEQUENCE_HEADER
            if key is None and kind in (_OBU_FRAME, _OBU_FRAME_HEADER):
                key = not made[1] & 0xE0  # neither an existing frame shown again nor any type but KEY_FRAME
        if key is None:
            return None
        if key and sequence:
            self.needs_keyframe = False
        elif self.needs_keyframe:
            return None
        return Frame(timestamp, b"".join(data), key and sequence)


def _leb128(buffer: Buffer, at: int, end: int) -> tuple[int, int] | None:
    """A number of seven bits a byte, least first, and where it ends; None when it is cut off or too long."""
    value = 0
    for place in range(min(_LEB128_MAX, end - at)):
        byte = buffer[at + place]
        value |= (byte & 0x7F) << 7 * place
        if not byte & 0x80:
            return value, at + place + 1
    return None


def _sized(unit: bytes) -> tuple[bytes, int] | None:
    """An OBU with its size field, and the first byte of its payload (0 if it is empty); None when it is cut off."""
    head = 2 if unit[0] & 0x04 else 1
    if len(unit) < head:
        return None
    if unit[0] & 0x02:
        read = _leb128(unit, head, len(unit))
        if read is None or read[1] + read[0] != len(unit):
            return None
        return unit, unit[read[1]] if read[0] else 0
    size, left = bytearray(), len(unit) - head
    while left > 0x7F:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    size.append(left)
    body = unit[head:]
    return bytes((unit[0] | 0x02,)) + unit[1:head] + size + body, body[0] if body else 0
