"""How long each phase may last. After it the operator acts: nothing waits for ever but a recording that goes well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cloudrec_contract.resources import Attempt, Phase
from cloudrec_operator import times
from cloudrec_operator.observed import Recording
from cloudrec_operator.policy import succession
from cloudrec_operator.settings import Settings


def start(recording: Recording, attempts: Sequence[Attempt], settings: Settings) -> datetime | None:
    """When the newest attempt, if it is not in its room, is one too late: counted from the task's acceptance, or from
    the end of the attempt before."""
    since = succession.declared_at(attempts)
    if since is None and recording.status.epoch is not None:
        since = times.from_ms(recording.status.epoch)
    return since + timedelta(seconds=settings.start_seconds) if since is not None else None


def stop(since: datetime, settings: Settings) -> datetime:
    """When a recorder that will not end is sent SIGTERM, by deleting its Pod."""
    return since + timedelta(seconds=settings.stop_seconds)


def end(phase: Phase, since: datetime, settings: Settings) -> datetime | None:
    """When what is not uploaded is given up; `since` the phase began."""
    if phase is Phase.STOPPING:
        return since + timedelta(seconds=settings.stop_seconds + settings.finalize_seconds)
    if phase is Phase.FINALIZING:
        return since + timedelta(seconds=settings.finalize_seconds)
    return None
