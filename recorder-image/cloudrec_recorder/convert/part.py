"""One MP4 file as it is written: media first, with room before it for what tells where it is.

So no second pass over the file is needed for players to be able to begin while it loads; only when more room is needed
than was thought all media is moved. What is kept in memory of a picture or a frame of sound is 4 to 12 bytes.
"""

from __future__ import annotations

import os
import struct
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from cloudrec_recorder.convert.boxes import FTYP, MDAT_HEADER, AudioTable, Box, Layout, VideoTable, mdat_header, moov
from cloudrec_recorder.convert.chunks import AudioChunk, VideoChunk
from cloudrec_recorder.convert.demux import Sound
from cloudrec_recorder.h264 import ParameterSets, picture_size
from cloudrec_recorder.segments.mpegts import CLOCK

_BLOCK: Final = 4 << 20
_FIXED: Final = 4096
_PICTURE: Final = 12
_FRAME: Final = 4
_CHUNK: Final = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A keyframe at which the file could be cut: how much of everything lies before it."""

    time: int
    sets: ParameterSets
    offset: int
    pictures: int
    video_chunks: int
    keyframes: int
    frames: int
    audio_chunks: int


class Part:
    """Chunks come in order of time. `room`: bytes kept for the tables."""

    def __init__(self, path: Path, room: int) -> None:
        self.path = path
        self._room = max(room, 64)
        self._begin = len(FTYP) + self._room + MDAT_HEADER
        self._end = self._begin
        self._file = path.open("w+b", buffering=_BLOCK)
        self._file.seek(self._begin)
        self._times = array("q")
        self._picture_sizes = array("I")
        self._video_offsets = array("q")
        self._video_counts = array("I")
        self._keyframes = array("I")
        self._frame_sizes = array("I")
        self._audio_offsets = array("q")
        self._audio_counts = array("I")
        self._sets: ParameterSets | None = None
        self._sound: Sound | None = None
        self._position = 0  # of the sound
        self._video_end = 0
        self._audio_end = 0
        self.mark: Mark | None = None
        """The last keyframe behind the first."""

    @property
    def size(self) -> int:
        """Bytes that the file has if it ends here."""
        return self._end + max(self._tables() - self._room, 0)

    @property
    def start(self) -> int | None:
        """Ticks since the Unix epoch, None while it is empty."""
        first = [self._times[0]] if self._times else []
        if self._sound is not None:
            first.append(self._position * CLOCK // self._sound.rate)
        return min(first, default=None)

    @property
    def end(self) -> int:
        return max(self._video_end, self._audio_end)

    @property
    def still(self) -> int | None:
        """The end of the last picture, None when there is none."""
        return self._video_end if self._times else None

    def _tables(self) -> int:
        chunks = len(self._video_counts) + len(self._audio_counts)
        return _FIXED + _PICTURE * len(self._times) + _FRAME * len(self._frame_sizes) + _CHUNK * chunks

    def video(self, chunk: VideoChunk) -> None:
        if chunk.sets is not None:
            if self._sets is None:
                self._sets = chunk.sets
            else:
                self.mark = self._here(chunk.time, chunk.sets)
            self._keyframes.append(len(self._times))
        self._times.extend(chunk.times)
        self._picture_sizes.extend(map(len, chunk.samples))
        self._video_offsets.append(self._end)
        self._video_counts.append(len(chunk.times))
        self._write(b"".join(chunk.samples))
        self._video_end = chunk.end

    def audio(self, chunk: AudioChunk) -> None:
        if self._sound is None:
            self._sound, self._position = chunk.sound, chunk.position
        self._frame_sizes.extend(map(len, chunk.frames))
        self._audio_offsets.append(self._end)
        self._audio_counts.append(len(chunk.frames))
        self._write(b"".join(chunk.frames))
        self._audio_end = chunk.end

    def _here(self, time: int, sets: ParameterSets) -> Mark:
        return Mark(
            time,
            sets,
            self._end,
            len(self._times),
            len(self._video_counts),
            len(self._keyframes),
            len(self._frame_sizes),
            len(self._audio_counts),
        )

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._end += len(data)

    def hand_over(self, other: Part) -> None:
        """Give everything from the mark on to an empty part; this one then ends at the mark."""
        mark = self.mark
        assert mark is not None
        self._file.flush()
        moved = other._begin - mark.offset
        at = mark.offset
        while at < self._end:
            block = os.pread(self._file.fileno(), min(_BLOCK, self._end - at), at)
            other._write(block)
            at += len(block)
        other._times = _tail(self._times, mark.pictures)
        other._picture_sizes = _tail(self._picture_sizes, mark.pictures)
        other._video_offsets = array("q", [at + moved for at in _tail(self._video_offsets, mark.video_chunks)])
        other._video_counts = _tail(self._video_counts, mark.video_chunks)
        other._keyframes = array("I", [at - mark.pictures for at in _tail(self._keyframes, mark.keyframes)])
        other._frame_sizes = _tail(self._frame_sizes, mark.frames)
        other._audio_offsets = array("q", [at + moved for at in _tail(self._audio_offsets, mark.audio_chunks)])
        other._audio_counts = _tail(self._audio_counts, mark.audio_chunks)
        other._sets = mark.sets
        if other._frame_sizes:
            other._sound = self._sound
            other._position = self._position + mark.frames * 1024
        other._video_end, other._audio_end = self._video_end, self._audio_end
        if not self._frame_sizes:
            self._sound = None
        if self._sound is not None:
            self._audio_end = (self._position + len(self._frame_sizes) * 1024) * CLOCK // self._sound.rate
        self._video_end = mark.time
        self._end = mark.offset
        self._file.seek(self._end)
        self._file.truncate()
        self.mark = None

    def hold(self, end: int) -> None:
        """Let the last picture last until then."""
        if self._times:
            self._video_end = max(self._times[-1] + 1, end)

    def finish(self) -> None:
        """Write the tables; the file is whole and on the disk then."""
        start = self.start
        assert start is not None
        tables = self._moov(start, 0)
        spare = self._room - sum(map(len, tables))
        if spare < 8 and spare != 0:  # what is left has to have room for a box's header
            moved = 8 - spare
            self._move(moved)
            self._room += moved
            self._begin += moved
            self._end += moved
            tables.clear()
            tables = self._moov(start, moved)
            spare = 8
        self._file.seek(0)
        self._file.write(FTYP)
        self._file.writelines(tables)
        if spare:
            self._file.write(struct.pack(">I4s", spare, b"free"))
        self._file.seek(self._begin - MDAT_HEADER)
        self._file.write(mdat_header(self._end - self._begin))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _move(self, count: int) -> None:
        """Shift all media back in the file."""
        self._file.flush()
        handle, at = self._file.fileno(), self._end
        while at > self._begin:
            size = min(_BLOCK, at - self._begin)
            at -= size
            os.pwrite(handle, os.pread(handle, size, at), at + count)

    def _moov(self, start: int, moved: int) -> Box:
        video = audio = None
        if self._times:
            assert self._sets is not None
            size = picture_size(self._sets.sps[-1])
            assert size is not None
            layout = Layout(self._picture_sizes, [at + moved for at in self._video_offsets], self._video_counts)
            times = np.asarray(self._times) - start
            video = VideoTable(size, self._sets, layout, times, self._video_end - start, self._keyframes)
        if self._sound is not None:
            layout = Layout(self._frame_sizes, [at + moved for at in self._audio_offsets], self._audio_counts)
            begins = self._position * CLOCK // self._sound.rate - start
            audio = AudioTable(self._sound, layout, max(begins, 0))
        return moov(video, audio)

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def _tail(values: array[int], begin: int) -> array[int]:
    """Take the end off an array."""
    tail = values[begin:]
    del values[begin:]
    return tail
