from __future__ import annotations

import itertools

import numpy as np
import pytest

from cloudrec_contract.mix import MixVideo
from cloudrec_recorder.h264 import nal_units, parameter_sets
from cloudrec_recorder.mix.canvas import Canvas
from cloudrec_recorder.mix.encoding import CUT_EARLY_SECONDS, Encoder, Keyframes
from tests.unit.mix.films import BLUE, RED, decoded, near


def keyframes(fps: int, gop: float, segment: float, seconds: float, without: range = range(0)) -> list[int]:
    rule = Keyframes(fps, gop, segment)
    found = []
    for frame in range(round(fps * seconds)):
        if frame not in without and rule.due(frame):
            rule.made(frame)
            found.append(frame)
    return found


@pytest.mark.parametrize(
    ("gop", "segment", "wanted"),
    [
        (10, 10, [0, 10, 20, 30]),
        (2, 4, [0, 2, 4, 6, 8]),
        (3, 10, [0, 3, 6, 9, 10, 13, 16, 19, 20]),
        (3, 9.2, [0, 3, 6, 9, 12, 15, 18]),  # 9 s is near enough to cut there
        (60, 10, [0, 10, 20, 30]),
        (10, 4, [0, 4, 8, 12]),
    ],
)
def test_where_keyframes_are(gop: float, segment: float, wanted: list[float]) -> None:
    found = [frame / 10 for frame in keyframes(10, gop, segment, 35)]
    assert found[: len(wanted)] == wanted


@pytest.mark.parametrize("fps", [1, 7, 15, 30, 60])
@pytest.mark.parametrize("gop", [1, 2, 7, 10, 3600])
@pytest.mark.parametrize("segment", [1, 2.5, 6, 10])
def test_the_recorder_finds_a_place_to_cut(fps: int, gop: float, segment: float) -> None:
    began, lengths = 0.0, []
    times = [frame / fps for frame in keyframes(fps, gop, segment, 60)]
    for time in times:
        if time - began >= segment - CUT_EARLY_SECONDS:
            lengths.append(time - began)
            began = time
    assert max(lengths) <= segment + 1 / fps
    assert all(b - a <= min(gop, segment) + 1 / fps for a, b in itertools.pairwise(times))


def test_the_next_takes_the_place_of_one_that_was_left_out() -> None:
    assert keyframes(10, 10, 10, 31, without=range(95, 123)) == [0, 123, 223]


def test_one_unit_a_picture_with_parameter_sets_at_keyframes() -> None:
    encoder, canvas = Encoder(MixVideo(width=160, height=90, fps=10, gop_seconds=1), 10), Canvas(160, 90)
    units = []
    for number in range(25):
        canvas.planes[0][...] = 16 + 8 * number
        units.append(encoder.encode(canvas.frame, number))
    assert [number for number, (_, keyframe) in enumerate(units) if keyframe] == [0, 10, 20]
    for data, keyframe in units:
        assert data.startswith(b"\0\0\0\1")
        kinds = [nal[0] & 0x1F for nal in nal_units(data)]
        assert (5 in kinds) == keyframe == (parameter_sets(data) is not None)
        assert kinds.count(5) + kinds.count(1) == 1
    shown = [int(planes[0].mean()) for planes in decoded(data for data, _ in units)]
    assert shown == pytest.approx([16 + 8 * number for number in range(25)], abs=3)


def test_the_canvas_may_be_drawn_on_as_soon_as_it_is_encoded() -> None:
    encoder, canvas = Encoder(MixVideo(width=64, height=64, fps=10), 10), Canvas(64, 64)
    units = []
    for number in range(6):
        for plane, value in zip(canvas.planes, (RED, BLUE)[number % 2], strict=True):
            plane[...] = value
        units.append(encoder.encode(canvas.frame, number)[0])
        for plane in canvas.planes:
            plane[...] = np.random.default_rng(number).integers(0, 255, plane.shape, np.uint8)
    for number, planes in enumerate(decoded(units)):
        colour = (int(planes[0][30, 30]), int(planes[1][15, 15]), int(planes[2][15, 15]))
        assert near(colour, (RED, BLUE)[number % 2])


def test_the_faster_preset_is_the_same_stream() -> None:
    encoder, canvas = Encoder(MixVideo(width=160, height=90, fps=10), 10), Canvas(160, 90)
    units = []
    for number in range(30):
        canvas.planes[0][:, number : number + 40] = 16 + 7 * number
        units.append(encoder.encode(canvas.frame, number, faster=10 <= number < 20))
    assert [number for number, (_, keyframe) in enumerate(units) if keyframe] == [0, 10, 20]
    assert len({parameter_sets(data) for data, keyframe in units if keyframe}) == 1
    assert len(decoded(data for data, _ in units)) == 30


def test_a_change_of_preset_waits_for_a_picture_after_a_keyframe() -> None:
    encoder, canvas = Encoder(MixVideo(width=64, height=64, fps=10), 10), Canvas(64, 64)
    assert [encoder.encode(canvas.frame, number, faster=number > 0)[1] for number in range(4)] == [
        True,
        False,
        True,
        False,
    ]


def test_the_bit_rate_is_kept() -> None:
    encoder, canvas = Encoder(MixVideo(width=320, height=180, fps=15, bit_rate=400_000), 10), Canvas(320, 180)
    noise = np.random.default_rng(1)
    size = 0
    for number in range(150):
        canvas.planes[0][...] = noise.integers(16, 235, canvas.planes[0].shape, np.uint8)
        size += len(encoder.encode(canvas.frame, number)[0])
    assert size * 8 / 10 <= 400_000 * 1.25
