"""RFC 3339 times as Kubernetes writes them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse(text: str) -> datetime:
    """Raises ValueError on anything but an RFC 3339 time."""
    return datetime.fromisoformat(text)


def render(at: datetime) -> str:
    """Seconds, UTC, with Z."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def to_ms(at: datetime) -> int:
    """Milliseconds since the Unix epoch."""
    return (at - EPOCH) // timedelta(milliseconds=1)


def from_ms(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def seconds_to(now: datetime, then: datetime | None) -> float | None:
    """Never below zero; None for never."""
    return None if then is None else max(0.0, (then - now).total_seconds())


def soonest(now: datetime, waits: Iterable[datetime | None]) -> float | None:
    """Seconds to the first of those that are still to come; None when none is."""
    known = [wait for wait in waits if wait is not None and wait > now]
    return seconds_to(now, min(known, default=None))
