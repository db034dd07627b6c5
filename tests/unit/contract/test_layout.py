"""Layouts of mixed mode: the guide's numbers by hand, for each count of videos at which the arrangement changes."""

from collections.abc import Sequence

import pytest

from cloudrec_contract.layout import Source, Window, arrange
from cloudrec_contract.mix import Align, BigPicture, Layout, RenderMode, Template, WindowMedia

Rect = tuple[int, int, int, int]

GRID = Layout(template=Template.GRID)
FLOATING = Layout(template=Template.FLOATING)
SHARE = Layout(template=Template.SCREEN_SHARE, big_picture=BigPicture(user_id="u0"))


def users(count: int) -> list[Source]:
    """Cameras u0, u1, … in the order of entry."""
    return [Source(f"u{number}", "main", True) for number in range(count)]


def rects(windows: Sequence[Window]) -> list[Rect]:
    return [(window.left, window.top, window.width, window.height) for window in windows]


def who(windows: Sequence[Window]) -> list[str]:
    return [window.source.user_id for window in windows if window.source]


def of(windows: Sequence[Window], user_id: str) -> Rect:
    return next(rect for rect, name in zip(rects(windows), who(windows), strict=True) if name == user_id)


@pytest.mark.parametrize("layout", [GRID, FLOATING, SHARE])
def test_an_empty_room_is_background(layout: Layout) -> None:
    assert arrange(layout, 1280, 720, []) == ()


# --- grid -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "tile", "last"),
    [
        (1, (1280, 720), (0, 0)),
        (2, (640, 720), (640, 0)),
        (3, (640, 360), (0, 360)),
        (4, (640, 360), (640, 360)),
        (5, (426, 240), (426, 240)),
        (9, (426, 240), (852, 480)),
        (10, (320, 180), (320, 360)),
        (16, (320, 180), (960, 540)),
        (17, (256, 144), (256, 432)),
        (25, (256, 144), (1024, 576)),
        (26, (256, 144), (1024, 576)),
    ],
)
def test_grid(count: int, tile: tuple[int, int], last: tuple[int, int]) -> None:
    windows = arrange(GRID, 1280, 720, users(count))
    assert who(windows) == [f"u{number}" for number in range(min(count, 25))]
    assert {(window.width, window.height) for window in windows} == {tile}
    assert rects(windows)[0] == (0, 0, *tile)
    assert rects(windows)[-1] == (*last, *tile)


def test_a_grid_is_filled_row_by_row() -> None:
    assert rects(arrange(GRID, 640, 360, users(4))) == [
        (0, 0, 320, 180),
        (320, 0, 320, 180),
        (0, 180, 320, 180),
        (320, 180, 320, 180),
    ]


# --- floating -------------------------------------------------------------------------------------------------------


def test_floating_begins_at_the_bottom_left() -> None:
    """23.5 % of 1000 is 235, rounded down to 234; gaps of 12, offsets of 12, 259, 506 and 753 rounded to even."""
    windows = arrange(FLOATING, 1000, 1000, users(6))
    assert rects(windows) == [
        (0, 0, 1000, 1000),
        (12, 754, 234, 234),
        (260, 754, 234, 234),
        (506, 754, 234, 234),
        (754, 754, 234, 234),
        (12, 506, 234, 234),
    ]
    assert who(windows) == ["u0", "u1", "u2", "u3", "u4", "u5"]


def test_floating_of_17_ends_at_the_top_right() -> None:
    assert rects(arrange(FLOATING, 1280, 720, users(17)))[-1] == (964, 8, 300, 168)


def test_floating_of_18_has_five_a_row() -> None:
    """18.8 % of the canvas: 240.64 x 135.36; margin 12.8 x 7.2; 1 % gaps."""
    windows = arrange(FLOATING, 1280, 720, users(18))
    assert rects(windows)[1:7] == [
        (12, 578, 240, 134),
        (266, 578, 240, 134),
        (520, 578, 240, 134),
        (774, 578, 240, 134),
        (1026, 578, 240, 134),
        (12, 434, 240, 134),
    ]
    assert of(arrange(FLOATING, 1280, 720, users(25)), "u24") == (774, 8, 240, 134)


def test_floatings_big_picture_is_the_named_one_and_nobody_elses_order_changes() -> None:
    layout = Layout(template=Template.FLOATING, big_picture=BigPicture(user_id="u2"))
    assert who(arrange(layout, 1280, 720, users(4))) == ["u2", "u0", "u1", "u3"]
    assert who(arrange(layout, 1280, 720, users(2))) == ["u0", "u1"], "away: the first to enter"
    screen = Layout(template=Template.FLOATING, big_picture=BigPicture(user_id="u2", media=WindowMedia.AUX))
    assert who(arrange(screen, 1280, 720, users(4)))[0] == "u0", "has no screen share"


@pytest.mark.parametrize("template", [Template.FLOATING, Template.SCREEN_SHARE])
def test_a_named_big_picture_has_its_window_though_it_entered_after_25_others(template: Template) -> None:
    layout = Layout(template=template, big_picture=BigPicture(user_id="u27"))
    assert who(arrange(layout, 1280, 720, users(30))) == ["u27", *(f"u{number}" for number in range(24))]


