"""The picture half, judged by what its output shows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cloudrec_contract.mix import Fill, MixAudio, RenderMode
from cloudrec_contract.resources import StreamKind
from cloudrec_recorder.mix import composer as composing
from cloudrec_recorder.mix import wire
from cloudrec_recorder.mix.canvas import BLACK, Colour, Planes, yuv
from cloudrec_recorder.mix.composer import DELAY_SECONDS, LATE_SECONDS, Composer
from tests.unit.mix.films import (
    BLUE,
    COLOURS,
    FPS,
    GREEN,
    GREY,
    RED,
    WHITE,
    Room,
    at,
    box,
    columns,
    fields,
    film,
    near,
    png,
    rows,
    setup,
    window,
)

BACKGROUND = "#404040"


def shown(room: Room, number: int = -1) -> Planes:
    return room.seen()[number]


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1"])
def test_every_codec_in_every_window(codec: str) -> None:
    room = Room()
    for number, colour in enumerate(COLOURS):
        room.stream(number)
        room.units(number, fields([colour] * 6, codec, width=80, height=48), codec=codec)
    room.scene(*(window(80 * (n % 2), 48 * (n // 2), 80, 48, n) for n in range(4)), background=BACKGROUND)
    room.end(0.2)
    for number, colour in enumerate(COLOURS):
        left, top = 80 * (number % 2), 48 * (number // 2)
        for x, y in ((left + 4, top + 4), (left + 75, top + 4), (left + 4, top + 43), (left + 75, top + 43)):
            assert near(at(shown(room), x, y), colour, 10)


@pytest.mark.parametrize(
    "place",
    [(0, 0, 160, 96), (10, 20, 100, 60), (34, 2, 64, 94), (150, 90, 10, 6), (130, 80, 60, 40), (31, 21, 63, 43)],
)
def test_a_window_is_where_the_scene_says(place: tuple[int, int, int, int]) -> None:
    room = Room()
    room.stream(0)
    room.units(0, fields([WHITE] * 6))
    left, top, width, height = place
    room.scene(window(left, top, width, height, render_mode=RenderMode.STRETCH), background=BACKGROUND)
    room.end(0.2)
    wanted = (left, top, min(left + width, 160), min(top + height, 96))
    assert box(shown(room), WHITE, 60) == pytest.approx(wanted, abs=2)


BANDS = (RED, GREEN, GREY, BLUE, WHITE)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        # from the top down in the middle of a square window of 96: five columns of a picture of 160 x 96
        (RenderMode.STRETCH, {4: RED, 25: GREEN, 48: GREY, 70: BLUE, 92: WHITE}),
        (RenderMode.CROP, {4: GREEN, 28: GREEN, 48: GREY, 68: BLUE, 92: BLUE}),
        (RenderMode.FIT, {4: RED, 25: GREEN, 48: GREY, 70: BLUE, 92: WHITE}),
        (RenderMode.SMART, {4: RED, 25: GREEN, 48: GREY, 70: BLUE, 92: WHITE}),
    ],
)
def test_render_modes(mode: RenderMode, wanted: dict[int, Colour]) -> None:
    room = Room()
    room.stream(0)
    room.units(0, film([columns(BANDS, 160, 96)] * 6))
    room.scene(window(32, 0, 96, 96, render_mode=mode), background=BACKGROUND)
    room.end(0.2)
    seen = shown(room)
    for x, colour in wanted.items():
        assert near(at(seen, 32 + x, 48), colour, 12), x
    bars = {RenderMode.FIT: 19, RenderMode.SMART: 12}.get(mode, 0)
    assert near(at(seen, 80, 3), BLACK if bars else GREY, 12)
    inside = [y for y in range(96) if near(at(seen, 80, y), GREY, 20)]
    assert [inside[0], 96 - 1 - inside[-1]] == pytest.approx([bars, bars], abs=2)


def test_high_pictures_are_cropped_above_and_below() -> None:
    room = Room()
    room.stream(0)
    room.units(0, film([rows(BANDS, 96, 160)] * 6))
    room.scene(window(0, 0, 96, 96))
    room.end(0.2)
    assert [near(at(shown(room), 48, y), colour, 12) for y, colour in ((3, GREEN), (48, GREY), (92, BLUE))] == [
        True
    ] * 3


def test_windows_lie_above_each_other_and_let_through() -> None:
    room = Room()
    for number, colour in enumerate((BLUE, WHITE, RED)):
        room.stream(number)
        room.units(number, fields([colour] * 12))
    room.scene(
        window(0, 0, 160, 96, 0),
        window(20, 20, 80, 60, 1, opacity=128),
        window(60, 40, 80, 40, 2),
        background=BACKGROUND,
    )
    room.end(0.3)
    seen = shown(room)
    half = (round((BLUE[0] + WHITE[0]) / 2), round((BLUE[1] + WHITE[1]) / 2), round((BLUE[2] + WHITE[2]) / 2))
    assert near(at(seen, 10, 10), BLUE)
    assert near(at(seen, 40, 30), half)
    assert near(at(seen, 80, 60), RED)


def test_full_range_is_made_limited() -> None:
    room = Room()
    room.stream(0)
    room.units(0, film([columns([(255, 128, 128), (0, 128, 128)], 64, 48)] * 6, full_range=True))
    room.scene(window(0, 0, 160, 96))
    room.end(0.2)
    assert near(at(shown(room), 20, 40), (235, 128, 128), 4)
    assert near(at(shown(room), 140, 40), (16, 128, 128), 4)


def test_a_layer_switch_changes_nothing_but_the_picture() -> None:
    room = Room()
    room.stream(0)
    room.units(0, fields([RED] * 15, width=320, height=192))
    room.units(0, fields([BLUE] * 15, width=80, height=48), 0.5, source=1)
    room.scene(window(40, 20, 80, 48), background=BACKGROUND)
    room.end(1.0)
    seen = room.seen()
    assert len(seen) == 30
    for number, planes in enumerate(seen):
        assert near(at(planes, 80, 40), RED if number < 15 else BLUE, 10), number
        assert near(at(planes, 20, 40), yuv(BACKGROUND), 10)


@pytest.mark.parametrize(
    ("fill", "placeholder", "wanted"),
    [(Fill.LAST_FRAME, None, RED), (Fill.BLACK, None, BLACK), (Fill.LAST_FRAME, "there", WHITE)],
)
def test_when_a_picture_stops(fill: Fill, placeholder: str | None, wanted: Colour) -> None:
    room = Room(setup(fill=fill))
    url = "http://h/there.png"
    room.stream(0)
    room.units(0, fields([RED] * 6))
    room.scene(window(0, 0, 80, 96, placeholder=url if placeholder else None), background=BACKGROUND)
    room.composer.take(wire.Image(url, png(np.full((40, 30, 3), 237, np.uint8))))
    room.until(0.2)
    room.scene(window(0, 0, 80, 96, live=False, placeholder=url if placeholder else None), background=BACKGROUND)
    room.until(0.4)
    room.units(0, fields([GREEN] * 6), 0.4, source=1)
    room.scene(window(0, 0, 80, 96), background=BACKGROUND)
    room.end(0.6)
    seen = room.seen()
    assert [near(at(seen[number], 40, 40), colour, 10) for number, colour in ((5, RED), (9, wanted), (17, GREEN))] == [
        True
    ] * 3


def test_a_window_of_nobody_shows_the_background_or_its_placeholder() -> None:
    room = Room()
    url, missing = "http://h/a.png", "http://h/b.png"
    room.scene(window(0, 0, 80, 96, None), window(80, 0, 80, 96, None, placeholder=url), background=BACKGROUND)
    room.until(0.2)
    half = np.zeros((40, 40, 4), np.uint8)
    half[..., 0], half[:, 20:, 3] = 255, 255
    room.composer.take(wire.Image(url, png(half)))
    room.composer.take(wire.Image(missing, b""))
    room.end(0.4)
    before, after = room.seen()[3], shown(room)
    assert all(near(at(before, x, 50), yuv(BACKGROUND)) for x in (40, 120))
    assert near(at(after, 40, 50), yuv(BACKGROUND))
    assert near(at(after, 100, 50), BLACK)
    assert near(at(after, 150, 50), yuv("#FF0000"), 10)


def test_the_background_may_be_an_image() -> None:
    room = Room()
    url = "http://h/a.png"
    scene = wire.Scene(background_color=BACKGROUND, background_image=url, background_render_mode=RenderMode.FIT)
    room.composer.take(scene)
    room.composer.take(wire.Image(url, png(np.full((96, 96, 3), 237, np.uint8))))
    room.end(0.2)
    assert near(at(shown(room), 80, 50), WHITE)
    assert near(at(shown(room), 10, 50), yuv(BACKGROUND))


def test_an_image_that_cannot_be_read_is_told_once() -> None:
    room = Room()
    room.scene(window(0, 0, 80, 96, None, placeholder="http://h/a.png"))
    room.composer.take(wire.Image("http://h/a.png", b"nonsense"))
    room.end(3.0)
    told = [message.bad_images for message in room.said if isinstance(message, wire.Status)]
    assert list(itertools.chain(*told)) == ["http://h/a.png"]


def test_one_bad_stream_stands_still_alone() -> None:
    room = Room()
    shot = fields([RED] * 15 + [GREEN] * 15)
    for number in (0, 1):
        room.stream(number)
    room.scene(window(0, 0, 80, 96, 0), window(80, 0, 80, 96, 1))
    room.units(0, shot)
    room.units(1, shot[:10])
    room.composer.take(wire.Unit(1, 0, 0.4, True, "VP8", bytes(100)))
    room.units(1, fields([BLUE] * 8)[1:], 0.45, source=1)
    room.until(0.9)
    assert room.status.keyframes_wanted == [1]
    room.units(1, fields([BLUE] * 3), 0.9, source=1)
    room.end(1.0)
    seen = room.seen()
    assert len(seen) == 30
    assert [near(at(planes, 40, 50), RED if number < 15 else GREEN, 10) for number, planes in enumerate(seen)] == [
        True
    ] * 30
    assert [near(at(planes, 120, 50), RED if number < 27 else BLUE, 10) for number, planes in enumerate(seen)] == [
        True
    ] * 30
    assert room.status.keyframes_wanted == []


@pytest.mark.parametrize("fps", [7, 15, 30, 60])
def test_what_is_shown_is_at_most_half_a_frame_off(fps: int) -> None:
    """Each source's picture has a luma of its own; in the output it is there in time."""
    room = Room(setup(64, 48, fps=fps))
    room.stream(0)
    lumas = [20 + 6 * (number % 36) for number in range(30)]
    room.units(0, fields([(luma, 128, 128) for luma in lumas]))
    room.scene(window(0, 0, 64, 48))
    room.end(1.0)
    for number, planes in enumerate(room.seen()):
        time = number / fps
        wanted = max(n for n in range(30) if n / FPS <= time + 0.5 / fps + 1e-6)
        assert abs(int(planes[0][24, 32]) - lumas[wanted]) <= 2


