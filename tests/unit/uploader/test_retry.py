"""When what failed is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.uploader.retry import CAP_SECONDS, FIRST_SECONDS, Retry, backoff


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_grows_to_its_cap(failures: int, jitter: float) -> None:
    seconds = backoff(failures, jitter)
    assert 0.8 * FIRST_SECONDS <= seconds <= 1.2 * CAP_SECONDS
    assert backoff(failures + 1, jitter) >= seconds


def retry() -> Retry:
    return Retry(lambda: 0.5)


def test_all_goes_at_once_while_nothing_fails() -> None:
    r = retry()
    assert r.ready(0.0, running=3)
    assert r.due("a", 0.0)
    assert r.succeeded("a")


def test_one_at_a_time_and_not_at_once_after_a_failure() -> None:
    r = retry()
    r.failed("a", 100.0)
    assert not r.ready(100.4, running=0)
    assert r.ready(100.6, running=0)
    assert not r.ready(100.6, running=1)


def test_failures_of_one_moment_count_once() -> None:
    r = retry()
    for key in "abcd":
        r.failed(key, 100.0)
    assert r.ready(100.6, running=0)


def test_a_single_bad_object_does_not_hold_up_the_others() -> None:
    r = retry()
    for now in range(0, 100, 10):
        r.failed("bad", float(now))
        assert not r.succeeded("good")
        assert r.ready(now + 0.1, running=3)
    assert not r.due("bad", 94.0)
    assert r.due("bad", 96.0)
    assert r.due("other", 95.0)
    assert r.succeeded("bad")


def test_a_store_that_is_away_is_knocked_at_now_and_then() -> None:
    r, now, tries = retry(), 0.0, 0
    while now < 600:
        if r.ready(now, running=0):
            r.failed(f"file {tries}", now)
            tries += 1
        now += 0.1
    assert tries < 140
