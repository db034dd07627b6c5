from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.capture.timeline import ParticipantClock, SlidingMinimum, TrackTimeline

TRUE_START = 100.0  # task time at which the simulated publishers begin
DELAY = 0.02  # the least one-way delay


@dataclass
class Publisher:
    """A publisher whose clock is `offset` off and runs `ppm` fast; RTP and NTP time both go by it."""

    offset: float = 0.0
    ppm: float = 0.0
    base: int = 4_294_000_000  # wraps after 11 s of video
    jitter: float = 0.01

    def ntp(self, now: float) -> float:
        return 1_700_000_000 + self.offset + now * (1 + self.ppm * 1e-6)

    def rtp(self, now: float, rate: int) -> int:
        return int(self.base + (now - TRUE_START) * (1 + self.ppm * 1e-6) * rate) & 0xFFFFFFFF

    def arrival(self, now: float, rng: random.Random) -> float:
        return now + DELAY + rng.expovariate(1 / self.jitter) if self.jitter else now + DELAY


def simulate(
    publisher: Publisher,
    seconds: float,
    *,
    audio: bool = False,
    participant: ParticipantClock | None = None,
    reports: bool = True,
    silent: tuple[float, float] = (0, 0),
    at_second: Callable[[float], None] = lambda _: None,
) -> Iterator[tuple[float, float, bool]]:
    """Frames as (true capture time, placed time, stepped)."""
    rng = random.Random(5)
    rate, interval = (48_000, 0.02) if audio else (90_000, 1 / 30)
    timeline = TrackTimeline(rate, participant or ParticipantClock(), audio=audio)
    next_report = TRUE_START + (3.6 if audio else 1.5)
    for index in range(int(seconds / interval)):
        now = TRUE_START + index * interval
        at_second(now - TRUE_START)
        if reports and now >= next_report:
            next_report += 3
            noise = rng.uniform(-0.005, 0.005) if audio else 0
            timeline.sender_report(publisher.arrival(now, rng), publisher.ntp(now) + noise, publisher.rtp(now, rate))
        if silent[0] <= now - TRUE_START < silent[1]:
            continue
        arrival = publisher.arrival(now, rng)
        assert not timeline.jumped(arrival, publisher.rtp(now, rate))
        extended = timeline.observe(arrival, publisher.rtp(now, rate))
        placed, stepped = timeline.place(arrival, extended, may_step=True)
        yield now, placed, stepped


@pytest.mark.parametrize("audio", [False, True])
@pytest.mark.parametrize("offset", [0.0, -100.0, 1e8])
def test_a_wild_clock_does_not_matter(audio: bool, offset: float) -> None:
    errors = [placed - now for now, placed, _ in simulate(Publisher(offset), 60, audio=audio)]
    assert all(0 <= error < 0.06 for error in errors[30:])
    assert abs(median(errors[-100:]) - DELAY) < 0.01


@pytest.mark.parametrize("ppm", [-200, -50, 50, 200])
def test_drift_is_followed(ppm: float) -> None:
    for audio in (False, True):
        placed = list(simulate(Publisher(3, ppm, jitter=0.005), 600, audio=audio))
        assert not any(stepped for _, _, stepped in placed)
        assert all(abs(time - now - DELAY) < 0.06 for now, time, _ in placed[200:])


def test_pace_changes_slowly_and_time_never_runs_back() -> None:
    placed = list(simulate(Publisher(1, 200), 120))
    for (now, time, _), (then, later, stepped) in itertools.pairwise(placed):
        assert stepped or abs((later - time) - (then - now)) <= 0.0021 * (then - now + 0.2)
        assert later > time


def test_without_any_report_arrival_is_the_measure() -> None:
    errors = [placed - now for now, placed, _ in simulate(Publisher(-100), 3, reports=False)]
    assert all(0 <= error < 0.05 for error in errors[10:])


def test_a_mute_changes_nothing() -> None:
    placed = list(simulate(Publisher(7), 60, silent=(20, 45)))
    assert not any(stepped for _, _, stepped in placed[30:])
    assert all(abs(time - now - DELAY) < 0.03 for now, time, _ in placed[60:])


@pytest.mark.parametrize("step", [-100.0, -0.5, 0.5, 100.0])
def test_a_publisher_setting_its_clock_is_not_seen(step: float) -> None:
    publisher = Publisher()

    def set_clock(second: float) -> None:
        publisher.offset = step if second > 20 else 0.0

    participant = ParticipantClock()
    placed = list(simulate(publisher, 90, participant=participant, at_second=set_clock))
    assert all(abs(time - now - DELAY) < 0.06 for now, time, _ in placed[60:])
    assert participant.offset is not None
    assert abs(participant.offset - (DELAY - 1_700_000_000 - step)) < 0.06


def test_a_lone_odd_report_is_ignored() -> None:
    publisher = Publisher(jitter=0)

    def glitch(second: float) -> None:
        publisher.offset = 5.0 if 19.4 < second < 19.6 else 0.0

    assert not any(stepped for _, _, stepped in simulate(publisher, 60, at_second=glitch))


