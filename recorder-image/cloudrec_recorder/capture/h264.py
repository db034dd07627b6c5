"""The little of H.264 (ITU-T H.264) that capture must know: NAL unit types and a picture's size."""

from __future__ import annotations

from cloudrec_recorder.capture.rtp import Buffer

START_CODE = b"\x00\x00\x00\x01"
NAL_IDR = 5
NAL_SPS = 7
NAL_PPS = 8
NAL_AUD = 9
NAL_STAP_A = 24
NAL_FU_A = 28

_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class _Bits:
    """A bit reader over an RBSP; reading past the end raises ValueError."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise ValueError("past the end")
        return self._value >> self._left & ((1 << count) - 1)

    def unsigned(self) -> int:
        """Exp-Golomb, section 9.1."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 31:
                raise ValueError("not an Exp-Golomb code")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def picture_size(sps: Buffer) -> tuple[int, int] | None:
    """Width and height, cropped, told by a sequence parameter set (without start code); None when unreadable."""
    try:
        # emulation prevention (section 7.4.1.1); a real SPS is some tens of bytes
        return _picture_size(_Bits(bytes(sps[1:256]).replace(b"\x00\x00\x03", b"\x00\x00")))
    except ValueError:
        return None


def _picture_size(bits: _Bits) -> tuple[int, int]:
    profile = bits.read(8)
    bits.read(16)  # constraints, level
    bits.unsigned()  # seq_parameter_set_id
    chroma, separate = 1, 0
    if profile in _HIGH_PROFILES:
        chroma = bits.unsigned()
        if chroma == 3:
            separate = bits.read(1)
        bits.unsigned()
        bits.unsigned()
        bits.read(1)
        if bits.read(1):
            _skip_scaling_lists(bits, 12 if chroma == 3 else 8)
    bits.unsigned()  # log2_max_frame_num_minus4
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.read(1)
        bits.signed()
        bits.signed()
        cycle = bits.unsigned()
        if cycle > 255:
            raise ValueError("num_ref_frames_in_pic_order_cnt_cycle")
        for _ in range(cycle):
            bits.signed()
    bits.unsigned()  # max_num_ref_frames
    bits.read(1)
    width = 16 * (bits.unsigned() + 1)
    rows = bits.unsigned() + 1
    frame_only = bits.read(1)
    height = 16 * rows * (2 - frame_only)
    if not frame_only:
        bits.read(1)
    bits.read(1)
    if bits.read(1):
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        mono = chroma == 0 or separate
        width -= (left + right) * (1 if mono or chroma == 3 else 2)
        height -= (top + bottom) * (1 if mono or chroma != 1 else 2) * (2 - frame_only)
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise ValueError("size")
    return width, height


def _skip_scaling_lists(bits: _Bits, lists: int) -> None:
    for index in range(lists):
        if not bits.read(1):
            continue
        last = scale = 8
        for _ in range(16 if index < 6 else 64):
            if scale:
                scale = (last + bits.signed()) % 256
            last = scale or last