# --- screen sharing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "big", "first", "last"),
    [
        (1, (0, 0, 1024, 720), None, None),
        (2, (0, 0, 1024, 720), (1024, 0, 256, 180), (1024, 0, 256, 180)),
        (5, (0, 0, 1024, 720), (1024, 0, 256, 180), (1024, 540, 256, 180)),
        (6, (0, 0, 1096, 720), (1096, 0, 182, 120), (1096, 480, 182, 120)),
        (7, (0, 0, 1096, 720), (1096, 0, 182, 120), (1096, 600, 182, 120)),
        (8, (0, 0, 1136, 720), (1136, 0, 142, 90), (1136, 540, 142, 90)),
        (9, (0, 0, 1136, 720), (1136, 0, 142, 90), (1136, 630, 142, 90)),
        (10, (0, 0, 1024, 720), (1024, 0, 128, 90), (1152, 0, 128, 90)),
        (17, (0, 0, 1024, 720), (1024, 0, 128, 90), (1152, 630, 128, 90)),
        (18, (0, 0, 1024, 630), (1024, 0, 128, 90), (0, 630, 128, 90)),
        (25, (0, 0, 1024, 630), (1024, 0, 128, 90), (896, 630, 128, 90)),
        (26, (0, 0, 1024, 630), (1024, 0, 128, 90), (896, 630, 128, 90)),
    ],
)
def test_screen_sharing(count: int, big: Rect, first: Rect | None, last: Rect | None) -> None:
    windows = arrange(SHARE, 1280, 720, users(count))
    assert who(windows) == [f"u{number}" for number in range(min(count, 25))]
    assert rects(windows)[0] == big
    if first and last:
        assert (rects(windows)[1], rects(windows)[-1]) == (first, last)


def test_the_left_column_of_screen_sharing_is_filled_first() -> None:
    windows = arrange(SHARE, 1280, 720, users(17))
    assert [left for left, _, _, _ in rects(windows)[1:]] == [1024] * 8 + [1152] * 8
    assert [top for _, top, _, _ in rects(windows)[1:]] == [row * 90 for row in range(8)] * 2


@pytest.mark.parametrize(("count", "tile"), [(4, (256, 180)), (5, (182, 120)), (8, (142, 90)), (16, (128, 90))])
def test_screen_sharings_large_window_counts_as_a_video_though_it_is_empty(count: int, tile: tuple[int, int]) -> None:
    for layout in (
        Layout(template=Template.SCREEN_SHARE),
        Layout(template=Template.SCREEN_SHARE, big_picture=BigPicture(user_id="away")),
    ):
        windows = arrange(layout, 1280, 720, users(count))
        assert who(windows) == [f"u{number}" for number in range(count)]
        assert {(window.width, window.height) for window in windows} == {tile}
        assert min(window.left for window in windows) >= 1024, "the background is in the large window"


def test_without_a_big_picture_screen_sharing_shows_24() -> None:
    windows = arrange(Layout(template=Template.SCREEN_SHARE), 1280, 720, users(30))
    assert who(windows) == [f"u{number}" for number in range(24)]


def test_on_the_right_screen_sharing_is_mirrored() -> None:
    right = SHARE.model_copy(update={"big_picture_align": Align.RIGHT})
    assert rects(arrange(right, 1280, 720, users(3))) == [
        (256, 0, 1024, 720),
        (0, 0, 256, 180),
        (0, 180, 256, 180),
    ]
    many = arrange(right, 1280, 720, users(18))
    assert (of(many, "u1"), of(many, "u9"), of(many, "u17")) == (
        (128, 0, 128, 90),
        (0, 0, 128, 90),
        (1152, 630, 128, 90),
    )


# --- who has a window -----------------------------------------------------------------------------------------------


def test_a_user_who_only_speaks_has_a_window_until_the_layout_hides_it() -> None:
    room = [Source("anna", "main", False), Source("ben", "main", True), Source("ben", "aux", True)]
    assert len(arrange(GRID, 1280, 720, room)) == 3
    hidden = Layout(template=Template.GRID, hide_audio_only=True)
    assert rects(arrange(hidden, 1280, 720, room)) == [(0, 0, 640, 720), (640, 0, 640, 720)]
    floating = Layout(template=Template.FLOATING, hide_audio_only=True, big_picture=BigPicture(user_id="anna"))
    assert who(arrange(floating, 1280, 720, room)) == ["ben", "ben"]


def test_the_layouts_render_mode_and_placeholder_are_all_windows_own() -> None:
    layout = Layout(
        template=Template.FLOATING, render_mode=RenderMode.FIT, placeholder_image="https://example.com/nobody.png"
    )
    for window in arrange(layout, 1280, 720, users(3)):
        assert (window.render_mode, window.placeholder, window.opacity) == (
            RenderMode.FIT,
            "https://example.com/nobody.png",
            255,
        )


def test_a_placeholder_stands_in_for_a_named_big_picture_that_is_away() -> None:
    layout = Layout(
        template=Template.SCREEN_SHARE,
        big_picture=BigPicture(user_id="away"),
        placeholder_image="https://example.com/nobody.png",
    )
    assert len(arrange(layout, 1280, 720, users(2))) == 2
    on = layout.model_copy(update={"placeholders": True})
    big, *small = arrange(on, 1280, 720, users(2))
    assert (big.source, big.placeholder) == (None, "https://example.com/nobody.png")
    assert rects([big]) == [(0, 0, 1024, 720)]
    assert who(small) == ["u0", "u1"]


def test_a_canvas_too_small_for_a_window_does_without_it() -> None:
    assert arrange(SHARE, 16, 720, users(18)) == arrange(SHARE, 16, 720, users(18))[:1]
