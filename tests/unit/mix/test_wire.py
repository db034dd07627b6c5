"""The messages between recorder and composer: there and back, in any pieces, and nothing that is none."""

from __future__ import annotations

import contextlib
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.mix import Fill, MixAudio, MixVideo, Watermark
from cloudrec_contract.resources import StreamKind
from cloudrec_recorder.mix.wire import (
    BODY_MAX,
    CODECS,
    Done,
    End,
    Image,
    Picture,
    Scene,
    SceneWindow,
    Setup,
    Sound,
    Splitter,
    Status,
    Stream,
    Tick,
    Type,
    Unit,
    decode,
    encode,
)

MESSAGES = [
    Setup(
        video=MixVideo(width=640, height=360, fps=30),
        audio=MixAudio(sample_rate=44100, channels=1),
        kind=StreamKind.AUDIO_VIDEO,
        fill=Fill.BLACK,
        epoch=1_700_000_000_000,
        start=1.25,
        segment_seconds=10.0,
    ),
    Stream(number=7, user_id="ann é", media="aux", kind="video"),
    Scene(
        windows=[SceneWindow(left=2, top=4, width=6, height=8, stream=3, opacity=100, placeholder="http://a/b.png")],
        watermarks=[Watermark.model_validate({"text": {"text": "x", "left": 0, "top": 0, "width": 9, "height": 9}})],
    ),
    Unit(65535, 2**32 - 1, -1.5, True, "VP9", b"\0\1"),
    Image("http://a/b.png?c=d", b"\x89PNG\0"),
    Tick(3.5),
    End(4.5),
    Picture(0.1, False, b"\0\0\0\1"),
    Sound(-1024, b"\xff"),
    Status(step=2, behind=0.5, frames=3, dropped=1, bad_images=["http://a/b.png"], keyframes_wanted=[3]),
    Done(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_there_and_back(message: Unit) -> None:
    assert list(Splitter().feed(encode(message))) == [message]


@given(cuts=st.lists(st.integers(0, 2000), max_size=12))
def test_messages_come_in_any_pieces(cuts: list[int]) -> None:
    whole = b"".join(map(encode, MESSAGES))  # type: ignore[arg-type]
    edges = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    splitter = Splitter()
    found = [m for a, b in pairwise(edges) for m in splitter.feed(whole[a:b])]
    assert found == MESSAGES


@given(codec=st.sampled_from(CODECS), time=st.floats(allow_nan=False), data=st.binary(max_size=64))
def test_units(codec: str, time: float, data: bytes) -> None:
    unit = Unit(1, 2, time, False, codec, data)
    assert decode(Type.UNIT, encode(unit)[5:]) == unit


@given(kind=st.integers(0, 255), body=st.binary(max_size=64))
def test_what_is_no_message_is_refused_and_nothing_else_happens(kind: int, body: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode(kind, body)


def test_a_message_that_is_too_long_is_refused_before_it_is_there() -> None:
    with pytest.raises(ValueError, match="bytes"):
        list(Splitter().feed(struct.pack("<BI", Type.UNIT, BODY_MAX + 1)))
