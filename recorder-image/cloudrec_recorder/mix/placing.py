"""Where a picture goes in its window: what of it is seen, and where. Pure; all in pixels, all even (4:2:0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cloudrec_contract.mix import RenderMode

SMART_KEEPS: Final = 0.8
"""`Smart` leaves at least this much of a side."""

_KEEPS: Final = {RenderMode.CROP: 0.0, RenderMode.SMART: SMART_KEEPS, RenderMode.FIT: 1.0}


@dataclass(frozen=True, slots=True)
class Rect:
    """From `left`, `top` up to, without, `right`, `bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def sized(cls, left: int, top: int, width: int, height: int) -> Rect:
        return cls(left, top, left + width, top + height)

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def empty(self) -> bool:
        return self.right <= self.left or self.bottom <= self.top

    def within(self, other: Rect) -> Rect:
        """What both have in common; may be empty."""
        return Rect(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def meets(self, other: Rect) -> bool:
        """They have something in common."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def covers(self, other: Rect) -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )

    def moved(self, x: int, y: int) -> Rect:
        return Rect(self.left + x, self.top + y, self.right + x, self.bottom + y)

    def shrunk_to_even(self) -> Rect:
        """The largest inside it whose edges are all even."""
        return Rect((self.left + 1) & ~1, (self.top + 1) & ~1, self.right & ~1, self.bottom & ~1)


@dataclass(frozen=True, slots=True)
class Placing:
    """`crop` of the picture is scaled to `place` of the window; what the window has around `place` is bars."""

    crop: Rect
    place: Rect


def place(picture: tuple[int, int], window: tuple[int, int], mode: RenderMode) -> Placing:
    """How a picture of this width and height fills a window of this width and height; both at least 2 x 2.

    Cropping and bars are the same on both sides. A picture's odd last column or row is left out.
    """
    width, height = _even(picture[0], picture[0]), _even(picture[1], picture[1])
    room_width, room_height = _even(window[0], window[0]), _even(window[1], window[1])
    if mode is RenderMode.STRETCH:
        return Placing(Rect.sized(0, 0, width, height), Rect.sized(0, 0, room_width, room_height))
    keeps = _KEEPS[mode]
    crop_width, crop_height = width, height
    wide = width * room_height > height * room_width
    side, room_side = (width, height * room_width / room_height) if wide else (height, width * room_height / room_width)
    kept = _even(max(side * keeps, room_side), side)
    if wide:
        crop_width = kept
    else:
        crop_height = kept
    place_width, place_height = room_width, room_height
    if room_side < side * keeps:
        # what is nearly as large as the room fills it: bars of a pixel come of rounding alone
        scale = min(room_width / crop_width, room_height / crop_height)
        place_width = _nearly(crop_width * scale, room_width)
        place_height = _nearly(crop_height * scale, room_height)
    return Placing(
        _centred(crop_width, crop_height, width, height),
        _centred(place_width, place_height, room_width, room_height),
    )


def _even(value: float, most: float) -> int:
    """The nearest even number, 2 at least."""
    return max(2, min(round(value / 2) * 2, int(most) & ~1))


def _nearly(value: float, room: int) -> int:
    return room if room - value < 2 else _even(value, room)


def _centred(width: int, height: int, room_width: int, room_height: int) -> Rect:
    return Rect.sized((room_width - width) // 4 * 2, (room_height - height) // 4 * 2, width, height)
