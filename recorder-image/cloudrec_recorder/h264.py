"""What must be known of an H.264 stream (ITU-T H.264, Annex B) to take it in and to cut it: NAL unit types and what the
parameter sets of a keyframe say, no more.

The input comes from strangers: every field is read with bounds, and whatever does not parse is a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

START_CODE: Final = b"\x00\x00\x00\x01"
NAL_IDR: Final = 5
NAL_SPS: Final = 7
NAL_PPS: Final = 8
NAL_AUD: Final = 9
NAL_STAP_A: Final = 24  # RFC 6184
NAL_FU_A: Final = 28

_START: Final = b"\x00\x00\x01"
_MAX_DIMENSION: Final = 16384
_MAX_READ: Final = 512  # bytes of a NAL unit that are looked at; a real SPS is some tens long
_WITH_CHROMA: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


@dataclass(frozen=True, slots=True)
class VideoParameters:
    """What a decoder is set up by; a change of it is a new encoding (RFC 8216: DISCONTINUITY).

    `profile`, `constraints` and `level` are the three bytes of RFC 6381's `avc1.PPCCLL`; `width` and `height` are in
    pixels, cropping applied.
    """

    profile: int
    constraints: int
    level: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """The parameter sets of one keyframe, as NAL units without start codes."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]


def nal_units(data: bytes) -> Iterator[bytes]:
    """NAL units of an Annex B byte stream, without start codes and trailing zeros."""
    at = data.find(_START)
    while at >= 0:
        begin = at + 3
        at = data.find(_START, begin)
        nal = data[begin : at if at >= 0 else len(data)].rstrip(b"\x00")
        if nal:
            yield nal


def parameter_sets(keyframe: bytes) -> ParameterSets | None:
    """The parameter sets inside a keyframe's access unit, or None if it lacks SPS or PPS."""
    sps: list[bytes] = []
    pps: list[bytes] = []
    for nal in nal_units(keyframe):
        kind = nal[0] & 0x1F
        if kind == NAL_SPS:
            sps.append(nal)
        elif kind == NAL_PPS:
            pps.append(nal)
        elif kind == NAL_IDR:
            break  # parameter sets come before the slices
    return ParameterSets(tuple(sps), tuple(pps)) if sps and pps else None


def video_parameters(keyframe: bytes, sets: ParameterSets) -> VideoParameters:
    """Parameters of the SPS that this keyframe's slices use. Raises ValueError if they cannot be read."""
    by_id = dict(_parse_sps(nal) for nal in sets.sps)
    if len(by_id) > 1:
        wanted = _sps_of_slice(keyframe, sets)
        if wanted in by_id:
            return by_id[wanted]
    return next(reversed(by_id.values()))


def picture_size(sps: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a sequence parameter set (without start code); None when it cannot be read."""
    try:
        _, parameters = _parse_sps(sps)
    except ValueError:
        return None
    return parameters.width, parameters.height


class _Bits:
    """Bit reader over an RBSP; emulation prevention bytes are taken out beforehand."""

    def __init__(self, nal: bytes) -> None:
        rbsp = nal[1:_MAX_READ].replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(rbsp, "big")
        self._left = len(rbsp) * 8

    def u(self, count: int) -> int:
        if count > self._left:
            raise ValueError("H.264 parameter set is cut short")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 31:
                raise ValueError("Exp-Golomb code in H.264 parameter set is too long")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _parse_sps(nal: bytes) -> tuple[int, VideoParameters]:
    """7.3.2.1.1: seq_parameter_set_id, and the parameters. The VUI is left unread."""
    bits = _Bits(nal)
    profile, constraints, level = bits.u(8), bits.u(8), bits.u(8)
    sps_id = bits.ue()
    chroma = 1
    separate = 0
    if profile in _WITH_CHROMA:
        chroma = bits.ue()
        if chroma == 3:
            separate = bits.u(1)
        bits.ue()  # bit_depth_luma_minus8
        bits.ue()  # bit_depth_chroma_minus8
        bits.u(1)  # qpprime_y_zero_transform_bypass_flag
        if bits.u(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.ue()  # log2_max_frame_num_minus4
    order = bits.ue()
    if order == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        cycle = bits.ue()
        if cycle > 255:
            raise ValueError("H.264 SPS: num_ref_frames_in_pic_order_cnt_cycle out of range")
        for _ in range(cycle):
            bits.se()
    bits.ue()  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag
    width = (bits.ue() + 1) * 16
    map_height = bits.ue() + 1
    frames_only = bits.u(1)
    height = (2 - frames_only) * map_height * 16
    if not frames_only:
        bits.u(1)  # mb_adaptive_frame_field_flag
    bits.u(1)  # direct_8x8_inference_flag
    if bits.u(1):
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        unit_x = 2 if chroma in (1, 2) and not separate else 1
        unit_y = (2 if chroma == 1 and not separate else 1) * (2 - frames_only)
        width -= (left + right) * unit_x
        height -= (top + bottom) * unit_y
    if not (0 < width <= _MAX_DIMENSION and 0 < height <= _MAX_DIMENSION):
        raise ValueError(f"H.264 SPS: a picture of {width}x{height} cannot be")
    return sps_id, VideoParameters(profile, constraints, level, width, height)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    """7.3.2.1.1.1."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _sps_of_slice(keyframe: bytes, sets: ParameterSets) -> int | None:
    """seq_parameter_set_id by way of the first IDR slice's picture parameter set; None when it cannot be told."""
    pps_to_sps: dict[int, int] = {}
    for nal in sets.pps:
        bits = _Bits(nal)
        pps_id = bits.ue()
        pps_to_sps[pps_id] = bits.ue()
    for nal in nal_units(keyframe):
        if nal[0] & 0x1F == NAL_IDR:
            bits = _Bits(nal)
            bits.ue()  # first_mb_in_slice
            bits.ue()  # slice_type
            return pps_to_sps.get(bits.ue())
    return None
