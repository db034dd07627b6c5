"""Stores that fail are asked again and again, until the finisher's time is up."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from cloudrec_contract.conditions import Reason
from cloudrec_recorder.finisher.drain import Stopped
from cloudrec_recorder.uploader.retry import backoff
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, FileGone, UploadFailed
from cloudrec_recorder.vod import VodUnreachable

FIRST_SECONDS: Final = 1.0
CAP_SECONDS: Final = 60.0
TRIES: Final = 5
"""At what fails for a fault of its own."""

T = TypeVar("T")


class GivenUp(Exception):
    """The time is up, and the last try failed: why."""


class Trouble(Protocol):
    """Gets why something is being tried again, and None once it is well."""

    def __call__(self, reason: Reason | None, message: str = "") -> None: ...


class Patience:
    """Called from several threads. `seconds`: how long in all, from now; each call is tried once at least."""

    def __init__(
        self,
        seconds: float,
        stop: threading.Event,
        trouble: Trouble,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] | None = None,
    ) -> None:
        self._monotonic = monotonic
        self._deadline = monotonic() + seconds
        self._seconds = seconds
        self._stop = stop
        self._trouble = trouble
        self._pause = pause or stop.wait

    def heed(self) -> None:
        """Raises Stopped when the process is to end."""
        if self._stop.is_set():
            raise Stopped

    def __call__(self, call: Callable[[], T]) -> T:
        """Raises Stopped, GivenUp, FileGone, and UploadFailed when it stays so. Anything else of `call`'s at once."""
        failures = 0
        while True:
            self.heed()
            try:
                result = call()
            except FileGone:
                raise
            except UploadFailed:
                failures += 1
                if failures >= TRIES:
                    raise
                self._wait(failures, "")
            except (BucketRefused, BucketUnreachable, VodUnreachable) as error:
                failures += 1
                if isinstance(error, VodUnreachable):
                    self._trouble(Reason.VOD_UNREACHABLE, f"VOD: {error}")
                else:
                    self._trouble(error.reason, f"the bucket: {error}")
                self._wait(failures, str(error))
            else:
                if failures:
                    self._trouble(None)
                return result

    def _wait(self, failures: int, why: str) -> None:
        left = self._deadline - self._monotonic()
        if why and left <= 0:
            raise GivenUp(f"given up after {self._seconds:.0f} s: {why}")
        pause = backoff(failures, random.random(), FIRST_SECONDS, CAP_SECONDS)
        self._pause(min(pause, left) if why else pause)
