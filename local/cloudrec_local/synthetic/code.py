"""The machine-readable strip at the top of a synthetic user's picture: which frame, whose, camera or screen.

Forty black or white blocks in two rows of twenty hold 24 bits of frame number, 1 bit for a screen share, 7 bits of
the user's number and a CRC-8. A block is a twentieth of the picture's width, so it is 16 pixels and more from 320
pixels up, survives H.264 at low bit rates, and is found again after the picture was scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.uint8]

COLUMNS = 20
ROWS = 2
FRAME_BITS = 24
FRAME_MODULUS = 1 << FRAME_BITS
MAX_USER = 127
MIN_WIDTH = 320

BLACK, WHITE = 16, 235
_MIDDLE = (BLACK + WHITE) / 2
_LEAST_CONTRAST = 40  # a block nearer than this to the middle is neither black nor white


@dataclass(frozen=True, slots=True)
class Code:
    """What a picture says: `frame` modulo 2**24, `user` 1 to 127, `screen` for a screen share."""

    frame: int
    user: int
    screen: bool = False


def strip_height(width: int) -> int:
    """Rows of luma that the strip takes in a picture of this width."""
    return ROWS * width // COLUMNS


def _crc8(data: bytes) -> int:
    """CRC-8 with polynomial 0x07; begins with 0xFF, so that neither an all black nor an all white strip is valid."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def _pack(code: Code) -> bytes:
    head = (code.frame % FRAME_MODULUS).to_bytes(3, "big") + bytes([code.screen << 7 | code.user])
    return head + bytes([_crc8(head)])


def draw(luma: Luma, code: Code) -> None:
    """Draw the strip into the top of a picture's luma, shape (height, width), in place."""
    if not 1 <= code.user <= MAX_USER:
        raise ValueError(f"a user's number is 1 to {MAX_USER}, not {code.user}")
    bits = np.unpackbits(np.frombuffer(_pack(code), np.uint8)).reshape(ROWS, COLUMNS)
    values = np.where(bits, WHITE, BLACK).astype(np.uint8)
    height, width = luma.shape
    if width < MIN_WIDTH or height < strip_height(width):
        raise ValueError(f"a picture of {width}x{height} has no room for the code")
    columns = _edges(width, COLUMNS)
    rows = _edges(strip_height(width), ROWS)
    for row in range(ROWS):
        luma[rows[row] : rows[row + 1]] = np.repeat(values[row], np.diff(columns))


def read(luma: Luma) -> Code | None:
    """The code of a decoded picture's luma, shape (height, width); None when there is none that is beyond doubt."""
    height, width = luma.shape
    tall = strip_height(width)
    if width < COLUMNS * 4 or height < tall:
        return None
    block_width, block_height = width / COLUMNS, tall / ROWS
    bits = np.empty((ROWS, COLUMNS), np.uint8)
    for row in range(ROWS):
        top, bottom = int((row + 0.3) * block_height), max(int((row + 0.7) * block_height), 1)
        band = luma[top:bottom].mean(axis=0)
        for column in range(COLUMNS):
            mean = band[int((column + 0.3) * block_width) : int((column + 0.7) * block_width)].mean()
            if abs(mean - _MIDDLE) < _LEAST_CONTRAST:
                return None
            bits[row, column] = mean > _MIDDLE
    data = np.packbits(bits).tobytes()
    user = data[3] & 0x7F
    if _crc8(data[:-1]) != data[-1] or user == 0:
        return None
    return Code(int.from_bytes(data[:3], "big"), user, bool(data[3] & 0x80))


def unwrap(frame: int, near: float) -> int:
    """The full frame number that is `frame` modulo 2**24 and nearest to `near`."""
    return frame + FRAME_MODULUS * round((near - frame) / FRAME_MODULUS)


def _edges(length: int, parts: int) -> NDArray[np.int64]:
    return np.arange(parts + 1) * length // parts