@pytest.mark.parametrize("known", [False, True])
def test_a_first_report_that_is_far_off_is_not_believed(known: bool) -> None:
    """A publisher under load: its first report is half a second off, all later ones are right."""
    participant = ParticipantClock()
    if known:
        participant.add(TRUE_START + DELAY, Publisher().ntp(TRUE_START))
    publisher, rng = Publisher(), random.Random(1)
    timeline = TrackTimeline(48_000, participant, audio=True)
    errors, steps = [], 0
    for index in range(1000):
        now = TRUE_START + index * 0.02
        if index in (50, 200, 350, 500):
            wrong = 0.48 if index == 50 else 0.0
            timeline.sender_report(publisher.arrival(now, rng), publisher.ntp(now) - wrong, publisher.rtp(now, 48_000))
        arrival = publisher.arrival(now, rng)
        placed, stepped = timeline.place(arrival, timeline.observe(arrival, publisher.rtp(now, 48_000)), may_step=True)
        errors.append(placed - now - DELAY)
        steps += stepped
    assert steps == 0
    assert max(map(abs, errors)) < 0.05
    assert timeline.anchored


@pytest.mark.parametrize("early", [150, 300])
def test_a_report_carried_forward_too_far_moves_nothing(early: int) -> None:
    """NTP and RTP time of one report agree, but lie 1.2 s after its arrival."""
    publisher, rng = Publisher(), random.Random(1)
    timeline = TrackTimeline(90_000, ParticipantClock(), audio=False)
    errors = []
    for index in range(600):
        now = TRUE_START + index / 30
        if index in (50, 150, 300, 400):
            told = now + (1.2 if index == early else 0.0)
            arrival = publisher.arrival(now, rng)
            timeline.sender_report(arrival, publisher.ntp(told), publisher.rtp(told, 90_000))
        arrival = publisher.arrival(now, rng)
        placed, _ = timeline.place(arrival, timeline.observe(arrival, publisher.rtp(now, 90_000)), may_step=True)
        errors.append(placed - now - DELAY)
    assert max(map(abs, errors)) < 0.05


def test_both_tracks_of_a_participant_stay_in_step() -> None:
    publisher, participant = Publisher(12, 100), ParticipantClock()
    video = ((now, 0, time) for now, time, _ in simulate(publisher, 60, participant=participant))
    audio = ((now, 1, time) for now, time, _ in simulate(publisher, 60, audio=True, participant=participant))
    errors: tuple[dict[float, float], dict[float, float]] = ({}, {})
    for now, track, time in heapq.merge(video, audio):
        errors[track][round(now, 3)] = time - now
    last_video, last_audio = errors
    common = [last_video[now] - last_audio[now] for now in last_video.keys() & last_audio.keys() if now > 110]
    assert common
    assert max(map(abs, common)) < 0.06


def test_jumps_of_rtp_time() -> None:
    timeline = TrackTimeline(90_000, ParticipantClock(), audio=False)
    assert not timeline.jumped(1.0, 5)
    timeline.observe(1.0, 1_000_000)
    assert timeline.jumped(1.03, 999_999)
    assert timeline.jumped(1.03, 1_000_000 + 2 * 90_000)
    assert timeline.jumped(15.0, 1_003_000)
    assert not timeline.jumped(1.03, 1_000_000)
    assert not timeline.jumped(4.0, 1_003_000)  # a burst after a stall
    timeline.restart()
    assert not timeline.jumped(1.06, 7)


def test_a_step_waits_for_a_frame_that_may_take_it() -> None:
    timeline = TrackTimeline(90_000, ParticipantClock(), audio=False)
    extended = timeline.observe(1.5, 0)
    first, _ = timeline.place(1.5, extended, may_step=True)
    assert first == 1.5  # half a second of start-up delay
    timeline.sender_report(1.6, 50.0 + 0.1, 9000)
    extended = timeline.observe(4.1, 270_000)
    timeline.sender_report(4.1, 50.0 + 3.0, 270_000)
    assert timeline.step_due
    waited, stepped = timeline.place(4.1, extended, may_step=False)
    assert (waited, stepped) == (4.5, False)
    taken, stepped = timeline.place(4.1, extended, may_step=True)
    assert (taken, stepped) == (pytest.approx(4.1), True)
    assert not timeline.step_due


def test_reports_of_another_time_base_are_ignored() -> None:
    timeline = TrackTimeline(90_000, ParticipantClock(), audio=False)
    timeline.sender_report(0.9, 50.0, 0)
    assert not timeline.anchored
    timeline.observe(1.0, 0)
    timeline.sender_report(1.1, 50.0, 16 * 90_000)
    assert not timeline.anchored
    timeline.sender_report(1.1, 50.0, 9_000)
    assert timeline.anchored


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(-10, 10)), min_size=1, max_size=200))
def test_the_sliding_minimum_covers_its_window(steps: list[tuple[float, float]]) -> None:
    least, at, seen = SlidingMinimum(16.0), 0.0, []
    for step, value in steps:
        at += step
        seen.append((at, value))
        least.add(at, value)
        assert least.value is not None
        assert least.value <= min(v for t, v in seen if t > at - 16)
        assert least.value >= min(v for t, v in seen if t > at - 20.01)


@given(st.lists(st.tuples(st.booleans(), st.floats(-1, 1), st.integers(0, 2**32 - 1), st.floats(0, 1e10)), max_size=60))
def test_hostile_numbers_do_no_harm(events: list[tuple[bool, float, int, float]]) -> None:
    timeline, at = TrackTimeline(90_000, ParticipantClock(), audio=True), 0.0
    for report, step, timestamp, ntp in events:
        at += abs(step)
        if report:
            timeline.sender_report(at, ntp, timestamp)
            continue
        if timeline.jumped(at, timestamp):
            timeline.restart()
        extended = timeline.observe(at, timestamp)
        placed, _ = timeline.place(at, extended, may_step=True)
        assert placed == placed
