"""Beeps in decoded sound, found by the energy at their pitch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_WINDOW_SECONDS = 0.005
_LEAST_LEVEL = 0.1  # of full scale; the beep has 0.4, what leaks from neighbours far less
_LEAST_SECONDS = 0.06


def envelope(samples: Samples, rate: int, hz: float) -> NDArray[np.float64]:
    """The amplitude at one pitch for each sample, over 5 ms around it (whole periods of multiples of 200 Hz)."""
    width = round(rate * _WINDOW_SECONDS)
    if len(samples) < width:
        return np.zeros(len(samples))
    mixed = samples * np.exp(-2j * np.pi * hz * np.arange(len(samples)) / rate)
    total = np.concatenate(([0], np.cumsum(mixed)))
    means = (total[width:] - total[:-width]) * (2 / width)
    before = width // 2
    return np.pad(np.abs(means), (before, len(samples) - len(means) - before))


def onsets(samples: Samples, rate: int, hz: float) -> list[float]:
    """Where beeps of this pitch begin, in seconds from the first sample: where the rising edge passes half their level.

    The window is centred, so half the level is reached at the edge itself; a codec blurs it by about a millisecond.
    A beep that is cut off at the very beginning has no edge and is left out.
    """
    levels = envelope(samples, rate, hz)
    loud = levels > _LEAST_LEVEL
    edges = np.flatnonzero(np.diff(np.concatenate(([False], loud, [False])).astype(np.int8)))
    window = round(rate * _WINDOW_SECONDS)
    found = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if start <= window or (end - start) / rate < _LEAST_SECONDS:
            continue
        half = np.median(levels[start:end]) / 2
        low = max(start - 2 * window, 0)
        first = low + int(np.argmax(levels[low:end] >= half))
        step = levels[first] - levels[first - 1] if first else 0.0
        part = (levels[first] - half) / step if step > 0 else 0.0
        found.append(float(first - part) / rate)
    return found


def silences(samples: Samples, rate: int, least_seconds: float = 0.04) -> list[tuple[float, float]]:
    """Stretches without even the quiet tone, (start, end) in seconds from the first sample, in steps of 10 ms."""
    step = rate // 100
    whole = len(samples) // step
    if not whole:
        return []
    power = (samples[: whole * step].astype(np.float64).reshape(whole, step) ** 2).mean(axis=1)
    silent = power < 1e-6  # -60 dBFS; the quiet tone has -43
    edges = np.flatnonzero(np.diff(np.concatenate(([False], silent, [False])).astype(np.int8)))
    spans = ((int(start) / 100, int(end) / 100) for start, end in zip(edges[::2], edges[1::2], strict=True))
    return [(start, end) for start, end in spans if end - start >= least_seconds]
