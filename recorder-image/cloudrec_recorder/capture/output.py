"""The last stretch of one stream: frames held until they can be placed, then handed to the sink.

Held frames are bounded in time and bytes; whatever ends the stream lets them out first. The sink gets a copy of each as
it arrives, for the case that nothing can end the stream: the process is killed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from cloudrec_recorder.capture.depacketize import Frame
from cloudrec_recorder.capture.timeline import ParticipantClock, TrackTimeline
from cloudrec_recorder.media import AccessUnit, Held, MediaSink, TrackKey

HOLD_SECONDS = 5.0
HOLD_BYTES = 16 << 20
_TICK = 1 / 90_000


# arrival, unwrapped RTP time, data, keyframe, and whether packets before it were given up on
_Waiting = tuple[float, int, bytes, bool, bool]


class TrackOutput:
    """Places one stream's frames on the time line and delivers them in order, strictly growing within a source.

    `new_source` gives a number that no stream has had; `request_keyframe` asks the publisher for one. Frames wait
    for the first sender report for `hold` seconds.
    """

    def __init__(
        self,
        key: TrackKey,
        codec: str,
        clock_rate: int,
        participant: ParticipantClock,
        sink: MediaSink,
        new_source: Callable[[], int],
        request_keyframe: Callable[[], None],
        hold: float = HOLD_SECONDS,
    ) -> None:
        self.key = key
        self._codec = codec
        self._clock_rate = clock_rate
        self._video = key.kind == "video"
        self._sink = sink
        self._new_source = new_source
        self._request_keyframe = request_keyframe
        self._hold = hold
        self._timeline = TrackTimeline(clock_rate, participant, audio=not self._video)
        self._source = new_source()
        self._held: deque[_Waiting] = deque()
        self._held_bytes = 0
        self._holding = True
        self._held_since: float | None = None
        self._copy: Held | None = None
        self._last: float | None = None
        self._gap = False
        self._await_keyframe = False

    def frame(self, arrival: float, frame: Frame) -> None:
        """A whole frame arrived at this task time."""
        if self._timeline.jumped(arrival, frame.timestamp):
            self._restart()
        if self._await_keyframe and not frame.keyframe:
            return
        self._await_keyframe = False
        extended = self._timeline.observe(arrival, frame.timestamp)
        gap, self._gap = self._gap, False
        if self._holding and self._held_since is None:
            self._held_since = arrival
            self._copy = self._sink.hold(self.key, self._codec, self._clock_rate)
        kept = self._copy is None or self._copy.frame(arrival, extended, frame.data, keyframe=frame.keyframe)
        if not self._holding:
            if not kept:
                self._copy = None
            self._deliver(arrival, extended, frame.data, frame.keyframe, gap)
            return
        self._held.append((arrival, extended, frame.data, frame.keyframe, gap))
        self._held_bytes += len(frame.data)
        if self._held_bytes > HOLD_BYTES or self._timeline.anchored:
            self._release()
        else:
            self.service(arrival)

    def gap(self) -> None:
        """Packets were given up on: the next frame tells the sink how much time is missing."""
        self._gap = True

    def sender_report(self, arrival: float, ntp: float, timestamp: int) -> None:
        """A sender report of this stream (`ntp` in Unix seconds by the publisher's clock)."""
        self._timeline.sender_report(arrival, ntp, timestamp)
        if self._holding and self._timeline.anchored and self._held:
            self._release()

    def service(self, now: float) -> None:
        """To be called now and then: no report came in time, so go by arrival."""
        if self._holding and self._held_since is not None and now - self._held_since >= self._hold:
            self._release()

    def close(self) -> None:
        """The stream is over: let out what is held."""
        if self._held:
            self._release()

    def _restart(self) -> None:
        self.close()
        self._timeline.restart()
        self._start_source()
        self._holding = True
        self._held_since = None
        if self._video:
            self._await_keyframe = True
            self._request_keyframe()

    def _release(self) -> None:
        self._holding = False
        if self._copy is not None:
            self._copy.placed(self._timeline.offset)
        while self._held:
            self._deliver(*self._held.popleft())
        self._held_bytes = 0

    def _start_source(self) -> None:
        self._copy = None
        self._source = self._new_source()
        self._last = None

    def _deliver(self, arrival: float, extended: int, data: bytes, keyframe: bool, gap: bool) -> None:
        may_step = keyframe or not self._video
        time, stepped = self._timeline.place(arrival, extended, may_step=may_step)
        if stepped:
            self._start_source()
        elif not may_step and self._timeline.step_due:
            self._request_keyframe()
        last = self._last
        if last is not None:
            if gap:
                self._sink.lost(self.key, max(0.0, time - last))
            if time < last + _TICK:
                time = last + _TICK
        self._last = time
        self._sink.media(AccessUnit(self.key, self._codec, data, time, keyframe, self._source))
