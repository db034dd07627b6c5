"""What is laid over the canvas, made of RGBA: 4:2:0 in BT.601 of limited range, multiplied by its alpha."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cloudrec_recorder.mix.images import Rgba

Plane: TypeAlias = NDArray[np.uint8]

_LUMA: Final = np.array([65.481, 128.553, 24.966], np.float32) / 255
_CHROMA: Final = np.array([[-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float32) / 255


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """canvas = canvas × keep / 255 + planes. `left`, `top` and the size are even, and all of it is on the canvas.

    `planes`: y, u, v. `keep`: of luma and of chroma, 255 where nothing is seen of the patch.
    """

    left: int
    top: int
    planes: tuple[Plane, Plane, Plane]
    keep: tuple[Plane, Plane]

    @property
    def width(self) -> int:
        return int(self.planes[0].shape[1])

    @property
    def height(self) -> int:
        return int(self.planes[0].shape[0])


def patch(rgba: Rgba, left: int, top: int, canvas: tuple[int, int]) -> Patch | None:
    """With the image's corner at (`left`, `top`); what is not on the canvas (width, height) is cut off.

    None when nothing is left.
    """
    width, height = canvas
    rgba = (
        rgba[max(0, -top) : height - top, max(0, -left) : width - left] if left < width and top < height else rgba[:0]
    )
    left, top = max(0, left), max(0, top)
    if not rgba.shape[0] or not rgba.shape[1]:
        return None
    before, right = left % 2, (left + rgba.shape[1]) % 2
    above, below = top % 2, (top + rgba.shape[0]) % 2
    rgba = np.pad(rgba, ((above, below), (before, right), (0, 0)))
    planes, keep = converted(rgba)
    return Patch(left - before, top - above, planes, keep)


def converted(rgba: Rgba) -> tuple[tuple[Plane, Plane, Plane], tuple[Plane, Plane]]:
    """Planes and keep of an image with even sides."""
    height, width = rgba.shape[:2]
    alpha = rgba[..., 3].astype(np.float32) / 255
    weighted = rgba[..., :3].astype(np.float32) * alpha[..., None]
    luma = weighted @ _LUMA + 16 * alpha
    quarters = weighted.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    shade = alpha.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    u, v = (quarters @ row + 128 * shade for row in _CHROMA)
    return (_bytes(luma), _bytes(u), _bytes(v)), (_bytes(255 * (1 - alpha)), _bytes(255 * (1 - shade)))


def _bytes(values: NDArray[np.floating[Any]]) -> Plane:
    plane: Plane = np.rint(values).astype(np.uint8)
    return plane
