"""Opus to AAC on a line of 48 kHz samples that stands still: each packet is placed by its time stamp.

What is missing (DTX, mute, loss) becomes silence. A publisher's sample clock drifts against the time line by some tens
of ppm: up to `DRIFT_LEFT_ALONE` nothing is done, beyond it two samples a packet are added or taken (a fifth of a
percent, not to be heard) until it is gone.

Two delays are taken out so that a sound is where it was: Opus' lookahead, which RTP does not tell (312 samples in
libopus, RFC 7845's pre-skip), and AAC's priming of 1,024 samples: its frame comes first and lies before the beginning.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final, TypeAlias

import av
import av.audio.codeccontext
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

RATE: Final = 48_000
FRAME: Final = 1024  # samples of an AAC frame
OPUS_LOOKAHEAD: Final = 312  # samples
DRIFT_LEFT_ALONE: Final = int(0.030 * RATE)
_DRIFT_MENDED: Final = int(0.005 * RATE)
ENCODER_OPTIONS: Final = {
    "flags": "+qscale",
    "global_quality": "177",
    "aac_coder": "fast",
    "aac_tns": "0",
    "aac_is": "0",
    "aac_pns": "0",
}
"""FFmpeg's AAC encoder at a constant quality, 1.5 times the one that it starts from: speech takes about 70 kbps a
channel. At a constant rate it tries several quantisers for each frame, which costs two to four times as much CPU for
the same sound. The tools that are off find little to save in speech."""
_FREQUENCY_INDEX: Final = {48_000: 3, 44_100: 4, 16_000: 8}

Samples: TypeAlias = NDArray[np.float32]
"""One row for each channel, full scale at 1."""

_MAX_PACKET: Final = 5760  # samples: 120 ms, RFC 6716 section 2.1.4

_SILK: Final = (480, 960, 1920, 2880)
_HYBRID: Final = (480, 960)
_CELT: Final = (120, 240, 480, 960)


def opus_samples(packet: bytes) -> int:
    """Duration of an Opus packet in 48 kHz samples (RFC 6716 section 3). Raises ValueError on what is no packet."""
    if not packet:
        raise ValueError("an empty Opus packet")
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        size = _SILK[config & 3]
    elif config < 16:
        size = _HYBRID[config & 1]
    else:
        size = _CELT[config & 3]
    if code == 3 and len(packet) < 2:
        raise ValueError("an Opus packet cut short")
    count = packet[1] & 0x3F if code == 3 else 1 if code == 0 else 2
    if not 0 < count * size <= _MAX_PACKET:
        raise ValueError(f"an Opus packet of {count} frames of {size} samples")
    return count * size


def opus_channels(packet: bytes) -> int:
    """1 or 2, by the s bit of the packet's table of contents (RFC 6716 section 3.1)."""
    return 2 if packet and packet[0] & 4 else 1


def adts(frame: bytes, channels: int, rate: int = RATE) -> bytes:
    """A raw AAC-LC frame of 48, 44.1 or 16 kHz with its ADTS header (ISO/IEC 13818-7, 6.2)."""
    length = len(frame) + 7
    header = 0xFFF1 << 40 | 1 << 38 | _FREQUENCY_INDEX[rate] << 34 | channels << 30 | length << 13 | 0x7FF << 2
    return header.to_bytes(7, "big") + frame


@dataclass(frozen=True, slots=True)
class AacFrame:
    """One ADTS frame; `position` is its first sample, counted at 48 kHz from the task's epoch."""

    position: int
    data: bytes


class Drift:
    """Decides when a sample clock's drift is taken out: beyond `left_alone` samples, until `mended` are left."""

    def __init__(self, left_alone: int, mended: int) -> None:
        self._left_alone = left_alone
        self._mended = mended
        self._mending = False

    def settled(self) -> None:
        """There is no error now: the line began anew."""
        self._mending = False

    def correction(self, error: int) -> int:
        """How many samples to add to the next packet, which would come `error` samples early (late when negative)."""
        self._mending = abs(error) > (self._mended if self._mending else self._left_alone)
        return 0 if not self._mending else 2 if error > 0 else -2


