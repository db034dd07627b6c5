"""From 48 kHz to another rate, exactly: so many samples in make so many out, and never one more over the hours.

A block of samples is a product with a matrix whose columns are the windowed sinc at each phase. What is out of the
output's band is at least 60 dB down, what is within nine tenths of it untouched. There is no delay: sample 0 of the
output is at the time of sample 0 of the input.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np

from cloudrec_recorder.segments.audio import RATE, Samples

_HALF: Final = 32  # zero crossings of the sinc at each side
_BETA: Final = 7.0  # of the Kaiser window
_AT_ONCE: Final = 4  # blocks; with more OpenBLAS starts threads, which cost more than they bring


class Resampler:
    """Takes any number of samples at a time and gives what is complete. `rate` is the output's."""

    def __init__(self, rate: int, channels: int) -> None:
        ratio = Fraction(rate, RATE)
        times = max(1, 160 // ratio.denominator)
        self._in, self._out = ratio.denominator * times, ratio.numerator * times
        self._same = ratio == 1
        cutoff = 0.94 * min(1.0, float(ratio))
        self._reach = int(np.ceil(_HALF / cutoff))
        """Samples that are needed before the block and behind it."""
        self._taps = _taps(self._in, self._out, self._reach, cutoff)
        self._held: Samples = np.zeros((channels, self._reach), np.float32)

    def push(self, samples: Samples) -> Samples:
        if self._same:
            return samples
        held = np.concatenate((self._held, samples), axis=1)
        length = self._taps.shape[0]
        blocks = max(0, (held.shape[1] - length) // self._in + 1)
        out = np.empty((held.shape[0], blocks, self._out), np.float32)
        for row, to in zip(held, out, strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(row, length)[:: self._in] if blocks else None
            for at in range(0, blocks, _AT_ONCE):
                assert windows is not None
                to[at : at + _AT_ONCE] = windows[at : min(blocks, at + _AT_ONCE)] @ self._taps
        self._held = held[:, blocks * self._in :].copy()
        return out.reshape(held.shape[0], -1)

    def finish(self) -> Samples:
        """What is left, followed by silence."""
        if self._same:
            return np.empty((self._held.shape[0], 0), np.float32)
        left = self._held.shape[1] - self._reach
        count = -(-left * self._out // self._in)
        rest = self.push(np.zeros((self._held.shape[0], self._in + 2 * self._reach), np.float32))
        return rest[:, :count]


def _taps(block_in: int, block_out: int, reach: int, cutoff: float) -> Samples:
    """(samples in, samples out): the weight of each sample around a block in each that is made of it."""
    sources = np.arange(-reach, block_in + reach)
    places = np.arange(block_out) * block_in / block_out
    distance = sources[:, None] - places[None, :]
    window = np.i0(_BETA * np.sqrt(np.clip(1 - (distance / reach) ** 2, 0, None))) / np.i0(_BETA)
    window[np.abs(distance) > reach] = 0
    taps = np.sinc(cutoff * distance) * window
    weights: Samples = (taps / taps.sum(axis=0)).astype(np.float32)
    return weights
