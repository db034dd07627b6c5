from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.mix.canvas import (
    BLACK,
    Canvas,
    Field,
    Layer,
    Mark,
    Picture,
    Planes,
    divided,
    mark,
    planes_of,
    yuv,
)
from cloudrec_recorder.mix.placing import Rect
from tests.unit.mix.films import BLUE, RED, WHITE, at, field

SIDE = 32


@dataclass(frozen=True)
class Patch:
    left: int
    top: int
    planes: Planes
    keep: tuple[Any, Any]


def noise(seed: int, width: int, height: int, most: int = 235) -> Planes:
    random = np.random.default_rng(seed)
    half = (height // 2, width // 2)
    return (
        random.integers(16, most, (height, width), np.uint8),
        random.integers(16, most, half, np.uint8),
        random.integers(16, most, half, np.uint8),
    )


def patch(seed: int, rect: Rect) -> Mark:
    random = np.random.default_rng(seed)
    width, height = rect.width, rect.height
    alpha = random.integers(0, 256, (height, width), np.uint8)
    half = alpha[::2, ::2]
    y, u, v = noise(seed, width, height)
    planes = tuple(
        divided(plane.astype(np.uint16) * part) for plane, part in zip((y, u, v), (alpha, half, half), strict=True)
    )
    return mark(Patch(rect.left, rect.top, planes, (255 - alpha, 255 - half)))  # type: ignore[arg-type]


@st.composite
def rects(draw: st.DrawFn, within: int = SIDE) -> Rect:
    left, top = draw(st.integers(0, within // 2 - 1)) * 2, draw(st.integers(0, within // 2 - 1)) * 2
    width, height = draw(st.integers(1, (within - left) // 2)) * 2, draw(st.integers(1, (within - top) // 2)) * 2
    return Rect.sized(left, top, width, height)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    rect, seed = draw(rects()), draw(st.integers(0, 1000))
    kind = draw(st.sampled_from(["field", "picture", "clear", "mark"]))
    if kind == "field":
        return Field(rect, RED)
    if kind == "mark":
        return patch(seed, rect)
    inner = Rect(rect.left, rect.top + rect.height // 8 * 2, rect.right, rect.bottom)
    opacity = draw(st.integers(0, 255)) if kind == "clear" else 255
    return Picture(rect, inner, noise(seed, inner.width, inner.height), opacity)


def oracle(of: list[Layer]) -> Canvas:
    """All of it, each layer over the others."""
    canvas = Canvas(SIDE, SIDE)
    for layer in of:
        layer.draw(canvas.planes, layer.rect)
    return canvas


def same(a: Canvas, b: Canvas) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(a.planes, b.planes, strict=True))


@given(st.lists(layers(), max_size=6), st.data())
def test_drawing_what_has_changed_is_drawing_all(stack: list[Layer], data: st.DataObject) -> None:
    stack = [Field(Rect(0, 0, SIDE, SIDE), BLACK), *stack]
    canvas = Canvas(SIDE, SIDE)
    canvas.draw(stack, [canvas.rect])
    assert same(canvas, oracle(stack))
    for _ in range(3):
        dirty = []
        for index in data.draw(st.sets(st.integers(1, len(stack) - 1), max_size=3)) if len(stack) > 1 else ():
            dirty += [stack[index].rect]
            stack[index] = data.draw(layers())
            dirty += [stack[index].rect]
        canvas.draw(stack, dirty)
        assert same(canvas, oracle(stack))


@given(rects(), rects())
def test_only_what_is_dirty_is_touched(dirty: Rect, seen: Rect) -> None:
    canvas = Canvas(SIDE, SIDE)
    canvas.draw([Field(canvas.rect, WHITE), Field(seen, RED)], [dirty])
    inside = np.zeros((SIDE, SIDE), bool)
    inside[dirty.top : dirty.bottom, dirty.left : dirty.right] = True
    assert (canvas.planes[0][~inside] == BLACK[0]).all()
    assert (canvas.planes[0][inside] != BLACK[0]).all()


def test_opacity_lets_through_what_is_behind() -> None:
    canvas = Canvas(SIDE, SIDE)
    rect = Rect(0, 0, 16, 16)
    for opacity in (0, 64, 128, 254, 255):
        canvas.draw([Field(canvas.rect, BLUE), Picture(rect, rect, field(WHITE, 16, 16), opacity)], [canvas.rect])
        wanted = tuple(round(b + (w - b) * opacity / 255) for b, w in zip(BLUE, WHITE, strict=True))
        assert at(canvas.planes, 8, 8) == pytest.approx(wanted, abs=1)
        assert at(canvas.planes, 20, 20) == BLUE


def test_bars_are_around_a_picture() -> None:
    canvas = Canvas(SIDE, SIDE)
    canvas.draw(
        [Field(canvas.rect, WHITE), Picture(Rect(4, 4, 28, 28), Rect(4, 10, 28, 22), field(RED, 24, 12))], [canvas.rect]
    )
    assert at(canvas.planes, 10, 2) == WHITE
    assert at(canvas.planes, 10, 6) == BLACK
    assert at(canvas.planes, 10, 16) == RED
    assert at(canvas.planes, 10, 24) == BLACK


@given(st.integers(0, 65025))
def test_division_is_exact(value: int) -> None:
    assert divided(np.array([value], np.uint16))[0] == (2 * value + 255) // 510


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("#000000", (16, 128, 128)),
        ("#FFFFFF", (235, 128, 128)),
        ("#FF0000", (81, 90, 240)),
        ("#00ff00", (145, 54, 34)),
        ("#0000FF", (41, 240, 110)),
    ],
)
def test_colours(name: str, wanted: tuple[int, int, int]) -> None:
    assert yuv(name) == wanted


@pytest.mark.parametrize(("width", "height"), [(16, 16), (18, 22), (1918, 1078)])
def test_the_frame_is_the_canvas(width: int, height: int) -> None:
    canvas = Canvas(width, height)
    canvas.planes[0][-1, -1], canvas.planes[2][-1, -1] = 200, 77
    seen = planes_of(canvas.frame)
    assert (seen[0][-1, -1], seen[2][-1, -1]) == (200, 77)
    assert seen[0].shape == (height, width)
