"""The sound of a synthetic user: a beep at each whole second of UTC over a very quiet, never ending tone.

The beep's pitch tells whose it is; the quiet tone tells silence that was recorded from sound that was lost.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
FRAME_SAMPLES = SAMPLE_RATE // 100
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_SAMPLES
BEEP_FRAMES = 10
"""The beep lasts 100 ms, as the flash does."""

QUIET_HZ = 400
QUIET_LEVEL = 0.01
BEEP_LEVEL = 0.4


def beep_hz(user: int, *, screen: bool = False) -> int:
    """The pitch of a user's beep: 1 kHz for user 1, 200 Hz more for the next, over again after eight; a screen's own
    lies 100 Hz above. Multiples of 100 Hz, so that 10 ms hold whole periods."""
    return 1000 + 200 * ((user - 1) % 8) + (100 if screen else 0)


@cache
def _frames(beep: int) -> tuple[bytes, bytes]:
    at = np.arange(FRAME_SAMPLES) / SAMPLE_RATE
    quiet = QUIET_LEVEL * np.sin(2 * np.pi * QUIET_HZ * at)
    loud = quiet + BEEP_LEVEL * np.sin(2 * np.pi * beep * at)
    return _pcm(quiet), _pcm(loud)


def sound(frame: int, beep: int) -> bytes:
    """10 ms of sound, 480 mono int16 samples; `frame` counts periods of 10 ms since the Unix epoch."""
    quiet, loud = _frames(beep)
    return loud if frame % FRAMES_PER_SECOND < BEEP_FRAMES else quiet


def _pcm(samples: NDArray[np.float64]) -> bytes:
    return (samples * 32767).astype(np.int16).tobytes()
