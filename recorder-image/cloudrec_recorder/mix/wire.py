"""What the recorder and the composer say to each other: messages of a type, a length and a body.

Times are seconds since the task's epoch. Neither side trusts the other with more than `BODY_MAX` bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from pydantic import Field

from cloudrec_contract.mix import Fill, MixAudio, MixVideo, RenderMode, Watermark
from cloudrec_contract.model import Lenient
from cloudrec_contract.resources import StreamKind
from cloudrec_recorder.media import Kind, Media

BODY_MAX: Final = 16 << 20
CODECS: Final = ("H264", "VP8", "VP9", "AV1", "OPUS")
"""By their number on the wire."""

_HEAD: Final = struct.Struct("<BI")
_UNIT: Final = struct.Struct("<HIdBB")
_TIME: Final = struct.Struct("<d")
_PICTURE: Final = struct.Struct("<dB")
_SOUND: Final = struct.Struct("<q")


class Type(IntEnum):
    """To the composer below 64, from it from 64 on."""

    SETUP = 1
    STREAM = 2
    UNIT = 3
    SCENE = 4
    IMAGE = 5
    TICK = 6
    END = 7
    PICTURE = 64
    SOUND = 65
    STATUS = 66
    DONE = 67


class Setup(Lenient):
    """The first message. Output begins at `start`, with a keyframe; `kind` says whether it has pictures, sound, both.

    Keyframes come every `video.gop_seconds` and at every first frame `segment_seconds` after one that began a segment.
    """

    video: MixVideo
    audio: MixAudio
    kind: StreamKind
    fill: Fill
    epoch: int = Field(description="ms since the Unix epoch, for timestamps that are drawn")
    start: float
    segment_seconds: float


class Stream(Lenient):
    """Access units of this number are this stream's; a number is never used again for another."""

    number: int = Field(ge=0, le=65535)
    user_id: str
    media: Media
    kind: Kind


class SceneWindow(Lenient):
    """A window in pixels of the canvas; `stream` is the number of the picture that belongs there, None: of nobody.

    `live`: pictures come; else `placeholder` is shown, or what the task's `fill` says.
    """

    left: int
    top: int
    width: int
    height: int
    stream: int | None = None
    live: bool = True
    opacity: int = Field(255, ge=0, le=255)
    render_mode: RenderMode = RenderMode.CROP
    placeholder: str | None = None


class Scene(Lenient):
    """What the canvas shows from the next frame on: windows from the back to the front, watermarks above them."""

    windows: list[SceneWindow] = []
    background_color: str = "#000000"
    background_image: str | None = None
    background_render_mode: RenderMode = RenderMode.CROP
    watermarks: list[Watermark] = []


class Status(Lenient):
    """How the composer is doing; sent when something of it changes, figures alone once a second at most; before DONE.

    `step` is that of the overload ladder: 0 none, 1 smaller layers wanted, 2 a faster preset, 3 no loop filter in
    decoders, 4 half the frame rate. `behind` in seconds.
    """

    step: int = 0
    behind: float = 0.0
    frames: int = 0
    dropped: int = Field(0, description="frames that were left out because composing was behind")
    bad_images: list[str] = Field([], description="URLs whose images cannot be used, since the last status")
    keyframes_wanted: list[int] = Field([], description="streams that cannot be decoded until a keyframe comes")
    undecodable: list[int] = Field([], description="streams whose pictures or sound are of no use")


@dataclass(frozen=True, slots=True)
class Unit:
    """An access unit of a stream; fields as in `media.AccessUnit`."""

    stream: int
    source: int
    time: float
    keyframe: bool
    codec: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """What was found at a URL; empty when nothing was. It comes after the first scene that names the URL, and again
    when a scene names it that the one before did not."""

    url: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Tick:
    """It is `now`: what is older than the composer's delay is to be made."""

    now: float


@dataclass(frozen=True, slots=True)
class End:
    """Make what is left, up to `time`, and end."""

    time: float


@dataclass(frozen=True, slots=True)
class Picture:
    """An H.264 access unit (Annex B) that is shown at `time`, in decoding order as in order of presentation."""

    time: float
    keyframe: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Sound:
    """An AAC frame with its ADTS header; `position`: its first sample, counted from the epoch at the output's rate."""

    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """Everything up to the end was sent."""


ToComposer = Setup | Stream | Unit | Scene | Image | Tick | End
FromComposer = Picture | Sound | Status | Done


def encode(message: ToComposer | FromComposer) -> bytes:
    """One message with its head."""
    match message:
        case Unit(stream, source, time, keyframe, codec, data):
            return _framed(Type.UNIT, _UNIT.pack(stream, source, time, keyframe, CODECS.index(codec)) + data)
        case Picture(time, keyframe, data):
            return _framed(Type.PICTURE, _PICTURE.pack(time, keyframe) + data)
        case Sound(position, data):
            return _framed(Type.SOUND, _SOUND.pack(position) + data)
        case Tick(now):
            return _framed(Type.TICK, _TIME.pack(now))
        case End(time):
            return _framed(Type.END, _TIME.pack(time))
        case Done():
            return _framed(Type.DONE, b"")
        case Image(url, data):
            return _framed(Type.IMAGE, url.encode() + b"\0" + data)
        case Setup() | Stream() | Scene() | Status():
            return _framed(_OF_MODEL[type(message)], message.model_dump_json(by_alias=True).encode())


def decode(kind: int, body: bytes) -> ToComposer | FromComposer:
    """Inverse of `encode`, without the head. Raises ValueError (pydantic's is one) on what is no message."""
    try:
        match Type(kind):
            case Type.UNIT:
                stream, source, time, keyframe, codec = _UNIT.unpack_from(body)
                return Unit(stream, source, time, bool(keyframe), CODECS[codec], body[_UNIT.size :])
            case Type.PICTURE:
                time, keyframe = _PICTURE.unpack_from(body)
                return Picture(time, bool(keyframe), body[_PICTURE.size :])
            case Type.SOUND:
                (position,) = _SOUND.unpack_from(body)
                return Sound(position, body[_SOUND.size :])
            case Type.TICK:
                return Tick(*_TIME.unpack(body))
            case Type.END:
                return End(*_TIME.unpack(body))
            case Type.DONE:
                return Done()
            case Type.IMAGE:
                url, _, data = body.partition(b"\0")
                return Image(url.decode(), data)
            case found:
                return _MODELS[found].model_validate_json(body)
    except (struct.error, IndexError) as error:
        raise ValueError(f"a message of type {kind} and {len(body)} bytes is none") from error


class Splitter:
    """Takes bytes as they come and gives messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[ToComposer | FromComposer]:
        """The messages that are whole now. Raises ValueError on what is none."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _HEAD.size:
                kind, length = _HEAD.unpack_from(buffer, at)
                if length > BODY_MAX:
                    raise ValueError(f"a message of {length} bytes")
                if len(buffer) - at - _HEAD.size < length:
                    break
                begin = at + _HEAD.size
                at = begin + length
                yield decode(kind, bytes(buffer[begin:at]))
        finally:
            del buffer[:at]


def _framed(kind: Type, body: bytes) -> bytes:
    return _HEAD.pack(kind, len(body)) + body


_MODELS: Final[dict[Type, type[Setup] | type[Stream] | type[Scene] | type[Status]]] = {
    Type.SETUP: Setup,
    Type.STREAM: Stream,
    Type.SCENE: Scene,
    Type.STATUS: Status,
}
_OF_MODEL: Final = {model: kind for kind, model in _MODELS.items()}
