"""One user's sound as segments of AAC."""

from __future__ import annotations

from collections import deque
from typing import Final

from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments.audio import FRAME, RATE, AacFrame, OpusToAac, opus_channels
from cloudrec_recorder.segments.files import Description, Output, TrackFiles
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer

STEP: Final = int(0.080 * RATE)
"""Samples that the next packet may lie before its place; more is a new time line, after a discontinuity."""
_FRAMES_PER_PES: Final = 10  # 213 ms: one frame each would double the packets


class AudioTrack:
    """Takes Opus packets. A stretch without a break is one encoder's output; breaks of time begin another."""

    def __init__(self, output: Output, key: TrackKey) -> None:
        self._settings = output.settings
        self._files = TrackFiles(output, key, "audio")
        self._muxer = TsMuxer(Streams(video=False, audio=True))
        self._frames_per_segment = round(self._settings.target * RATE / FRAME)
        self._source: int | None = None
        self._retired: deque[int] = deque(maxlen=16)
        self._run: OpusToAac | None = None
        self._channels = 1
        self._begun = False
        self._broken = False  # since the last segment
        self._end = -(1 << 62)  # where the written frames end, in samples
        self._in_segment = 0
        self._pending: list[AacFrame] = []
        self._discontinuity = False

    @property
    def active(self) -> bool:
        return self._run is not None

    def media(self, unit: AccessUnit) -> None:
        if unit.source in self._retired or not unit.data:
            return
        if unit.source != self._source:
            self.interrupt()
            if self._source is not None:
                self._retired.append(self._source)
            self._source = unit.source
        channels = opus_channels(unit.data)
        if channels > self._channels:  # never back: a stereo publisher's quiet packets may be mono
            self.interrupt()
            self._channels = channels
        if self._run is not None and (
            unit.time - self._run.end_time > self._settings.gap or self._run.error(unit.time) < -STEP
        ):
            self.interrupt()
        if self._run is None:
            run = OpusToAac(self._channels, unit.time)
            if run.position - FRAME < self._end:
                return  # of a time that is written already
            self._run = run
        for frame in self._run.push(unit.data, unit.time):
            self._write(frame)

    def interrupt(self) -> None:
        """End the segment here; what comes next begins with a discontinuity."""
        run, self._run = self._run, None
        if run is None:
            return
        for frame in run.finish():
            self._write(frame)
        self._close()
        self._broken = True

    def flush(self) -> None:
        self._mux()
        self._files.flush()

    def _write(self, frame: AacFrame) -> None:
        if self._files.is_open and self._in_segment >= self._frames_per_segment:
            self._close()
        if not self._files.is_open:
            self._discontinuity = self._begun and self._broken
            self._files.open(
                frame.position / RATE,
                Description("AAC", sample_rate=RATE, channels=self._channels),
                discontinuity=self._discontinuity,
            )
            self._begun = True
            self._broken = False
            self._in_segment = 0
            self._files.write(self._muxer.tables())
        self._pending.append(frame)
        self._in_segment += 1
        self._end = frame.position + FRAME
        if len(self._pending) >= _FRAMES_PER_PES:
            self._mux()

    def _mux(self) -> None:
        if not self._pending:
            return
        frames, self._pending = self._pending, []
        pts = round(frames[0].position * CLOCK / RATE)
        data = b"".join(frame.data for frame in frames)
        self._files.write(self._muxer.audio(data, pts, discontinuity=self._discontinuity))
        self._discontinuity = False

    def _close(self) -> None:
        self._mux()
        self._files.close(self._end / RATE)