def test_a_late_picture_is_shown_with_the_next_frame() -> None:
    room = Room()
    room.stream(0)
    room.scene(window(0, 0, 160, 96), background=BACKGROUND)
    room.until(0.5)
    room.units(0, fields([RED] * 3))
    room.end(0.6)
    assert near(at(room.seen()[14], 80, 50), yuv(BACKGROUND))
    assert near(at(room.seen()[15], 80, 50), RED)


def test_a_scene_holds_from_the_next_frame_on() -> None:
    room = Room()
    room.scene(background="#FF0000")
    room.until(0.5)
    room.scene(background="#0000FF")
    room.end(1.0)
    assert [near(at(planes, 80, 50), yuv("#FF0000")) for planes in room.seen()] == [True] * 15 + [False] * 15


def test_an_hour_of_frames_each_at_its_time() -> None:
    """Sources that come and go, rates that do not fit, ticks at any time: one frame for each place of the grid."""
    fps = 2
    room = Room(setup(16, 16, fps=fps, gop=10, start=12.34).model_copy(update={"segment_seconds": 15}))
    room.stream(0)
    room.scene(window(0, 0, 16, 16))
    shot = fields(COLOURS, width=16, height=16)
    random = np.random.default_rng(5)
    now, sent, seconds = 12.34, 12.34, 3600
    while now < 12.34 + seconds + DELAY_SECONDS:
        if random.random() < 0.2:
            room.units(0, shot, sent, source=round(sent * 1000))
            sent = now + 0.2  # never before what was sent last
        now += float(random.uniform(0.01, 0.4))
        room.composer.take(wire.Tick(now))
    room.composer.take(wire.End(12.34 + seconds))
    pictures = room.pictures
    assert seconds * fps <= len(pictures) <= seconds * fps + 2
    assert max(abs(p.time - (12.34 + n / fps)) for n, p in enumerate(pictures)) < 1e-6
    keys = [p.time - 12.34 for p in pictures if p.keyframe]
    assert keys[:7] == pytest.approx([0, 10, 15, 25, 30, 40, 45])
    assert room.status.dropped == 0
    assert isinstance(room.said[-1], wire.Done)


