"""The composer: what the recorder says goes in by `take`, pictures and sound come out by `emit`.

It has no clock. A tick says what time it is, and everything older than `DELAY_SECONDS` is made then: a frame at
`start` + k / fps for every k, whatever the sources do. What is shown of each is its newest picture up to half a frame
later, so that none is shown earlier or later than that. The same messages make the same output.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

from cloudrec_contract.resources import StreamKind
from cloudrec_recorder.media import Kind
from cloudrec_recorder.mix import wire
from cloudrec_recorder.mix.decoding import Source
from cloudrec_recorder.mix.encoding import Encoder
from cloudrec_recorder.mix.ladder import LATE_SECONDS, Ladder, Step
from cloudrec_recorder.mix.overlays import Overlays
from cloudrec_recorder.mix.sound import Mixer
from cloudrec_recorder.mix.stage import Stage

logger = logging.getLogger(__name__)

DELAY_SECONDS: Final = 0.2
"""How long a frame is waited for. Capture waits 150 ms for sound that was lost on its way and is sent again; what comes
later than this is not heard at all. Pictures that come later are only shown later. More would but add to what a killed
process loses, which is half a second at most with all that the recorder holds."""
URGENT_SECONDS: Final = 0.1
STATUS_SECONDS: Final = 1.0
FORGET_SECONDS: Final = 30.0
"""A stream that no window shows and that sends nothing is forgotten after so long; it begins anew with a keyframe."""

_ROUNDING: Final = 1e-6


class Composer:
    """One task's. `take` is called with every message in order; it raises nothing that a stream could cause."""

    def __init__(self, setup: wire.Setup, emit: Callable[[wire.FromComposer], None]) -> None:
        self.newest = float("-inf")
        """The time of the newest tick that has been received, taken or not: how far composing is behind."""
        self._emit = emit
        self._kinds: dict[int, Kind] = {}
        self._mixer = None if setup.kind is StreamKind.VIDEO else Mixer(setup.audio, setup.start)
        self._pictures = None if setup.kind is StreamKind.AUDIO else _Pictures(setup, emit)
        self._sent = wire.Status()
        self._sent_at = float("-inf")
        self._bad_images: list[str] = []

    def take(self, message: wire.ToComposer) -> None:
        """Raises ValueError on a message that may not come here."""
        match message:
            case wire.Unit():
                self._unit(message)
            case wire.Tick(now):
                self.newest = max(self.newest, now)
                self._make(now - DELAY_SECONDS)
                self._report(now)
            case wire.Stream(number=number, kind=kind):
                self._kinds[number] = kind
            case wire.Scene():
                if self._pictures is not None:
                    self._pictures.show(message)
            case wire.Image(url, data):
                if self._pictures is not None and not self._pictures.image(url, data):
                    self._bad_images.append(url)
            case wire.End(time):
                self._end(time)
            case wire.Setup():
                raise ValueError("a second setup")

    def _unit(self, unit: wire.Unit) -> None:
        kind = self._kinds.get(unit.stream)
        if kind == "video" and self._pictures is not None:
            self._pictures.unit(unit)
        elif kind == "audio" and self._mixer is not None:
            self._mixer.unit(unit)

    def _make(self, until: float) -> None:
        if self._pictures is not None:
            self._pictures.make(until, self.newest)
        if self._mixer is not None:
            for sound in self._mixer.advance(until):
                self._emit(sound)

    def _end(self, time: float) -> None:
        self.newest = max(self.newest, time)
        if self._pictures is not None:
            self._pictures.make(time - self._pictures.tiny, time + DELAY_SECONDS)
        if self._mixer is not None:
            for sound in [*self._mixer.advance(time), *self._mixer.finish()]:
                self._emit(sound)
        self._emit(self._status())
        self._emit(wire.Done())

    def _report(self, now: float) -> None:
        """What somebody has to act on soon, figures now and then."""
        since = now - self._sent_at
        if since < URGENT_SECONDS:
            return
        status = self._status()
        urgent = status.model_copy(update=_figures(self._sent)) != self._sent
        if urgent or (since >= STATUS_SECONDS and status != self._sent):
            self._emit(status)
            self._sent, self._sent_at = status.model_copy(update={"bad_images": []}), now
            self._bad_images = []

    def _status(self) -> wire.Status:
        undecodable = set() if self._mixer is None else set(self._mixer.undecodable)
        pictures = self._pictures
        if pictures is None:
            return wire.Status(undecodable=sorted(undecodable))
        sources = pictures.sources.values()
        undecodable |= {source.number for source in sources if source.useless}
        return wire.Status(
            step=pictures.ladder.step,
            behind=round(pictures.behind, 3),
            frames=pictures.frames,
            dropped=pictures.dropped,
            bad_images=self._bad_images,
            keyframes_wanted=[source.number for source in sources if source.lost and not source.useless],
            undecodable=sorted(undecodable),
        )


