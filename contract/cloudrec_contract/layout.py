"""Where each user's picture is on the canvas of mixed mode. Pure: the same users in the same order, the same windows.

The numbers are those of the TRTC guide. A window's width and height are its fraction of the canvas rounded down to
even (4:2:0 chroma); windows of a grid or a column are set side by side, those of Floating at their offset rounded to
even; pixels left over show the background. What would be less than two pixels wide or high has no window.

Without `hide_audio_only` a user who sends sound alone has a window, too. Of more than 25 sources the first 25 in the
order of entry have one; the big picture that a layout names always has.

A placeholder stands in for a picture: the window's own, else the layout's. Windows that name their user have it with
`placeholders` alone, and then when nobody is in them, too; other windows have it whenever there is one to show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cloudrec_contract.mix import WINDOWS_MAX, Align, BigPicture, Layout, MixWindow, RenderMode, Template


@dataclass(frozen=True, slots=True)
class Source:
    """What a user sends: `main` with camera and microphone, `aux` with a shared screen."""

    user_id: str
    media: Literal["main", "aux"]
    picture: bool
    """False: sound alone, or the camera is off."""


@dataclass(frozen=True, slots=True)
class Window:
    """Pixels from the canvas's top left corner, all even. Without a source there is a placeholder."""

    left: int
    top: int
    width: int
    height: int
    source: Source | None
    opacity: int = 255
    render_mode: RenderMode = RenderMode.CROP
    placeholder: str | None = None
    """Address of the image to show while there is no picture."""


@dataclass(frozen=True, slots=True)
class _Place:
    left: int
    top: int
    width: int
    height: int


def arrange(layout: Layout, width: int, height: int, sources: Sequence[Source]) -> tuple[Window, ...]:
    """The windows from the back to the front, at most 25, each source in one at most.

    `width` and `height` are the canvas's in pixels, both even. `sources` come in the order of entry into the room, a
    user's main before its aux, none twice. Windows that reach beyond the canvas are cut off at its edge.
    """
    if layout.template is Template.CUSTOM:
        windows = _custom(layout, width, height, sources)
    else:
        shown = [source for source in sources if source.picture or not layout.hide_audio_only]
        big = _named(layout.big_picture, shown)
        if layout.template is Template.GRID:
            windows = _grid(width, height, shown)
        elif layout.template is Template.FLOATING:
            windows = _floating(width, height, shown, big)
        else:
            windows = _screen_share(layout, width, height, shown, big)
        windows = [replace(w, render_mode=layout.render_mode, placeholder=layout.placeholder_image) for w in windows]
    return tuple(window for window in windows if window.width and window.height)


def _named(wanted: BigPicture | None, sources: Sequence[Source]) -> Source | None:
    return _find(sources, wanted.user_id, wanted.media.lower()) if wanted else None


def _find(sources: Sequence[Source], user_id: str, media: str) -> Source | None:
    return next((each for each in sources if each.user_id == user_id and each.media == media), None)


# --- templates ------------------------------------------------------------------------------------------------------


def _grid(width: int, height: int, sources: Sequence[Source]) -> list[Window]:
    """Row by row from the top left; the windows are all of a size."""
    sources = sources[:WINDOWS_MAX]
    columns = next(side for side in (1, 2, 3, 4, 5) if side * side >= len(sources))
    rows = 1 if len(sources) <= 2 else columns
    tile = _Place(0, 0, _part(width, 1, columns), _part(height, 1, rows))
    places = (replace(tile, left=x * tile.width, top=y * tile.height) for y in range(rows) for x in range(columns))
    return _filled(places, sources)


def _floating(width: int, height: int, sources: Sequence[Source], big: Source | None) -> list[Window]:
    """One picture fills the canvas, the others lie on it, row by row from the bottom left up."""
    if not sources:
        return []
    big = big or sources[0]
    small = [source for source in sources if source != big][: WINDOWS_MAX - 1]
    # Thousandths of the canvas; the gap is the margin as well.
    side, tile, gap = (4, 235, 12) if len(small) <= 16 else (5, 188, 10)
    places = (
        _Place(
            _offset(width, gap + column * (tile + gap)),
            _offset(height, gap + row * (tile + gap)),
            _part(width, tile, 1000),
            _part(height, tile, 1000),
        )
        for row in reversed(range(side))
        for column in range(side)
    )
    return [Window(0, 0, width, height, big), *_filled(places, small)]