def test_the_same_messages_make_the_same_output() -> None:
    def play() -> list[wire.FromComposer]:
        room = Room()
        for number in (0, 1):
            room.stream(number)
        room.scene(window(0, 0, 80, 96, 0), window(60, 10, 70, 60, 1, opacity=99))
        room.units(0, fields(COLOURS * 6, "VP8"), codec="VP8")
        room.units(1, fields(COLOURS * 6), 0.01)
        room.until(0.5)
        room.scene(window(20, 0, 80, 96, 1))
        room.end(1.0)
        return room.said

    assert play() == play()


def test_the_end_is_where_it_is_said_to_be() -> None:
    room = Room(setup(start=5.0))
    room.until(5.2)
    room.composer.take(wire.End(6.0))
    assert [picture.time for picture in room.pictures] == pytest.approx([5 + number / 30 for number in range(30)])
    assert isinstance(room.said[-1], wire.Done)


def test_too_far_behind_frames_are_left_out_and_the_rest_is_in_time() -> None:
    room = Room()
    room.stream(0)
    room.scene(window(0, 0, 160, 96))
    room.until(1.0)
    room.composer.newest = 1.0 + DELAY_SECONDS + LATE_SECONDS + 1.0  # ticks that have come but are not taken yet
    room.units(0, fields([RED, GREEN, BLUE]), 1.0)
    room.composer.take(wire.Tick(1.5))
    assert len(room.pictures) == 30
    room.end(5.0)
    times = [picture.time for picture in room.pictures]
    assert times[29] == pytest.approx(29 / 30)
    assert times[30] == pytest.approx(4.0)
    assert len(times) + room.status.dropped == 150
    assert room.status.dropped == 90
    assert [b - a for a, b in itertools.pairwise(times[30:])] == pytest.approx([1 / 30] * 29)
    assert near(at(shown(room), 80, 50), BLUE)


