"""Deletion: stop, flush, then let go; with a deadline, in a terminating namespace too. And the TTL after the end."""

from __future__ import annotations

from datetime import datetime, timedelta

from cloudrec_operator import times
from cloudrec_operator.observed import Recording
from cloudrec_operator.settings import Settings


def let_go_at(recording: Recording, settings: Settings) -> datetime | None:
    """When a deleted recording is let go even if it has not been flushed; None while it is not deleted."""
    if recording.deleted_at is None:
        return None
    return recording.deleted_at + timedelta(seconds=settings.delete_seconds)


def expires_at(recording: Recording) -> datetime | None:
    """When a finished recording is deleted for its `ttlSecondsAfterFinished`; None when it is kept.

    It counts from when the last callback was settled, too.
    """
    ended = recording.status.ended_at
    ttl = recording.spec.ttl_seconds_after_finished if recording.spec else None
    if not recording.terminal or ended is None or ttl is None or recording.deleted_at is not None:
        return None
    told = recording.status.callbacks
    if told is not None and told.settled_at is None:
        return None
    since = max(times.parse(ended), times.parse(told.settled_at)) if told and told.settled_at else times.parse(ended)
    return since + timedelta(seconds=ttl)
