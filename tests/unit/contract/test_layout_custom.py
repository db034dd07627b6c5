"""The custom layout: who is in which window, and which window is in front."""

from typing import Any

from cloudrec_contract.layout import Source, Window, arrange
from cloudrec_contract.mix import Layout, MixWindow, RenderMode, Template, WindowMedia

NOBODY = "https://example.com/nobody.png"
AWAY = "https://example.com/away.jpg"

ANNA = Source("anna", "main", True)
ANNAS_SCREEN = Source("anna", "aux", True)
BEN = Source("ben", "main", True)
CARLA = Source("carla", "main", False)


def window(left: int = 0, top: int = 0, **fields: Any) -> MixWindow:
    return MixWindow(left=left, top=top, width=fields.pop("width", 320), height=fields.pop("height", 180), **fields)


def placed(sources: list[Source], *windows: MixWindow, **fields: Any) -> tuple[Window, ...]:
    return arrange(Layout(template=Template.CUSTOM, windows=list(windows), **fields), 1280, 720, sources)


def lefts(windows: tuple[Window, ...]) -> dict[int, Source | None]:
    return {each.left: each.source for each in windows}


def test_named_windows_have_their_user_and_others_the_next_to_enter() -> None:
    found = placed(
        [ANNA, ANNAS_SCREEN, BEN, CARLA],
        window(0),
        window(320, user_id="anna"),
        window(640, user_id="anna", media=WindowMedia.AUX),
        window(960),
    )
    assert lefts(found) == {0: BEN, 320: ANNA, 640: ANNAS_SCREEN, 960: CARLA}


def test_a_window_takes_its_own_media_alone() -> None:
    assert lefts(placed([ANNA, ANNAS_SCREEN], window(0, media=WindowMedia.AUX), window(320), window(640))) == {
        0: ANNAS_SCREEN,
        320: ANNA,
    }


def test_who_is_named_is_in_no_other_window_and_in_one_once() -> None:
    assert lefts(placed([ANNA], window(0), window(320, user_id="anna"), window(640, user_id="anna"))) == {320: ANNA}


def test_who_is_named_has_a_window_though_25_entered_before() -> None:
    crowd = [Source(f"u{number}", "main", True) for number in range(25)]
    assert lefts(placed([*crowd, ANNA], window(user_id="anna"))) == {0: ANNA}


def test_lower_layers_are_behind_and_equal_ones_keep_their_order() -> None:
    sources = [Source(f"u{number}", "main", True) for number in range(4)]
    found = placed(sources, window(0, layer=2), window(100, layer=-1), window(200), window(300, layer=-1))
    assert [each.left for each in found] == [100, 300, 200, 0]
    assert [each.source.user_id for each in found if each.source] == ["u1", "u3", "u2", "u0"]


def test_a_windows_own_settings_are_kept() -> None:
    (found,) = placed([ANNA], window(opacity=40, render_mode=RenderMode.SMART), render_mode=RenderMode.FIT)
    assert (found.opacity, found.render_mode) == (40, RenderMode.SMART)


def test_audio_only_users_keep_their_window_in_the_custom_layout() -> None:
    assert lefts(placed([CARLA], window(), hide_audio_only=True)) == {0: CARLA}


def test_placeholders_are_shown_where_a_named_user_is_away() -> None:
    windows = (window(0, user_id="anna", placeholder=AWAY), window(320, user_id="ben"), window(640))
    assert placed([], *windows, placeholder_image=NOBODY) == ()
    found = placed([], *windows, placeholder_image=NOBODY, placeholders=True)
    assert [(each.left, each.source, each.placeholder) for each in found] == [(0, None, AWAY), (320, None, NOBODY)]
    assert placed([], window(user_id="anna"), placeholders=True) == (), "there is no image to show"


def test_a_named_windows_placeholder_needs_placeholders_another_window_its_image_alone() -> None:
    windows = (window(0, user_id="carla", placeholder=AWAY), window(320))
    assert [each.placeholder for each in placed([CARLA, ANNA], *windows, placeholder_image=NOBODY)] == [None, NOBODY]
    assert [
        each.placeholder for each in placed([CARLA, ANNA], *windows, placeholder_image=NOBODY, placeholders=True)
    ] == [AWAY, NOBODY]


def test_odd_windows_are_made_even_and_what_is_outside_is_cut_off() -> None:
    (found,) = placed([ANNA], window(1001, 701, width=500, height=51))
    assert (found.left, found.top, found.width, found.height) == (1000, 700, 280, 20)
    assert placed([ANNA], window(1280)) == ()
    assert placed([ANNA], window(width=1)) == ()
