"""When a callback is tried: TRTC's head, then growing pauses, and an end after a day."""

from __future__ import annotations

from itertools import pairwise

from cloudrec_operator.callbacks.schedule import LIFE_MS, PAUSE_MAX_MS, again_at


def tries(takes_ms: int, late_ms: int = 0) -> list[int]:
    """When each try begins, ms since the first; the event was `late_ms` before it."""
    found: list[int] = []
    at: int | None = 0
    while at is not None:
        found.append(at)
        at = again_at(len(found), 0, at, at + takes_ms, -late_ms)
    return found


def test_at_once_then_every_ten_seconds_to_a_minute() -> None:
    assert tries(0)[:9] == [0, 0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 120_000]


def test_the_ten_seconds_hold_for_a_receiver_that_hangs() -> None:
    assert tries(5_000)[:5] == [0, 5_000, 15_000, 25_000, 35_000]


def test_the_pauses_double_up_to_a_quarter_of_an_hour() -> None:
    begins = tries(0)
    assert begins[7:13] == [60_000, 120_000, 240_000, 480_000, 960_000, 1_860_000]
    assert max(b - a for a, b in pairwise(begins)) == PAUSE_MAX_MS


def test_the_last_try_is_a_day_after_the_event() -> None:
    assert tries(0)[-1] == LIFE_MS
    assert tries(5_000)[-1] == LIFE_MS
    assert tries(0, late_ms=3_600_000)[-1] == LIFE_MS - 3_600_000


def test_an_event_that_is_older_than_a_day_has_two_tries() -> None:
    assert tries(5_000, late_ms=2 * LIFE_MS) == [0, 5_000]
