"""The mixed sound: Opus packets of all streams in, AAC frames of the whole room out, without gap or overlap.

It has no clock: `advance` says up to when everything is to be mixed, and who comes later is not heard. A sound is where
it was: Opus' lookahead and AAC's priming are taken out as in `segments.audio`, and resampling has no delay.
"""

from __future__ import annotations

from collections.abc import Set
from fractions import Fraction
from math import isfinite
from typing import Final

import av
import numpy as np

from cloudrec_contract.mix import MixAudio
from cloudrec_recorder.mix import wire
from cloudrec_recorder.mix.limiter import Limiter
from cloudrec_recorder.mix.resampling import Resampler
from cloudrec_recorder.mix.voice import Voice
from cloudrec_recorder.segments.audio import FRAME, RATE, Samples, adts

AHEAD_MAX: Final = 10 * RATE
"""Packets that are farther in the future than so many samples are dropped."""
VOICES_MAX: Final = 300
_FORGOTTEN: Final = 30 * RATE
"""A stream without a packet for so many samples is forgotten until the next."""
_AT_ONCE: Final = RATE
_UNDECODABLE: Final = 25
"""So many packets in a row that cannot be decoded."""


class Mixer:
    """Mixes from `start` on (seconds since the epoch; up to 3.3 ms earlier when the output is not of 48 kHz).

    The first frame is AAC's priming and lies one frame before that.
    """

    def __init__(self, audio: MixAudio, start: float) -> None:
        self.dropped = 0
        """Packets that are not heard: too late, or from the far future."""
        self._channels = audio.channels
        ratio = Fraction(audio.sample_rate, RATE)
        step = ratio.denominator
        self._mixed = round(start * RATE) // step * step
        """First sample that is not mixed yet, at 48 kHz since the epoch."""
        self._voices: dict[int, Voice] = {}
        self._heard: dict[int, int] = {}
        self._limiter = Limiter(audio.channels)
        self._resampler = Resampler(audio.sample_rate, audio.channels)
        self._encoder = _Encoder(audio, int(self._mixed * ratio))

    @property
    def undecodable(self) -> Set[int]:
        """Streams of which nothing can be decoded."""
        return {number for number, voice in self._voices.items() if voice.failed >= _UNDECODABLE}

    def unit(self, unit: wire.Unit) -> None:
        """Take a packet; of one stream they come in order. What is no Opus is as good as lost."""
        if not isfinite(unit.time) or not -RATE < unit.time * RATE - self._mixed < AHEAD_MAX:
            self.dropped += 1
            return
        voice = self._voices.get(unit.stream)
        if voice is None:
            if len(self._voices) >= VOICES_MAX:
                self.dropped += 1
                return
            voice = self._voices[unit.stream] = Voice(unit.source, self._channels == 2)
        elif voice.source != unit.source:
            voice.restart(unit.source, self._mixed)
        self._heard[unit.stream] = self._mixed
        late = voice.late
        voice.push(unit.data, unit.time, self._mixed)
        self.dropped += voice.late - late

    def advance(self, until: float) -> list[wire.Sound]:
        """Mix up to here; frames that are whole. They end some 30 ms earlier."""
        out: list[wire.Sound] = []
        target = round(until * RATE)
        while self._mixed < target:
            count = min(_AT_ONCE, target - self._mixed)
            out += self._encoder.push(self._resampler.push(self._limiter.push(self._mix(count))))
        return out

    def finish(self) -> list[wire.Sound]:
        """What is left, the last frame filled up with silence. Nothing may follow."""
        limited = self._limiter.finish()
        resampled = np.concatenate((self._resampler.push(limited), self._resampler.finish()), axis=1)
        return self._encoder.push(resampled) + self._encoder.finish()

    def _mix(self, count: int) -> Samples:
        """The next samples, all streams added up."""
        begin, end = self._mixed, self._mixed + count
        out = np.zeros((self._channels, count), np.float32)
        mono = out if self._channels == 1 else np.zeros((1, count), np.float32)
        for number, voice in list(self._voices.items()):
            voice.fill(end, begin)
            for position, samples in voice.take(end):
                into = mono if samples.shape[0] == 1 else out
                into[:, position - begin : position - begin + samples.shape[1]] += samples
            if end - self._heard[number] > _FORGOTTEN:
                del self._voices[number], self._heard[number]
        if mono is not out:
            out += mono
        out /= 32768
        self._mixed = end
        return out


class _Encoder:
    """AAC frames of any number of samples; `position` is the first one's."""

    def __init__(self, audio: MixAudio, position: int) -> None:
        self._audio = audio
        self._layout = "mono" if audio.channels == 1 else "stereo"
        self._position = position
        self._held: Samples = np.empty((audio.channels, 0), np.float32)
        self._codec = av.CodecContext.create("aac", "w")
        assert isinstance(self._codec, av.AudioCodecContext)
        self._codec.sample_rate = audio.sample_rate
        self._codec.layout = self._layout
        self._codec.format = "fltp"
        self._codec.time_base = Fraction(1, audio.sample_rate)
        self._codec.bit_rate = audio.bit_rate
        self._codec.thread_count = 1
        self._codec.options = {"aac_coder": "fast"}

    def push(self, samples: Samples) -> list[wire.Sound]:
        held = np.concatenate((self._held, samples), axis=1)
        whole = held.shape[1] // FRAME * FRAME
        self._held = held[:, whole:].copy()
        out: list[wire.Sound] = []
        for at in range(0, whole, FRAME):
            out += self._encode(held[:, at : at + FRAME])
        return out

    def finish(self) -> list[wire.Sound]:
        out: list[wire.Sound] = []
        if self._held.shape[1]:
            out += self._encode(np.pad(self._held, ((0, 0), (0, FRAME - self._held.shape[1]))))
        return out + [self._sound(packet) for packet in self._codec.encode(None)]

    def _encode(self, samples: Samples) -> list[wire.Sound]:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate, frame.time_base = self._audio.sample_rate, Fraction(1, self._audio.sample_rate)
        frame.pts = self._position
        self._position += FRAME
        return [self._sound(packet) for packet in self._codec.encode(frame)]

    def _sound(self, packet: av.Packet[av.AudioStream]) -> wire.Sound:
        if packet.pts is None:
            raise AssertionError("the AAC encoder gave a packet without a time stamp")
        return wire.Sound(packet.pts, adts(bytes(packet), self._audio.channels, self._audio.sample_rate))
