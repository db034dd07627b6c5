"""The decision after the recording: what finishers do, and the end of the task. Pure, as `decide.py` is.

305 is said at the beginning (status 1 when something is missing or only in the backup store), and once more, with
status 2, as soon as the bucket has all. Files are made after that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from cloudrec_contract.resources import CloudRecordingStatus, EventFact, Phase
from cloudrec_operator import times
from cloudrec_operator.observed import Observed
from cloudrec_operator.plan import Action, Plan
from cloudrec_operator.policy import attempts, converting, facts, finishing, outcome, telling
from cloudrec_operator.policy.attempts import Ending, View
from cloudrec_operator.settings import Settings


def begin(seen: Observed, views: Sequence[View]) -> Plan:
    """Declare the first finisher; its Pod is the next decision's. `views`: of the attempts that recorded."""
    recording = seen.recording
    first = View(finishing.attempt(recording, 0))
    status = outcome.with_views(recording.status, [*views, first])
    # Its time counts from now on, not from when the rest began to be uploaded.
    status = status.model_copy(update={"operator_events": _closing(seen, views), "phase_since": times.render(seen.now)})
    return Plan(_at_work(seen, status, views, [first], ""))


def end(seen: Observed, views: Sequence[View]) -> Plan:
    """Of a task that no finisher is needed for."""
    told = _closing(seen, views)
    return _over(seen, outcome.with_views(seen.recording.status, views), views, (), told)


def go_on(seen: Observed, views: Sequence[View], finishers: Sequence[View], settings: Settings) -> Plan:
    """See to the newest finisher: its Pod, its end, its successor; and end the task with the last."""
    seen = _restored(seen, views, finishers)
    recording, now = seen.recording, seen.now
    newest = finishers[-1]
    give_up_at = finishing.deadline(recording, settings) or now
    wait_until = give_up_at + timedelta(seconds=finishing.MARGIN_SECONDS)
    if newest.attempt.reason:
        return _end(seen, views, finishers)
    converts = converting.wanted(recording, views)
    end = finishing.ending(newest, converts, recording.deleted_at is not None, now >= wait_until)
    if end is None:
        return _wait(seen, views, finishers, settings, give_up_at)
    finishers = [*finishers[:-1], attempts.ended(newest, end, now)]
    if not end.again or len(finishers) >= finishing.ATTEMPTS_MAX or now >= give_up_at:
        return _end(seen, views, finishers)
    return _succeeded(seen, views, finishers, end)


def _closing(seen: Observed, views: Sequence[View]) -> list[EventFact]:
    """The operator's events with those of the recorders' end."""
    recording = seen.recording
    end = telling.end(views)
    whole = None if converting.for_vod(recording) else end.whole and not finishing.drains(views)
    told, why = recording.status.operator_events, facts.stopped(recording)
    return facts.closing(views, told, end.failed, why, whole, times.to_ms(seen.now))


def _restored(seen: Observed, views: Sequence[View], finishers: Sequence[View]) -> Observed:
    """With the second 305 in the status when the first spoke of the backup store, and a finisher has emptied it."""
    status = seen.recording.status
    drained = finishing.drains(views) and any(view.report.uploaded for view in finishers)
    if not (drained and facts.lacking(status.operator_events) and telling.end(views, finishers).whole):
        return seen
    told = facts.restored(status.operator_events, times.to_ms(seen.now))
    status = status.model_copy(update={"operator_events": told})
    return replace(seen, recording=replace(seen.recording, status=status))


def _at_work(
    seen: Observed, status: CloudRecordingStatus, views: Sequence[View], finishers: Sequence[View], why: str
) -> CloudRecordingStatus:
    converts = converting.wanted(seen.recording, views)
    told = telling.finisher_at_work(views, finishers, why, converts)
    return outcome.status(seen, status, Phase.FINALIZING, told)


def _succeeded(seen: Observed, views: Sequence[View], finishers: Sequence[View], end: Ending) -> Plan:
    next_ = View(finishing.attempt(seen.recording, len(finishers)))
    both = [*finishers, next_]
    status = outcome.with_views(seen.recording.status, [*views, *both])
    return Plan(_at_work(seen, status, views, both, end.message))


def _wait(
    seen: Observed, views: Sequence[View], finishers: Sequence[View], settings: Settings, give_up_at: datetime
) -> Plan:
    now, newest = seen.now, finishers[-1]
    actions: list[Action] = finishing.let_go(views)
    waits: list[datetime | None] = [give_up_at + timedelta(seconds=finishing.MARGIN_SECONDS)]
    retry = False
    why = finishing.why_waiting(newest)
    if not newest.made:
        begun = give_up_at - timedelta(seconds=settings.finish_seconds)
        due = finishing.due_at(finishers)
        if due is not None and now < due:
            waits.append(due)
        elif finishing.in_the_way(views, begun, now):
            waits.append(begun + timedelta(seconds=attempts.DRAIN_SECONDS))
        else:
            made, why = finishing.create(seen, views, newest.attempt, (give_up_at - now).total_seconds(), settings)
            actions.extend(made)
            retry = not made
    status = outcome.with_views(seen.recording.status, [*views, *finishers])
    return Plan(
        _at_work(seen, status, views, finishers, why),
        tuple(actions),
        retry=retry,
        after=times.soonest(now, waits),
    )


def _end(seen: Observed, views: Sequence[View], finishers: Sequence[View]) -> Plan:
    status = outcome.with_views(seen.recording.status, [*views, *finishers])
    return _over(seen, status, views, finishers, status.operator_events)


def _over(
    seen: Observed,
    status: CloudRecordingStatus,
    views: Sequence[View],
    finishers: Sequence[View],
    told: Sequence[EventFact],
) -> Plan:
    """The terminal status. `told`: the operator's events so far."""
    end = telling.end(views, finishers)
    made = converting.outcome(seen.recording, views, finishers)
    told = converting.closing(seen.recording, views, finishers, told, times.to_ms(seen.now))
    status = status.model_copy(update={"operator_events": told})
    return Plan(outcome.ended(seen, status, end.failed, (*end.facts, *([made] if made else []))))
