"""One stream's sound on the mixer's line of 48 kHz samples.

Packets are placed by their time stamps; what a publisher's clock drifts is taken out as in `segments.audio`, with less
patience since pictures are beside it. What is missing is concealed by libopus for a tenth of a second, fading out, and
is silence after that: nothing begins or ends with a click. Positions are samples since the epoch, full scale is 32768.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import av
import numpy as np
from av.error import FFmpegError

from cloudrec_recorder.segments.audio import (
    OPUS_LOOKAHEAD,
    RATE,
    Drift,
    Samples,
    opus_channels,
    opus_samples,
    stretched,
)

CONCEALED: Final = RATE // 10
"""At most so many samples (or one packet) are concealed."""
_FADE: Final = 240
_DTX_BYTES: Final = 2
"""A packet so short says that nothing is said (RFC 6716, section 2.1.9)."""
_DRIFT_LEFT_ALONE: Final = int(0.010 * RATE)
_DRIFT_MENDED: Final = int(0.002 * RATE)
_RAMP: Final = (np.arange(_FADE, dtype=np.float32) + 1) / (_FADE + 1)


class Voice:
    """Decoded sound of one source, waiting to be mixed. `stereo`: two rows when it has them, else always one."""

    def __init__(self, source: int, stereo: bool) -> None:
        self.source = source
        self.late = 0
        """Packets that came after their time had been mixed."""
        self.failed = 0
        """Packets in a row that could not be decoded."""
        self._stereo = stereo
        self._channels = 1
        self._decoder = _decoder(1)
        self._drift = Drift(_DRIFT_LEFT_ALONE, _DRIFT_MENDED)
        self._line = _Line()
        self._expected: float | None = None
        """Time of the next packet; it would be put at `_next`."""
        self._next = 0
        self._size = 960
        self._conceal = b""
        """A packet of this stream without content: libopus makes up what it could have been."""
        self._budget = 0
        """How many of those may still follow each other."""

    def restart(self, source: int, mixed: int) -> None:
        """Packets of another source follow: what is not mixed yet gives way to them."""
        self.source = source
        self._begin_anew(self._channels, mixed)

    def push(self, packet: bytes, time: float, mixed: int) -> None:
        """Take a packet. What is before `mixed` is mixed already."""
        try:
            size = opus_samples(packet)
        except ValueError:
            self.failed += 1
            return
        if len(packet) <= _DTX_BYTES:
            self._budget = min(self._budget, 1)
            return
        if self._stereo and self._channels == 1 and opus_channels(packet) == 2:
            self._begin_anew(2, mixed)
        place, gap = self._place(time, size, mixed)
        samples = self._decoded(packet)
        if samples is None:
            self.failed += 1
            return
        self.failed = 0
        if not gap:
            samples = stretched(samples, self._drift.correction(_position(time) - place))
        self._line.put(place, samples, mixed)
        self.late += place + samples.shape[1] <= mixed
        self._next = place + samples.shape[1]
        self._expected = time + size / RATE
        self._size, self._conceal = size, bytes([packet[0] & 0xFC])
        self._budget = max(1, CONCEALED // size)

    def fill(self, until: int, mixed: int) -> None:
        """Conceal what is missing up to `until` and a little more, for a packet that comes late to be faded into."""
        while self._expected is not None and self._next < until + _FADE and self._budget > 0:
            self._conceal_one(mixed)

    def take(self, until: int) -> list[tuple[int, Samples]]:
        """Positions and samples before `until`, which are given once."""
        return self._line.take(until)

    def _place(self, time: float, size: int, mixed: int) -> tuple[int, bool]:
        """Where the packet belongs, and whether the line begins anew there."""
        if self._expected is None:
            return _position(time), True
        missing = round((time - self._expected) * RATE)
        if abs(missing) <= size // 2:
            return self._next, False
        if missing < 0:
            if missing < -RATE:
                self._drift.settled()
                return _position(time), True
            return self._next + missing, False
        lost = round(missing / self._size)
        enough = lost <= self._budget
        for _ in range(min(lost, self._budget)):
            self._conceal_one(mixed)
        if enough:
            return self._next, False
        self._drift.settled()
        return _position(time), True

    def _conceal_one(self, mixed: int) -> None:
        assert self._expected is not None
        self._budget -= 1
        samples = self._decoded(self._conceal)
        if samples is None:
            self._budget = 0
            return
        if self._budget == 0:
            samples *= np.linspace(1, 0, samples.shape[1], dtype=np.float32)
        self._line.put(self._next, samples, mixed)
        self._next += samples.shape[1]
        self._expected += samples.shape[1] / RATE

    def _begin_anew(self, channels: int, mixed: int) -> None:
        """With another decoder; what there is fades out."""
        if self._expected is not None and self._budget > 0:
            self._budget = 1
            self._conceal_one(mixed)
        self._channels, self._decoder = channels, _decoder(channels)
        self._drift.settled()
        self._expected = None

    def _decoded(self, packet: bytes) -> Samples | None:
        try:
            frames = self._decoder.decode(av.Packet(packet))
        except FFmpegError:
            return None
        if len(frames) != 1:
            return None
        count, channels = frames[0].samples, self._channels
        samples = np.frombuffer(memoryview(frames[0].planes[0]), np.int16, count * channels)
        rows: Samples = samples.reshape(count, channels).T.astype(np.float32)
        return rows


class _Line:
    """Samples in order, without overlap. Whatever begins after silence fades in; what overlaps is cross-faded."""

    def __init__(self) -> None:
        self._parts: deque[tuple[int, Samples]] = deque()
        self._end = 0

    def put(self, position: int, samples: Samples, mixed: int) -> None:
        late = position < mixed
        if late:
            samples = samples[:, mixed - position :]
            position = mixed
        if not samples.shape[1]:
            return
        if late or position != self._end:
            cut = self._cut(position) if position < self._end else None
            _fade_in(samples, cut)
        self._parts.append((position, samples))
        self._end = position + samples.shape[1]

    def take(self, until: int) -> list[tuple[int, Samples]]:
        found = []
        while self._parts and self._parts[0][0] < until:
            position, samples = self._parts.popleft()
            room = until - position
            if samples.shape[1] > room:
                self._parts.appendleft((until, samples[:, room:]))
                samples = samples[:, :room]
            found.append((position, samples))
        return found

    def _cut(self, position: int) -> Samples | None:
        """Take off what is at `position` and after it; its beginning."""
        cut: Samples | None = None
        while self._parts and self._parts[-1][0] + self._parts[-1][1].shape[1] > position:
            begin, samples = self._parts.pop()
            if begin < position:
                self._parts.append((begin, samples[:, : position - begin]))
                return samples[:, position - begin :]
            cut = samples if begin == position else None
        return cut


def _fade_in(samples: Samples, over: Samples | None) -> None:
    """From silence, or from what would have been there (of as many rows or one)."""
    count = min(_FADE, samples.shape[1])
    ramp = _RAMP[:count]
    samples[:, :count] *= ramp
    if over is not None:
        count = min(count, over.shape[1])
        ramp = ramp[:count]
        if len(over) > len(samples):
            over = over.mean(axis=0, keepdims=True)
        samples[:, :count] += over[:, :count] * (1 - ramp)


def _position(time: float) -> int:
    return round(time * RATE) - OPUS_LOOKAHEAD


def _decoder(channels: int) -> av.AudioCodecContext:
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate = RATE
    decoder.layout = "mono" if channels == 1 else "stereo"
    return decoder
