"""The canvas to H.264: every picture goes in and comes out at once.

No B-frames and no lookahead, so that a process that is killed takes no picture with it that it was given; one thread,
because x264's frame threads each hold one back and slices cost bits. FFmpeg's encoder reads its input before `encode`
returns (x264 copies each picture into its own, padded one), so the canvas may be drawn on again at once.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

import av
from av.video.frame import PictureType

from cloudrec_contract.mix import MixVideo

CUT_EARLY_SECONDS: Final = 0.5
"""The recorder cuts at the first keyframe that comes at most so much before a segment is full."""
PRESET: Final = "veryfast"
FASTER_PRESET: Final = "superfast"
"""Its parameter sets are the same, so a change of preset is none of the stream."""

_BUFFER_SECONDS: Final = 2
_BT601: Final = 6  # SMPTE 170M, ITU-T H.273: what WebRTC's pictures are when they do not say
_LIMITED: Final = 1


class Keyframes:
    """Which frames are keyframes: the first; those `gop_seconds` after the last one; and `segment_seconds` after one
    that began a segment. One begins a segment when the recorder cuts there.

    Frames are told by their number on the grid; some may be left out, then the next is what they were to be.
    """

    def __init__(self, fps: int, gop_seconds: float, segment_seconds: float) -> None:
        self._gop = max(1, round(fps * gop_seconds))
        self._segment = max(1, math.ceil(fps * segment_seconds - 1e-6))
        self._near = max(1, math.ceil(fps * (segment_seconds - CUT_EARLY_SECONDS) - 1e-6))
        self._last: int | None = None
        self._began = 0

    def due(self, frame: int) -> bool:
        """Whether the frame has to be one."""
        return self._last is None or frame - self._last >= self._gop or frame - self._began >= self._segment

    def made(self, frame: int) -> None:
        """The frame is a keyframe."""
        if self._last is None or frame - self._began >= self._near:
            self._began = frame
        self._last = frame


class Encoder:
    """Makes one access unit (Annex B, parameter sets before each keyframe) of each picture."""

    def __init__(self, video: MixVideo, segment_seconds: float) -> None:
        self._video = video
        self._keyframes = Keyframes(video.fps, video.gop_seconds, segment_seconds)
        self._time_base = Fraction(1, video.fps)
        self._faster = False
        self._after_keyframe = False
        self._context = self._open(PRESET)

    def encode(self, frame: av.VideoFrame, number: int, *, faster: bool = False) -> tuple[bytes, bool]:
        """The access unit of the picture with this number on the grid, and whether it is a keyframe.

        `faster`: at less cost, and less quality. A change of it makes a keyframe.
        """
        # never right after a keyframe: idr_pic_id of two in a row would be the same (7.4.3)
        if faster != self._faster and not self._after_keyframe:
            self._faster = faster
            self._context = self._open(FASTER_PRESET if faster else PRESET)
            keyframe = True
        else:
            keyframe = self._keyframes.due(number)
        frame.pts, frame.time_base = number, self._time_base
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        packets = self._context.encode(frame)
        if len(packets) != 1 or packets[0].is_keyframe != keyframe:
            raise RuntimeError(f"the encoder made {len(packets)} pictures of one")
        if keyframe:
            self._keyframes.made(number)
        self._after_keyframe = keyframe
        return bytes(packets[0]), keyframe

    def _open(self, preset: str) -> av.VideoCodecContext:
        video = self._video
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height, context.pix_fmt = video.width, video.height, "yuv420p"
        context.time_base = self._time_base
        context.framerate = Fraction(video.fps)
        context.thread_count = 1
        context.bit_rate = video.bit_rate
        context.colorspace = context.color_primaries = context.color_trc = _BT601
        context.color_range = _LIMITED
        context.options = {**OPTIONS, "preset": preset, **rate_options(video.bit_rate)}
        return context


OPTIONS: Final = {
    "profile": "main",
    "tune": "zerolatency",
    "forced-idr": "1",
    "x264-params": "scenecut=0:keyint=infinite:sliced-threads=0",
}


def rate_options(bit_rate: int) -> dict[str, str]:
    """VBV: a keyframe may take what is saved in two seconds."""
    return {"maxrate": str(bit_rate), "bufsize": str(_BUFFER_SECONDS * bit_rate)}
