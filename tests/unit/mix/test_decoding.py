from __future__ import annotations

import numpy as np
import pytest

from cloudrec_recorder.mix import decoding
from cloudrec_recorder.mix.canvas import planes_of
from cloudrec_recorder.mix.decoding import Source
from cloudrec_recorder.mix.wire import Unit
from tests.unit.mix.films import BLUE, COLOURS, GREEN, RED, Film, at, fields, near


def units(film: Film, *, begin: float = 0.0, codec: str = "H264", source: int = 0) -> list[Unit]:
    return [Unit(1, source, begin + n / 30, keyframe, codec, data) for n, (data, keyframe) in enumerate(film)]


def feed(source: Source, given: list[Unit], until: float = float("inf")) -> None:
    for unit in given:
        source.push(unit)
    source.advance(until)


def colour(source: Source) -> tuple[int, int, int]:
    assert source.frame is not None
    return at(planes_of(source.frame), 20, 20)


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1"])
def test_the_newest_picture_of_every_codec(codec: str) -> None:
    source = Source(1)
    for unit in units(fields(COLOURS * 2, codec), codec=codec):
        source.push(unit)
    for number in range(8):
        source.advance(number / 30 + 0.001)
        assert source.version == number + 1
        assert near(colour(source), COLOURS[number % 4], 8)
    assert not source.lost
    assert not source.useless


def test_what_is_later_waits() -> None:
    source = Source(1)
    feed(source, units(fields([RED, BLUE])), until=0.02)
    assert near(colour(source), RED)
    source.advance(0.04)
    assert near(colour(source), BLUE)


def test_nothing_is_wanted_of_a_stream_that_has_not_begun() -> None:
    source = Source(1)
    source.advance(1)
    assert not source.lost


def test_without_a_keyframe_one_is_wanted() -> None:
    source, film = Source(1), units(fields(COLOURS))
    feed(source, film[1:])
    assert source.lost
    assert source.frame is None
    feed(source, units(fields([GREEN]), begin=1))
    assert not source.lost
    assert near(colour(source), GREEN)


def test_a_new_source_may_change_size_and_codec() -> None:
    source = Source(1)
    feed(source, units(fields([RED] * 3)))
    feed(source, units(fields([BLUE], "VP8", width=128, height=96), begin=1, codec="VP8", source=1))
    assert source.frame is not None
    assert (source.frame.width, source.frame.height) == (128, 96)
    assert near(colour(source), BLUE, 8)


def test_the_size_may_change_at_any_keyframe() -> None:
    source = Source(1)
    feed(source, units(fields([RED] * 3)))
    feed(source, units(fields([BLUE] * 3, width=320, height=180), begin=1))
    assert source.frame is not None
    assert (source.frame.width, source.frame.height) == (320, 180)
    feed(source, units(fields([GREEN] * 3), begin=2))
    assert (source.frame.width, source.frame.height) == (64, 48)
    assert source.version == 9


def test_a_new_source_that_begins_before_the_old_one_ends() -> None:
    source = Source(1)
    for unit in [*units(fields([RED] * 30)), *units(fields([BLUE] * 3), begin=0.2, source=1)]:
        source.push(unit)
    source.advance(0.1)
    assert near(colour(source), RED)
    source.advance(0.3)
    assert near(colour(source), BLUE)


@pytest.mark.parametrize("codec", ["H264", "VP8", "VP9", "AV1"])
def test_garbage_leaves_the_picture_and_wants_a_keyframe(codec: str) -> None:
    source, film = Source(1), units(fields(COLOURS, codec), codec=codec)
    feed(source, film[:1])
    noise = np.random.default_rng(7).bytes(400)
    start = b"\0\0\0\1\x65" if codec == "H264" else b""
    feed(source, [Unit(1, 0, 0.5, True, codec, start + noise)])
    assert near(colour(source), RED, 8)
    assert source.version == 1
    feed(source, [Unit(1, 0, 1 + n, unit.keyframe, codec, unit.data) for n, unit in enumerate(film)])
    assert near(colour(source), COLOURS[3], 8)
    assert not source.lost


def test_a_stream_of_nothing_but_garbage_is_of_no_use() -> None:
    source = Source(1)
    noise = np.random.default_rng(7)
    feed(source, [Unit(1, 0, n / 30, True, "VP8", noise.bytes(50)) for n in range(decoding.FAILURES_MAX)])
    assert source.useless
    feed(source, units(fields([RED], "VP8"), begin=1, codec="VP8"))
    assert not source.useless


def test_an_unknown_codec_is_of_no_use() -> None:
    source = Source(1)
    feed(source, [Unit(1, 0, 0, True, "OPUS", b"x")])
    assert source.useless
    assert not source.lost


def test_what_is_too_large_is_not_decoded() -> None:
    source = Source(1)
    feed(source, units(fields([RED], width=4608, height=2592)))
    assert source.frame is None
    assert source.lost


def test_the_picture_that_an_sfu_sends_at_the_end_is_not_shown() -> None:
    source = Source(1)
    feed(source, [*units(fields([RED])), *units(fields([BLUE], width=8, height=8), begin=1)])
    assert near(colour(source), RED)
    assert not source.lost


def test_what_waits_is_bounded() -> None:
    source = Source(1)
    feed(source, units(fields([RED])))
    for number in range(decoding.WAITING_MAX + 1):
        source.push(Unit(1, 0, 1e6 + number, False, "H264", b"\0\0\0\1\x41"))
    assert source.lost
    big = bytes(6 << 20)
    for number in range(10):
        source.push(Unit(1, 0, 2e6 + number, False, "H264", big))
    assert source._bytes <= decoding.WAITING_BYTES_MAX
    source.advance(float("inf"))
    assert near(colour(source), RED)
    feed(source, units(fields([GREEN]), begin=3e6))
    assert near(colour(source), GREEN)


def test_the_loop_filter_is_left_out_from_the_next_keyframe_on() -> None:
    source = Source(1)
    feed(source, units(fields([RED, BLUE])))
    before = source._decoder
    source.loop_filter = False
    feed(source, units(fields([RED, BLUE]), begin=1)[1:])
    assert source._decoder is before
    feed(source, units(fields([GREEN, BLUE]), begin=2))
    assert source._decoder is not before
    assert near(colour(source), BLUE)
