"""One user's H.264 as segments: untouched, cut at keyframes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from cloudrec_recorder.h264 import ParameterSets, VideoParameters, parameter_sets, video_parameters
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments.files import Description, SegmentSettings
from cloudrec_recorder.segments.mpegts import CLOCK, ticks
from cloudrec_recorder.segments.writers import VideoWriter

logger = logging.getLogger(__name__)

ASK_AHEAD: Final = 0.150
"""Seconds before the cut at which a keyframe is asked for: it takes 13 to 60 ms to come."""
CUT_EARLY: Final = 0.5
"""Seconds before the target from which a keyframe that comes by itself is taken for the cut."""
_ASK_AGAIN: Final = 1.2  # LiveKit drops what is asked within a second
_ASK_AT_MOST: Final = 10.0
_OWN_GRACE: Final = 1.0  # seconds after the cut at which an encoder of our own is asked: it was to cut by itself
_NUDGE: Final = CLOCK // 100  # ticks that a time stamp may lie too early and is put right
_FIRST_INTERVAL: Final = CLOCK // 30


class VideoTrack:
    """Takes H.264 access units in decoding order.

    A segment's duration is exact when another follows it: it ends where that one begins. Before a break the last
    picture is given the length of the ones before. `ask` asks whoever encodes for a keyframe.
    """

    def __init__(self, key: TrackKey, settings: SegmentSettings, writer: VideoWriter, ask: Callable[[], None]) -> None:
        self._key = key
        self._settings = settings
        self._writer = writer
        self._ask_for_keyframe = ask
        self.transcoded = False
        """The pictures come from an encoder of our own: it sets keyframes at the cuts without being asked."""
        self._source: int | None = None
        self._retired: deque[int] = deque(maxlen=16)
        self._sets: ParameterSets | None = None
        self._parameters: VideoParameters | None = None
        self._waiting = True  # for a keyframe
        self._begun = False
        self._start = 0
        self._last = -(1 << 62)
        self._interval = float(_FIRST_INTERVAL)
        self._ask_at = float("-inf")
        self._ask_after = _ASK_AGAIN

    @property
    def active(self) -> bool:
        return self._writer.is_open

    def media(self, unit: AccessUnit) -> None:
        if unit.source in self._retired:
            return
        if unit.source != self._source:
            self._change_source(unit.source)
        pts = ticks(unit.time)
        if pts <= self._last:
            if self._last - pts >= _NUDGE:
                self._waiting = True  # of a source that begins before the other ended: pass over it
                return
            pts = self._last + 1
        if self.active and pts - self._last > self._settings.gap * CLOCK:
            self.interrupt()
        if unit.keyframe:
            self._keyframe(unit.data, pts)
        elif self._waiting:
            self._ask(unit.time, unit.time)
        else:
            self._write(unit.data, pts, keyframe=False)
            if self._writer.wants_cut:
                self._ask(unit.time, unit.time)
            else:
                ahead = -_OWN_GRACE if self.transcoded else ASK_AHEAD
                self._ask(unit.time, self._start / CLOCK + self._settings.target - ahead)

    def interrupt(self) -> None:
        """End the segment here: what comes next begins with a keyframe, and a discontinuity."""
        if self.active:
            self._writer.close((self._last + round(self._interval)) / CLOCK)
        self._waiting = True

    def flush(self) -> None:
        self._writer.flush()

    def _change_source(self, source: int) -> None:
        self.interrupt()
        if self._source is not None:
            self._retired.append(self._source)
        self._source = source
        self._sets = None
        self._ask_at = float("-inf")
        self._ask_after = _ASK_AGAIN

    def _keyframe(self, data: bytes, pts: int) -> None:
        sets = parameter_sets(data)
        parameters = self._parameters if sets == self._sets else self._read(data, sets)
        if sets is None or parameters is None:
            self._waiting = True
            return
        changed = parameters != self._parameters
        self._sets, self._parameters = sets, parameters
        full = pts - self._start >= (self._settings.target - CUT_EARLY) * CLOCK
        if not self.active or changed or full or self._writer.wants_cut:
            joined = self.active and not changed
            if not self._open(pts, parameters, discontinuity=self._begun and not joined):
                self._waiting = True
                return
        self._write(data, pts, keyframe=True)

    def _read(self, data: bytes, sets: ParameterSets | None) -> VideoParameters | None:
        """A keyframe's parameters; None when a player could not make them out either."""
        try:
            if sets is None:
                raise ValueError("H.264 without parameter sets")
            return video_parameters(data, sets)
        except ValueError as error:
            logger.warning("keyframe left out: %s", error, extra={"user": self._key.user_id})
            return None

    def _open(self, pts: int, parameters: VideoParameters, *, discontinuity: bool) -> bool:
        description = Description("H264", parameters.width, parameters.height, transcoded=self.transcoded)
        if not self._writer.open(pts / CLOCK, description, discontinuity=discontinuity):
            return False
        self._begun = True
        self._start = pts
        self._ask_at = float("-inf")
        self._ask_after = _ASK_AGAIN
        return True

    def _write(self, data: bytes, pts: int, *, keyframe: bool) -> None:
        self._writer.write(data, pts, keyframe=keyframe)
        interval = pts - self._last
        if 0 < interval < CLOCK:
            self._interval += (interval - self._interval) / 8
        self._last = pts
        self._waiting = False

    def _ask(self, now: float, due: float) -> None:
        """Ask for a keyframe when it is `due`, and again, less and less often, until one comes. Times of media."""
        if now < due or now < self._ask_at:
            return
        self._ask_for_keyframe()
        self._ask_at = now + self._ask_after
        self._ask_after = min(self._ask_after * 2, _ASK_AT_MOST)
