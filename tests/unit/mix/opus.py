"""Opus packets of sounds that are made up."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
from numpy.typing import NDArray

from cloudrec_recorder.mix.wire import Sound

RATE = 48_000
SIZE = 960
Wave = NDArray[np.float32]


def tone(seconds: float, hertz: float = 440.0, level: float = 0.25) -> Wave:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def voice(seconds: float, level: float) -> Wave:
    """Several tones that swell, `level` at their loudest."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hertz * time + hertz) for hertz in (120, 240, 360, 700, 1500, 2600))
    wave *= 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    return (level * wave / np.abs(wave).max()).astype(np.float32)


def beep(seconds: float, at: float, hertz: float = 1000.0, level: float = 0.25, length: float = 0.1) -> Wave:
    """Silence with a beep in it."""
    wave = np.zeros(round(seconds * RATE), np.float32)
    sound = tone(length, hertz, level)
    begin = round(at * RATE)
    wave[begin : begin + len(sound)] = sound
    return wave


def packets(wave: Wave, channels: int = 1, bit_rate: int = 96_000) -> list[bytes]:
    """20 ms each. The same sound in all channels, or what the rows of `wave` say."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.format, encoder.bit_rate = RATE, "s16", bit_rate
    encoder.layout = "mono" if channels == 1 else "stereo"
    rows = np.broadcast_to(wave, (channels, wave.shape[-1]))
    out: list[bytes] = []
    for at in range(0, wave.shape[-1] - SIZE + 1, SIZE):
        part = np.rint(rows[:, at : at + SIZE].T.reshape(1, -1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout=encoder.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        out += [bytes(packet) for packet in encoder.encode(frame)]
    return out


def decoded(sounds: Iterable[Sound], rate: int = RATE) -> tuple[int, Wave]:
    """First position and samples (rows: channels) of AAC frames, which have to follow each other without a gap."""
    decoder = av.CodecContext.create("aac", "r")
    sounds = list(sounds)
    for before, after in pairwise(sounds):
        assert after.position == before.position + 1024
    parts = []
    for sound in sounds:
        for frame in decoder.decode(av.Packet(sound.data)):
            assert isinstance(frame, av.AudioFrame)
            assert frame.sample_rate == rate
            parts.append(frame.to_ndarray().astype(np.float32))
    assert len(parts) == len(sounds)
    return sounds[0].position, np.concatenate(parts, axis=1)


def onset(wave: Wave, threshold: float = 0.05) -> int:
    """The first sample that is louder, of the first row."""
    return int(np.argmax(np.abs(wave[0]) > threshold))
