"""RTP times of many publishers to one time line: seconds since the task's epoch.

A stream's RTP time is mapped to its publisher's NTP clock by sender reports (median of the last nine), and the
publisher's clock to ours by one offset per participant (the least of arrival - ntp), shared by all its tracks so that
lip sync stays what the publisher made it. Before the first report the least of (arrival - RTP time) stands in,
and it is what a first report is checked against.
Publishers' clocks are not trusted: only differences of them are ever used.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from cloudrec_recorder.capture.rtp import extend

REPORTS = 9
OUTLIER_SECONDS = 0.1
SLEW_PER_SECOND = 0.002
AUDIO_LEAVE_SECONDS = 0.03
AUDIO_SETTLED_SECONDS = 0.005
STEP_SECONDS = 0.08
EARLY_SECONDS = 0.2
AHEAD_SECONDS = 1.5
BEHIND_SECONDS = 10.0
REPORT_NEAR_SECONDS = 15.0


class SlidingMinimum:
    """The least value of about the last `window` seconds, kept in a few buckets."""

    def __init__(self, window: float, buckets: int = 8) -> None:
        self._width = window / buckets
        self._buckets: deque[tuple[int, float]] = deque(maxlen=buckets + 1)
        self._count = buckets
        self.value: float | None = None

    def add(self, at: float, value: float) -> None:
        """Take a value seen at time `at`."""
        index = int(at // self._width)
        if not self._buckets or index > self._buckets[-1][0]:
            self._buckets.append((index, value))
            while self._buckets[0][0] < index - self._count:
                self._buckets.popleft()
        elif value < self._buckets[-1][1]:
            self._buckets[-1] = (self._buckets[-1][0], value)
        else:
            return
        self.value = min(least for _, least in self._buckets)


class ParticipantClock:
    """One publisher's NTP clock against ours, shared by all its tracks.

    `correction` takes out the steps that the publisher's clock made, so that all tracks' NTP times stay continuous.
    """

    def __init__(self) -> None:
        self._least = SlidingMinimum(60.0)
        self.correction = 0.0

    def corrected(self, ntp: float) -> float:
        """A reported NTP time without the clock's steps."""
        return ntp - self.correction

    def add(self, arrival: float, corrected: float) -> None:
        """A report with this corrected NTP time arrived."""
        self._least.add(arrival, arrival - corrected)

    @property
    def mapping(self) -> float | None:
        """Task time minus corrected NTP time; None before the first report."""
        return self._least.value

    @property
    def offset(self) -> float | None:
        """Task time minus the publisher's own NTP time (Unix seconds); None before the first report."""
        return None if self._least.value is None else self._least.value - self.correction


