"""Keeps the mix from clipping: the gain goes down before a peak comes and up again slowly after it.

Below the threshold the gain is 1 and the sound is not touched.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloudrec_recorder.segments.audio import RATE, Samples

THRESHOLD: Final = 10 ** (-1 / 20)
"""1 dB below full scale: AAC may overshoot a little."""
BLOCK: Final = 240
"""Samples (5 ms): the gain is a line within each, so this is how long it takes to go down. Held back until known."""
_RELEASE: Final = float(np.exp(-BLOCK / (0.15 * RATE)))
"""What is left of a reduction after a block."""
_NONE: Final = 1e-3
_RAMP: Final[Samples] = ((np.arange(BLOCK) + 1) / BLOCK).astype(np.float32)


class Limiter:
    """Gives what it takes, `BLOCK` samples or more later."""

    def __init__(self, channels: int) -> None:
        self._held: Samples = np.empty((channels, 0), np.float32)
        self._gain = 1.0

    def push(self, samples: Samples) -> Samples:
        held = np.concatenate((self._held, samples), axis=1)
        blocks = held.shape[1] // BLOCK
        if blocks < 2:
            self._held = held
            return held[:, :0]
        length = (blocks - 1) * BLOCK
        out, self._held = held[:, :length], held[:, length:].copy()
        peaks = np.abs(held[:, : blocks * BLOCK].reshape(-1, blocks, BLOCK)).max(axis=(0, 2))
        if self._gain < 1 or peaks.max() > THRESHOLD:
            out *= self._gains(peaks)
        return out

    def finish(self) -> Samples:
        """What is held back."""
        count = self._held.shape[1]
        silence = np.zeros((self._held.shape[0], 2 * BLOCK), np.float32)
        return self.push(silence)[:, :count]

    def _gains(self, peaks: NDArray[np.float32]) -> Samples:
        """For all but the last block. The gain at each edge suits the blocks on both sides of it."""
        allowed = [1.0 if peak <= THRESHOLD else THRESHOLD / float(peak) for peak in peaks]
        edges = [min(self._gain, allowed[0])]
        for before, after in pairwise(allowed):
            risen = 1 - (1 - edges[-1]) * _RELEASE
            edges.append(min(before, after, 1.0 if 1 - risen < _NONE else risen))
        self._gain = edges[-1]
        nodes = np.array(edges, np.float32)
        gains: Samples = (nodes[:-1, None] + np.diff(nodes)[:, None] * _RAMP).reshape(-1)
        return gains
