"""Requests per second of each app: a token bucket for each, of this replica's share of the app's rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from cloudrec_gateway.errors import REQUEST_LIMIT_EXCEEDED, ApiFault


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """`replicas`: over how many replicas requests are spread now. The clock is monotonic, in seconds.

    A bucket holds what one second brings, at least one request.
    """

    def __init__(self, replicas: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._replicas = replicas
        self._clock = clock
        self._buckets: dict[int, _Bucket] = {}

    def admit(self, sdk_app_id: int, per_second: int) -> None:
        """Count one request of an app that there is. Raises ApiFault RequestLimitExceeded."""
        share = per_second / max(1, self._replicas())
        most, now = max(1.0, share), self._clock()
        bucket = self._buckets.get(sdk_app_id)
        if bucket is None:
            bucket = self._buckets[sdk_app_id] = _Bucket(most, now)
        bucket.tokens = min(most, bucket.tokens + (now - bucket.at) * share)
        bucket.at = now
        if bucket.tokens < 1.0:
            message = f"more than {per_second} requests a second of SdkAppId {sdk_app_id}; ask again in a second"
            raise ApiFault(REQUEST_LIMIT_EXCEEDED, message)
        bucket.tokens -= 1.0