def stretched(samples: Samples, count: int) -> Samples:
    """The rows at `count` more samples (fewer when negative); too short ones as they are."""
    old = samples.shape[1]
    if not count or old < 240:
        return samples
    at, known = np.linspace(0, old - 1, old + count), np.arange(old)
    return np.stack([np.interp(at, known, row) for row in samples]).astype(np.float32)


class OpusToAac:
    """One stretch of audio without a break: its AAC frames follow each other without gap or overlap.

    The first frame is AAC's priming and lies `FRAME` samples before the first packet.
    """

    def __init__(self, channels: int, first_time: float) -> None:
        self.channels = channels
        self._layout = "mono" if channels == 1 else "stereo"
        self._decoder = _decoder(self._layout)
        self._encoder = _encoder(self._layout)
        self._next = _position(first_time)
        self._expected = first_time
        self._drift = Drift(DRIFT_LEFT_ALONE, _DRIFT_MENDED)

    @property
    def end_time(self) -> float:
        """Where the next packet is expected, seconds since the epoch."""
        return self._expected

    @property
    def position(self) -> int:
        """First sample that is not written yet."""
        return self._next

    def error(self, time: float) -> int:
        """How far behind (positive) or ahead of its place the next sample would be put, for a packet of `time`."""
        return _position(time) - self._next

    def push(self, packet: bytes, time: float) -> list[AacFrame]:
        """Decode and place one packet. One that cannot be decoded is replaced by silence."""
        try:
            samples = opus_samples(packet)
        except ValueError:
            return []
        out: list[AacFrame] = []
        missing = time - self._expected
        error = self.error(time)
        if missing > samples / RATE / 2:
            if error > 0:
                out += self._silence(error)
            self._drift.settled()
            error = 0
        self._expected = time + samples / RATE
        try:
            frames = self._decoder.decode(av.Packet(packet))
        except FFmpegError:
            return out + self._silence(samples)
        for frame in frames:
            out += self._encode(self._mend(frame, error))
        return out

    def finish(self) -> list[AacFrame]:
        """The last frames, filled up with silence. Nothing may follow."""
        return [self._frame(packet) for packet in self._encoder.encode(None)]

    def _mend(self, frame: av.AudioFrame, error: int) -> av.AudioFrame:
        """The frame two samples longer or shorter, while there is drift to be taken out."""
        count = self._drift.correction(error)
        return self._from_array(stretched(frame.to_ndarray().astype(np.float32, copy=False), count)) if count else frame

    def _from_array(self, samples: Samples) -> av.AudioFrame:
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
        frame.sample_rate = RATE
        return frame

    def _silence(self, samples: int) -> list[AacFrame]:
        return self._encode(self._from_array(np.zeros((self.channels, samples), np.float32)))

    def _encode(self, frame: av.AudioFrame) -> list[AacFrame]:
        frame.pts = self._next
        frame.time_base = Fraction(1, RATE)
        self._next += frame.samples
        return [self._frame(packet) for packet in self._encoder.encode(frame)]

    def _frame(self, packet: av.Packet[av.AudioStream]) -> AacFrame:
        if packet.pts is None:
            raise AssertionError("the AAC encoder gave a packet without a time stamp")
        return AacFrame(packet.pts, adts(bytes(packet), self.channels))


@cache
def silence(channels: int) -> bytes:
    """A frame in which nothing is to be heard, with its ADTS header; any number of them may follow each other."""
    layout = "mono" if channels == 1 else "stereo"
    encoder = _encoder(layout)
    packets = []
    for number in range(4):
        frame = av.AudioFrame.from_ndarray(np.zeros((channels, FRAME), np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, number * FRAME, Fraction(1, RATE)
        packets += encoder.encode(frame)
    return adts(bytes(packets[-1]), channels)


def _position(time: float) -> int:
    return round(time * RATE) - OPUS_LOOKAHEAD


def _decoder(layout: str) -> av.AudioCodecContext:
    decoder = av.CodecContext.create("opus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = RATE
    decoder.layout = layout
    return decoder


def _encoder(layout: str) -> av.AudioCodecContext:
    encoder = av.CodecContext.create("aac", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = RATE
    encoder.layout = layout
    encoder.format = "fltp"
    encoder.time_base = Fraction(1, RATE)
    encoder.thread_count = 1
    encoder.options = dict(ENCODER_OPTIONS)
    return encoder
