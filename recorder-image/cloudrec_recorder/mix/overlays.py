"""Watermarks: what is laid over the canvas at a time. Everything is made once and kept until it changes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Final, Protocol

import numpy as np
from PIL import Image

from cloudrec_contract.mix import ImageWatermark, Position, TextWatermark, TimestampWatermark, Watermark
from cloudrec_recorder.mix.images import opened
from cloudrec_recorder.mix.lettering import Digits, text_image
from cloudrec_recorder.mix.patches import Patch, Plane, converted, patch

IMAGES_BYTES_MAX: Final = 64 << 20
"""Encoded images that are kept for watermarks that may be moved; the ones used least recently go first."""
_COLOUR: Final = "#FFFFFF"


class Overlays:
    """For a canvas of a size. `epoch_ms`: ms since the Unix epoch at time 0."""

    def __init__(self, width: int, height: int, epoch_ms: int) -> None:
        self._size = (width, height)
        self._epoch_ms = epoch_ms
        self._images: OrderedDict[str, bytes] = OrderedDict()
        self._marks: list[tuple[Watermark, _Mark]] = []

    def scene(self, watermarks: Sequence[Watermark]) -> None:
        """From now on these, each above the one before it. Images that are known are used."""
        known = self._marks
        self._marks = []
        for watermark in watermarks:
            found = next((mark for old, mark in known if old == watermark), None)
            self._marks.append((watermark, found or self._made(watermark)))
        wanted = self._wanted()
        for url in [url for url in self._images if url not in wanted]:
            del self._images[url]

    def image(self, url: str, data: bytes) -> bool:
        """What was found at the address; False when it is no image that can be used. Empty when nothing was."""
        try:
            image = opened(data)
        except ValueError:
            self._images.pop(url, None)
            return False
        self._images[url] = data
        while sum(map(len, self._images.values())) > IMAGES_BYTES_MAX:
            self._images.popitem(last=False)
        self._marks = [
            (watermark, _Still(self._stretched(watermark.image, image)))
            if watermark.image is not None and watermark.image.url == url
            else (watermark, mark)
            for watermark, mark in self._marks
        ]
        return True

    def patches(self, time: float) -> Sequence[Patch]:
        """From the back to the front, for a frame at `time`. What has not changed is the same object as before."""
        now = floor(self._epoch_ms / 1000 + time)
        return [patch for _, mark in self._marks if (patch := mark.at(now)) is not None]

    def _wanted(self) -> set[str]:
        return {watermark.image.url for watermark, _ in self._marks if watermark.image is not None}

    def _made(self, watermark: Watermark) -> _Mark:
        if watermark.timestamp is not None:
            return _Clock(watermark.timestamp, self._size)
        if watermark.text is not None:
            return _Still(self._written(watermark.text))
        if watermark.image is not None and (data := self._images.get(watermark.image.url)) is not None:
            self._images.move_to_end(watermark.image.url)
            return _Still(self._stretched(watermark.image, opened(data)))
        return _Still(None)

    def _stretched(self, mark: ImageWatermark, image: Image.Image) -> Patch | None:
        """What of it is on the canvas is scaled, no more."""
        width, height = min(mark.width, self._size[0] - mark.left), min(mark.height, self._size[1] - mark.top)
        if width <= 0 or height <= 0:
            return None
        box = (0, 0, image.width * width / mark.width, image.height * height / mark.height)
        scaled = image.resize((width, height), Image.Resampling.BILINEAR, box)
        return patch(np.asarray(scaled), mark.left, mark.top, self._size)

    def _written(self, mark: TextWatermark) -> Patch | None:
        if not mark.width or not mark.height:
            return None
        image = text_image(mark.text, (mark.width, mark.height), mark.font_size, mark.color, mark.background_color)
        return patch(image, mark.left, mark.top, self._size)


class _Mark(Protocol):
    def at(self, now: int) -> Patch | None:
        """At so many seconds since the Unix epoch."""


class _Still:
    def __init__(self, patch: Patch | None) -> None:
        self._patch = patch

    def at(self, now: int) -> Patch | None:
        return self._patch


class _Clock:
    """`YYYY-MM-DD HH:MM:SS`, a thirtieth of the canvas' height, a little away from its edges."""

    def __init__(self, mark: TimestampWatermark, canvas: tuple[int, int]) -> None:
        self._zone = timedelta(hours=mark.time_zone)
        self._canvas = canvas
        digits = Digits("0123456789-: ", max(12, canvas[1] // 30), _COLOUR)
        self._cells = {char: converted(cell) for char, cell in digits.cells.items()}
        self._place = _place(mark.position, (19 * digits.width, digits.height), canvas)
        self._shown: tuple[int, Patch | None] | None = None

    def at(self, now: int) -> Patch | None:
        if self._shown is None or self._shown[0] != now:
            self._shown = (now, self._drawn(now))
        return self._shown[1]

    def _drawn(self, now: int) -> Patch | None:
        text = (datetime.fromtimestamp(now, UTC) + self._zone).strftime("%Y-%m-%d %H:%M:%S")
        cells = [self._cells[char] for char in text]
        y, u, v, luma, chroma = (
            np.concatenate(parts, axis=1) for parts in zip(*((*planes, *keep) for planes, keep in cells), strict=True)
        )
        return _clipped(Patch(*self._place, (y, u, v), (luma, chroma)), self._canvas)


def _place(position: Position, size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Left and top, even, never negative."""
    margin = max(2, canvas[1] // 40)
    name = position.value
    left, top = (canvas[0] - size[0]) // 2, (canvas[1] - size[1]) // 2
    if name.endswith("Left"):
        left = margin
    elif name.endswith("Right"):
        left = canvas[0] - size[0] - margin
    if name.startswith("Top"):
        top = margin
    elif name.startswith("Bottom"):
        top = canvas[1] - size[1] - margin
    return max(0, left) // 2 * 2, max(0, top) // 2 * 2


def _clipped(whole: Patch, canvas: tuple[int, int]) -> Patch | None:
    """What of it is on the canvas, whose sides are even."""
    width, height = min(whole.width, canvas[0] - whole.left), min(whole.height, canvas[1] - whole.top)
    if width <= 0 or height <= 0:
        return None
    if (width, height) == (whole.width, whole.height):
        return whole

    def cut(plane: Plane, by: int) -> Plane:
        return plane[: height // by, : width // by]

    y, u, v = whole.planes
    return Patch(
        whole.left, whole.top, (cut(y, 1), cut(u, 2), cut(v, 2)), (cut(whole.keep[0], 1), cut(whole.keep[1], 2))
    )
