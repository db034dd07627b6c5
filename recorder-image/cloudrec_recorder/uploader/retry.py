"""When what failed is tried again. Pure; times are seconds of a monotonic clock."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

FIRST_SECONDS = 0.5
CAP_SECONDS = 5.0


def backoff(failures: int, jitter: float, first: float = FIRST_SECONDS, cap: float = CAP_SECONDS) -> float:
    """Seconds to wait after so many failures in a row (from 1): doubling, capped, spread by `jitter` in [0, 1)."""
    return min(cap, first * 2.0 ** min(failures - 1, 30)) * (0.8 + 0.4 * jitter)


@dataclass(slots=True)
class _Failed:
    times: int
    due: float
    since: float


class Retry:
    """Failures of single objects and of the store as a whole.

    After a failure, until something succeeds, one object at a time is tried, and not at once: a bucket that is away
    costs no more than a knock now and then, however much waits for it. An object that alone fails again and again
    waits for itself and does not hold up the others for long.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failed: dict[Hashable, _Failed] = {}
        self._in_a_row = 0
        self._since = 0.0
        self._due = 0.0

    def ready(self, now: float, running: int) -> bool:
        """Whether anything may be tried now, beside so many others."""
        return not self._in_a_row or (not running and now >= self._due)

    def due(self, key: Hashable, now: float) -> bool:
        """Whether `key`, when it is among those that failed, has waited long enough."""
        failed = self._failed.get(key)
        return failed is None or now >= failed.due

    def failing(self, now: float, key: Hashable) -> float:
        """For how many seconds nothing has succeeded since something failed, or `key` alone has failed; 0: neither."""
        alone = self._failed.get(key)
        return max(now - self._since if self._in_a_row else 0.0, now - alone.since if alone else 0.0)

    def failed(self, key: Hashable, now: float) -> None:
        if not self._in_a_row:
            self._since = now
        if now >= self._due:  # what was on its way at the first failure tells nothing more
            self._in_a_row += 1
            self._due = now + backoff(self._in_a_row, self._jitter())
        failed = self._failed.setdefault(key, _Failed(0, 0.0, now))
        failed.times += 1
        failed.due = now + backoff(failed.times, self._jitter())

    def forget(self, key: Hashable) -> None:
        """It is not tried any more."""
        self._failed.pop(key, None)

    def succeeded(self, key: Hashable) -> bool:
        """True when nothing is failing any more."""
        self._in_a_row, self._due = 0, 0.0
        self._failed.pop(key, None)
        return not self._failed
