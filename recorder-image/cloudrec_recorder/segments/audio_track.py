"""One user's sound as segments of AAC."""

from __future__ import annotations

from collections import deque
from typing import Final

from cloudrec_recorder.media import AccessUnit
from cloudrec_recorder.segments.audio import FRAME, RATE, AacFrame, OpusToAac, opus_channels
from cloudrec_recorder.segments.files import SegmentSettings
from cloudrec_recorder.segments.writers import AudioWriter

STEP: Final = int(0.080 * RATE)
"""Samples that the next packet may lie before its place; more is a new time line, after a discontinuity."""


class AudioTrack:
    """Takes Opus packets. A stretch without a break is one encoder's output; breaks of time begin another."""

    def __init__(self, settings: SegmentSettings, writer: AudioWriter) -> None:
        self._settings = settings
        self._writer = writer
        self._source: int | None = None
        self._retired: deque[int] = deque(maxlen=16)
        self._run: OpusToAac | None = None
        self._channels = 1
        self._end = -(1 << 62)  # where the written frames end, in samples

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
            self._writer.begins((run.position - FRAME) / RATE)
        for frame in self._run.push(unit.data, unit.time):
            self._write(frame)

    def interrupt(self) -> None:
        """End the segment here; what comes next begins with a discontinuity."""
        run, self._run = self._run, None
        if run is None:
            return
        for frame in run.finish():
            self._write(frame)
        self._writer.broken()

    def abandon(self) -> None:
        """End the segment with what is written: the transcoder is in no state to go on."""
        self._run = None
        self._writer.broken()

    def _write(self, frame: AacFrame) -> None:
        self._end = frame.position + FRAME
        self._writer.write(frame, self._channels)
