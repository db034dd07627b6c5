"""What /metrics tells of callbacks. Counted in plain numbers, and made into metrics only when they are asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

BOUNDS: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
"""Of the histogram's buckets, in seconds; one more has what took longer."""


class Outcome(StrEnum):
    """How a try failed."""

    STATUS = "status"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    ADDRESS = "address"
    SETTINGS = "settings"


class Deliveries(Collector):
    """Callbacks of this replica since its start; `pending` is asked for how many wait now. For use in one thread."""

    def __init__(self, pending: Callable[[], int] = lambda: 0) -> None:
        self.pending = pending
        self._failed = dict.fromkeys(Outcome, 0)
        self._dead = 0
        self._unsent = 0
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def delivered(self, seconds: float) -> None:
        """One, so long after its event, or after it was asked for again."""
        self._buckets[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += max(0.0, seconds)

    def failed(self, outcome: Outcome) -> None:
        self._failed[outcome] += 1

    def given_up(self) -> None:
        self._dead += 1

    def unsent(self, count: int) -> None:
        """A deleted recording was let go before so many of its callbacks were settled."""
        self._unsent += count

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("cloudrec_callbacks_delivered", "Callbacks delivered", value=sum(self._buckets))
        failed = CounterMetricFamily(
            "cloudrec_callbacks_failed_tries", "Tries that failed, by outcome", labels=["outcome"]
        )
        for outcome, number in self._failed.items():
            failed.add_metric([outcome], number)
        yield failed
        yield CounterMetricFamily("cloudrec_callbacks_dead_letters", "Callbacks given up on", value=self._dead)
        yield CounterMetricFamily(
            "cloudrec_callbacks_unsent", "Callbacks that went with their deleted recording", value=self._unsent
        )
        yield GaugeMetricFamily("cloudrec_callbacks_pending", "Callbacks that wait", value=self.pending())
        names = [*map(str, BOUNDS), "+Inf"]
        yield HistogramMetricFamily(
            "cloudrec_callbacks_delivery_seconds",
            "Seconds from an event to its delivery",
            buckets=list(zip(names, accumulate(self._buckets), strict=True)),
            sum_value=self._seconds,
        )