def behind(room: Room, begin: float, end: float, seconds: float) -> None:
    """Each tick is taken so much after it came."""
    for number in range(round((end - begin) * FPS)):
        now = begin + number / FPS
        room.composer.newest = now + seconds
        room.composer.take(wire.Tick(now))


def test_the_ladder_is_climbed_and_told() -> None:
    room = Room(setup(64, 48, gop=3))
    room.stream(0)
    room.scene(window(0, 0, 64, 48))
    room.units(0, fields(list(COLOURS) * 75))
    behind(room, 0.0, 8.0, 1.0)
    steps = [message.step for message in room.said if isinstance(message, wire.Status)]
    assert sorted(set(steps)) == [0, 1, 2, 3, 4]
    assert steps == sorted(steps)
    assert room.status.behind == pytest.approx(1.0, abs=0.05)
    seen = room.seen()[-30:]
    repeated = [np.abs(a[0].astype(int) - b[0]).max() <= 4 for a, b in itertools.pairwise(seen)]
    assert repeated[::2] == [repeated[0]] * 15
    assert repeated[1::2] == [not repeated[0]] * 14
    times = [picture.time for picture in room.pictures]
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([1 / 30] * (len(times) - 1))
    room.composer.newest = 8.0
    for number in range(60 * 30):
        room.composer.take(wire.Tick(8.0 + DELAY_SECONDS + number / 30))
    room.composer.take(wire.End(68.0))
    assert room.status.step == 0
    assert room.status.dropped == 0


def test_status_comes_when_something_changes() -> None:
    room = Room()
    room.stream(0)
    room.scene(window(0, 0, 160, 96))
    room.until(5.0)
    assert 4 <= sum(isinstance(message, wire.Status) for message in room.said) <= 6
    room.units(0, fields([RED] * 2)[1:], 4.95)
    room.said.clear()
    room.until(5.2)
    assert room.status.keyframes_wanted == [0]


def test_streams_that_are_gone_are_forgotten() -> None:
    room = Room(setup(16, 16, fps=1))
    for number in range(100):
        room.stream(number)
        room.units(number, fields([RED], width=16, height=16), float(number))
        room.scene(window(0, 0, 16, 16, number))
        room.until(float(number + 1))
    assert room.composer._pictures is not None
    assert len(room.composer._pictures.sources) <= 2 * composing.FORGET_SECONDS + 2


def test_without_pictures_there_are_none() -> None:
    said: list[wire.FromComposer] = []
    composer = Composer(setup().model_copy(update={"kind": StreamKind.AUDIO, "audio": MixAudio()}), said.append)
    composer.take(wire.Stream(number=0, user_id="a", media="main", kind="video"))
    composer.take(wire.Unit(0, 0, 0.0, True, "H264", b"x"))
    composer.take(wire.Scene())
    composer.take(wire.Image("u", b""))
    composer.take(wire.Tick(5.0))
    composer.take(wire.End(5.0))
    assert not any(isinstance(message, wire.Picture) for message in said)
    assert isinstance(said[-1], wire.Done)


def test_units_of_a_stream_that_was_not_told_are_left_out() -> None:
    room = Room()
    room.units(9, fields([RED]))
    room.scene(window(0, 0, 160, 96, 9), background=BACKGROUND)
    room.end(0.2)
    assert near(at(shown(room), 80, 50), yuv(BACKGROUND))


def test_one_setup_is_enough() -> None:
    room = Room()
    with pytest.raises(ValueError, match="second setup"):
        room.composer.take(room.setup)
