"""One user's H.264 as segments: untouched, cut at keyframes."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from cloudrec_recorder.h264 import ParameterSets, VideoParameters, nal_units, parameter_sets, video_parameters
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments.files import Description, SegmentSettings
from cloudrec_recorder.segments.mpegts import CLOCK, ticks
from cloudrec_recorder.segments.writers import VideoWriter

logger = logging.getLogger(__name__)

ASK_AHEAD: Final = 0.150
"""Seconds before the cut at which a keyframe is asked for: it takes 13 to 60 ms to come."""
CUT_EARLY: Final = 0.5
"""Seconds before the target from which a keyframe that comes by itself is taken for the cut."""
LONGEST: Final = 3.0
"""Targets after which a segment is cut without a keyframe: a publisher that does not heed requests must not keep its
media from the bucket. Players that go on from the segment before decode it; one that begins there waits for the next
keyframe. 30 s are still taken by players of live streams, whose buffer holds more."""
FLOOR: Final = 0.1
"""Share of the target that a segment lasts at least when parameters change; doubled with each segment in a row that
they end, up to the target. Until then the changed pictures go into it all the same, with their parameter sets."""
_ASK_AGAIN: Final = 1.2  # LiveKit drops what is asked within a second
_ASK_AT_MOST: Final = 10.0
_OWN_GRACE: Final = 1.0  # seconds after the cut at which an encoder of our own is asked: it was to cut by itself
NAL_DELIMITER: Final = 9
_NUDGE: Final = CLOCK // 100  # ticks that a time stamp may lie too early and is put right
_FIRST_INTERVAL: Final = CLOCK // 30


class VideoTrack:
    """Takes H.264 access units in decoding order.

    No segment is longer than `LONGEST` targets, and parameters that change at each keyframe do not each make one. A
    segment's duration is exact when another follows it: it ends where that one begins. Before a break the last picture
    is given the length of the ones before. `ask` asks whoever encodes for a keyframe.
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
        self._parameters: VideoParameters | None = None  # of the newest keyframe
        self._opened_with: VideoParameters | None = None  # what the open segment began with
        self._mixed = False  # other parameters came since
        self._floor = FLOOR * settings.target  # seconds
        self._length = settings.target  # wanted of the open segment, seconds
        self._waiting = True  # for a keyframe
        self._begun = settings.continues
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
            self._delta(unit, pts)

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
        self._sets, self._parameters = sets, parameters
        changed = parameters != self._opened_with
        age = (pts - self._start) / CLOCK
        target = self._settings.target
        full = age >= self._length - CUT_EARLY
        if self.active and changed and age < self._floor:
            self._mixed = True
        elif not self.active or changed or full or self._writer.wants_cut:
            joined = self.active and not changed and not self._mixed
            short = self.active and changed and not full
            self._floor = min(self._floor * 2, target) if short else FLOOR * target
            if not self._open(pts, parameters, discontinuity=self._begun and not joined):
                self._waiting = True
                return
        self._write(data, pts, keyframe=True)

    def _delta(self, unit: AccessUnit, pts: int) -> None:
        """A picture that is no keyframe."""
        data, parameters, sets = unit.data, self._parameters, self._sets
        if pts - self._start >= LONGEST * self._settings.target * CLOCK and parameters is not None and sets is not None:
            asked = self._ask_at, self._ask_after
            if self._open(pts, parameters, discontinuity=self._mixed):
                self._ask_at, self._ask_after = asked  # it did not help so far
                data = _with_sets(data, sets)
        self._write(data, pts, keyframe=False)
        if self._writer.wants_cut:
            due = unit.time
        elif self._parameters != self._opened_with:
            due = self._start / CLOCK + self._floor
        else:
            ahead = -_OWN_GRACE if self.transcoded else ASK_AHEAD
            due = self._start / CLOCK + self._length - ahead
        self._ask(unit.time, due)

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
        length = self._settings.target if self.active else self._settings.first(self._key)
        description = Description("H264", parameters.width, parameters.height, transcoded=self.transcoded)
        if not self._writer.open(pts / CLOCK, description, discontinuity=discontinuity):
            return False
        self._begun = True
        self._length = length
        self._start = pts
        self._opened_with = parameters
        self._mixed = False
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


def _with_sets(data: bytes, sets: ParameterSets) -> bytes:
    """An access unit with parameter sets before its pictures. A delimiter is left out: the muxer writes one."""
    pictures = [nal for nal in nal_units(data) if nal[0] & 0x1F != NAL_DELIMITER]
    return b"".join(b"\x00\x00\x00\x01" + nal for nal in (*sets.sps, *sets.pps, *pictures))