class TrackTimeline:
    """Places one stream's frames. Feed `observe` as frames arrive, `place` as they are let out.

    All arrivals are task times; RTP times come as 32 bits and are unwrapped by their signed difference.
    """

    def __init__(self, clock_rate: int, participant: ParticipantClock, *, audio: bool) -> None:
        self._rate = clock_rate
        self._participant = participant
        self._audio = audio
        self._extended: int | None = None
        self._arrived = 0.0
        self._reset()

    def _reset(self) -> None:
        self._offsets: deque[float] = deque(maxlen=REPORTS)
        self._median: float | None = None
        self._odd: float | None = None
        self._arrivals = SlidingMinimum(16.0)
        self._current: float | None = None
        self._placed_at = 0.0
        self._slewing = False

    @property
    def anchored(self) -> bool:
        """Whether a sender report has been taken."""
        return self._median is not None

    def jumped(self, arrival: float, timestamp: int) -> bool:
        """Whether RTP time broke between the last frame and this one: it ran back, or away from real time."""
        if self._extended is None:
            return False
        passed = (extend(self._extended, timestamp, 32) - self._extended) / self._rate
        real = arrival - self._arrived
        return passed < 0 or passed - real > AHEAD_SECONDS or real - passed > BEHIND_SECONDS

    def restart(self) -> None:
        """Forget the mapping: the next frame starts a new one."""
        self._extended = None
        self._reset()

    def observe(self, arrival: float, timestamp: int) -> int:
        """A frame arrived; its unwrapped RTP time, to be given to `place`."""
        extended = timestamp if self._extended is None else extend(self._extended, timestamp, 32)
        self._extended = extended
        self._arrived = arrival
        self._arrivals.add(arrival, arrival - extended / self._rate)
        return extended

    def sender_report(self, arrival: float, ntp: float, timestamp: int) -> None:
        """A sender report of this stream arrived: `ntp` in Unix seconds by the publisher's clock."""
        if self._extended is None:
            return
        extended = extend(self._extended, timestamp, 32)
        if abs(extended - self._extended) > REPORT_NEAR_SECONDS * self._rate:
            return  # of another time base: sent before a jump, or hostile
        corrected = self._participant.corrected(ntp)
        offset = corrected - extended / self._rate
        if self._median is None:
            self._first_report(arrival, corrected, offset)
            return
        odd = offset - self._median
        if abs(odd) <= OUTLIER_SECONDS:
            self._odd = None
            self._take(arrival, corrected, offset)
        elif self._odd is None or abs(odd - self._odd) > OUTLIER_SECONDS:
            self._odd = odd  # a lone outlier is ignored
        else:
            self._odd = None
            self._second_odd_report(arrival, corrected, offset, odd)

    def _first_report(self, arrival: float, corrected: float, offset: float) -> None:
        """Take it only when what has arrived agrees: a busy publisher's first report may be far off. One that does not
        agree counts once the next says the same."""
        mapping = self._participant.mapping
        placed = offset + (arrival - corrected if mapping is None else mapping)
        agrees = self._arrivals.value is None or abs(placed - self._arrivals.value) <= OUTLIER_SECONDS
        if not agrees and (self._odd is None or abs(offset - self._odd) > OUTLIER_SECONDS):
            self._odd = offset
            return
        self._odd = None
        # one report alone may not move the whole participant back
        if mapping is None or arrival - corrected > mapping - OUTLIER_SECONDS:
            self._add_to_participant(arrival, corrected, offset)
        self._offsets.append(offset)
        self._median = offset

    def _add_to_participant(self, arrival: float, corrected: float, offset: float) -> None:
        """Media servers send reports on with NTP and RTP time carried forward; at times too far, so that a report
        comes long before the media that it speaks of. Such a one says nothing about the participant's clock."""
        least = self._arrivals.value
        if least is None or arrival - corrected >= least - offset - EARLY_SECONDS:
            self._participant.add(arrival, corrected)

    def _take(self, arrival: float, corrected: float, offset: float) -> None:
        self._add_to_participant(arrival, corrected, offset)
        self._offsets.append(offset)
        self._median = median(self._offsets)

    def _second_odd_report(self, arrival: float, corrected: float, offset: float, odd: float) -> None:
        """Two in a row agree: the publisher's clock was set, or this stream's RTP time changed its base."""
        mapping = self._participant.mapping
        moved = 0.0 if mapping is None else arrival - corrected - mapping
        if abs(moved + odd) < max(OUTLIER_SECONDS, abs(odd) / 2):
            self._participant.correction += odd
            self._take(arrival, corrected - odd, offset - odd)
        else:
            self._offsets.clear()
            self._take(arrival, corrected, offset)

    @property
    def offset(self) -> float:
        """Task time less RTP time, in seconds, as it is known now. Raises ValueError before the first frame."""
        mapping = self._participant.mapping
        if self._median is not None and mapping is not None:
            return self._median + mapping
        if self._arrivals.value is None:
            raise ValueError("nothing observed yet")
        return self._arrivals.value

    def place(self, arrival: float, extended: int, *, may_step: bool) -> tuple[float, bool]:
        """The frame's time in seconds, and whether the time line steps here.

        `may_step` is False where a step must wait (a video frame that is no keyframe): see `step_due`.
        """
        target = self.offset
        stepped = False
        if self._current is None:
            self._current = target
        else:
            error = target - self._current
            if abs(error) > STEP_SECONDS:
                if may_step:
                    self._current = target
                    self._slewing = False
                    stepped = True
            else:
                self._slew(error, max(0.0, arrival - self._placed_at))
        self._placed_at = arrival
        return extended / self._rate + self._current, stepped

    def _slew(self, error: float, elapsed: float) -> None:
        assert self._current is not None
        if self._audio:
            # every change of pace costs samples: only when it could be noticed
            self._slewing = abs(error) > (AUDIO_SETTLED_SECONDS if self._slewing else AUDIO_LEAVE_SECONDS)
            if not self._slewing:
                return
        bound = SLEW_PER_SECOND * min(elapsed, 10.0)
        self._current += max(-bound, min(bound, error))

    @property
    def step_due(self) -> bool:
        """A step waits for a frame that may take it."""
        return self._current is not None and abs(self.offset - self._current) > STEP_SECONDS
