"""What is drawn bit by bit is what would be drawn at once."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudrec_contract.mix import Fill, MixVideo, RenderMode
from cloudrec_recorder.mix.canvas import frame_of
from cloudrec_recorder.mix.decoding import Source
from cloudrec_recorder.mix.stage import Stage
from cloudrec_recorder.mix.wire import Scene, SceneWindow
from tests.unit.mix.films import BLUE, RED, WHITE, at, field, near, png, window
from tests.unit.mix.test_canvas import Patch, noise

VIDEO = MixVideo(width=64, height=48)
URL = "http://h/a.png"
IMAGE = png(np.random.default_rng(1).integers(0, 255, (20, 30, 4), np.uint8))
SIZES = ((32, 24), (64, 48), (18, 50), (33, 27))


def picture(source: Source, seed: int) -> None:
    """The source's next picture."""
    width, height = SIZES[seed % len(SIZES)]
    planes = noise(seed, width + 1 & ~1, height + 1 & ~1)
    source.frame = frame_of(planes)
    source.version += 1


def patches(seed: int) -> list[Any]:
    random = np.random.default_rng(seed)
    found = []
    for number in range(seed % 3):
        left, top = (int(random.integers(0, 20)) * 2 for _ in range(2))
        keep = (np.full((8, 12), 100, np.uint8), np.full((4, 6), 100, np.uint8))
        found.append(Patch(left, top, noise(seed + number, 12, 8, 150), keep))
    return found


@st.composite
def windows(draw: st.DrawFn) -> SceneWindow:
    left, top = draw(st.integers(0, 50)), draw(st.integers(0, 40))
    return window(
        left,
        top,
        draw(st.integers(1, 64)),
        draw(st.integers(1, 48)),
        draw(st.sampled_from([None, 0, 1, 2, 7])),
        live=draw(st.booleans()),
        opacity=draw(st.sampled_from([255, 255, 255, 90])),
        render_mode=draw(st.sampled_from(RenderMode)),
        placeholder=draw(st.sampled_from([None, URL])),
    )


GRID = [window(32 * (n % 2), 24 * (n // 2), 32, 24, n) for n in range(4)]
SCENES = st.one_of(
    st.builds(Scene, windows=st.lists(windows(), max_size=5)),
    st.just(Scene(windows=GRID, background_color="#123456")),
    st.just(Scene(windows=GRID[:2], background_image=URL)),
)


def planes(stage: Stage) -> list[bytes]:
    return [plane.tobytes() for plane in stage.canvas.planes]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(Fill))
def test_bit_by_bit_is_at_once(data: st.DataObject, fill: Fill) -> None:
    sources = {number: Source(number) for number in range(3)}
    stage = Stage(VIDEO, fill, sources)
    scene, overlays, images = Scene(), patches(0), False
    for _ in range(6):
        match data.draw(st.sampled_from(["scene", "overlays", "image", "pictures", "pictures"])):
            case "scene":
                wanted = stage.wants(URL)
                scene = data.draw(SCENES)
                stage.show(scene)
                images = images and wanted and stage.wants(URL)
            case "overlays":
                overlays = patches(data.draw(st.integers(0, 8)))
            case "image":
                if stage.wants(URL):
                    images = stage.image(URL, IMAGE)
            case _:
                for number in data.draw(st.sets(st.sampled_from(sorted(sources)))):
                    picture(sources[number], data.draw(st.integers(0, 99)))
        stage.refresh(0, overlays)
        fresh = Stage(VIDEO, fill, sources)
        fresh.show(scene)
        if images:
            assert fresh.image(URL, IMAGE)
        fresh.refresh(0, overlays)
        assert planes(stage) == planes(fresh)


def test_nothing_is_drawn_when_nothing_has_changed() -> None:
    sources = {0: Source(0)}
    stage = Stage(VIDEO, Fill.BLACK, sources)
    stage.show(Scene(windows=[window(0, 0, 32, 24)]))
    marks = patches(1)
    assert stage.refresh(0, marks)
    assert not stage.refresh(0, marks)
    picture(sources[0], 3)
    assert stage.refresh(0, marks)
    assert not stage.refresh(0, list(marks))
    assert stage.refresh(0, [])


def test_a_window_that_moves_is_not_scaled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {0: Source(0)}
    sources[0].frame = frame_of(field(RED))
    stage = Stage(VIDEO, Fill.BLACK, sources)
    stage.show(Scene(windows=[window(0, 0, 32, 24)]))
    stage.refresh(0, ())
    monkeypatch.setattr("cloudrec_recorder.mix.scaling.Scaler.scale", None)
    stage.show(Scene(windows=[window(32, 24, 32, 24, opacity=128)], background_color="#FFFFFF"))
    stage.refresh(0, ())
    assert near(at(stage.canvas.planes, 10, 10), (235, 128, 128))
    assert at(stage.canvas.planes, 40, 30)[0] == pytest.approx((235 + RED[0]) / 2, abs=2)


def test_overlays_lie_above_and_their_order_counts() -> None:
    stage = Stage(VIDEO, Fill.BLACK, {})
    stage.show(Scene(background_color="#FF0000"))
    solid = [
        Patch(8, 8, planes, (np.zeros((16, 16), np.uint8), np.zeros((8, 8), np.uint8)))
        for planes in (field(WHITE, 16, 16), field(BLUE, 16, 16))
    ]
    stage.refresh(0, solid)
    assert at(stage.canvas.planes, 10, 10) == BLUE
    stage.refresh(0, solid[::-1])
    assert at(stage.canvas.planes, 10, 10) == WHITE
    stage.refresh(0, ())
    assert near(at(stage.canvas.planes, 10, 10), (81, 90, 240))


def tagged(colour: tuple[int, int, int], **attributes: int) -> Any:
    frame = frame_of(field(colour, 64, 48))
    for name, value in attributes.items():
        setattr(frame, name, value)
    return frame


@pytest.mark.parametrize("size", [(64, 48), (32, 24), (128, 96), (40, 40)])
@pytest.mark.parametrize(
    ("attributes", "given_", "wanted"),
    [
        ({}, (120, 90, 200), (120, 90, 200)),
        ({"color_range": 1, "colorspace": 6}, (120, 90, 200), (120, 90, 200)),
        ({"color_range": 2}, (255, 128, 128), (235, 128, 128)),
        # pure red in BT.709, in BT.601
        ({"color_range": 1, "colorspace": 1}, (63, 102, 240), (81, 90, 240)),
    ],
)
def test_colours_are_made_one_kind(
    size: tuple[int, int], attributes: dict[str, int], given_: tuple[int, int, int], wanted: tuple[int, int, int]
) -> None:
    source = Source(0)
    source.frame = tagged(given_, **attributes)
    stage = Stage(MixVideo(width=128, height=96), Fill.BLACK, {0: source})
    stage.show(Scene(windows=[window(0, 0, *size)]))
    stage.refresh(0, ())
    assert near(at(stage.canvas.planes, 20, 20), wanted, 3)


@pytest.mark.parametrize("name", ["yuv444p", "yuv420p10le", "gbrp", "nv12", "gray", "yuvj420p"])
@pytest.mark.parametrize("mode", RenderMode)
def test_other_formats(name: str, mode: RenderMode) -> None:
    pixels = np.full((48, 64, 3), 237, np.uint8)
    source = Source(0)
    source.frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=name)
    stage = Stage(VIDEO, Fill.BLACK, {0: source})
    stage.show(Scene(windows=[window(0, 0, 32, 32, render_mode=mode)]))
    stage.refresh(0, ())
    assert near(at(stage.canvas.planes, 16, 16), WHITE, 4)
