"""Whole playlists and MP4 files decoded: every picture and every sample, when it was, and what a decoder minds."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from cloudrec_local.playback.beeps import Samples
from cloudrec_local.playback.playlist import MediaPlaylist, PlaylistError, parse
from cloudrec_local.playback.transport import Continuity
from cloudrec_local.synthetic.code import Code, Luma, read
from cloudrec_local.synthetic.picture import is_flash

TICKS = 90_000
_WRAP = 1 << 33

Kind = Literal["audio", "video", "audio_video"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture. `pts` in ticks of 1/90000 s since the task's epoch, `wall` in seconds since the Unix epoch;
    `code` is None where there is none to be read."""

    pts: int
    wall: float
    segment: int
    width: int
    height: int
    keyframe: bool
    code: Code | None
    flash: bool


@dataclass(slots=True)
class Sound:
    """Sound without a break: `pts` and `wall` of its first sample; mono, -1 to 1."""

    pts: int
    wall: float
    rate: int
    samples: Samples

    @property
    def end(self) -> float:
        """Wall time just after the last sample."""
        return self.wall + len(self.samples) / self.rate


@dataclass(frozen=True, slots=True)
class SegmentSeen:
    """What one segment holds: first PTS and end of its last sample, in ticks."""

    name: str
    size: int
    declared: float
    discontinuity: bool
    first_pts: int
    end_pts: int

    @property
    def seconds(self) -> float:
        return (self.end_pts - self.first_pts) / TICKS


