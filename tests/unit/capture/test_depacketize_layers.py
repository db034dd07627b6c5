"""VP9 and AV1: real frames, packetized as the RFC and the specification say, come out as they went in."""

from __future__ import annotations

import av
import pytest

from cloudrec_recorder.capture.depacketize import Frame, make_depacketizer
from cloudrec_recorder.capture.depacketize_layers import Av1Depacketizer, Vp9Depacketizer, vp9_keyframe
from tests.unit.capture.test_depacketize import feed
from tests.unit.segments.pictures import encoded

SIZE = 300
KEY, INTER = b"\x82\x49\x83\x42" + bytes(40), b"\x86" + bytes(range(1, 40))
"""VP9: the first byte of the uncompressed header tells a keyframe."""
SEQUENCE, OBU_KEY, OBU_INTER = b"\x08\x00\x00\x00", b"\x30\x10" + bytes(20), b"\x30\x30" + bytes(9)
"""AV1: a sequence header, a key frame and another, without size fields."""


def vp9(data: bytes, *, sid: int | None = None, key: bool = False, head: bytes = b"") -> list[bytes]:
    """One layer frame; `head`: the optional fields between flags and layer indices (picture id)."""
    pieces = [data[at : at + SIZE] for at in range(0, len(data), SIZE)]
    out = []
    for place, piece in enumerate(pieces):
        flags = (0x80 if head else 0) | (0 if key else 0x40) | (0x20 if sid is not None else 0)
        flags |= (0x08 if place == 0 else 0) | (0x04 if place == len(pieces) - 1 else 0)
        layers = b"" if sid is None else bytes((sid << 1, 7))
        out.append(bytes((flags,)) + head + layers + piece)
    return out


def leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def obus(temporal_unit: bytes) -> list[bytes]:
    """A temporal unit's OBUs, size fields and the delimiter taken out, as RTP wants them."""
    at, out = 0, []
    while at < len(temporal_unit):
        head = temporal_unit[at]
        assert head & 0x06 == 0x02
        size, shift, begin = 0, 0, at + 1
        while True:
            byte = temporal_unit[begin]
            size |= (byte & 0x7F) << shift
            begin, shift = begin + 1, shift + 7
            if not byte & 0x80:
                break
        if head >> 3 & 15 != 2:
            out.append(bytes((head & ~0x02,)) + temporal_unit[begin : begin + size])
        at = begin + size
    return out


def av1(units: list[bytes], *, new: bool = False) -> list[bytes]:
    """Packets of at most SIZE bytes, each with one element and W = 1."""
    out = []
    for number, unit in enumerate(units):
        pieces = [unit[at : at + SIZE] for at in range(0, len(unit), SIZE)]
        for place, piece in enumerate(pieces):
            head = 0x10 | (0x80 if place else 0) | (0x40 if place < len(pieces) - 1 else 0)
            out.append(bytes((head | (0x08 if new and not number and not place else 0),)) + piece)
    return out


def test_real_vp9_goes_through_untouched() -> None:
    frames = encoded("VP9", range(12), keyframes=[6])
    depacketizer = Vp9Depacketizer()
    out: list[Frame] = []
    for place, (data, key) in enumerate(frames):
        out += feed(depacketizer, vp9(data, key=key, head=b"\x81\x02"), place)
    assert [(frame.data, frame.keyframe) for frame in out] == frames
    assert [frame.keyframe for frame in out] == [place in (0, 6) for place in range(12)]


def test_real_av1_decodes_to_as_many_pictures() -> None:
    frames = encoded("AV1", range(12))
    depacketizer = Av1Depacketizer()
    out: list[Frame] = []
    for place, (data, key) in enumerate(frames):
        out += feed(depacketizer, av1(obus(data), new=key), place)
    assert [frame.keyframe for frame in out] == [True] + [False] * 11
    decoder = av.CodecContext.create("libdav1d", "r")
    pictures = [picture for frame in out for picture in decoder.decode(av.Packet(frame.data))]
    assert len(pictures) + len(decoder.decode(None)) == 12


