"""Recordings with numbered pictures and beeps, written with the recorder's own muxer and encoder; and MP4s as players
see them.

Picture `n` is at n/30 s after the epoch, and a beep begins at each whole second: so both tell their time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import av
import numpy as np

from cloudrec_contract.naming import FileKind, FileMedia, FileNames, playlist_of, segment_of
from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_contract.resources import RoomType
from cloudrec_local.synthetic import code
from cloudrec_recorder.segments.audio import FRAME, RATE, AacFrame, OpusToAac
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer, ticks
from tests.unit.segments import samples
from tests.unit.segments.pictures import FPS, encoded

EPOCH_MS = 1_700_000_000_000
KEYS = tuple(range(0, 100_000, 30))


@cache
def _pictures(first: int, count: int, width: int, height: int) -> list[tuple[bytes, bool]]:
    return encoded("H264", range(first, first + count), width=width, height=height, keyframes=KEYS)


@cache
def _sound(start: float, seconds: float, channels: int) -> list[AacFrame]:
    before = int(start)
    at = [float(n - before) for n in range(max(before, 1), int(start + seconds) + 1)]
    pcm = samples.beeps(start + seconds - before, at, channels=channels)
    work = OpusToAac(channels, start)
    frames: list[AacFrame] = []
    packets = samples.opus(pcm[:, round((start - before) * RATE) :], bit_rate=32_000 * channels)
    for number, packet in enumerate(packets):
        frames += work.push(packet, start + number * 0.02)
    return frames + work.finish()


@dataclass
class Recorded:
    """A folder with the files of one task. `offset`: seconds on the task's time line at which second 0 of media is."""

    folder: Path
    offset: float = 0.0
    names: FileNames = field(default_factory=lambda: FileNames(1400000001, "12345", RoomType.NUMBER))
    _segments: dict[tuple[int, str], list[Segment]] = field(default_factory=lambda: defaultdict(list))

    def _names(self, attempt: int) -> FileNames:
        return FileNames(self.names.sdk_app_id, self.names.room_id, self.names.room_type, attempt)

    def _stem(self, user: str | None, media: FileMedia, kind: FileKind, attempt: int) -> str:
        names = self._names(attempt)
        return names.mixed if user is None else names.single(user, media, kind)

    def video(
        self,
        user: str,
        seconds: tuple[int, int],
        *,
        media: FileMedia = "main",
        attempt: int = 0,
        size: tuple[int, int] = (320, 180),
        every: int = 2,
        leave_out: Iterable[int] = (),
    ) -> None:
        """Segments of `every` seconds; those that begin at one of `leave_out` are not written, nor in the playlist."""
        begin, end = seconds
        units = _pictures(begin * FPS, (end - begin) * FPS, *size)
        muxer = TsMuxer(Streams(video=True, audio=False))
        for at in range(begin, end, every):
            until = min(at + every, end)
            data = [muxer.tables()]
            for number in range(at * FPS, until * FPS):
                unit, key = units[number - begin * FPS]
                data.append(muxer.video(unit, ticks(self.offset + number / FPS), keyframe=key))
            if at not in leave_out:
                first = at == begin or at - every in leave_out
                self._write(self._stem(user, media, "video", attempt), attempt, at, until, data, first)

    def audio(
        self,
        user: str,
        seconds: tuple[float, float],
        *,
        media: FileMedia = "main",
        attempt: int = 0,
        channels: int = 1,
        every: float = 2,
    ) -> None:
        begin, end = seconds
        muxer = TsMuxer(Streams(video=False, audio=True))
        frames = _sound(begin, end - begin, channels)
        per = round(every * RATE / FRAME)
        shift = round(self.offset * RATE)
        for at in range(0, len(frames), per):
            part = frames[at : at + per]
            data = [muxer.tables()]
            for start in range(0, len(part), 10):
                group = part[start : start + 10]
                pts = round((group[0].position + shift) * CLOCK / RATE)
                data.append(muxer.audio(b"".join(frame.data for frame in group), pts))
            low, high = part[0].position / RATE, (part[-1].position + FRAME) / RATE
            self._write(self._stem(user, media, "audio", attempt), attempt, low, high, data, at == 0)

    def both(self, user: str | None, seconds: tuple[int, int], *, attempt: int = 0, every: int = 2) -> None:
        """Sound and pictures in one playlist; `user` None: the mixed one."""
        begin, end = seconds
        units = _pictures(begin * FPS, (end - begin) * FPS, 320, 180)
        frames = _sound(float(begin), float(end - begin), 1)
        muxer = TsMuxer(Streams(video=True, audio=True))
        shift = round(self.offset * RATE)
        for at in range(begin, end, every):
            until = min(at + every, end)
            data = [muxer.tables()]
            inside = [f for f in frames if at <= f.position / RATE < until or (at == begin and f.position / RATE < at)]
            for number in range(at * FPS, until * FPS):
                unit, key = units[number - begin * FPS]
                data.append(muxer.video(unit, ticks(self.offset + number / FPS), keyframe=key))
                if number % 6 == 0:
                    group = [f for f in inside if f.position / RATE < (number + 6) / FPS]
                    inside = inside[len(group) :]
                    if group:
                        pts = round((group[0].position + shift) * CLOCK / RATE)
                        data.append(muxer.audio(b"".join(frame.data for frame in group), pts))
            first = min(at, frames[0].position / RATE) if at == begin else at
            self._write(self._stem(user, "main", "audio_video", attempt), attempt, first, until, data, at == begin)

    def _write(self, stem: str, attempt: int, low: float, high: float, data: list[bytes], first: bool) -> None:
        start = EPOCH_MS + (self.offset + low) * 1000
        name = segment_of(stem, start)
        (self.folder / name).write_bytes(b"".join(data))
        known = self._segments[(attempt, stem)]
        known.append(Segment(name, high - low, start, discontinuity=first and bool(known)))
        text = Playlist(int(known[0].start_ms), segments=tuple(known), ended=True).render()
        (self.folder / playlist_of(stem)).write_text(text)

    def files(self, part: str) -> list[Path]:
        """Segments with this in their names, in order."""
        return sorted(path for path in self.folder.glob("*.ts") if part in path.name)


