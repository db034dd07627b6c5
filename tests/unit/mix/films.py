"""Pictures of known colours in every codec, a composer to play them to, and its output decoded again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from cloudrec_contract.mix import Fill, MixAudio, MixVideo
from cloudrec_contract.resources import StreamKind
from cloudrec_recorder.mix import wire
from cloudrec_recorder.mix.canvas import Colour, Planes, frame_of, planes_of
from cloudrec_recorder.mix.composer import DELAY_SECONDS, Composer
from tests.unit.segments.pictures import ENCODERS, OPTIONS

RED: Colour = (80, 90, 200)
GREEN: Colour = (150, 60, 50)
BLUE: Colour = (60, 200, 110)
WHITE: Colour = (220, 128, 128)
GREY: Colour = (120, 128, 128)
COLOURS = (RED, GREEN, BLUE, WHITE)
FPS = 30

Film = list[tuple[bytes, bool]]


def field(colour: Colour, width: int = 64, height: int = 48) -> Planes:
    y, u, v = colour
    half = (height // 2, width // 2)
    return np.full((height, width), y, np.uint8), np.full(half, u, np.uint8), np.full(half, v, np.uint8)


def columns(colours: Sequence[Colour], width: int, height: int) -> Planes:
    """As many columns of the same width, side by side."""
    parts = [field(colour, width // len(colours), height) for colour in colours]
    y, u, v = (np.concatenate(plane, axis=1) for plane in zip(*parts, strict=True))
    return y, u, v


def rows(colours: Sequence[Colour], width: int, height: int) -> Planes:
    parts = [field(colour, width, height // len(colours)) for colour in colours]
    y, u, v = (np.concatenate(plane, axis=0) for plane in zip(*parts, strict=True))
    return y, u, v


def film(pictures: Iterable[Planes], codec: str = "H264", *, full_range: bool = False) -> Film:
    """Access units of these pictures, and which are keyframes: the first is."""
    pictures = list(pictures)
    height, width = pictures[0][0].shape
    name = ENCODERS[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, FPS)
    encoder.framerate = Fraction(FPS)
    if codec != "AV1":
        encoder.bit_rate = 3_000_000
    encoder.gop_size = 10_000
    encoder.thread_count = 1
    encoder.options = OPTIONS[name]
    if full_range:
        encoder.color_range = 2
    made = []
    for number, planes in enumerate(pictures):
        frame = frame_of(tuple(np.ascontiguousarray(plane) for plane in planes))  # type: ignore[arg-type]
        frame.pts, frame.time_base, frame.pict_type = number, encoder.time_base, PictureType.NONE
        made += encoder.encode(frame)
    made += encoder.encode(None)
    return [(bytes(packet), packet.is_keyframe) for packet in made]


def fields(colours: Iterable[Colour], codec: str = "H264", *, width: int = 64, height: int = 48) -> Film:
    """A picture of one colour after the other."""
    return film([field(colour, width, height) for colour in colours], codec)


def setup(
    width: int = 160,
    height: int = 96,
    *,
    fps: int = FPS,
    fill: Fill = Fill.LAST_FRAME,
    bit_rate: int = 4_000_000,
    gop: int = 10,
    start: float = 0.0,
) -> wire.Setup:
    return wire.Setup(
        video=MixVideo(width=width, height=height, fps=fps, bit_rate=bit_rate, gop_seconds=gop),
        audio=MixAudio(),
        kind=StreamKind.VIDEO,
        fill=fill,
        epoch=1_700_000_000_000,
        start=start,
        segment_seconds=10,
    )


class Room:
    """A composer that is told what happens, frame by frame, and what it says."""

    def __init__(self, of: wire.Setup | None = None) -> None:
        self.setup = of or setup()
        self.said: list[wire.FromComposer] = []
        self.composer = Composer(self.setup, self.said.append)

    def stream(self, number: int) -> None:
        self.composer.take(wire.Stream(number=number, user_id=f"u{number}", media="main", kind="video"))

    def scene(self, *windows: wire.SceneWindow, background: str = "#000000") -> None:
        self.composer.take(wire.Scene(windows=list(windows), background_color=background))

    def units(self, number: int, shot: Film, begin: float = 0.0, *, codec: str = "H264", source: int = 0) -> None:
        for at, (data, keyframe) in enumerate(shot):
            self.composer.take(wire.Unit(number, source, begin + at / FPS, keyframe, codec, data))

    def until(self, time: float) -> None:
        """Everything before this time is made; ticks come as often as frames."""
        step = 1 / self.setup.video.fps
        now = max(self.composer.newest, self.setup.start + DELAY_SECONDS - step)
        while now + step < time + DELAY_SECONDS - 1e-6:
            now += step
            self.composer.take(wire.Tick(now))

    def end(self, time: float) -> None:
        self.until(time)
        self.composer.take(wire.End(time))

    @property
    def pictures(self) -> list[wire.Picture]:
        return [message for message in self.said if isinstance(message, wire.Picture)]

    @property
    def status(self) -> wire.Status:
        """The last."""
        return next(message for message in reversed(self.said) if isinstance(message, wire.Status))

    def seen(self) -> list[Planes]:
        """What the output shows, picture by picture."""
        return decoded([picture.data for picture in self.pictures])


def decoded(units: Iterable[bytes], codec: str = "h264") -> list[Planes]:
    decoder = av.CodecContext.create(codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    frames = [frame for data in units for frame in decoder.decode(av.Packet(data))]
    return [planes_of(frame) for frame in [*frames, *decoder.decode(None)]]


def at(planes: Planes, x: int, y: int) -> Colour:
    """The colour at a point."""
    return int(planes[0][y, x]), int(planes[1][y // 2, x // 2]), int(planes[2][y // 2, x // 2])


def near(found: Colour, wanted: Colour, tolerance: int = 6) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(found, wanted, strict=True))


def box(planes: Planes, colour: Colour, tolerance: int = 20) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of all that has about this luma."""
    mask: NDArray[np.bool_] = np.abs(planes[0].astype(int) - colour[0]) <= tolerance
    ys, xs = np.nonzero(mask)
    assert len(xs), "it is nowhere"
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def window(left: int, top: int, width: int, height: int, stream: int | None = 0, **more: object) -> wire.SceneWindow:
    return wire.SceneWindow.model_validate(
        {"left": left, "top": top, "width": width, "height": height, "stream": stream, **more}
    )


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Of RGB or RGBA."""
    encoder = av.CodecContext.create("png", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    kind = "rgba" if pixels.shape[2] == 4 else "rgb24"
    encoder.height, encoder.width, encoder.pix_fmt = pixels.shape[0], pixels.shape[1], kind
    encoder.time_base = Fraction(1, 1)
    frame = av.VideoFrame.from_ndarray(pixels, format=kind)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
