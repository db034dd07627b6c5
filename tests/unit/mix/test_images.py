"""What strangers send as images."""

from __future__ import annotations

import io
import random
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from cloudrec_recorder.mix.images import BYTES_MAX, decode


def encoded(kind: str, size: tuple[int, int] = (8, 6), mode: str = "RGB", colour: object = (255, 0, 0)) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind)  # type: ignore[arg-type]
    return out.getvalue()


def png(width: int, height: int, pixels: bytes) -> bytes:
    """With a header that may tell anything."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_png_keeps_its_alpha_and_jpeg_has_none() -> None:
    image = decode(encoded("PNG", mode="RGBA", colour=(10, 20, 30, 40)))
    assert image.shape == (6, 8, 4)
    assert image[0, 0].tolist() == [10, 20, 30, 40]
    image = decode(encoded("JPEG"))
    assert image[3, 3, 3] == 255
    assert image[3, 3, 0] > 250


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "I;16", "CMYK"])
def test_other_modes_are_converted(mode: str) -> None:
    data = encoded("JPEG" if mode == "CMYK" else "PNG", mode=mode, colour=0)
    assert decode(data).shape == (6, 8, 4)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>no</html>",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        encoded("GIF"),
        encoded("BMP"),
        encoded("PNG", (2049, 4)),
        encoded("PNG", (64, 64))[:-40],
        encoded("JPEG", (64, 64))[:200],
        encoded("PNG") + bytes(BYTES_MAX),
        png(60000, 60000, zlib.compress(bytes(1000))),
        png(2000, 2000, zlib.compress(bytes(1000))),
        png(0, 0, b""),
    ],
)
def test_what_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    packed = zlib.compress(bytes(50_000_000))
    begin = time.process_time()
    for side in (3000, 12_000, 30_000):
        with pytest.raises(ValueError, match="2048"):
            decode(png(side, side, packed))
    assert time.process_time() - begin < 0.2


def test_damage_anywhere_is_an_image_or_a_value_error() -> None:
    dice = random.Random(1)
    whole = [encoded("PNG", (40, 40), "RGBA", (1, 2, 3, 4)), encoded("JPEG", (40, 40))]
    for _ in range(600):
        data = bytearray(dice.choice(whole))
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            image = decode(bytes(data))
        except ValueError:
            continue
        assert image.dtype == np.uint8
