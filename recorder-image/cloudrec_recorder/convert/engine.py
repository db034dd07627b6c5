"""A stream into MP4 files, or its sound into AAC files.

Started again after it was killed at any moment it begins anew: nothing has a final name before it is whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

from cloudrec_recorder.convert import lanes, recode
from cloudrec_recorder.convert.chunks import AudioChunk, VideoChunk
from cloudrec_recorder.convert.lanes import MS, Reader
from cloudrec_recorder.convert.part import Part
from cloudrec_recorder.convert.plan import Fault, Stream
from cloudrec_recorder.convert.source import Source
from cloudrec_recorder.segments.audio import adts
from cloudrec_recorder.segments.mpegts import CLOCK

TEMPORARY: Final = ".converting"
_SPARE_BYTES: Final = 64 << 20
_USUAL_FPS: Final = 33
_PICTURE_BYTES: Final = 12
_CHUNK_BYTES: Final = 20
_FRAMES_PER_SECOND: Final = 47
_FIXED_BYTES: Final = 4096


class NoSpace(Exception):
    """The disk has not the room that is needed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one file: at which bytes or seconds another is begun. A file can only end before a keyframe."""

    bytes: int | None = 2_000_000_000
    seconds: float | None = 24 * 3600.0


NONE: Final = Limits(None, None)


@dataclass(frozen=True, slots=True)
class Made:
    """A file: `part` counts from 1, None when there is only one. `start`, `end`: ms since the Unix epoch."""

    path: Path
    part: int | None
    start: float
    end: float
    bytes: int

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / 1000


@dataclass(frozen=True, slots=True)
class Converted:
    """`reencoded`: why something had to be encoded anew; empty when all was only put into other files."""

    files: tuple[Made, ...] = ()
    reencoded: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Orders:
    """How it is to be done.

    `name` gets a part's number, None when there is one part only, and gives the file's name. `progress` gets bytes done
    and bytes in all; what it raises ends the conversion. `deliver` gets each file as soon as its name is certain, and
    may take it away; with `taken` it always does, so that two files' room on the disk is enough.
    """

    name: Callable[[int | None], str]
    limits: Limits = field(default_factory=Limits)
    encoding: recode.Encoding | None = None
    progress: Callable[[int, int], None] = lambda _done, _all: None
    deliver: Callable[[Made], None] = lambda _made: None
    taken: bool = False


def to_mp4(stream: Stream, source: Source, folder: Path, orders: Orders) -> Converted:
    """Nothing of an empty stream. Raises NoSpace, OSError and what the source raises; no temporary file stays."""
    return _run(stream, source, folder, orders, _Mp4)


def to_aac(stream: Stream, source: Source, folder: Path, orders: Orders) -> Converted:
    """The stream's sound as ADTS. Raises as `to_mp4`."""
    only = Stream(stream.sdk_app_id, stream.room, stream.user_id, stream.media, (), stream.audio)
    return _run(only, source, folder, orders, _Aac)


def _run(stream: Stream, source: Source, folder: Path, orders: Orders, kind: type[_Mp4] | type[_Aac]) -> Converted:
    sizes = source.sizes()
    names = {use.piece.name for use in (*stream.video, *stream.audio)}
    total = sum(sizes.get(name, 0) for name in names)
    _check_space(folder, total, orders)
    done = 0

    def progress(count: int) -> None:
        nonlocal done
        done = min(done + count, total)
        orders.progress(done, total)

    reasons: dict[str, None] = {}

    def note(reason: str) -> None:
        reasons[reason] = None

    with Reader(source, lambda name: sizes.get(name, 0), progress) as reader:
        reader.joint = frozenset(use.piece.name for use in stream.video) & {use.piece.name for use in stream.audio}
        video = lanes.pictures(reader, stream.video)
        video = recode.encoded(video, orders.encoding, note) if orders.encoding else recode.uniform(video, note)
        audio = lanes.sounds(reader, stream.audio, note)
        files = _Files(folder, orders)
        work = kind(files, orders.limits, _room(stream, total, orders))
        try:
            for chunk, first in in_turns(video, audio):
                work.add(chunk, first=first)
            work.end()
            made = files.end()
        except BaseException:
            work.discard()
            files.remove()
            raise
    return Converted(made, tuple(reasons), lanes.faults(reader))


def _room(stream: Stream, total: int, orders: Orders) -> int:
    """Bytes for the tables of a part; a file whose rate changes at each picture needs them all."""
    uses = [*stream.video, *stream.audio]
    begin = min((use.low + use.shift for use in uses), default=0.0)
    seconds = (max((use.high + use.shift for use in uses), default=0.0) - begin) / 1000
    if orders.limits.seconds is not None:
        seconds = min(seconds, orders.limits.seconds)
    if orders.limits.bytes is not None and total > orders.limits.bytes:
        seconds *= orders.limits.bytes / total
    fps = orders.encoding.fps if orders.encoding is not None and orders.encoding.fps else _USUAL_FPS
    pictures = fps * _PICTURE_BYTES + 2 * _CHUNK_BYTES if stream.video else 0
    sound = _FRAMES_PER_SECOND * 4 + _CHUNK_BYTES * 2 if stream.audio else 0
    return round(_FIXED_BYTES + seconds * (pictures + sound))


