"""Pieces of a stream as they are written, in turns: some pictures, or some sound. Times are 90 kHz ticks since the Unix
epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cloudrec_recorder.convert.boxes import AAC_SAMPLES
from cloudrec_recorder.convert.demux import Sound
from cloudrec_recorder.h264 import ParameterSets
from cloudrec_recorder.segments.mpegts import CLOCK

CHUNK: Final = CLOCK
"""Pictures and sound take turns in the file about each second."""


@dataclass(slots=True)
class VideoChunk:
    """Pictures that follow each other; only the first may be a keyframe, and then has `sets`. `end`: of the last."""

    times: list[int]
    samples: list[bytes]
    sets: ParameterSets | None
    end: int

    @property
    def time(self) -> int:
        return self.times[0]


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """AAC frames without a gap; `position` is the first sample, counted from the Unix epoch."""

    position: int
    frames: Sequence[bytes]
    sound: Sound

    @property
    def time(self) -> int:
        return self.position * CLOCK // self.sound.rate

    @property
    def end(self) -> int:
        return (self.position + len(self.frames) * AAC_SAMPLES) * CLOCK // self.sound.rate

    def split(self, time: int) -> tuple[AudioChunk, AudioChunk | None]:
        """What begins before `time`, and the rest. Something does begin before."""
        count = -(-(time * self.sound.rate - self.position * CLOCK) // (AAC_SAMPLES * CLOCK))
        if count >= len(self.frames):
            return self, None
        return (
            AudioChunk(self.position, self.frames[:count], self.sound),
            AudioChunk(self.position + count * AAC_SAMPLES, self.frames[count:], self.sound),
        )
