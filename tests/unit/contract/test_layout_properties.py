"""What holds for every layout, canvas and room."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.layout import Source, Window, arrange
from cloudrec_contract.mix import (
    PIXELS_MAX,
    SIDE_MAX,
    WINDOWS_MAX,
    Align,
    BigPicture,
    Layout,
    MixWindow,
    Template,
    WindowMedia,
)

IMAGE = "https://example.com/nobody.png"
NAMES = [f"u{number}" for number in range(30)]

sides = st.integers(min_value=8, max_value=SIDE_MAX // 2).map(lambda half: 2 * half)
canvases = st.tuples(sides, sides).filter(lambda canvas: canvas[0] * canvas[1] <= PIXELS_MAX)
rooms = st.lists(
    st.tuples(st.sampled_from(NAMES), st.booleans(), st.booleans(), st.booleans()),
    max_size=30,
    unique_by=lambda u: u[0],
).map(
    lambda users: [
        Source(name, media, picture)
        for name, screen, picture, screens_picture in users
        for media, picture in ([("main", picture), ("aux", screens_picture)] if screen else [("main", picture)])
    ]
)
big_pictures = st.none() | st.tuples(st.sampled_from(NAMES), st.sampled_from(WindowMedia)).map(
    lambda who: BigPicture(user_id=who[0], media=who[1])
)
templates = st.builds(
    Layout,
    template=st.sampled_from([Template.GRID, Template.FLOATING, Template.SCREEN_SHARE]),
    big_picture=big_pictures,
    big_picture_align=st.sampled_from(Align),
    hide_audio_only=st.booleans(),
    placeholders=st.booleans(),
    placeholder_image=st.sampled_from([None, IMAGE]),
)
on_canvas = st.integers(min_value=0, max_value=SIDE_MAX)
customs = st.builds(
    Layout,
    template=st.just(Template.CUSTOM),
    windows=st.lists(
        st.builds(
            MixWindow,
            left=on_canvas,
            top=on_canvas,
            width=on_canvas,
            height=on_canvas,
            user_id=st.none() | st.sampled_from(NAMES),
            media=st.sampled_from(WindowMedia),
            layer=st.integers(min_value=-2, max_value=2),
            placeholder=st.sampled_from([None, IMAGE]),
        ),
        min_size=1,
        max_size=WINDOWS_MAX,
    ),
    placeholders=st.booleans(),
    placeholder_image=st.sampled_from([None, IMAGE]),
)


def overlap(one: Window, other: Window) -> bool:
    return (
        one.left < other.left + other.width
        and other.left < one.left + one.width
        and one.top < other.top + other.height
        and other.top < one.top + one.height
    )


@given(templates | customs, canvases, rooms)
def test_windows_are_even_inside_the_canvas_and_each_source_is_in_one_at_most(
    layout: Layout, canvas: tuple[int, int], room: list[Source]
) -> None:
    width, height = canvas
    windows = arrange(layout, width, height, room)
    assert windows == arrange(layout, width, height, list(room))
    assert len(windows) <= WINDOWS_MAX
    for window in windows:
        assert not any(value % 2 for value in (window.left, window.top, window.width, window.height))
        assert 0 <= window.left < window.left + window.width <= width
        assert 0 <= window.top < window.top + window.height <= height
        assert window.source in room if window.source else window.placeholder
    shown = [window.source for window in windows if window.source]
    assert len(set(shown)) == len(shown)


@given(templates, canvases, rooms)
def test_template_windows_overlap_only_the_large_one_of_floating(
    layout: Layout, canvas: tuple[int, int], room: list[Source]
) -> None:
    windows = arrange(layout, *canvas, room)
    if layout.template is Template.FLOATING and windows:
        big, *small = windows
        assert (big.left, big.top, big.width, big.height) == (0, 0, *canvas)
        assert not any(overlap(*pair) for pair in combinations(small, 2))
    else:
        assert not any(overlap(*pair) for pair in combinations(windows, 2))


@given(templates, canvases.filter(lambda canvas: canvas[0] >= 20), rooms)
def test_whoever_can_be_seen_is_there(layout: Layout, canvas: tuple[int, int], room: list[Source]) -> None:
    """The first in the order of entry, and the big picture that is named."""
    visible = [source for source in room if source.picture or not layout.hide_audio_only]
    shown = [window.source for window in arrange(layout, *canvas, room) if window.source]
    wanted = layout.big_picture
    big = [s for s in visible if wanted and (s.user_id, s.media) == (wanted.user_id, wanted.media.lower())]
    if layout.template is Template.GRID:
        assert shown == visible[:25]
    elif layout.template is Template.SCREEN_SHARE:
        assert shown == big + [source for source in visible if source not in big][:24]
    else:
        big = big or visible[:1]
        assert shown == big + [source for source in visible if source not in big][:24]


@given(templates, canvases, rooms)
def test_small_windows_are_all_of_a_size(layout: Layout, canvas: tuple[int, int], room: list[Source]) -> None:
    windows = arrange(layout, *canvas, room)
    small = windows if layout.template is Template.GRID else windows[1:]
    assert len({(window.width, window.height) for window in small}) <= 1


@given(customs, canvases, rooms)
def test_custom_windows_have_whom_they_name(layout: Layout, canvas: tuple[int, int], room: list[Source]) -> None:
    named = {(window.user_id, window.media.lower()) for window in layout.windows if window.user_id}
    anonymous = [window for window in layout.windows if window.user_id is None]
    by_entry = {
        source
        for media in WindowMedia
        for source in [s for s in room if s.media == media.lower() and (s.user_id, s.media) not in named][
            : sum(window.media is media for window in anonymous)
        ]
    }
    for window in arrange(layout, *canvas, room):
        if window.source:
            assert (window.source.user_id, window.source.media) in named or window.source in by_entry
