"""What has to be encoded anew: pictures of another size, sound of other channels, or all pictures when it is asked for.

Pictures are fitted into the size with black bars where the shapes differ. As everywhere here there are no B-frames, so
that a picture's time is its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
from av.error import FFmpegError
from av.filter import Graph

from cloudrec_recorder.convert.chunks import CHUNK, VideoChunk
from cloudrec_recorder.convert.demux import Sound, annex_b, avcc, length_prefixed
from cloudrec_recorder.h264 import NAL_PPS, NAL_SPS, ParameterSets, picture_size
from cloudrec_recorder.segments.audio import ENCODER_OPTIONS, adts
from cloudrec_recorder.segments.mpegts import CLOCK

PRESET: Final = "veryfast"
CRF: Final = "23"
KEYFRAME_SECONDS: Final = 2
_HELD: Final = 1.0
"""Seconds for which a picture is repeated at a steady rate; one that stands for longer just lasts."""
_TIME_BASE: Final = Fraction(1, CLOCK)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How all pictures are to be: `size` of the first when None; the publisher's rate when `fps` is None."""

    size: tuple[int, int] | None = None
    fps: int | None = None


def fitting(size: tuple[int, int]) -> str:
    """The filters that fit any picture into `size`, as FFmpeg has them."""
    width, height = size
    return (
        f"scale={width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2,"
        f"pad={width}:{height}:(ow-iw)/2:(oh-ih)/2,setsar=1,format=yuv420p"
    )


