from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.h264 import picture_size

# the first is LiveKit's blank frame, the others are x264's
SIZES = {
    "6742c01f0fd91f888884000003000400000300c83c60c920": (2, 2),
    "67640028acb403c0113f2c20000003002000000781e30654": (1920, 1080),
    "674d401fda014016e840000003004000000f03c60ca8": (1280, 720),
    "6742c01eda0280bfe484000003000400000300f03c58ba80": (640, 362),
    "67640028acd94078044fdc20000003002000000783e2c5b2c0": (1920, 1080),
    "67f4001e919680a02ff89840000003004000000f03c58ba8": (640, 360),
    "67": None,
    "": None,
    "67ffffff": None,
}


@pytest.mark.parametrize(("sps", "size"), SIZES.items())
def test_picture_size(sps: str, size: tuple[int, int] | None) -> None:
    assert picture_size(bytes.fromhex(sps)) == size


@given(st.binary(max_size=300))
def test_never_raises(data: bytes) -> None:
    size = picture_size(data)
    assert size is None or (0 < size[0] <= 16384 and 0 < size[1] <= 16384)
