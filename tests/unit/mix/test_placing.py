from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cloudrec_contract.mix import RenderMode
from cloudrec_recorder.mix.placing import Rect, place

PICTURES = st.tuples(st.integers(9, 4096), st.integers(9, 4096))
WINDOWS = st.tuples(st.integers(1, 960), st.integers(1, 960)).map(lambda size: (2 * size[0], 2 * size[1]))


@pytest.mark.parametrize(
    ("mode", "crop", "at"),
    [
        (RenderMode.STRETCH, Rect(0, 0, 640, 360), Rect(0, 0, 200, 200)),
        (RenderMode.CROP, Rect(140, 0, 500, 360), Rect(0, 0, 200, 200)),
        (RenderMode.FIT, Rect(0, 0, 640, 360), Rect(0, 44, 200, 156)),
        (RenderMode.SMART, Rect(64, 0, 576, 360), Rect(0, 30, 200, 170)),
    ],
)
def test_wide_in_a_square(mode: RenderMode, crop: Rect, at: Rect) -> None:
    placing = place((640, 360), (200, 200), mode)
    assert (placing.crop, placing.place) == (crop, at)


@pytest.mark.parametrize(
    ("mode", "crop", "at"),
    [
        (RenderMode.CROP, Rect(0, 218, 360, 420), Rect(0, 0, 320, 180)),
        (RenderMode.FIT, Rect(0, 0, 360, 640), Rect(108, 0, 210, 180)),
        (RenderMode.SMART, Rect(0, 64, 360, 576), Rect(96, 0, 222, 180)),
    ],
)
def test_high_in_a_wide_one(mode: RenderMode, crop: Rect, at: Rect) -> None:
    placing = place((360, 640), (320, 180), mode)
    assert (placing.crop, placing.place) == (crop, at)


def test_smart_is_crop_where_little_is_too_much() -> None:
    assert place((640, 480), (640, 400), RenderMode.SMART) == place((640, 480), (640, 400), RenderMode.CROP)


def test_the_same_shape_is_taken_whole_in_every_mode() -> None:
    for mode in RenderMode:
        placing = place((1280, 720), (256, 144), mode)
        assert (placing.crop, placing.place) == (Rect(0, 0, 1280, 720), Rect(0, 0, 256, 144))


def test_rounding_makes_no_bars() -> None:
    # 320 x 180 in 234 x 132 would be 131.6 high
    assert place((320, 180), (234, 132), RenderMode.FIT).place == Rect(0, 0, 234, 132)


@given(PICTURES, WINDOWS, st.sampled_from(RenderMode))
def test_everything_is_even_and_inside(picture: tuple[int, int], window: tuple[int, int], mode: RenderMode) -> None:
    placing = place(picture, window, mode)
    for rect, (width, height) in ((placing.crop, picture), (placing.place, window)):
        assert Rect(0, 0, width, height).covers(rect)
        assert not rect.empty
        assert all(edge % 2 == 0 for edge in (rect.left, rect.top, rect.right, rect.bottom))
    crop, at = placing.crop, placing.place
    if mode in (RenderMode.STRETCH, RenderMode.CROP):
        assert (at.width, at.height) == window
    if mode in (RenderMode.STRETCH, RenderMode.FIT):
        assert (crop.width, crop.height) == (picture[0] & ~1, picture[1] & ~1)
    if mode is RenderMode.SMART:
        assert crop.width >= (picture[0] & ~1) * 0.8 - 1
        assert crop.height >= (picture[1] & ~1) * 0.8 - 1


@given(PICTURES, WINDOWS, st.sampled_from([RenderMode.CROP, RenderMode.FIT, RenderMode.SMART]))
def test_nothing_is_distorted(picture: tuple[int, int], window: tuple[int, int], mode: RenderMode) -> None:
    placing = place(picture, window, mode)
    crop, at = placing.crop, placing.place
    assume(min(crop.width, crop.height, at.width, at.height) >= 8)
    # within the two pixels on each side that evenness may cost
    across = (at.width - 2) / (crop.width + 2), (at.width + 2) / max(crop.width - 2, 1)
    down = (at.height - 2) / (crop.height + 2), (at.height + 2) / max(crop.height - 2, 1)
    assert across[0] <= down[1]
    assert down[0] <= across[1]


def test_rectangles() -> None:
    a, b = Rect(0, 0, 10, 10), Rect.sized(8, 4, 6, 2)
    assert a.within(b) == Rect(8, 4, 10, 6)
    assert a.meets(b)
    assert b.meets(a)
    assert not a.meets(Rect(10, 0, 12, 10))
    assert a.within(Rect(10, 0, 12, 10)).empty
    assert a.covers(a)
    assert not a.covers(b)
    assert Rect(1, 3, 8, 9).shrunk_to_even() == Rect(2, 4, 8, 8)
    assert (b.width, b.height, b.moved(-8, 1)) == (6, 2, Rect(0, 5, 6, 7))
