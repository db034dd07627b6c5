"""Pictures of any size, format and colour to planes as the canvas has them: 4:2:0, 8 bits, BT.601, limited range."""

from __future__ import annotations

from typing import Final, TypedDict

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from cloudrec_contract.mix import RenderMode
from cloudrec_recorder.mix.canvas import Planes, cropped, divided, frame_of, planes_of
from cloudrec_recorder.mix.placing import Placing, Rect, place

_FORMAT: Final = "yuv420p"
_PLANAR: Final = frozenset({_FORMAT, "yuvj420p"})
_FULL: Final = "yuvj420p"
_JPEG: Final = int(ColorRange.JPEG)
_AREA: Final = int(Interpolation.AREA)
_BILINEAR: Final = int(Interpolation.BILINEAR)
# AVCOL_SPC_RGB, BT709, BT2020_NCL; what says nothing is taken for BT.601, as WebRTC's senders mean it
_OTHER_MATRIX: Final = frozenset({0, 1, 9})


class Scaler:
    """Scales pictures of one source to one size; keeps its tables as long as both stay the same."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._plain = VideoReformatter()
        self._placed: tuple[tuple[object, ...], Placing] | None = None

    def scale(self, frame: av.VideoFrame, window: tuple[int, int], mode: RenderMode) -> tuple[Planes, Rect]:
        """The picture as it is seen, and where in a window of this size. Raises FFmpegError, ValueError."""
        width, height = frame.width, frame.height
        key = (width, height, window, mode)
        if self._placed is None or self._placed[0] != key:
            self._placed = key, place((width, height), window, mode)
        placing = self._placed[1]
        crop, to = placing.crop, placing.place
        if (crop.width, crop.height) != (width, height):
            frame = self._cropped(frame, crop)
        shrinks = to.width <= crop.width and to.height <= crop.height
        scaled = self._reformatter.reformat(
            frame,
            to.width,
            to.height,
            _FORMAT,
            interpolation=_AREA if shrinks else _BILINEAR,
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


def still_picture(pixels: NDArray[np.uint8]) -> av.VideoFrame:
    """Of RGBA (height, width, 4), what is transparent in it black. Raises ValueError when it is too small."""
    height, width = pixels.shape[:2]
    if min(height, width) < 2:
        raise ValueError(f"an image of {width}x{height} is not shown")
    alpha = pixels[..., 3:]
    if alpha.min() < 255:
        pixels = pixels.copy()
        pixels[..., :3] = divided(pixels[..., :3].astype(np.uint16) * alpha)
    return VideoReformatter().reformat(
        av.VideoFrame.from_ndarray(pixels, format="rgba"),
        format=_FORMAT,
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.MPEG,
        threads=1,
    )


class _Conversion(TypedDict, total=False):
    dst_color_range: ColorRange
    dst_colorspace: Colorspace


def _conversion(frame: av.VideoFrame) -> _Conversion:
    """What of the colours has to be changed; mostly nothing, and then it must not be named: that alone would cost."""
    full, other = frame.color_range == _JPEG or frame.format.name == _FULL, frame.colorspace in _OTHER_MATRIX
    if not (full or other):
        return {}
    wanted: _Conversion = {"dst_color_range": ColorRange.MPEG}
    if other:
        wanted["dst_colorspace"] = Colorspace.ITU601
    return wanted
