"""The canvas: layers from the back to the front, of which only what has changed is drawn again.

4:2:0 of 8 bits in BT.601, limited range. The planes are drawn on in place and lent to the encoder as one frame that
never changes but in its content. What is drawn is a pure function of the layers: a region is drawn from the frontmost
layer that hides all behind it up to the top, clipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from cloudrec_recorder.mix.placing import Rect

Plane: TypeAlias = NDArray[np.uint8]
Planes: TypeAlias = tuple[Plane, Plane, Plane]
Colour: TypeAlias = tuple[int, int, int]
"""Y, U, V."""

BLACK: Final[Colour] = (16, 128, 128)

NOTHING: Final[Planes] = (np.empty((0, 0), np.uint8),) * 3


class Layer(Protocol):
    """Something on the canvas. All edges are even."""

    @property
    def rect(self) -> Rect:
        """What of the canvas it may change."""

    @property
    def opaque(self) -> bool:
        """It hides all that is behind its rect."""

    def draw(self, planes: Planes, region: Rect) -> None:
        """Draw what of it is in `region`, which is inside `rect`."""


class Overlay(Protocol):
    """What is laid over the canvas, premultiplied: canvas = canvas × keep / 255 + planes.

    `planes`' luma is `height` x `width` from (`left`, `top`), chroma half of it; all even.
    """

    @property
    def left(self) -> int: ...
    @property
    def top(self) -> int: ...
    @property
    def planes(self) -> Planes: ...
    @property
    def keep(self) -> tuple[Plane, Plane]:
        """Of luma and of chroma: 255 where it is transparent, 0 where it is opaque."""


class Canvas:
    """Planes of a size, and the frame that shows them."""

    def __init__(self, width: int, height: int) -> None:
        self.rect = Rect(0, 0, width, height)
        self.planes: Planes = (
            np.full((height, width), BLACK[0], np.uint8),
            np.full((height // 2, width // 2), BLACK[1], np.uint8),
            np.full((height // 2, width // 2), BLACK[2], np.uint8),
        )
        self.frame = frame_of(self.planes)

    def draw(self, layers: Sequence[Layer], dirty: Iterable[Rect]) -> None:
        """Draw these regions of the canvas anew; outside them it has to be what the layers say already."""
        for region in _outermost(dirty):
            above = [layer for layer in layers if layer.rect.meets(region)]
            first = 0
            for index in range(len(above) - 1, -1, -1):
                if above[index].opaque and above[index].rect.covers(region):
                    first = index
                    break
            for layer in above[first:]:
                layer.draw(self.planes, region if layer.rect.covers(region) else layer.rect.within(region))


@dataclass(frozen=True, slots=True)
class Field:
    """One colour."""

    rect: Rect
    colour: Colour
    opaque: bool = True

    def draw(self, planes: Planes, region: Rect) -> None:
        for to, value in zip(_parts(planes, region), self.colour, strict=True):
            to[...] = value


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture at its place in a window, with bars around it. `opacity` below 255 lets through what is behind."""

    rect: Rect
    place: Rect
    planes: Planes
    opacity: int = 255
    bars: Colour = BLACK

    @property
    def opaque(self) -> bool:
        return self.opacity == 255

    def draw(self, planes: Planes, region: Rect) -> None:
        if self.opaque:
            self._copy(planes, region)
            return
        size = (region.height, region.width)
        whole: Planes = (
            np.empty(size, np.uint8),
            np.empty((size[0] // 2, size[1] // 2), np.uint8),
            np.empty((size[0] // 2, size[1] // 2), np.uint8),
        )
        at = Rect.sized(0, 0, region.width, region.height)
        moved = Picture(
            self.rect.moved(-region.left, -region.top), self.place.moved(-region.left, -region.top), self.planes
        )
        moved._copy(whole, at)
        for to, above in zip(_parts(planes, region), whole, strict=True):
            mixed = to.astype(np.uint16) * np.uint16(255 - self.opacity)
            mixed += above.astype(np.uint16) * np.uint16(self.opacity)
            to[...] = divided(mixed)

    def _copy(self, planes: Planes, region: Rect) -> None:
        place = self.place
        inside = region
        if not place.covers(region):
            Field(region, self.bars).draw(planes, region)
            inside = place.within(region)
            if inside.empty:
                return
        source = inside.moved(-place.left, -place.top)
        for to, above in zip(_parts(planes, inside), _parts(self.planes, source), strict=True):
            to[...] = above


@dataclass(frozen=True, slots=True)
class Mark:
    """A watermark."""

    rect: Rect
    overlay: Overlay
    opaque: bool = False

    def draw(self, planes: Planes, region: Rect) -> None:
        overlay = self.overlay
        source = region.moved(-overlay.left, -overlay.top)
        keep = (overlay.keep[0], overlay.keep[1], overlay.keep[1])
        for to, above, kept in zip(
            _parts(planes, region), _parts(overlay.planes, source), _parts(keep, source), strict=True
        ):
            mixed = to.astype(np.uint16) * kept
            to[...] = divided(mixed) + above


def mark(overlay: Overlay) -> Mark:
    height, width = overlay.planes[0].shape
    return Mark(Rect.sized(overlay.left, overlay.top, width, height), overlay)


def divided(values: NDArray[np.uint16]) -> Plane:
    """By 255, rounded to the nearest; up to 65025. Changes `values`."""
    values += 128
    values += values >> 8
    values >>= 8
    return values.astype(np.uint8)


def yuv(colour: str) -> Colour:
    """Of `#RRGGBB`, in BT.601 of limited range."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return (
        round(16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255),
        round(128 + (-37.797 * red - 74.203 * green + 112.0 * blue) / 255),
        round(128 + (112.0 * red - 93.786 * green - 18.214 * blue) / 255),
    )


def planes_of(frame: av.VideoFrame) -> Planes:
    """Views of a yuv420p frame, which they keep alive."""
    y, u, v = (
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    )
    return y, u, v


def frame_of(planes: Planes) -> av.VideoFrame:
    """A yuv420p frame that lies where the planes lie."""
    return av.VideoFrame.from_dlpack(planes, format="yuv420p")


def cropped(planes: Planes, rect: Rect) -> Planes:
    """A view of the part, which is even and inside."""
    y, u, v = _parts(planes, rect)
    return y, u, v


def _parts(planes: Planes, rect: Rect) -> tuple[NDArray[Any], ...]:
    left, top, right, bottom = rect.left, rect.top, rect.right, rect.bottom
    down, across = slice(top // 2, bottom // 2), slice(left // 2, right // 2)
    return planes[0][top:bottom, left:right], planes[1][down, across], planes[2][down, across]


def _outermost(rects: Iterable[Rect]) -> list[Rect]:
    """Without those that lie within another."""
    found: list[Rect] = []
    for rect in sorted(rects, key=_area, reverse=True):
        if not any(other.covers(rect) for other in found):
            found.append(rect)
    return found


def _area(rect: Rect) -> int:
    return rect.width * rect.height
