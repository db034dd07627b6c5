"""Where a track's encoded pictures or sound go: one playlist each (`merged` has the ones for both in one file)."""

from __future__ import annotations

from typing import Final, Protocol

from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.segments.audio import FRAME, RATE, AacFrame
from cloudrec_recorder.segments.files import Description, Output, TrackFiles
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer

FRAMES_PER_PES: Final = 10
"""AAC frames written together, 213 ms: one each would double the packets."""


class VideoWriter(Protocol):
    """Takes pictures that are cut into segments already. Times are seconds, stamps ticks since the epoch."""

    @property
    def is_open(self) -> bool:
        """Between `open` and `close`."""

    @property
    def wants_cut(self) -> bool:
        """The next keyframe should begin a segment, whatever the time."""

    def open(self, start: float, description: Description, *, discontinuity: bool) -> bool:
        """Begin a segment, ending the one before there. `discontinuity`: also of the pictures' coding.

        False when it cannot begin so early: pass over to a later keyframe.
        """

    def write(self, data: bytes, pts: int, *, keyframe: bool) -> None:
        """One access unit."""

    def close(self, end: float) -> None:
        """No more pictures until the next `open`."""

    def flush(self) -> None:
        """Hand what was written to the disk."""


class AudioWriter(Protocol):
    """Takes AAC frames that follow each other without a gap until `broken`."""

    def begins(self, start: float) -> None:
        """Frames are on their way, the first one at this time (seconds since the epoch)."""

    def write(self, frame: AacFrame, channels: int) -> None: ...

    def broken(self) -> None:
        """What comes next does not follow on."""

    def flush(self) -> None:
        """Hand what was written to the disk."""


class VideoFiles:
    """A playlist of pictures alone."""

    wants_cut = False

    def __init__(self, output: Output, key: TrackKey) -> None:
        self._files = TrackFiles(output, key, "video")
        self._muxer = TsMuxer(Streams(video=True, audio=False))
        self._discontinuity = False

    @property
    def is_open(self) -> bool:
        return self._files.is_open

    def open(self, start: float, description: Description, *, discontinuity: bool) -> bool:
        self._files.close(start)
        self._files.open(start, description, discontinuity=discontinuity)
        self._files.write(self._muxer.tables())
        self._discontinuity = discontinuity
        return True

    def write(self, data: bytes, pts: int, *, keyframe: bool) -> None:
        self._files.write(self._muxer.video(data, pts, keyframe=keyframe, discontinuity=self._discontinuity))
        self._discontinuity = False

    def close(self, end: float) -> None:
        self._files.close(end)

    def flush(self) -> None:
        self._files.flush()


class AudioFiles:
    """A playlist of sound alone, cut by counting frames."""

    def __init__(self, output: Output, key: TrackKey) -> None:
        self._files = TrackFiles(output, key, "audio")
        self._muxer = TsMuxer(Streams(video=False, audio=True))
        self._frames_of_first = round(output.settings.first(key) * RATE / FRAME)
        self._frames_of_others = round(output.settings.target * RATE / FRAME)
        self._frames_per_segment = self._frames_of_first
        self._begun = self._broken = output.settings.continues  # broken: since the last segment
        self._end = 0  # where the written frames end, in samples
        self._in_segment = 0
        self._pending: list[AacFrame] = []
        self._discontinuity = False

    def begins(self, start: float) -> None:
        """Nobody has to know."""

    def write(self, frame: AacFrame, channels: int) -> None:
        if self._files.is_open and self._in_segment >= self._frames_per_segment:
            self._close()
            self._frames_per_segment = self._frames_of_others
        if not self._files.is_open:
            self._discontinuity = self._begun and self._broken
            self._files.open(
                frame.position / RATE,
                Description("AAC", sample_rate=RATE, channels=channels),
                discontinuity=self._discontinuity,
            )
            self._begun = True
            self._broken = False
            self._in_segment = 0
            self._files.write(self._muxer.tables())
        self._pending.append(frame)
        self._in_segment += 1
        self._end = frame.position + FRAME
        if len(self._pending) >= FRAMES_PER_PES:
            self._mux()

    def broken(self) -> None:
        self._close()
        self._broken = True
        self._frames_per_segment = self._frames_of_first

    def flush(self) -> None:
        self._mux()
        self._files.flush()

    def _mux(self) -> None:
        if self._pending:
            frames, self._pending = self._pending, []
            self._files.write(mux_audio(self._muxer, frames, discontinuity=self._discontinuity))
            self._discontinuity = False

    def _close(self) -> None:
        self._mux()
        self._files.close(self._end / RATE)


def mux_audio(muxer: TsMuxer, frames: list[AacFrame], *, discontinuity: bool = False) -> bytes:
    """Consecutive AAC frames as one PES packet."""
    pts = round(frames[0].position * CLOCK / RATE)
    return muxer.audio(b"".join(frame.data for frame in frames), pts, discontinuity=discontinuity)
