"""The recorder's clock: seconds since the task's epoch, steady whatever happens to the wall clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class TaskClock:
    """Wall time anchored to the monotonic clock once, when made; make one per process.

    `epoch_ms` is the task's time zero, in ms since the Unix epoch (UTC), shared by all attempts of the task.
    """

    def __init__(
        self,
        epoch_ms: float,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epoch_ms = epoch_ms
        self._wall = wall
        self._monotonic = monotonic
        self._zero = wall() - epoch_ms / 1000 - monotonic()

    def now(self) -> float:
        """Seconds since the task's epoch."""
        return self._monotonic() + self._zero

    def wall_now(self) -> float:
        """The wall clock as it is now, in Unix seconds: only to tell the age of a kernel time stamp."""
        return self._wall()