_SHARED = ((5, (4, 5, 4, 1)), (7, (6, 7, 6, 1)), (9, (8, 9, 8, 1)), (WINDOWS_MAX, (8, 10, 8, 2)))
"""Up to so many videos: the large window's width (numerator and denominator), rows and columns of small ones."""


def _screen_share(
    layout: Layout, width: int, height: int, sources: Sequence[Source], big: Source | None
) -> list[Window]:
    """One picture on the left, the others in one or two columns beside it and in a row below it.

    The large window counts as a video even while nobody is in it. On the right it is with all mirrored.
    """
    small = [source for source in sources if source != big][: WINDOWS_MAX - 1]
    videos = len(small) + 1
    large, parts, rows, columns = next(shape for most, shape in _SHARED if videos <= most)
    below = videos > 17
    stage = _Place(0, 0, _part(width, large, parts), _part(height, 7, 8) if below else height)
    tile = _Place(0, 0, _part(width, 1, parts), _part(height, 1, rows))

    def places() -> Iterator[_Place]:
        for column in range(columns):
            for row in range(rows):
                yield replace(tile, left=stage.width + column * tile.width, top=row * tile.height)
        if below:
            for column in range(large):
                yield replace(tile, left=column * tile.width, top=stage.height)

    windows = _filled(places(), small)
    if big or (layout.placeholders and layout.big_picture and layout.placeholder_image):
        windows.insert(0, Window(stage.left, stage.top, stage.width, stage.height, big))
    if layout.big_picture_align is Align.RIGHT:
        windows = [replace(window, left=width - window.left - window.width) for window in windows]
    return windows


def _filled(places: Iterator[_Place], sources: Sequence[Source]) -> list[Window]:
    return [
        Window(place.left, place.top, place.width, place.height, source)
        for place, source in zip(places, sources, strict=False)
    ]


def _part(whole: int, numerator: int, denominator: int) -> int:
    """That fraction of `whole`, rounded down to even."""
    return whole * numerator // (2 * denominator) * 2


def _offset(whole: int, thousandths: int) -> int:
    """So many thousandths of `whole`, rounded to the nearest even number."""
    return (whole * thousandths + 1000) // 2000 * 2


# --- custom ---------------------------------------------------------------------------------------------------------


def _custom(layout: Layout, width: int, height: int, sources: Sequence[Source]) -> list[Window]:
    named = {(window.user_id, window.media.lower()) for window in layout.windows if window.user_id}
    waiting = [source for source in sources if (source.user_id, source.media) not in named]
    free = list(sources)
    placed: list[tuple[int, Window]] = []
    for wanted in layout.windows:
        media = wanted.media.lower()
        if wanted.user_id is not None:
            source = _find(free, wanted.user_id, media)
            placeholder = (wanted.placeholder or layout.placeholder_image) if layout.placeholders else None
            if source is None and placeholder is None:
                continue
        else:
            source = next((each for each in waiting if each.media == media), None)
            placeholder = wanted.placeholder or layout.placeholder_image
            if source is None:
                continue
            waiting.remove(source)
        if source is not None:
            free.remove(source)
        placed.append((wanted.layer, _cut(wanted, width, height, source, placeholder)))
    return [window for _, window in sorted(placed, key=lambda each: each[0])]


def _cut(wanted: MixWindow, width: int, height: int, source: Source | None, placeholder: str | None) -> Window:
    left, top = min(wanted.left, width) // 2 * 2, min(wanted.top, height) // 2 * 2
    return Window(
        left=left,
        top=top,
        width=min(wanted.width, width - left) // 2 * 2,
        height=min(wanted.height, height - top) // 2 * 2,
        source=source,
        opacity=wanted.opacity,
        render_mode=wanted.render_mode,
        placeholder=placeholder,
    )
