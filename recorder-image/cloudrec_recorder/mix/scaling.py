"""Pictures of any size, format and colour to planes as the canvas has them: 4:2:0, 8 bits, BT.601, limited range."""

from __future__ import annotations

from typing import Final, TypedDict

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from cloudrec_contract.mix import RenderMode
from cloudrec_recorder.mix.canvas import Planes, cropped, frame_of, planes_of
from cloudrec_recorder.mix.placing import Rect, place

IMAGE_PIXELS_MAX: Final = 2560 * 2560

_FORMAT: Final = "yuv420p"
_PLANAR: Final = frozenset({_FORMAT, "yuvj420p"})
_FULL: Final = "yuvj420p"
# AVCOL_SPC_RGB, BT709, BT2020_NCL; what says nothing is taken for BT.601, as WebRTC's senders mean it
_OTHER_MATRIX: Final = frozenset({0, 1, 9})
_MAGIC: Final = {b"\x89PNG": "png", b"\xff\xd8\xff": "mjpeg"}
_WITH_ALPHA: Final = ("rgba", "ya", "pal", "argb", "bgra", "gbrap")


class Scaler:
    """Scales pictures of one source to one size; keeps its tables as long as both stay the same."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._plain = VideoReformatter()

    def scale(self, frame: av.VideoFrame, window: tuple[int, int], mode: RenderMode) -> tuple[Planes, Rect]:
        """The picture as it is seen, and where in a window of this size. Raises FFmpegError, ValueError."""
        placing = place((frame.width, frame.height), window, mode)
        crop, to = placing.crop, placing.place
        if crop != Rect(0, 0, frame.width, frame.height):
            frame = self._cropped(frame, crop)
        shrinks = to.width <= frame.width and to.height <= frame.height
        scaled = self._reformatter.reformat(
            frame,
            to.width,
            to.height,
            _FORMAT,
            interpolation=Interpolation.AREA if shrinks else Interpolation.BILINEAR,
            threads=1,  # more cost more than they give
            **_conversion(frame),
        )
        return planes_of(scaled), to

    def _cropped(self, frame: av.VideoFrame, crop: Rect) -> av.VideoFrame:
        """The part of it, without a copy."""
        if frame.format.name not in _PLANAR:
            frame = self._plain.reformat(frame, format=_FORMAT, threads=1, **_conversion(frame))
        part = frame_of(cropped(planes_of(frame), crop))
        part.color_range = ColorRange.JPEG if frame.format.name == _FULL else frame.color_range
        part.colorspace = frame.colorspace
        return part


def still_picture(data: bytes) -> av.VideoFrame | None:
    """A PNG or JPEG, what is transparent in it black; None when it cannot be read or is too large."""
    codec = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    if codec is None:
        return None
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(IMAGE_PIXELS_MAX)}
    try:
        frames = decoder.decode(av.Packet(data)) or decoder.decode(None)
        if not frames:
            return None
        frame = frames[0]
        if frame.format.name.startswith(_WITH_ALPHA):
            pixels = frame.to_ndarray(format="rgba").astype(np.uint16)
            frame = av.VideoFrame.from_ndarray((pixels[..., :3] * pixels[..., 3:] // 255).astype(np.uint8), "rgb24")
        if min(frame.width, frame.height) < 2:
            return None
        # an RGB picture's colorspace is none that a YUV picture could have
        to = VideoReformatter().reformat(
            frame, format=_FORMAT, dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.MPEG, threads=1
        )
    except (FFmpegError, ValueError, MemoryError):
        return None
    return to


class _Conversion(TypedDict, total=False):
    dst_color_range: ColorRange
    dst_colorspace: Colorspace


def _conversion(frame: av.VideoFrame) -> _Conversion:
    """What of the colours has to be changed; mostly nothing, and then it must not be named: that alone would cost."""
    wanted: _Conversion = {}
    if frame.color_range == ColorRange.JPEG or frame.format.name == _FULL:
        wanted["dst_color_range"] = ColorRange.MPEG
    if frame.colorspace in _OTHER_MATRIX:
        wanted["dst_colorspace"] = Colorspace.ITU601
        wanted["dst_color_range"] = ColorRange.MPEG
    return wanted
