"""All pictures, or all sound, of a stream in order, on one time line: 90 kHz ticks since the Unix epoch.

A segment at a time is in memory, and the next ones are being read meanwhile. Time stamps have 33 bits and wrap after
26.5 h; the playlist's times tell which turn it is.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from cloudrec_recorder.convert.boxes import AAC_SAMPLES
from cloudrec_recorder.convert.chunks import CHUNK, AudioChunk, VideoChunk
from cloudrec_recorder.convert.demux import ADTS_HEADER, Demuxed, Frames, Sound, demux
from cloudrec_recorder.convert.plan import Fault, Use
from cloudrec_recorder.convert.recode import SoundChange
from cloudrec_recorder.convert.source import Missing, Source
from cloudrec_recorder.segments.audio import silence
from cloudrec_recorder.segments.mpegts import CLOCK

MS: Final = CLOCK // 1000
_WRAP: Final = 1 << 33
_OFF: Final = CLOCK
"""A segment whose time stamps differ by more from its playlist's time is placed by the playlist."""
_USUAL: Final = CLOCK // 30
_AHEAD: Final = 2
_AHEAD_BYTES: Final = 8 << 20
_SHARED: Final = 8
_HEAD_BYTES: Final = 1 << 16
_NOTHING: Final = 1 << 62