@dataclass(slots=True)
class Recording:
    """One playlist's content. `faults`: everything that a player could stumble over, in words.

    `kind` is audio_video when any segment holds pictures and any holds sound; `codec` is then that of the pictures.
    """

    playlist: MediaPlaylist
    kind: Kind
    codec: str
    segments: list[SegmentSeen] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    sounds: list[Sound] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the first sample to the end of the last, gaps included."""
        return (self.segments[-1].end_pts - self.segments[0].first_pts) / TICKS if self.segments else 0.0

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    @property
    def epoch(self) -> float:
        """Wall time of PTS zero by this playlist; all files of a task should agree to the millisecond."""
        return self.playlist.start - self.segments[0].first_pts / TICKS


def load(text: str, get: Callable[[str], bytes]) -> Recording:
    """Decode a playlist's text whole; `get` fetches a segment by its name.

    Wall time is START-REC-TIME at the first sample and goes on by PTS. Raises PlaylistError for a playlist that is not
    as it has to be or is empty; faults of the media are listed in the result instead.
    """
    playlist = parse(text)
    if not playlist.entries:
        raise PlaylistError("no segments")
    return _Loader(playlist).load(get)


def load_file(path: Path, start: float) -> Recording:
    """Decode an MP4 file whole, whose time 0 is `start` in seconds since the Unix epoch. There are no segments.

    Raises FFmpegError when it is no such file; faults of the media are listed in the result instead.
    """
    recording = Recording(MediaPlaylist(start, 0, None, (), True), "video", "")
    with av.open(str(path)) as container:
        decoders: dict[int, _VideoDecoder | _AudioDecoder] = {}
        for stream in container.streams:
            context = stream.codec_context
            make = _VideoDecoder if stream.type == "video" else _AudioDecoder
            decoders[stream.index] = make(recording, context, lambda pts: start + pts / TICKS)
            if stream.type == "video" or not recording.codec:
                recording.codec = context.name
        for packet in container.demux():
            if packet.size:
                decoders[packet.stream_index].feed(packet, 0, path.name)
        for decoder in decoders.values():
            decoder.feed(None, 0, "the end")
        kinds = {stream.type for stream in container.streams}
    recording.kind = "audio_video" if len(kinds) > 1 else "video" if "video" in kinds else "audio"
    return recording


@dataclass(slots=True)
class _Unit:
    """A packet with its unwrapped PTS and its duration, in ticks."""

    video: bool
    pts: int
    duration: int
    keyframe: bool
    packet: Packet[Any]


class _Loader:
    def __init__(self, playlist: MediaPlaylist) -> None:
        self._playlist = playlist
        self._recording = Recording(playlist, "video", "")
        self._continuity = Continuity()
        self._decoders: dict[bool, _VideoDecoder | _AudioDecoder] = {}  # of pictures, of sound
        self._codecs: dict[bool, str] = {}
        self._first: int | None = None
        self._last = 0

    def load(self, get: Callable[[str], bytes]) -> Recording:
        recording = self._recording
        for index, entry in enumerate(self._playlist.entries):
            data = get(entry.name)
            if entry.discontinuity:
                self._continuity.reset()
                self._flush()
            recording.faults += [f"{entry.name}: {fault}" for fault in self._continuity.look(data)]
            try:
                units = self._demux(data)
            except (FFmpegError, _UnreadableError) as error:
                recording.faults.append(f"{entry.name}: cannot be read: {error}")
                continue
            if not next((u for u in units if u.video), units[0]).keyframe:
                recording.faults.append(f"{entry.name}: does not begin with a keyframe")
            first, end = min(u.pts for u in units), max(u.pts + u.duration for u in units)
            if not recording.segments:
                self._first = first  # of pictures and sound whichever is earlier, not what is first in the file
            recording.segments.append(
                SegmentSeen(entry.name, len(data), entry.duration, entry.discontinuity, first, end)
            )
            for unit in units:
                self._decoder(unit.video).feed(unit.packet, index, entry.name)
        self._flush()
        recording.codec = self._codecs.get(True) or self._codecs.get(False, "")
        if self._codecs:
            recording.kind = "audio_video" if len(self._codecs) > 1 else "video" if True in self._codecs else "audio"
        return recording

    def _decoder(self, video: bool) -> _VideoDecoder | _AudioDecoder:
        if video not in self._decoders:
            make = _VideoDecoder if video else _AudioDecoder
            context = av.CodecContext.create(self._codecs[video], "r")
            self._decoders[video] = make(self._recording, context, self._wall)
        return self._decoders[video]

    def _flush(self) -> None:
        for decoder in self._decoders.values():
            decoder.feed(None, 0, "the end")
        self._decoders.clear()

    def _demux(self, data: bytes) -> list[_Unit]:
        """The packets of a segment's one stream of pictures, one of sound, or both, in the order of the file."""
        with av.open(io.BytesIO(data), mode="r", format="mpegts") as container:
            streams = container.streams
            kinds = sorted(stream.type for stream in streams)
            if kinds not in (["audio"], ["video"], ["audio", "video"]):
                raise _UnreadableError(f"holds {kinds} instead of pictures, sound, or both")
            for stream in streams:
                self._codecs.setdefault(stream.type == "video", stream.codec_context.name)
            units = [self._unit(packet) for packet in container.demux() if packet.size]
        if not units:
            raise _UnreadableError("holds no media")
        pictures = [unit for unit in units if unit.video]
        for unit, after in pairwise(pictures):  # a transport stream tells no durations of pictures
            unit.duration = after.pts - unit.pts
        if pictures:
            pictures[-1].duration = pictures[-2].duration if len(pictures) > 1 else 0
        return units

    def _unit(self, packet: Packet[Any]) -> _Unit:
        """A copy of a packet: what comes from a container must not be used once that is closed."""
        if packet.pts is None:
            raise _UnreadableError("holds media without a time stamp")
        pts = self._unwrap(packet.pts)
        copy = Packet(bytes(packet))
        copy.pts = copy.dts = pts
        copy.time_base = Fraction(1, TICKS)
        return _Unit(packet.stream.type == "video", pts, packet.duration or 0, packet.is_keyframe, copy)

    def _unwrap(self, pts: int) -> int:
        if self._first is None:
            self._first = self._last = pts
        self._last += (pts - self._last + _WRAP // 2) % _WRAP - _WRAP // 2
        return self._last

    def _wall(self, pts: int) -> float:
        assert self._first is not None
        return self._playlist.start + (pts - self._first) / TICKS


class _UnreadableError(Exception):
    pass


class _VideoDecoder:
    """One decoder over segments; it is strict, so that damage is told and not concealed."""

    def __init__(self, recording: Recording, context: av.CodecContext, wall: Callable[[int], float]) -> None:
        self._recording, self._wall = recording, wall
        assert isinstance(context, av.VideoCodecContext)
        self._context = context
        self._context.thread_count = 1
        self._context.options = {"err_detect": "explode"}

    def feed(self, packet: Packet[Any] | None, segment: int, name: str) -> None:
        try:
            frames = self._context.decode(packet)
        except FFmpegError as error:
            self._recording.faults.append(f"{name}: a picture cannot be decoded: {error.strerror}")
            return
        for frame in frames:
            pts = _ticks(frame)
            if frame.is_corrupt:
                self._recording.faults.append(f"{name}: a damaged picture")
            luma = _luma(frame)
            self._recording.pictures.append(
                Picture(
                    pts=pts,
                    wall=self._wall(pts),
                    segment=segment,
                    width=frame.width,
                    height=frame.height,
                    keyframe=bool(frame.key_frame),
                    code=read(luma),
                    flash=is_flash(luma),
                )
            )


class _AudioDecoder:
    """Joins what lies end to end into one `Sound`; more than a tick of difference begins another."""

    def __init__(self, recording: Recording, context: av.CodecContext, wall: Callable[[int], float]) -> None:
        self._recording, self._wall = recording, wall
        assert isinstance(context, av.AudioCodecContext)
        self._context = context
        self._parts: list[Samples] = []
        self._samples = 0
        self._begin = 0
        self._rate = 0

    def feed(self, packet: Packet[Any] | None, segment: int, name: str) -> None:
        try:
            frames = self._context.decode(packet)
        except FFmpegError as error:
            self._recording.faults.append(f"{name}: sound cannot be decoded: {error.strerror}")
            frames = []
        for frame in frames:
            pts = _ticks(frame)
            expected = self._begin + Fraction(self._samples * TICKS, self._rate or 1)
            if self._parts and (abs(pts - expected) > 1 or frame.sample_rate != self._rate):
                self._close()
            if not self._parts:
                self._begin, self._rate = pts, frame.sample_rate
            self._parts.append(_mono(frame))
            self._samples += frame.samples
        if packet is None:
            self._close()

    def _close(self) -> None:
        if self._parts:
            sound = Sound(self._begin, self._wall(self._begin), self._rate, np.concatenate(self._parts))
            self._recording.sounds.append(sound)
        self._parts, self._samples = [], 0


def _ticks(frame: VideoFrame | AudioFrame) -> int:
    assert frame.pts is not None
    return frame.pts if frame.time_base is None else round(frame.pts * frame.time_base * TICKS)


def _luma(frame: VideoFrame) -> Luma:
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    luma: Luma = rows[: frame.height, : frame.width]
    return luma


def _mono(frame: AudioFrame) -> Samples:
    """The mean of all channels of planar float, which is what ffmpeg's AAC decoder gives."""
    samples: Samples = frame.to_ndarray().mean(axis=0, dtype=np.float32)
    return samples
