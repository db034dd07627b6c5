"""How long each phase may last. After it the operator acts: nothing waits for ever but a recording that goes well."""

from __future__ import annotations

from datetime import datetime, timedelta

from cloudrec_contract.resources import Phase
from cloudrec_operator import times
from cloudrec_operator.observed import Recording
from cloudrec_operator.settings import Settings


def start(recording: Recording, settings: Settings) -> datetime | None:
    """When an accepted recording that is not in its room has failed."""
    if recording.status.epoch is None:
        return None
    return times.from_ms(recording.status.epoch) + timedelta(seconds=settings.start_seconds)


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