class Reader:
    """Segments of a source, demuxed on other threads, a few ahead. A context manager.

    `progress` is told the bytes of each segment once it is taken up.
    """

    def __init__(self, source: Source, sizes: Callable[[str], int], progress: Callable[[int], None]) -> None:
        self._source = source
        self._sizes = sizes
        self._progress = progress
        self._pool = ThreadPoolExecutor(2, "segments")
        self._shared: OrderedDict[str, Future[Demuxed]] = OrderedDict()
        self.joint: frozenset[str] = frozenset()
        """Segments with both, which both lanes want: kept until the second has them."""
        self.faults: dict[str, str] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def segments(self, uses: Iterable[Use]) -> Iterator[tuple[Use, Demuxed]]:
        """In order; those that are not there or have nothing whole are left out."""
        rest = iter(uses)
        ahead: deque[tuple[Use, Future[Demuxed]]] = deque()
        held = 0
        while True:
            while len(ahead) <= _AHEAD and held <= _AHEAD_BYTES and (use := next(rest, None)) is not None:
                held += self._sizes(use.piece.name)
                ahead.append((use, self._begin(use.piece.name)))
            if not ahead:
                return
            use, future = ahead.popleft()
            name = use.piece.name
            held -= self._sizes(name)
            try:
                demuxed = future.result()
            except Missing as missing:
                self.faults[name] = str(missing)
                continue
            if demuxed.fault:
                self.faults[name] = demuxed.fault
            yield use, demuxed

    def _begin(self, name: str) -> Future[Demuxed]:
        if name not in self.joint:
            self._progress(self._sizes(name))
            return self._pool.submit(self._load, name)
        if name in self._shared:
            return self._shared.pop(name)
        future = self._shared[name] = self._pool.submit(self._load, name)
        self._progress(self._sizes(name))
        if len(self._shared) > _SHARED:
            self._shared.popitem(last=False)
        return future

    def _load(self, name: str) -> Demuxed:
        return demux(self._source.read(name))

    def sound(self, uses: Iterable[Use]) -> Sound | None:
        """The richest sound that a stretch begins with: what all of it is to be."""
        found: list[Sound] = []
        for use in uses:
            if use.piece.previous:
                continue
            try:
                data = self._source.head(use.piece.name, _HEAD_BYTES)
            except Missing:
                continue
            found += [frames.sound for frames in demux(data[: len(data) // 188 * 188], video=False).sound[:1]]
        return max(found, key=lambda sound: (sound.channels, sound.rate), default=None)


@dataclass(slots=True)
class _Clock:
    """Ticks since the Unix epoch of time stamps, by the playlist's times."""

    base: int | None = None

    def first(self, demuxed: Demuxed, start: float) -> tuple[int, int]:
        """A segment's first time stamp, and its ticks; `start` in ms since the Unix epoch."""
        stamps = [*demuxed.pictures.stamps[:1], *(frames.stamp for frames in demuxed.sound[:1])]
        first = stamps[0]
        if len(stamps) > 1 and turn(stamps[1] - first) < 0:
            first = stamps[1]
        expected = round(start * MS)
        if self.base is None:
            self.base = expected - first
        at = expected + turn(self.base + first - expected)
        return first, at if abs(at - expected) <= _OFF else expected


def turn(difference: int) -> int:
    """The difference of two 33-bit time stamps as the nearer of both ways round."""
    return (difference + _WRAP // 2) % _WRAP - _WRAP // 2


def pictures(reader: Reader, uses: Sequence[Use]) -> Iterator[VideoChunk]:
    """After a break, or where another attempt goes on, nothing comes before a keyframe."""
    clock = _Clock()
    last = -_NOTHING
    goes_on = ""  # the segment that the next one may go on from
    for use, demuxed in reader.segments(uses):
        made = demuxed.pictures
        waiting = use.piece.previous != goes_on or not goes_on
        goes_on = use.piece.name if use.high >= use.piece.end and not demuxed.fault else ""
        if not made.stamps:
            continue
        first, at = clock.first(demuxed, use.piece.start)
        at += round(use.shift * MS)
        high = round((use.high + use.shift) * MS) - MS if use.high < use.piece.end else _NOTHING
        chunk: VideoChunk | None = None
        for number, stamp in enumerate(made.stamps):
            time = at + turn(stamp - first)
            if time >= high:
                break
            sets = made.keyframes.get(number)
            if time <= last or (waiting and sets is None):
                waiting = True  # what refers to a picture that is left out is left out too
                continue
            waiting = False
            if chunk is None or sets is not None or time - chunk.times[0] >= CHUNK:
                if chunk is not None:
                    chunk.end = time
                    yield chunk
                chunk = VideoChunk([], [], sets, 0)
            chunk.times.append(time)
            chunk.samples.append(made.samples[number])
            last = time
        if chunk is not None:
            steps = len(chunk.times) - 1
            chunk.end = last + (min((last - chunk.times[0]) // steps, CLOCK) if steps else _USUAL)
            yield chunk


@dataclass(slots=True)
class _Grid:
    """Frames one after the other. What comes later is moved by half a frame at most: in MP4 each frame has the same
    length, and a player that takes no notice of anything else keeps in step."""

    sound: Sound
    end: int | None = None
    waiting: list[bytes] = field(default_factory=list)

    def place(self, position: int, frames: Sequence[bytes]) -> Iterator[AudioChunk]:
        """Silence up to `position`, and the frames that are not before what is written."""
        if self.end is None:
            self.end = position
        gap = (position - self.end + AAC_SAMPLES // 2) // AAC_SAMPLES
        if gap > 0:
            yield from self._silence(gap)
        frames = frames[-gap:] if gap < 0 else frames
        if frames:
            yield AudioChunk(self.end, frames, self.sound)
            self.end += len(frames) * AAC_SAMPLES

    def _silence(self, count: int) -> Iterator[AudioChunk]:
        assert self.end is not None
        quiet = silence(self.sound.channels)[ADTS_HEADER:]
        most = self.sound.rate // AAC_SAMPLES
        while count > 0:
            frames = [quiet] * min(count, most)
            yield AudioChunk(self.end, frames, self.sound)
            self.end += len(frames) * AAC_SAMPLES
            count -= len(frames)


def sounds(reader: Reader, uses: Sequence[Use], note: Callable[[str], None]) -> Iterator[AudioChunk]:
    """Without gaps: silence is where sound is missing. What has other channels than the rest is encoded anew."""
    clock = _Clock()
    target = reader.sound(uses)
    grid: _Grid | None = None
    change: SoundChange | None = None
    for use, demuxed in reader.segments(uses):
        if not demuxed.sound:
            continue
        first, at = clock.first(demuxed, use.piece.start)
        for run in _runs(demuxed.sound):
            target = target or run.sound
            grid = grid or _Grid(target)
            time = at + turn(run.stamp - first)
            position, frames = _cut(run, time, use)
            if change is not None and (change.source != run.sound or abs(position - change.end) > AAC_SAMPLES):
                yield from grid.place(*change.finish())
                change = None
            if run.sound == target:
                yield from _chunks(grid.place(position, frames))
                continue
            note("sound with another number of channels")
            if change is None:
                change = SoundChange(run.sound, target, position)
            yield from grid.place(*change.push(frames))
    if change is not None and grid is not None:
        yield from grid.place(*change.finish())


def _runs(sound: Sequence[Frames]) -> Iterator[Frames]:
    """PES packets that go on from each other as one."""
    made: Frames | None = None
    for frames in sound:
        if made is not None:
            end = made.stamp + len(made.frames) * AAC_SAMPLES * CLOCK // made.sound.rate
            if frames.sound == made.sound and abs(turn(frames.stamp - end)) < MS:
                made.frames.extend(frames.frames)
                continue
            yield made
        made = Frames(frames.stamp, frames.sound, list(frames.frames))
    if made is not None:
        yield made


def _cut(run: Frames, time: int, use: Use) -> tuple[int, Sequence[bytes]]:
    """Position and frames of what is used of a run that begins at `time`."""
    rate = run.sound.rate
    length = AAC_SAMPLES * CLOCK / rate
    begin, end = 0, len(run.frames)
    if use.low > use.piece.start:
        begin = min(max(round((use.low * MS - time) / length), 0), end)
    if use.high < use.piece.end:
        end = min(max(round((use.high * MS - time) / length), begin), end)
    position = round((time + use.shift * MS) * rate / CLOCK) + begin * AAC_SAMPLES
    return position, run.frames[begin:end]


def _chunks(chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
    """None much longer than a second."""
    for chunk in chunks:
        rest: AudioChunk | None = chunk
        while rest is not None:
            part, rest = rest.split(rest.time + CHUNK)
            yield part


def faults(reader: Reader) -> tuple[Fault, ...]:
    return tuple(Fault(name, reason) for name, reason in reader.faults.items())
