"""Video that MPEG-TS cannot carry, to H.264: VP8, VP9 and AV1, each track on a thread of its own.

Live: every picture goes in and comes out at once, without B-frames, so that its decoding time is its presentation time.
Keyframes are forced where a segment is to be cut, so publishers are asked for none; only the decoder needs one, after a
loss. The preset is a balance: x264's `superfast` costs 1.4 times what `ultrafast` does, and files are up to a third
smaller; `veryfast` costs another 1.8 times for up to a fifth less.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Final

import av
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from cloudrec_recorder.media import AccessUnit
from cloudrec_recorder.segments.mpegts import CLOCK, ticks

logger = logging.getLogger(__name__)

# Of VP9 libvpx' own decoder: FFmpeg's reads but the first of a picture's spatial layers (SVC).
DECODERS: Final = {"VP8": "vp8", "VP9": "libvpx-vp9", "AV1": "libdav1d"}
"""The decoder of each codec that is transcoded, by its SDP name."""

WAITING_MAX: Final = 300
"""Pictures that may wait for the encoder: 5 s of 60 a second, as capture may hold and let out at once when a track
begins. Beyond it all is dropped up to a keyframe."""
WAITING_BYTES_MAX: Final = 16 << 20

_TIME_BASE: Final = Fraction(1, CLOCK)
_PRESET: Final = "superfast"
_CRF: Final = 23
_FPS: Final = 30  # for x264's rate control only: time stamps are the publisher's
_BITS_PER_PIXEL: Final = 0.1  # 720p30: 2.8 Mbps at most
_LEAST_RATE: Final = 300_000
_MOST_RATE: Final = 8_000_000
_SIDE_MIN: Final = 9  # 8x8 is what an SFU sends itself when a track ends
_SIDE_MAX: Final = 4096
_FORMAT: Final = "yuv420p"


class Transcoder:
    """One track's thread. `push` and `take` are called on the event loop's thread and never wait.

    H.264 in between (the publisher went on in another codec) goes through untouched, in its place.
    """

    def __init__(self, name: str, segment_seconds: float) -> None:
        self._work = _Work(segment_seconds)
        self._units: queue.SimpleQueue[AccessUnit | None] = queue.SimpleQueue()
        self._made: deque[tuple[AccessUnit, bool]] = deque()
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0
        self._thread = threading.Thread(target=self._run, name=f"transcode {name}", daemon=True)
        self._thread.start()
        self.overloaded = False
        """Too much waits: pictures are dropped until a keyframe comes."""
        self.dropped = 0

    @property
    def idle(self) -> bool:
        """Everything that was pushed has been taken."""
        return not self._count and not self._made

    @property
    def needs_keyframe(self) -> bool:
        """The publisher has to send one before anything can come out."""
        return self._work.lost or (self.overloaded and self._count <= WAITING_MAX // 2)

    def push(self, unit: AccessUnit) -> None:
        size = len(unit.data)
        with self._lock:
            if self.overloaded and unit.keyframe and self._count <= WAITING_MAX // 2:
                self.overloaded = False
            elif self._count >= WAITING_MAX or self._bytes + size > WAITING_BYTES_MAX:
                self.overloaded = True
            if self.overloaded:
                self.dropped += 1
                return
            self._count += 1
            self._bytes += size
        self._units.put(unit)

    def take(self) -> Iterator[tuple[AccessUnit, bool]]:
        """H.264 access units that are ready, and whether each was transcoded."""
        while self._made:
            yield self._made.popleft()

    def force_keyframe(self) -> None:
        """Make the next picture a keyframe."""
        self._work.force = True

    def close(self) -> None:
        """Nothing may be pushed any more; the thread ends when it has done what waits."""
        self._units.put(None)

    def join(self, timeout: float) -> bool:
        """Wait for the end, after `close`; False when it took longer than `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (unit := self._units.get()) is not None:
            try:
                self._made.extend(self._work.process(unit))
            except Exception:
                logger.exception("transcoding broke off", extra={"user": unit.key.user_id})
                self._work.reset()
            with self._lock:
                self._count -= 1
                self._bytes -= len(unit.data)


class _Work:
    """What the thread does: a decoder for each source, an encoder for each size of its pictures."""

    def __init__(self, segment_seconds: float) -> None:
        self._segment = round(segment_seconds * CLOCK)
        self._source: tuple[int, str] | None = None
        self._decoder: av.VideoCodecContext | None = None
        self._encoder: av.VideoCodecContext | None = None
        self._reformatter = VideoReformatter()
        self._cut_at = 0
        self.lost = False
        self.force = False

    def reset(self, *, lost: bool = True) -> None:
        """Begin anew with the next keyframe."""
        self._decoder = self._encoder = None
        self.lost = lost

    def process(self, unit: AccessUnit) -> list[tuple[AccessUnit, bool]]:
        """What comes out for one access unit."""
        if (unit.source, unit.codec) != self._source:
            self._source = (unit.source, unit.codec)
            self.reset(lost=not unit.keyframe)
        if unit.codec not in DECODERS:
            self.lost = False
            return [(unit, False)]
        if unit.keyframe:
            self.lost = False
        elif self.lost:
            return []
        packet = av.Packet(unit.data)
        packet.pts = packet.dts = ticks(unit.time)
        made = []
        try:
            if self._decoder is None:
                self._decoder = _decoder(unit.codec)
            for frame in self._decoder.decode(packet):
                made += [(part, True) for part in self._encode(frame, unit)]
        except (FFmpegError, ValueError) as error:
            logger.warning("a picture was left out: %s", error, extra={"user": unit.key.user_id, "codec": unit.codec})
            self.reset()
        return made

    def _encode(self, frame: av.VideoFrame, unit: AccessUnit) -> Iterator[AccessUnit]:
        pts = frame.pts
        if pts is None or max(frame.width, frame.height) < _SIDE_MIN:
            return
        width, height = frame.width & ~1, frame.height & ~1
        if min(width, height) < _SIDE_MIN or max(width, height) > _SIDE_MAX:
            raise ValueError(f"a picture of {frame.width}x{frame.height} is not recorded")
        if (frame.format.name, frame.width, frame.height) != (_FORMAT, width, height):
            frame = self._reformatter.reformat(frame, width, height, _FORMAT, threads=1)
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (width, height):
            encoder = self._encoder = _encoder(width, height)
            self._cut_at = pts
        force = self.force or pts >= self._cut_at
        if force:
            self.force = False
            self._cut_at = pts + self._segment
        # the decoder's own type would be taken for an order
        frame.pict_type = PictureType.I if force else PictureType.NONE
        frame.pts, frame.time_base = pts, _TIME_BASE
        for packet in encoder.encode(frame):
            time = unit.time if packet.pts == ticks(unit.time) else (packet.pts or 0) / CLOCK
            yield replace(unit, codec="H264", data=bytes(packet), time=time, keyframe=packet.is_keyframe)


def _decoder(codec: str) -> av.VideoCodecContext:
    decoder = av.CodecContext.create(DECODERS[codec], "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1  # more would hold pictures back
    return decoder


def _encoder(width: int, height: int) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, _FORMAT
    encoder.time_base = _TIME_BASE
    encoder.framerate = Fraction(_FPS)
    encoder.thread_count = 1  # there are as many tracks as cores, and more
    rate = min(max(round(width * height * _FPS * _BITS_PER_PIXEL), _LEAST_RATE), _MOST_RATE)
    encoder.options = {
        "preset": _PRESET,
        "tune": "zerolatency",
        "crf": str(_CRF),
        "maxrate": str(rate),
        "bufsize": str(2 * rate),
        "forced-idr": "1",
        "x264-params": "scenecut=0:keyint=infinite",
    }
    return encoder
