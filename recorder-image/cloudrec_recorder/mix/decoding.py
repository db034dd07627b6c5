"""One stream's access units to pictures. What goes wrong in it stays in it: its last picture stands until a keyframe.

Units wait as they came and are decoded when a frame of the output is made, so nothing but the newest picture is held.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Final

import av
from av.error import FFmpegError

from cloudrec_recorder.mix.wire import Unit
from cloudrec_recorder.segments.transcode import DECODERS as TRANSCODED

logger = logging.getLogger(__name__)

DECODERS: Final = {"H264": "h264", **TRANSCODED}
SIDE_MIN: Final = 9
"""8x8 is what an SFU sends itself when a track ends."""
SIDE_MAX: Final = 4096
PIXELS_MAX: Final = 4096 * 2304
WAITING_MAX: Final = 900
"""Units that may wait: those of 5 s that capture may hold and let out at once, of 60 a second, and more."""
WAITING_BYTES_MAX: Final = 16 << 20
FAILURES_MAX: Final = 5
"""So many keyframes in a row that could not be decoded: the stream is of no use."""


class Source:
    """Pictures of one stream. `frame` is the newest that was decoded; `version` grows with each."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.frame: av.VideoFrame | None = None
        self.version = 0
        self.loop_filter = True
        """False: decoders that are opened from now on leave it out."""
        self.lost = False
        """Nothing can be decoded until a keyframe comes."""
        self._waiting: deque[Unit] = deque()
        self._bytes = 0
        self._failures = 0
        self._unknown_codec = False
        self._of: tuple[int, str, bool] | None = None
        self._decoder: av.VideoCodecContext | None = None

    @property
    def useless(self) -> bool:
        """It cannot be decoded, and another keyframe will not help."""
        return self._unknown_codec or self._failures >= FAILURES_MAX

    def push(self, unit: Unit) -> None:
        """Take the next in decoding order."""
        waiting = self._waiting
        while waiting and waiting[-1].source != unit.source and waiting[-1].time >= unit.time:
            # the track began anew before its end
            self._bytes -= len(waiting.pop().data)
        if len(waiting) >= WAITING_MAX or self._bytes + len(unit.data) > WAITING_BYTES_MAX:
            waiting.clear()
            self._bytes = 0
            self._fail("too much waits")
        waiting.append(unit)
        self._bytes += len(unit.data)

    def advance(self, until: float) -> None:
        """Decode what is shown up to this time (s)."""
        waiting = self._waiting
        while waiting and waiting[0].time <= until:
            unit = waiting.popleft()
            self._bytes -= len(unit.data)
            self._decode(unit)

    def _decode(self, unit: Unit) -> None:
        name = DECODERS.get(unit.codec)
        self._unknown_codec = name is None
        if name is None:
            return
        if self._of is None or self._of[:2] != (unit.source, unit.codec):
            self._of = self._decoder = None
            self.lost = True
        if unit.keyframe:
            self.lost = False
            if self._of is None or self._of[2] != self.loop_filter:
                self._decoder = None
            self._of = (unit.source, unit.codec, self.loop_filter)
        elif self.lost:
            return
        packet = av.Packet(unit.data)
        try:
            if self._decoder is None:
                self._decoder = _open(name, loop_filter=self.loop_filter)
            for frame in self._decoder.decode(packet):
                self._show(frame)
        except (FFmpegError, ValueError, MemoryError) as error:
            if unit.keyframe:
                self._failures += 1
            self._fail(str(error))

    def _show(self, frame: av.VideoFrame) -> None:
        width, height = frame.width, frame.height
        if max(width, height) < SIDE_MIN:
            return
        if min(width, height) < SIDE_MIN or max(width, height) > SIDE_MAX or width * height > PIXELS_MAX:
            raise ValueError(f"a picture of {width}x{height} is not shown")
        if frame.is_corrupt:
            raise ValueError("a picture is damaged")
        self._failures = 0
        self.frame = frame
        self.version += 1

    def _fail(self, why: str) -> None:
        logger.info("a stream's picture stands still: %s", why, extra={"stream": self.number})
        self._decoder = self._of = None
        self.lost = True


def _open(name: str, *, loop_filter: bool) -> av.VideoCodecContext:
    decoder = av.CodecContext.create(name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1  # more would hold pictures back
    decoder.options = {"max_pixels": str(PIXELS_MAX)} | ({} if loop_filter else {"skip_loop_filter": "all"})
    return decoder
