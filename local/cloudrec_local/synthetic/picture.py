"""The moving test picture of a synthetic user: code strip, flash, number, clock, and something that moves.

It is cheap to draw and to encode: flat colours, of which only a few blocks change from one frame to the next.
"""

from __future__ import annotations

import time

import numpy as np

from cloudrec_local.synthetic.code import WHITE, Code, Luma, draw, strip_height

FLASH_SECONDS = 0.1
"""How long the flash and the beep last, from each whole second of UTC on."""

_GROUND, _DARK, _INK = 70, 40, 200
_HUES = ((110, 110), (150, 115), (115, 150), (140, 140), (100, 135), (135, 100), (160, 130), (128, 165))

_GLYPHS = {
    "0": "755557",
    "1": "262227",
    "2": "717447",
    "3": "717117",
    "4": "557111",
    "5": "747117",
    "6": "747557",
    "7": "711222",
    "8": "757557",
    "9": "757117",
    ":": "020020",
}


class FlashBox:
    """Where the flash is, as (top, bottom, left, right) in pixels of a picture of this size."""

    def __init__(self, width: int, height: int) -> None:
        rest = height - strip_height(width)
        self.top = strip_height(width) + rest * 20 // 100
        self.bottom = strip_height(width) + rest * 70 // 100
        self.left = width * 6 // 100
        self.right = width * 36 // 100

    def of(self, luma: Luma) -> Luma:
        """The view of the box in a picture."""
        return luma[self.top : self.bottom, self.left : self.right]


def is_flash(luma: Luma) -> bool:
    """Whether a decoded picture's flash box, well inside its edges, is lit."""
    height, width = luma.shape
    box = FlashBox(width, height).of(luma)
    rows, columns = box.shape
    return bool(box[rows // 4 : rows * 3 // 4, columns // 4 : columns * 3 // 4].mean() > (WHITE + _DARK) / 2)


def flashes_at(frame: int, fps: int) -> bool:
    """Whether this frame is lit: frames are numbered from the Unix epoch, so number % fps == 0 is a whole second."""
    return (frame % fps) / fps < FLASH_SECONDS - 1e-9


class TestPicture:
    """One I420 picture, redrawn in place for each frame. `buffer` stays the same object."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    def __init__(self, width: int, height: int, fps: int, user: int, *, screen: bool = False) -> None:
        if width % 2 or height % 2:
            raise ValueError("width and height are even")
        self.buffer = bytearray(width * height * 3 // 2)
        self._fps, self._user, self._screen = fps, user, screen
        self._ground = _GROUND + (25 if screen else 0)
        planes = np.frombuffer(self.buffer, np.uint8)
        self._luma: Luma = planes[: width * height].reshape(height, width)
        self._luma[:] = self._ground
        chroma = planes[width * height :].reshape(2, height // 2, width // 2)
        chroma[:] = 128
        below = strip_height(width) // 2 + 1
        for plane, value in zip(chroma, _HUES[user % len(_HUES)], strict=True):
            plane[below:] = value
        self._box = FlashBox(width, height)
        self._size = max(width // 40 * 2, 8)  # of the square that moves
        self._square: Luma | None = None
        self._second = -1
        self._unit = max(min(width, height * 16 // 9) // 72, 1)
        self._text(str(user), self._box.top, self._unit * 3 // 2)

    def draw(self, frame: int) -> bytearray:
        """Draw the frame of this number (periods of 1/fps since the Unix epoch); returns `buffer`."""
        draw(self._luma, Code(frame, self._user, self._screen))
        self._box.of(self._luma)[:] = WHITE if flashes_at(frame, self._fps) else _DARK
        if frame // self._fps != self._second:
            self._second = frame // self._fps
            clock = time.strftime("%H:%M:%S", time.gmtime(self._second))
            self._text(clock, self._box.bottom - 6 * self._unit, self._unit)
        self._move(frame)
        return self.buffer

    def _move(self, frame: int) -> None:
        height, width = self._luma.shape
        if self._square is not None:
            self._square[:] = self._ground
        way = width - self._size
        step = (frame * 4) % (2 * way)
        left = step if step <= way else 2 * way - step
        top = height - self._size - height // 40
        self._square = self._luma[top : top + self._size, left : left + self._size]
        self._square[:] = _INK

    def _text(self, text: str, top: int, unit: int) -> None:
        """Write digits and colons right of the flash box, 3 by 6 blocks of `unit` pixels each."""
        left = self._luma.shape[1] * 11 // 20
        for place, sign in enumerate(text):
            rows = np.array([[int(row) >> bit & 1 for bit in (2, 1, 0)] for row in _GLYPHS[sign]], np.uint8)
            pixels = np.where(np.kron(rows, np.ones((unit, unit), np.uint8)), _INK, _DARK)
            at = left + place * 4 * unit
            self._luma[top : top + 6 * unit, at : at + 3 * unit] = pixels
