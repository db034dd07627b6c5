"""The decision after the recording, when the backup store has something that the bucket lacks. Pure, as `decide.py` is.

305 with status 1 is said once, at its beginning; 305 with status 2 when the bucket has all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from cloudrec_contract.resources import Phase
from cloudrec_operator import times
from cloudrec_operator.observed import Observed
from cloudrec_operator.plan import Action, Plan
from cloudrec_operator.policy import attempts, facts, finishing, outcome, telling
from cloudrec_operator.policy.attempts import Ending, View
from cloudrec_operator.settings import Settings


def begin(seen: Observed, views: Sequence[View]) -> Plan:
    """Declare the first finisher; its Pod is the next decision's. `views`: of the attempts that recorded."""
    recording, now = seen.recording, seen.now
    end = telling.end(views)
    known = recording.status
    said = facts.closing(views, known.operator_events, end.failed, facts.stopped(recording), False, times.to_ms(now))
    first = View(finishing.attempt(recording, 0))
    status = outcome.with_views(known, [*views, first]).model_copy(update={"operator_events": said})
    return Plan(outcome.status(seen, status, Phase.FINALIZING, telling.finishing(views, [first], "")))


def go_on(seen: Observed, views: Sequence[View], finishers: Sequence[View], settings: Settings) -> Plan:
    """See to the newest finisher: its Pod, its end, its successor; and end the task with the last."""
    recording, now = seen.recording, seen.now
    newest = finishers[-1]
    give_up_at = finishing.deadline(recording, settings) or now
    wait_until = give_up_at + timedelta(seconds=finishing.MARGIN_SECONDS)
    if newest.attempt.reason:
        return _end(seen, views, finishers)
    end = finishing.ending(newest, recording.deleted_at is not None, now >= wait_until)
    if end is None:
        return _wait(seen, views, finishers, settings, give_up_at)
    finishers = [*finishers[:-1], attempts.ended(newest, end, now)]
    if not end.again or len(finishers) >= finishing.ATTEMPTS_MAX or now >= give_up_at:
        return _end(seen, views, finishers)
    return _succeeded(seen, views, finishers, end)


def _succeeded(seen: Observed, views: Sequence[View], finishers: Sequence[View], end: Ending) -> Plan:
    next_ = View(finishing.attempt(seen.recording, len(finishers)))
    both = [*finishers, next_]
    status = outcome.with_views(seen.recording.status, [*views, *both])
    return Plan(outcome.status(seen, status, Phase.FINALIZING, telling.finishing(views, both, end.message)))


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
            made, why = finishing.create(seen, newest.attempt, (give_up_at - now).total_seconds(), settings)
            actions.extend(made)
            retry = not made
    status = outcome.with_views(seen.recording.status, [*views, *finishers])
    told = telling.finishing(views, finishers, why)
    return Plan(
        outcome.status(seen, status, Phase.FINALIZING, told),
        tuple(actions),
        retry=retry,
        after=times.soonest(now, waits),
    )


def _end(seen: Observed, views: Sequence[View], finishers: Sequence[View]) -> Plan:
    end = telling.end(views, finishers)
    status = outcome.with_views(seen.recording.status, [*views, *finishers])
    if end.whole:
        told = facts.restored(status.operator_events, times.to_ms(seen.now))
        status = status.model_copy(update={"operator_events": told})
    return Plan(outcome.ended(seen, status, end.failed, end.facts))
