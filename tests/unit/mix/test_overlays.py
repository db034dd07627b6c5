"""Watermarks, blended onto a canvas by their definition and looked at."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from cloudrec_contract.mix import ImageWatermark, Position, TextWatermark, TimestampWatermark, Watermark
from cloudrec_recorder.mix.fonts import font
from cloudrec_recorder.mix.lettering import wrapped
from cloudrec_recorder.mix.overlays import Overlays
from cloudrec_recorder.mix.patches import Patch, Plane, patch
from tests.unit.mix.test_images import encoded

EPOCH = int(datetime(2026, 3, 1, 22, 59, 58, 500_000, UTC).timestamp() * 1000)
URL = "https://logos.test/a.png"
WIDTH, HEIGHT = 640, 360


def blended(patches: list[Patch], size: tuple[int, int] = (WIDTH, HEIGHT), luma: int = 100) -> list[Plane]:
    width, height = size
    canvas = [np.full((height // by, width // by), value, np.uint8) for by, value in ((1, luma), (2, 128), (2, 128))]
    for each in patches:
        assert not any(edge % 2 for edge in (each.left, each.top, each.width, each.height))
        for plane, above, keep, by in zip(
            canvas, each.planes, (each.keep[0], each.keep[1], each.keep[1]), (1, 2, 2), strict=True
        ):
            rows = slice(each.top // by, (each.top + each.height) // by)
            columns = slice(each.left // by, (each.left + each.width) // by)
            under = plane[rows, columns]
            assert under.shape == above.shape == keep.shape
            mixed = under * (keep / 255) + above
            assert mixed.max(initial=0) < 255.5
            plane[rows, columns] = np.rint(mixed)
    return canvas


def image_mark(left: int, top: int, width: int, height: int) -> Watermark:
    return Watermark(image=ImageWatermark(url=URL, left=left, top=top, width=width, height=height))


def text_mark(text: str, **more: object) -> Watermark:
    return Watermark(
        text=TextWatermark.model_validate({"left": 20, "top": 10, "width": 300, "height": 100, "text": text, **more})
    )


def clock(position: Position, zone: int = 8) -> Watermark:
    return Watermark(timestamp=TimestampWatermark(position=position, time_zone=zone))


def made(*marks: Watermark, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Overlays:
    overlays = Overlays(*size, EPOCH)
    overlays.scene(marks)
    return overlays


def test_an_image_is_stretched_into_its_place_in_its_colours() -> None:
    overlays = made(image_mark(33, 21, 101, 51))
    assert not overlays.patches(0)
    assert overlays.image(URL, encoded("PNG", (10, 10), "RGB", (255, 0, 0)))
    y, u, v = blended(list(overlays.patches(0)))
    assert (y[21:72, 33:134] == 81).all()
    assert (y == 81).sum() == 101 * 51
    assert abs(int(u[20, 40]) - 90) <= 1
    assert abs(int(v[20, 40]) - 240) <= 1


def test_alpha_is_kept() -> None:
    overlays = made(image_mark(0, 0, 40, 40))
    overlays.image(URL, encoded("PNG", (4, 4), "RGBA", (255, 255, 255, 128)))
    y, _, _ = blended(list(overlays.patches(0)), luma=16)
    assert abs(int(y[10, 10]) - (16 + (235 - 16) * 128 / 255)) <= 1
    overlays.image(URL, encoded("PNG", (4, 4), "RGBA", (255, 255, 255, 0)))
    assert (blended(list(overlays.patches(0)))[0] == 100).all()


@pytest.mark.parametrize("place", [(600, 300, 200, 200), (639, 359, 50, 50), (0, 0, 2560, 2560), (630, 0, 11, 999)])
def test_what_is_beyond_the_canvas_is_cut_off(place: tuple[int, int, int, int]) -> None:
    overlays = made(image_mark(*place))
    assert overlays.image(URL, encoded("PNG", (10, 10)))
    y, _, _ = blended(list(overlays.patches(0)))
    left, top, width, height = place
    assert (y == 81).sum() == min(width, WIDTH - left) * min(height, HEIGHT - top)


@pytest.mark.parametrize("place", [(640, 0, 10, 10), (2000, 2000, 5, 5), (5, 5, 0, 10)])
def test_what_is_not_on_the_canvas_is_nothing(place: tuple[int, int, int, int]) -> None:
    overlays = made(image_mark(*place))
    assert overlays.image(URL, encoded("PNG"))
    assert not overlays.patches(0)


def test_a_negative_corner_is_cut_off_too() -> None:
    whole = patch(np.full((10, 10, 4), 255, np.uint8), -3, -4, (20, 20))
    assert whole is not None
    y, _, _ = blended([whole], (20, 20))
    assert (y == 235).sum() == 7 * 6


def test_an_image_of_no_use_is_told_and_the_others_go_on() -> None:
    overlays = made(image_mark(0, 0, 10, 10), text_mark("still here"))
    assert not overlays.image(URL, b"")
    assert not overlays.image(URL, b"\x89PNG\r\n\x1a\nrubbish")
    assert len(overlays.patches(0)) == 1


def test_nothing_is_made_twice() -> None:
    marks = [image_mark(0, 0, 10, 10), text_mark("name"), clock(Position.TOP_RIGHT)]
    overlays = made(*marks)
    overlays.image(URL, encoded("PNG"))
    before = overlays.patches(0.0)
    assert all(a is b for a, b in zip(before, overlays.patches(0.4), strict=True))
    overlays.scene([*marks, text_mark("more")])
    assert all(a is b for a, b in zip(before, overlays.patches(0.4), strict=False))
    after = overlays.patches(0.6)
    assert [a is b for a, b in zip(before, after, strict=False)] == [True, True, False]
    overlays.scene([image_mark(50, 50, 20, 20)])
    assert [(each.left, each.top, each.width) for each in overlays.patches(1)] == [(50, 50, 20)], "its image is known"


@pytest.mark.parametrize("text", ["Latin", "中文录制", "日本語テキスト", "한국어"])
def test_every_script_has_its_own_shapes(text: str) -> None:
    (shown,) = made(text_mark(text, font_size=24)).patches(0)
    missing = bytes(font(24).getmask("\U000f0000"))
    assert all(bytes(font(24).getmask(char)) != missing for char in text)
    assert (blended([shown])[0] > 200).sum() > 40 * len(text) // 2


def test_text_stays_in_its_box_on_its_background() -> None:
    overlays = made(text_mark("word " * 200, font_size=20, background_color="#000000"))
    y, _, _ = blended(list(overlays.patches(0)))
    assert (y[10:110, 20:320] != 100).mean() > 0.99
    y[10:110, 20:320] = 100
    assert (y == 100).all()
    assert not made(text_mark("x", width=0)).patches(0)
    assert len(made(text_mark("大" * 1024, font_size=1920)).patches(0)) == 1


def test_lines_break_at_spaces_else_anywhere() -> None:
    widths = dict.fromkeys("abcdefgh 中文录制，", 1.0)
    assert list(wrapped("abc def gh", widths, 7)) == ["abc def", "gh"]
    assert list(wrapped("abcdefgh", widths, 3)) == ["abc", "def", "gh"]
    assert list(wrapped("中文录制", widths, 3)) == ["中文录", "制"]
    assert list(wrapped("ab\n\ncd", widths, 9)) == ["ab", "", "cd"]
    assert list(wrapped("abc defg", widths, 6)) == ["abc", "defg"]
    assert "".join(wrapped("中文录，制", widths, 3)) == "中文录，制"
    assert list(wrapped("abc", widths, 0.5)) == ["a", "b", "c"]


@pytest.mark.parametrize("position", list(Position))
@pytest.mark.parametrize("size", [(1280, 720), (16, 16), (1080, 1920), (200, 40)])
def test_the_time_is_at_its_place(position: Position, size: tuple[int, int]) -> None:
    (shown,) = made(clock(position), size=size).patches(0)
    y, _, _ = blended([shown], size)
    if size[1] < 720:
        return
    rows, columns = np.nonzero(y != 100)
    middle, centre = (columns.min() + columns.max()) / 2 / size[0], (rows.min() + rows.max()) / 2 / size[1]
    name = position.value
    expected = 0.03 < middle < 0.4 if name.endswith("Left") else 0.6 < middle < 0.97
    assert (abs(middle - 0.5) < 0.02) if name in ("TopCenter", "BottomCenter", "Center") else expected
    assert (
        centre < 0.1 if name.startswith("Top") else centre > 0.9 if name.startswith("Bottom") else 0.45 < centre < 0.55
    )


def test_the_time_is_the_frames_in_its_zone() -> None:
    """The same digits in the same cells wherever the same time is shown."""
    there = made(clock(Position.CENTER, 8)).patches(1.5)[0]
    same = Overlays(WIDTH, HEIGHT, EPOCH - 8 * 3600 * 1000)
    same.scene([clock(Position.CENTER, 16 - 2), clock(Position.CENTER, -12 + 12)])
    want = Overlays(WIDTH, HEIGHT, int(datetime(2026, 3, 2, 7, 0, 0, 0, UTC).timestamp() * 1000))
    want.scene([clock(Position.CENTER, 0)])
    assert np.array_equal(there.planes[0], want.patches(0)[0].planes[0])
    assert np.array_equal(there.planes[0], want.patches(0.99)[0].planes[0])
    assert not np.array_equal(there.planes[0], want.patches(1.0)[0].planes[0])
    assert not np.array_equal(there.planes[0], same.patches(0)[1].planes[0])
