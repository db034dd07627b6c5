import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.h264 import ParameterSets, nal_units, parameter_sets, video_parameters
from tests.unit.segments import samples

SIZES = [(320, 180), (640, 360), (1280, 720), (426, 240), (1920, 1080), (90, 160)]


@pytest.mark.parametrize(("profile", "number"), [("baseline", 66), ("main", 77), ("high", 100)])
@pytest.mark.parametrize(
    ("width", "height"), [(320, 180), (640, 360), (1280, 720), (426, 240), (1920, 1080), (90, 160)]
)
def test_sizes_and_profiles_as_x264_writes_them(width: int, height: int, profile: str, number: int) -> None:
    keyframe = samples.h264(1, width=width, height=height, profile=profile)[0][0]
    sets = parameter_sets(keyframe)
    assert sets is not None
    found = video_parameters(keyframe, sets)
    assert (found.width, found.height, found.profile) == (width, height, number)
    assert 10 <= found.level <= 52


def test_interlaced_pictures_are_as_high_as_they_are() -> None:
    keyframe = samples.h264(1, width=720, height=576, profile="main", extra=":interlaced=1")[0][0]
    sets = parameter_sets(keyframe)
    assert sets is not None
    assert (video_parameters(keyframe, sets).width, video_parameters(keyframe, sets).height) == (720, 576)


def test_a_frame_without_parameter_sets() -> None:
    assert parameter_sets(samples.h264(2)[1][0]) is None


def test_both_start_codes_and_trailing_zeros() -> None:
    assert list(nal_units(b"\x00\x00\x00\x01\x67\x01\x00\x00\x00\x01\x68\x02\x00\x00\x01\x65\x03")) == [
        b"\x67\x01",
        b"\x68\x02",
        b"\x65\x03",
    ]


def test_of_two_parameter_sets_the_one_in_use_counts() -> None:
    """As after a layer switch, when an encoder lists all its parameter sets."""
    small = samples.h264(1, width=320, height=180)[0][0]
    large = samples.h264(1, width=640, height=360)[0][0]
    used, other = parameter_sets(small), parameter_sets(large)
    assert used is not None
    assert other is not None
    renamed = _with_sps_id_1(other.sps[0])
    both = ParameterSets((used.sps[0], renamed), used.pps)
    assert video_parameters(small, both).width == 320
    assert video_parameters(small, ParameterSets((renamed,), used.pps)).width == 640


def _with_sps_id_1(sps: bytes) -> bytes:
    """The SPS with its id 0 (`1`) made 1 (`010`): two bits more."""
    bits = "".join(f"{byte:08b}" for byte in sps[1:].replace(b"\x00\x00\x03", b"\x00\x00"))
    assert bits[24] == "1"
    bits = bits[:24] + "010" + bits[25:].rstrip("0")[:-1] + "1"
    bits += "0" * (-len(bits) % 8)
    return sps[:1] + int(bits, 2).to_bytes(len(bits) // 8, "big")


@given(st.binary(max_size=64))
def test_rubbish_is_a_value_error_or_sane(data: bytes) -> None:
    keyframe = b"\x00\x00\x01\x67" + data + b"\x00\x00\x01\x68\xce\x3c\x80\x00\x00\x01\x65\x88"
    sets = parameter_sets(keyframe)
    if sets is None:
        return
    try:
        found = video_parameters(keyframe, sets)
    except ValueError:
        return
    assert 0 < found.width <= 16384
    assert 0 < found.height <= 16384


@given(st.integers(0, 30))
def test_a_set_cut_short_is_a_value_error(keep: int) -> None:
    keyframe = samples.h264(1)[0][0]
    sets = parameter_sets(keyframe)
    assert sets is not None
    short = ParameterSets((sets.sps[0][: max(1, min(keep, 6))],), sets.pps)
    with pytest.raises(ValueError, match="cut short"):
        video_parameters(keyframe, short)
