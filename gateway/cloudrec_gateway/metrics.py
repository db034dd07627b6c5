"""What /metrics tells of the requests. Counted in plain numbers, and made into metrics only when they are asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Of the histogram's buckets, in seconds; one more has what took longer."""
SUCCESS: Final = "OK"


class Metrics(Collector):
    """Requests by action and outcome, and their seconds by action. Actions that do not exist count as the empty one.

    For use in one thread.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests: dict[tuple[str, str], int] = {}
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        registry.register(self)

    def count(self, action: str, code: str, seconds: float) -> None:
        """One request; `code` is a fault's, or `SUCCESS`."""
        key = (action, code)
        self._requests[key] = self._requests.get(key, 0) + 1
        buckets = self._buckets.get(action)
        if buckets is None:
            buckets = self._buckets[action] = [0] * (len(BOUNDS) + 1)
            self._seconds[action] = 0.0
        buckets[bisect_left(BOUNDS, seconds)] += 1
        self._seconds[action] += seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "cloudrec_gateway_requests", "API requests by action and code", labels=["action", "code"]
        )
        for (action, code), number in self._requests.items():
            requests.add_metric([action, code], number)
        yield requests
        durations = HistogramMetricFamily(
            "cloudrec_gateway_request_seconds", "Seconds from a request's headers to its answer", labels=["action"]
        )
        names = [*map(str, BOUNDS), "+Inf"]
        for action, buckets in self._buckets.items():
            pairs = list(zip(names, accumulate(buckets), strict=True))
            durations.add_metric([action], pairs, self._seconds[action])
        yield durations
