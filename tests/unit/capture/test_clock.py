from __future__ import annotations

from cloudrec_recorder.capture.clock import TaskClock


def test_the_wall_clock_may_be_set_without_harm() -> None:
    wall, steady = [1000.0], [50.0]
    clock = TaskClock(990_000, lambda: wall[0], lambda: steady[0])
    assert clock.now() == 10
    wall[0] += 3600
    steady[0] += 1
    assert clock.now() == 11
