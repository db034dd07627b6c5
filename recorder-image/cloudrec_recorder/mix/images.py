"""Pictures from the net, for watermarks, backgrounds and placeholders: PNG or JPEG of a bounded size, and nothing else.

Pillow sees only these two formats, and the size that the header tells is looked at before anything is decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BYTES_MAX: Final = 5 << 20
SIDE_MAX: Final = 2048
_FORMATS: Final = ("PNG", "JPEG")

Rgba: TypeAlias = NDArray[np.uint8]
"""(height, width, 4); colours are not multiplied by the alpha."""


def is_image(data: bytes) -> bool:
    """Whether it begins as a PNG or a JPEG does."""
    return data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def decode(data: bytes) -> Rgba:
    """Raises ValueError on what is none, too large, or damaged."""
    return np.asarray(opened(data))


def opened(data: bytes) -> Image.Image:
    """`decode` as an image of Pillow's in mode RGBA."""
    if len(data) > BYTES_MAX:
        raise ValueError(f"more than {BYTES_MAX >> 20} MB")
    if not is_image(data):
        raise ValueError("neither PNG nor JPEG")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        width, height = image.size
        if max(width, height) > SIDE_MAX:
            raise ValueError(f"{width} x {height} pixels, more than {SIDE_MAX} a side")
        return image.convert("RGBA")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"more than {SIDE_MAX} pixels a side") from None
    except (OSError, SyntaxError, EOFError, struct.error, zlib.error, IndexError) as error:
        raise ValueError("damaged") from error
