"""Every template with 1 to 25 people, composed and decoded again: each is where the layout says, while they come, go
and the layout changes in the middle of one recording."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cloudrec_contract.layout import Window
from cloudrec_contract.mix import Mix
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.mix.arranging import scene, windows
from cloudrec_recorder.mix.canvas import Colour, Planes
from cloudrec_recorder.rooms import Published
from tests.unit.mix.films import FPS, Room, at, fields, near, setup

WIDTH, HEIGHT = 1280, 720
EDGE = 2
"""Pixels within which a window's edge is."""
USERS = [TrackKey(f"u{number}", "main", "video") for number in range(25)]
COLOURS: list[Colour] = [(60 + 30 * (n % 5), 60 + 35 * (n // 5), 70 + 40 * (n * 2 % 5)) for n in range(25)]
BACKGROUND: Colour = (16, 128, 128)
CUSTOM = [
    {"left": 48 * n % 1200, "top": 40 * (n // 5) + 3 * n, "width": 300 - 10 * n, "height": 200 - 4 * n, "layer": n % 3}
    for n in range(25)
]
LAYOUTS: dict[str, dict[str, object]] = {
    "grid": {"template": "Grid"},
    "floating": {"template": "Floating"},
    "floating with one named": {"template": "Floating", "bigPicture": {"userId": "u3"}},
    "screen share": {"template": "ScreenShare", "bigPicture": {"userId": "u1"}},
    "screen share, right": {"template": "ScreenShare", "bigPicture": {"userId": "u1"}, "bigPictureAlign": "Right"},
    "screen share of nobody": {"template": "ScreenShare"},
    "custom": {"template": "Custom", "windows": CUSTOM},
}


def test_the_colours_differ() -> None:
    assert len(set(COLOURS)) == len(COLOURS)
    assert not any(near(a, b, 12) for n, a in enumerate(COLOURS) for b in [*COLOURS[:n], BACKGROUND])


@pytest.mark.timeout(170)
@pytest.mark.parametrize("name", LAYOUTS)
def test_everybody_is_where_the_layout_says(name: str) -> None:
    room = Room(setup(WIDTH, HEIGHT, bit_rate=8_000_000))
    mix = Mix.model_validate({"video": {"width": WIDTH, "height": HEIGHT}, "layout": LAYOUTS[name]})
    numbers = {key: number for number, key in enumerate(USERS)}
    for number, colour in enumerate(COLOURS):
        room.stream(number)
        room.units(number, fields([colour], width=64, height=36))
    counts = [*range(1, 26), 17, 4, 1]
    for step, count in enumerate(counts):
        tracks = [Published(key.user_id, key, "H264") for key in USERS[:count]]
        room.composer.take(scene(mix, windows(mix, tracks), numbers))
        room.until((step + 1) * 3 / FPS)
    seen = room.seen()
    for step, count in enumerate(counts):
        _judge(seen[step * 3 + 2], mix, count)


def _judge(picture: Planes, mix: Mix, count: int) -> None:
    """Looks along each window's edges, within and without, at what is uppermost there."""
    shown = windows(mix, [Published(key.user_id, key, "H264") for key in USERS[:count]])
    assert shown

    def wanted(x: int, y: int) -> Colour:
        colour = BACKGROUND
        for window in shown:
            if window.left <= x < window.left + window.width and window.top <= y < window.top + window.height:
                colour = COLOURS[int(window.source.user_id[1:])] if window.source else BACKGROUND
        return colour

    for window in shown:
        left, top = window.left, window.top
        right, bottom = left + window.width - 1, top + window.height - 1
        across = [left - EDGE - 1, left + EDGE, (left + right) // 2, right - EDGE, right + EDGE + 1]
        down = [top - EDGE - 1, top + EDGE, (top + bottom) // 2, bottom - EDGE, bottom + EDGE + 1]
        for x in across:
            for y in down:
                if 0 <= x < WIDTH and 0 <= y < HEIGHT and _clear(shown, x, y):
                    assert near(at(picture, x, y), wanted(x, y), 14), (count, x, y, at(picture, x, y), wanted(x, y))


def _clear(shown: Sequence[Window], x: int, y: int) -> bool:
    """No window's edge is here."""

    def beside(at: int, begin: int, size: int) -> bool:
        return abs(at - begin) < EDGE or abs(at - begin - size) < EDGE

    return not any(
        (beside(x, w.left, w.width) and w.top - EDGE <= y <= w.top + w.height + EDGE)
        or (beside(y, w.top, w.height) and w.left - EDGE <= x <= w.left + w.width + EDGE)
        for w in shown
    )
