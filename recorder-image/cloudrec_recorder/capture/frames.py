"""What depacketizers are and make, and what those of video have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from cloudrec_recorder.capture.rtp import Buffer

FRAME_BYTES_MAX = 8 << 20
_PARTS_MAX = 16384


class Frame(NamedTuple):
    """One encoded frame; `timestamp` is the 32-bit RTP time of its first sample."""

    timestamp: int
    data: bytes
    keyframe: bool


class Depacketizer(Protocol):
    """Makes frames of one stream's payloads."""

    def push(self, buffer: Buffer, start: int, end: int, timestamp: int, marker: bool) -> Sequence[Frame]:
        """The next payload in sequence, `buffer[start:end]`, not empty; `buffer` is reused by the caller."""

    def gap(self) -> None:
        """Packets before the next payload are lost for good."""

    def may_begin(self, buffer: Buffer, start: int, end: int) -> bool:
        """Whether a stream may begin with this payload; what a server sends first is the beginning of a keyframe."""

    @property
    def needs_keyframe(self) -> bool:
        """Nothing can be emitted until the publisher sends a keyframe."""


class VideoDepacketizer(ABC):
    """What all video codecs share: frames end at the marker, and all that can go wrong on the way.

    An SFU switching layers or muting cuts a frame short: the RTP time changes without a marker though no packet is
    missing. Such a frame is dropped like one with a hole.
    """

    def __init__(self) -> None:
        self._parts: list[Buffer] = []
        self._bytes = 0
        self._timestamp: int | None = None
        self._bad = False  # the frame at _timestamp cannot be completed
        self._lost = False  # a frame was dropped: wait for a keyframe
        self._resync = False  # after a gap: is the next packet the start of a frame?
        self._ended = True  # the frame at _timestamp had its marker
        self.cut = 0  # frames cut short so far
        self.needs_keyframe = True

    def push(self, buffer: Buffer, start: int, end: int, timestamp: int, marker: bool) -> Sequence[Frame]:
        if self._resync:
            self._resync = False
            self._timestamp = timestamp
            self._ended = False
            self._bad = not self._starts_frame(buffer, start, end)
        elif timestamp != self._timestamp:
            if not self._ended:
                self.cut += 1
                self._drop()
            self._timestamp = timestamp
            self._ended = False
            self._bad = False
        elif self._ended:
            self._ended = False  # more at the same RTP time after a marker: a frame of its own
        if not self._bad and not self._collect(buffer, start, end):
            self._bad = True
        if self._bytes > FRAME_BYTES_MAX or len(self._parts) > _PARTS_MAX:
            self._bad = True
        if self._bad:
            self._drop()
        if not marker:
            return ()
        self._ended = True
        if self._bad:
            self._bad = False
            return ()
        frame = self._finish(timestamp)
        self._clear()
        return () if frame is None else (frame,)

    def gap(self) -> None:
        self._resync = True
        self._drop()

    def may_begin(self, buffer: Buffer, start: int, end: int) -> bool:
        return self._starts_frame(buffer, start, end)

    def _drop(self) -> None:
        self._clear()
        self.needs_keyframe = True

    def _clear(self) -> None:
        self._parts = []
        self._bytes = 0

    def _add(self, part: Buffer) -> None:
        self._parts.append(part)
        self._bytes += len(part)

    @abstractmethod
    def _starts_frame(self, buffer: Buffer, start: int, end: int) -> bool:
        """Whether this payload is surely the first of its frame."""

    @abstractmethod
    def _collect(self, buffer: Buffer, start: int, end: int) -> bool:
        """Take one payload; False when the frame is spoilt."""

    @abstractmethod
    def _finish(self, timestamp: int) -> Frame | None:
        """The frame collected, or None when there is nothing to emit."""
