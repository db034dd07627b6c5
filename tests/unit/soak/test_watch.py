from __future__ import annotations

import os
import threading

import pytest

from tests.soak.watch import Sample, Watched, find, growth


def samples(*pss: float, fds: int = 10) -> list[Sample]:
    return [Sample(round(value * 1024), round(value * 2048), fds, 5) for value in pss]


def test_what_warms_up_does_not_grow() -> None:
    found = growth(samples(10, 40, 60, 70, *[80, 81] * 8))
    assert found.pss_mb == (80.5, 80.5)
    assert found.peak_rss_mb == 162
    assert found.faults("recorder") == []
    assert found.as_json()["growth"] == 0


def test_what_grows_is_told() -> None:
    found = growth(samples(*[100 + index for index in range(40)]))
    (fault,) = found.faults("recorder")
    assert fault.startswith("recorder: memory grew by 2")


def test_descriptors_that_are_never_closed_are_told() -> None:
    kept = [Sample(1024, 1024, 10 + index, 5) for index in range(40)]
    (fault,) = growth(kept).faults("uploader")
    assert "file descriptors" in fault


def test_too_little_tells_nothing() -> None:
    with pytest.raises(ValueError):
        growth(samples(1, 2, 3))


def test_this_process_is_seen() -> None:
    watched = Watched.of(os.getpid())
    watched.sample()
    (sample,) = watched.samples
    assert 0 < sample.pss <= sample.rss
    assert sample.fds > 2
    assert sample.threads >= threading.active_count()
    assert not watched.ended


def test_a_process_that_ended_is_told() -> None:
    watched = Watched(os.getpid(), "another time")
    watched.sample()
    assert watched.ended
    assert not watched.samples


def test_a_process_is_found_by_its_environment() -> None:
    path = os.environ["PATH"]
    assert find(f"PATH={path}", 0) > 0
    with pytest.raises(ProcessLookupError):
        find("nobody has this in the environment", 0)
