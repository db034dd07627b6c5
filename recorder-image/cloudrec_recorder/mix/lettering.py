"""Text as pictures: broken into lines that fit a box, and digits that follow each other in cells of one size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from cloudrec_recorder.mix.fonts import font
from cloudrec_recorder.mix.images import Rgba

_NOT_AT_START: Final = frozenset("，。、；：？！）》」』】〕”’,.;:?!)]}%")
"""Characters that stay with the one before them."""


def text_image(text: str, size: tuple[int, int], pixels: int, colour: str, background: str | None) -> Rgba:
    """The text from the top left of a box of `size` (width, height), wrapped into it; what is too much is cut off."""
    image = Image.new("RGBA", size, background if background is not None else f"{colour}00")
    face = font(pixels)
    ascent, descent = face.getmetrics()
    draw = ImageDraw.Draw(image)
    widths = {char: face.getlength(char) for char in set(text)}
    for number, line in enumerate(wrapped(text, widths, size[0])):
        top = number * (ascent + descent)
        if top >= size[1]:
            break
        if background is None:
            _write(image, (0, top), line, pixels, colour)
        else:
            draw.text((0, top), line, font=face, fill=colour)
    return np.asarray(image)


def wrapped(text: str, widths: dict[str, float], room: float) -> Iterator[str]:
    """Lines no wider than `room`: broken at spaces, before and after wide (CJK) characters, else where they end."""
    for paragraph in text.splitlines():
        line, width, chance = "", 0.0, 0
        for char in paragraph:
            if line and width + widths[char] > room:
                if char == " ":
                    yield line
                    line, width, chance = "", 0.0, 0
                    continue
                at = chance or len(line)
                if _wide(char) and char not in _NOT_AT_START:
                    at = len(line)
                yield line[:at].rstrip(" ")
                line = line[at:]
                width, chance = sum(widths[each] for each in line), 0
            line += char
            width += widths[char]
            if char == " " or _wide(char):
                chance = len(line) if char not in _NOT_AT_START or len(line) > 1 else 0
        yield line


class Digits:
    """`characters`, each in a cell of the same size, even so that cells can be put side by side."""

    def __init__(self, characters: str, pixels: int, colour: str) -> None:
        face = font(pixels)
        ascent, descent = face.getmetrics()
        widest = max(face.getlength(char) for char in characters)
        self.width = -(-int(np.ceil(widest)) // 2) * 2
        self.height = -(-(ascent + descent) // 2) * 2
        self.cells: dict[str, Rgba] = {}
        for char in characters:
            image = Image.new("RGBA", (self.width, self.height), "#00000000")
            left = (self.width - face.getlength(char)) / 2
            # A shadow keeps it readable on any picture.
            _write(image, (left + max(1, pixels / 16), max(1, pixels / 16)), char, pixels, "#000000", 160)
            _write(image, (left, 0), char, pixels, colour)
            self.cells[char] = np.asarray(image)


def _write(
    image: Image.Image, place: tuple[float, float], text: str, pixels: int, colour: str, opacity: int = 255
) -> None:
    """Over what is there, its transparency kept; plain drawing would mix colours and alpha apart."""
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).text(place, text, font=font(pixels), fill=opacity)
    above = Image.new("RGBA", image.size, colour)
    above.putalpha(mask)
    image.alpha_composite(above)


def _wide(char: str) -> bool:
    return char >= "\u2e80"