def _check_space(folder: Path, total: int, orders: Orders) -> None:
    if orders.taken and orders.limits.bytes is not None:
        total = min(total, 2 * orders.limits.bytes)
    needed = total + total // 50 + _SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoSpace(f"{folder} has {free >> 20} MiB free, {needed >> 20} MiB are needed")


def in_turns(
    video: Iterator[VideoChunk], audio: Iterator[AudioChunk]
) -> Iterator[tuple[VideoChunk | AudioChunk, bool]]:
    """By time; and whether a file may begin with it, since no picture follows that needs one before.

    No sound of after a keyframe comes before it, so that a file can be cut there.
    """
    picture, sound = next(video, None), next(audio, None)
    while picture is not None or sound is not None:
        first = picture is None or picture.sets is not None
        if picture is not None and (sound is None or picture.time <= sound.time):
            yield picture, first
            picture = next(video, None)
        elif sound is not None:
            rest = None
            if picture is not None and first and sound.end > picture.time:
                sound, rest = sound.split(picture.time)
            yield sound, first
            sound = rest or next(audio, None)


class _Files:
    """Temporary files that get their names once it is certain whether there is a second."""

    def __init__(self, folder: Path, orders: Orders) -> None:
        self._folder = folder
        self._orders = orders
        self._begun: list[Path] = []
        self._closed: list[Made] = []
        self._made: list[Made] = []
        self._stem = f".{orders.name(None)}"
        self.remove()

    def begin(self) -> Path:
        path = self._folder / f"{self._stem}.{len(self._begun)}{TEMPORARY}"
        self._begun.append(path)
        if len(self._begun) > 1:
            self._settle()
        return path

    def close(self, path: Path, start: int, end: int) -> None:
        """This one is whole. Times in ticks since the Unix epoch."""
        part = self._begun.index(path) + 1
        self._closed.append(Made(path, part, start / MS, end / MS, path.stat().st_size))
        if len(self._begun) > 1:
            self._settle()

    def end(self) -> tuple[Made, ...]:
        self._settle()
        return tuple(self._made)

    def _settle(self) -> None:
        for made in self._closed:
            part = made.part if len(self._begun) > 1 else None
            named = replace(made, path=self._folder / self._orders.name(part), part=part)
            made.path.replace(named.path)
            self._made.append(named)
            self._orders.deliver(named)
        self._closed.clear()

    def remove(self) -> None:
        """Temporary files, those of an earlier process too."""
        for path in self._folder.iterdir():
            if path.name.startswith(self._stem) and path.name.endswith(TEMPORARY):
                path.unlink()


def _over(limits: Limits, size: int, start: int, chunk: VideoChunk | AudioChunk) -> bool:
    """Whether a file of this size that began then would be too long with the chunk."""
    data = chunk.samples if isinstance(chunk, VideoChunk) else chunk.frames
    too_large = limits.bytes is not None and size + sum(map(len, data)) > limits.bytes
    return too_large or (limits.seconds is not None and chunk.end - start > limits.seconds * CLOCK)


class _Mp4:
    def __init__(self, files: _Files, limits: Limits, room: int) -> None:
        self._files = files
        self._limits = limits
        self._room = room
        self._part: Part | None = None

    def add(self, chunk: VideoChunk | AudioChunk, *, first: bool) -> None:
        part = self._part
        if part is not None and _over(self._limits, part.size, part.start or 0, chunk):
            self._split(part, chunk, first=first)
        if self._part is None:
            self._part = Part(self._files.begin(), self._room)
        if isinstance(chunk, VideoChunk):
            self._part.video(chunk)
        else:
            self._part.audio(chunk)

    def end(self) -> None:
        if self._part is not None:
            self._finish(self._part)
            self._part = None

    def discard(self) -> None:
        if self._part is not None:
            self._part.discard()

    def _split(self, part: Part, chunk: VideoChunk | AudioChunk, *, first: bool) -> None:
        """End the part before the chunk, or at its last keyframe; where neither can be it goes on."""
        still = part.still
        if first and (isinstance(chunk, VideoChunk) or still is None or chunk.time - still >= CLOCK):
            seconds = self._limits.seconds
            within = seconds is None or chunk.time - (part.start or 0) <= seconds * CLOCK
            if isinstance(chunk, VideoChunk) and within:
                part.hold(chunk.time)
            self._finish(part)
            self._part = None
        elif part.mark is not None:
            self._part = Part(self._files.begin(), self._room)
            part.hand_over(self._part)
            self._finish(part)

    def _finish(self, part: Part) -> None:
        start, end = part.start or 0, part.end
        part.finish()
        self._files.close(part.path, start, end)


class _Aac:
    def __init__(self, files: _Files, limits: Limits, room: int) -> None:
        del room
        self._files = files
        self._limits = limits
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self._size = self._start = self._end = 0

    def add(self, chunk: VideoChunk | AudioChunk, *, first: bool) -> None:
        del first
        assert isinstance(chunk, AudioChunk)
        if self._file is not None and _over(self._limits, self._size + 7 * len(chunk.frames), self._start, chunk):
            self.end()
        if self._file is None:
            self._path = self._files.begin()
            self._file = self._path.open("wb")
            self._size, self._start = 0, chunk.time
        self._size += self._file.write(b"".join(adts(frame, chunk.sound.channels) for frame in chunk.frames))
        self._end = chunk.end

    def end(self) -> None:
        if self._file is None or self._path is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        self._files.close(self._path, self._start, self._end)

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