def test_layers_of_a_vp9_picture_are_one_frame() -> None:
    base, upper = KEY + bytes(SIZE), b"\x86" + bytes(SIZE)
    packets = [*vp9(base, sid=0, key=True), *vp9(upper, sid=1, key=False)]
    assert feed(Vp9Depacketizer(), packets, 5) == [Frame(5, base + upper, True)]


def test_vp9_descriptors_with_everything() -> None:
    structure = bytes((1 << 5 | 0x18, 1, 64, 0, 180, 2, 128, 1, 104, 2, 0x04, 1, 0x08, 1, 2))
    payload = bytes((0xAA | 0x04, 0x81, 0x01, 0x00, 7)) + structure + KEY
    assert feed(Vp9Depacketizer(), [payload], 1) == [Frame(1, KEY, True)]
    flexible = bytes((0xF8 | 0x04, 0x01, 0x00, 0x03, 0x02)) + INTER
    depacketizer = Vp9Depacketizer()
    feed(depacketizer, vp9(KEY, key=True), 1)
    assert feed(depacketizer, [flexible], 2) == [Frame(2, INTER, False)]


@pytest.mark.parametrize("codec", ["VP9", "AV1"])
def test_a_hole_costs_up_to_the_next_keyframe(codec: str) -> None:
    depacketizer = make_depacketizer(codec)
    assert depacketizer is not None

    def packets(*, key: bool) -> list[bytes]:
        if codec == "VP9":
            return vp9((KEY if key else INTER) + bytes(2 * SIZE), key=key)
        big = (OBU_KEY if key else OBU_INTER) + bytes(2 * SIZE)
        return av1([SEQUENCE, big] if key else [big], new=key)

    assert feed(depacketizer, packets(key=False), 0) == []
    assert len(feed(depacketizer, packets(key=True), 1)) == 1
    assert len(feed(depacketizer, packets(key=False), 2)) == 1
    first, _, *rest = packets(key=False)
    assert feed(depacketizer, [first], 3, marker=False) == []
    depacketizer.gap()
    assert feed(depacketizer, rest, 3) == []
    assert depacketizer.needs_keyframe
    assert feed(depacketizer, packets(key=False), 4) == []
    assert len(feed(depacketizer, packets(key=True), 5)) == 1
    assert not depacketizer.needs_keyframe


def test_av1_aggregation() -> None:
    """Several OBUs in a packet, all with sizes (W = 0), or the last without (W = 2); the delimiter is put back."""
    whole = b"\x12\x00" + b"\x0a\x03" + SEQUENCE[1:] + b"\x32" + leb128(len(OBU_KEY) - 1) + OBU_KEY[1:]
    sized = leb128(len(SEQUENCE)) + SEQUENCE
    assert feed(Av1Depacketizer(), [b"\x28" + sized + OBU_KEY], 1) == [Frame(1, whole, True)]
    every = b"\x08" + sized + leb128(len(OBU_KEY)) + OBU_KEY
    assert feed(Av1Depacketizer(), [every], 1) == [Frame(1, whole, True)]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x08",  # nothing in it
        b"\x18\xff\xff\xff\xff\xff\xff",  # not a frame
        b"\x08\x05\x08",  # shorter than it says
        b"\x08\xff\xff\xff\xff\xff\xff",  # a size without end
        b"\x38\x01\x08\x01\x30",  # three were announced
        b"\x88" + OBU_KEY,  # goes on with what never began
        b"\x18\x0a\x09\x00",  # an OBU whose size field is not true
    ],
)
def test_spoilt_av1_gives_nothing(payload: bytes) -> None:
    assert feed(Av1Depacketizer(), [payload], 1) == []


@pytest.mark.parametrize(
    ("first", "key"), [(0x82, True), (0x86, False), (0x8A, False), (0xB0, True), (0xB2, False), (0x02, False)]
)
def test_vp9_keyframes(first: int, key: bool) -> None:
    assert vp9_keyframe(bytes((first, 0, 0))) is key