class _Fit:
    """A filter graph that is made anew for each size that comes."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._graph: Graph | None = None
        self._made_for: tuple[int, int, str] | None = None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        kind = (frame.width, frame.height, frame.format.name)
        if kind == (*self._size, "yuv420p"):
            return frame
        if self._graph is None or self._made_for != kind:
            graph = Graph()
            source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_TIME_BASE)
            last = source
            for text in fitting(self._size).split(","):
                name, _, arguments = text.partition("=")
                added = graph.add(name, arguments)
                last.link_to(added)
                last = added
            last.link_to(graph.add("buffersink"))
            graph.configure()
            self._graph, self._made_for = graph, kind
        frame.time_base = _TIME_BASE
        self._graph.vpush(frame)
        return self._graph.vpull()


class _Pictures:
    """H.264 in, H.264 of one size out; chunk by chunk."""

    def __init__(self, size: tuple[int, int], fps: int | None) -> None:
        self._fps = fps
        self._fit = _Fit(size)
        self._decoder = av.CodecContext.create("h264", "r")
        self._decoder.thread_type = "AUTO"
        self._encoder = _encoder(size, fps)
        self._origin: int | None = None
        self._newest: tuple[int, av.VideoFrame] | None = None
        self._chunk: VideoChunk | None = None
        self._interval = round(CLOCK / (fps or 30))
        self.broken = 0

    def push(self, chunk: VideoChunk) -> Iterator[VideoChunk]:
        if self._origin is None:
            self._origin = chunk.times[0]
        for time, sample in zip(chunk.times, chunk.samples, strict=True):
            packet = av.Packet(annex_b(sample))
            packet.pts = packet.dts = time - self._origin
            packet.time_base = _TIME_BASE
            yield from self._decode(packet)

    def finish(self) -> Iterator[VideoChunk]:
        yield from self._decode(None)
        if self._newest is not None and self._fps is not None:
            yield from self._encode(self._newest[1], round(self._newest[0] * CLOCK / self._fps))
        yield from self._packets(self._encoder.encode(None))
        if self._chunk is not None:
            yield self._chunk

    def _decode(self, packet: av.Packet[Any] | None) -> Iterator[VideoChunk]:
        try:
            frames = self._decoder.decode(packet)
        except FFmpegError:
            self.broken += 1
            return
        for frame in frames:
            if frame.pts is None:
                continue
            if self._fps is None:
                yield from self._encode(self._fit(frame), frame.pts)
            else:
                yield from self._at_rate(frame, self._fps)

    def _at_rate(self, frame: av.VideoFrame, fps: int) -> Iterator[VideoChunk]:
        """Of the pictures nearest to each tick the newest; only those are scaled."""
        assert frame.pts is not None
        place = round(frame.pts * fps / CLOCK)
        if self._newest is not None:
            before, picture = self._newest
            if place > before:
                for tick in range(before, min(place, before + max(round(_HELD * fps), 1))):
                    yield from self._encode(picture, round(tick * CLOCK / fps))
        self._newest = (place, frame)

    def _encode(self, frame: av.VideoFrame, pts: int) -> Iterator[VideoChunk]:
        picture = self._fit(frame)
        picture.pts, picture.time_base = pts, _TIME_BASE
        picture.pict_type = av.video.frame.PictureType.NONE
        yield from self._packets(self._encoder.encode(picture))

    def _packets(self, packets: Sequence[av.Packet[av.VideoStream]]) -> Iterator[VideoChunk]:
        for packet in packets:
            assert packet.pts is not None
            assert self._origin is not None
            time = packet.pts + self._origin
            sample = avcc(bytes(packet))
            sets = _sets(sample) if packet.is_keyframe else None
            if self._chunk is None or sets is not None or time - self._chunk.times[0] >= CHUNK:
                if self._chunk is not None:
                    self._chunk.end = time
                    yield self._chunk
                self._chunk = VideoChunk([], [], sets, 0)
            self._chunk.times.append(time)
            self._chunk.samples.append(sample)
            self._chunk.end = time + self._interval


def _encoder(size: tuple[int, int], fps: int | None) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = _TIME_BASE
    encoder.framerate = Fraction(fps or 30)
    encoder.gop_size = (fps or 30) * KEYFRAME_SECONDS
    encoder.max_b_frames = 0
    encoder.thread_type = "FRAME"
    encoder.options = {"preset": PRESET, "crf": CRF, "bf": "0"}
    return encoder


def _sets(sample: bytes) -> ParameterSets:
    units = list(length_prefixed(sample))
    return ParameterSets(
        tuple(unit for unit in units if unit[0] & 0x1F == NAL_SPS),
        tuple(unit for unit in units if unit[0] & 0x1F == NAL_PPS),
    )


def uniform(chunks: Iterable[VideoChunk], note: Callable[[str], None]) -> Iterator[VideoChunk]:
    """All in the size of the first; only what differs is encoded anew."""
    size: tuple[int, int] | None = None
    work: _Pictures | None = None
    for chunk in chunks:
        if chunk.sets is not None:
            found = picture_size(chunk.sets.sps[-1])
            size = size or found
            if found == size and work is not None:
                yield from _before(work.finish(), chunk.time)
                work = None
            elif found != size and size is not None and work is None:
                note("pictures of another size than the first")
                work = _Pictures(size, None)
        if work is None:
            yield chunk
        else:
            yield from work.push(chunk)
    if work is not None:
        yield from work.finish()


def _before(chunks: Iterable[VideoChunk], time: int) -> Iterator[VideoChunk]:
    for chunk in chunks:
        chunk.end = min(chunk.end, time)
        yield chunk


def encoded(chunks: Iterable[VideoChunk], encoding: Encoding, note: Callable[[str], None]) -> Iterator[VideoChunk]:
    """All pictures as `encoding` says."""
    work: _Pictures | None = None
    for chunk in chunks:
        if work is None:
            size = encoding.size or (picture_size(chunk.sets.sps[-1]) if chunk.sets else None)
            if size is None:
                continue
            note("a frame rate or a size was asked for")
            work = _Pictures((size[0] & ~1, size[1] & ~1), encoding.fps)
        yield from work.push(chunk)
    if work is not None:
        yield from work.finish()


class SoundChange:
    """A stretch of AAC as AAC of other channels. Positions are samples of the target's rate since the Unix epoch."""

    def __init__(self, source: Sound, target: Sound, position: int) -> None:
        self.source = source
        self.end = position
        self._origin = position * target.rate // source.rate
        self._next = self._origin - 1024  # AAC's priming
        self._decoder = av.CodecContext.create("aac", "r")
        layout = "mono" if target.channels == 1 else "stereo"
        self._resampler = av.AudioResampler("fltp", layout, target.rate)
        encoder = av.CodecContext.create("aac", "w")
        assert isinstance(encoder, av.AudioCodecContext)
        encoder.sample_rate, encoder.layout, encoder.format = target.rate, layout, "fltp"
        encoder.time_base = Fraction(1, target.rate)
        encoder.thread_count = 1
        encoder.options = dict(ENCODER_OPTIONS)
        self._encoder = encoder
        self._fifo = av.AudioFifo()

    def push(self, frames: Iterable[bytes]) -> tuple[int, list[bytes]]:
        """The first one's position, and frames."""
        made: list[bytes] = []
        for frame in frames:
            self.end += 1024
            try:
                decoded = self._decoder.decode(av.Packet(adts(frame, self.source.channels)))
            except FFmpegError:
                continue
            for each in decoded:
                each.pts = None
                for part in self._resampler.resample(each):
                    part.pts = None
                    self._fifo.write(part)
        while (whole := self._fifo.read(1024)) is not None:
            whole.pts = None
            made += [bytes(packet) for packet in self._encoder.encode(whole)]
        return self._placed(made)

    def finish(self) -> tuple[int, list[bytes]]:
        made = [bytes(packet) for packet in self._encoder.encode(None)]
        return self._placed(made)

    def _placed(self, made: list[bytes]) -> tuple[int, list[bytes]]:
        at = self._next
        self._next += len(made) * 1024
        return at, made