class _Pictures:
    """The picture half: sources, canvas, encoder, and how they keep up."""

    def __init__(self, setup: wire.Setup, emit: Callable[[wire.FromComposer], None]) -> None:
        video = setup.video
        self._emit = emit
        self._start = setup.start
        self._fps = video.fps
        self.sources: dict[int, Source] = {}
        self._heard: dict[int, float] = {}
        self._swept_at = setup.start
        self.stage = Stage(video, setup.fill, self.sources)
        self._overlays = Overlays(video.width, video.height, setup.epoch)
        self._encoder = Encoder(video, setup.segment_seconds)
        self.ladder = Ladder()
        self.behind = 0.0
        self.frames = 0
        self.dropped = 0
        self._next = 0  # frame
        self.tiny = 2 * _ROUNDING / video.fps
        """Less than nothing of a frame: `make` up to a time without the frame that begins then."""

    def unit(self, unit: wire.Unit) -> None:
        source = self.sources.get(unit.stream)
        if source is None:
            source = self.sources[unit.stream] = Source(unit.stream)
        self._heard[unit.stream] = unit.time
        source.push(unit)

    def show(self, scene: wire.Scene) -> None:
        self.stage.show(scene)
        self._overlays.scene(scene.watermarks)

    def image(self, url: str, data: bytes) -> bool:
        """Whether it can be used."""
        shown = not self.stage.wants(url) or self.stage.image(url, data)
        return self._overlays.image(url, data) and shown

    def make(self, until: float, newest: float) -> None:
        """Every frame up to `until`. Too far behind `newest`: only those that are in time."""
        last = self._last(until)
        while self._next <= last:
            self.behind = max(0.0, newest - DELAY_SECONDS - self._time(self._next))
            if self.behind > LATE_SECONDS:
                in_time = self._last(newest - DELAY_SECONDS)
                logger.warning("frames are left out: %d", in_time - self._next)
                self.dropped += in_time - self._next
                self._next = in_time
                continue
            self._frame(self._next, self.ladder.tell(newest, self.behind))
            self._next += 1
        self._sweep(until)

    def _frame(self, number: int, step: Step) -> None:
        time = self._time(number)
        if step < Step.HALF_RATE or number % 2 == 0:
            for source in self.sources.values():
                source.loop_filter = step < Step.NO_LOOP_FILTER
            self.stage.refresh(time + 0.5 / self._fps + _ROUNDING, self._overlays.patches(time))
        data, keyframe = self._encoder.encode(self.stage.canvas.frame, number, faster=step >= Step.FASTER_PRESET)
        self.frames += 1
        self._emit(wire.Picture(time, keyframe, data))

    def _time(self, number: int) -> float:
        return self._start + number / self._fps

    def _last(self, until: float) -> int:
        """The newest frame whose time has come."""
        return math.floor((until - self._start) * self._fps + _ROUNDING)

    def _sweep(self, now: float) -> None:
        if now - self._swept_at < FORGET_SECONDS:
            return
        self._swept_at = now
        shown = self.stage.streams
        for number, heard in list(self._heard.items()):
            if number not in shown and heard < now - FORGET_SECONDS:
                del self._heard[number], self.sources[number]


def _figures(status: wire.Status) -> dict[str, object]:
    return {"behind": status.behind, "frames": status.frames, "dropped": status.dropped}
