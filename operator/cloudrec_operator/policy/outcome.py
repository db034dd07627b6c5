"""The status as it is to be: of a task that goes on, and of one that has ended."""

from __future__ import annotations

from collections.abc import Sequence

from cloudrec_contract.resources import Attempt, CloudRecordingStatus, Phase
from cloudrec_operator import times
from cloudrec_operator.observed import Observed
from cloudrec_operator.policy import conditions
from cloudrec_operator.policy.attempts import View, entered_at
from cloudrec_operator.policy.conditions import Fact


def status(seen: Observed, known: CloudRecordingStatus, phase: Phase, new: Sequence[Fact]) -> CloudRecordingStatus:
    """`known` with this phase and these facts."""
    recording, now = seen.recording, seen.now
    since = known.phase_since if known.phase is phase and known.phase_since else times.render(now)
    files = sum(len(attempt.report.files) for attempt in known.attempts if attempt.report)
    entered = min(filter(None, map(entered_at, known.attempts)), default=None)
    return known.model_copy(
        update={
            "phase": phase,
            "phase_since": since,
            "observed_generation": recording.generation,
            "files": files if known.attempts else None,
            "started_at": known.started_at or (times.render(entered) if entered else None),
            "conditions": conditions.merge(known.conditions, new, recording.generation, now),
        }
    )


def ended(seen: Observed, known: CloudRecordingStatus, failed: bool, new: Sequence[Fact]) -> CloudRecordingStatus:
    """The terminal status."""
    last = status(seen, known, Phase.FAILED if failed else Phase.COMPLETED, new)
    return last.model_copy(update={"ended_at": times.render(seen.now)})


def with_views(known: CloudRecordingStatus, views: Sequence[View]) -> CloudRecordingStatus:
    """`known` with the attempts as they stand, new ones among them; others stay as they are."""
    changed = {view.attempt.pod: view.attempt for view in views}
    attempts: list[Attempt] = [changed.pop(attempt.pod, attempt) for attempt in known.attempts]
    attempts += changed.values()
    newest = max(attempt.index for attempt in attempts if attempt.role == "Record")
    return known.model_copy(update={"attempts": attempts, "attempt": newest})