@dataclass(frozen=True)
class Seen:
    """A file's content. Pictures: (time, number or None, size); times in seconds of the file."""

    pictures: list[tuple[float, int | None, tuple[int, int]]]
    beeps: list[float]
    sound: tuple[float, float] | None
    video_end: float
    channels: int = 0

    @property
    def numbers(self) -> list[int | None]:
        return [number for _, number, _ in self.pictures]

    @property
    def first_second(self) -> float:
        """The second of media at which the file begins, by its pictures."""
        time, number, _ = self.pictures[0]
        assert number is not None
        return number / FPS - time


def look(path: Path) -> Seen:
    """Decode a file, honouring its edit lists."""
    pictures: list[tuple[float, int | None, tuple[int, int]]] = []
    pieces: list[tuple[float, np.ndarray]] = []
    video_end, channels = 0.0, 0
    with av.open(str(path)) as container:
        for stream in container.streams:
            assert stream.type in ("video", "audio")
            if stream.type == "video" and stream.duration is not None:
                assert stream.time_base is not None
                video_end = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        for frame in container.decode():
            assert frame.pts is not None
            assert frame.time_base is not None
            time = float(frame.pts * frame.time_base)
            if isinstance(frame, av.VideoFrame):
                plane = frame.planes[0]
                luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
                found = code.read(luma)
                pictures.append((time, found.frame if found else None, (frame.width, frame.height)))
            elif isinstance(frame, av.AudioFrame):
                assert frame.sample_rate == RATE
                channels = frame.layout.nb_channels
                pieces.append((time, frame.to_ndarray().mean(axis=0)))
    if not pieces:
        return Seen(pictures, [], None, video_end)
    begin = pieces[0][0]
    line = np.concatenate([piece for _, piece in pieces])
    steps = np.diff([time for time, _ in pieces])
    assert np.allclose(steps, FRAME / RATE, atol=1e-3)  # no gap in the sound
    heard = [begin + onset for onset in samples.onsets(line)]
    whole = [at for number, at in enumerate(heard) if not number or at - heard[number - 1] > 0.06]
    return Seen(pictures, whole, (begin, begin + len(line) / RATE), video_end, channels)


def in_step(seen: Seen, seconds: Sequence[int], *, begins: float | None = None, within: float = 0.06) -> None:
    """The beeps of these seconds of media are heard, and pictures and beeps are at their times."""
    begins = seen.first_second if begins is None else begins
    beeps = [round(at + begins, 2) for at in seen.beeps]
    assert [round(at) for at in beeps] == list(seconds), beeps
    assert all(abs(at - round(at)) <= within for at in beeps), beeps
    for time, number, _ in seen.pictures:
        assert number is not None
        assert abs(time + begins - number / FPS) <= 0.002
