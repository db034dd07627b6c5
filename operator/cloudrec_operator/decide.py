"""The decision: from what was observed to a plan. Pure, and safe to make again at any time (level-triggered).

Terminal is looked at first and never left. An attempt is in status before its Pod is made; `podUID` follows from it.
The task rests on its newest attempt until that has a `reason`; the same write declares the next one, or there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cloudrec_contract import naming
from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Attempt, ConditionType, Phase
from cloudrec_operator import finish, times
from cloudrec_operator.observed import Observed
from cloudrec_operator.plan import Action, CreatePod, DeletePod, DeleteRecording, Hold, Plan
from cloudrec_operator.policy import (
    acceptance,
    attempts,
    callbacks,
    deadlines,
    deletion,
    facts,
    finishing,
    outcome,
    phases,
    podwork,
    renewal,
    rivals,
    succession,
    telling,
    waiting,
)
from cloudrec_operator.policy.attempts import Ending, View
from cloudrec_operator.policy.conditions import Fact
from cloudrec_operator.settings import Settings


def decide(seen: Observed, settings: Settings) -> Plan:
    return callbacks.noted(_decide(seen, settings), seen)


def _decide(seen: Observed, settings: Settings) -> Plan:
    recording = seen.recording
    if recording.terminal:
        return _after_the_end(seen, settings)
    if not recording.accepted:
        return _before_acceptance(seen, settings)
    return _in_progress(seen, settings)


def _after_the_end(seen: Observed, settings: Settings) -> Plan:
    """Clear up; of the status only what is said of callbacks changes."""
    recording = seen.recording
    own = [pod for pod in seen.pods.values() if pod.owner == recording.uid and not pod.deleting]
    actions: list[Action] = [DeletePod(pod.name, pod.uid, podwork.END_GRACE_SECONDS) for pod in own]
    let_go = callbacks.let_go_at(recording, settings) if callbacks.unsettled(recording) else seen.now
    if recording.held and let_go is not None and seen.now >= let_go:
        actions.append(Hold(False))
    expires = deletion.expires_at(recording)
    if expires is not None and seen.now >= expires:
        actions.append(DeleteRecording())
    waits = (expires, let_go if recording.held else None, callbacks.silent_by(seen))
    return Plan(actions=tuple(actions), after=times.soonest(seen.now, waits))


def _before_acceptance(seen: Observed, settings: Settings) -> Plan:
    recording = seen.recording
    if recording.deleted_at is not None:
        return Plan(actions=(Hold(False),) if recording.held else ())
    if recording.must_stop:
        stopped = Fact(ConditionType.RECORDING, "False", Reason.STOPPED, "stopped before it was accepted")
        return Plan(status=outcome.ended(seen, recording.status, False, (stopped,)))
    verdict = acceptance.admit(seen)
    accepted = Fact(ConditionType.ACCEPTED, "True" if verdict.accepted else "False", verdict.reason, verdict.message)
    if verdict.final:
        return Plan(status=outcome.ended(seen, recording.status, True, (accepted,)))
    if not verdict.accepted:
        return Plan(status=outcome.status(seen, recording.status, Phase.PENDING, (accepted,)), retry=True)
    if not recording.held:
        return Plan(actions=(Hold(True),))
    name = naming.pod_name(recording.name, recording.uid, 0)
    status = outcome.status(seen, recording.status, Phase.PENDING, (accepted,)).model_copy(
        update={
            "task_id": recording.uid,
            "epoch": times.to_ms(seen.now),
            "attempt": 0,
            "attempts": [Attempt(pod=name, index=0)],
        }
    )
    return _in_progress(replace(seen, recording=replace(recording, status=status)), settings)


# --- accepted -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Course:
    """The phase so far and `since` when; `give_up_at` ends it whatever is still due, None for never."""

    phase: Phase
    since: datetime
    give_up_at: datetime | None

    @classmethod
    def of(cls, seen: Observed, settings: Settings) -> _Course:
        status = seen.recording.status
        phase = status.phase or Phase.PENDING
        since = times.parse(status.phase_since) if status.phase_since else seen.now
        return cls(phase, since, deadlines.end(phase, since, settings))

    def overdue(self, now: datetime) -> bool:
        return self.give_up_at is not None and now >= self.give_up_at

    def lingers(self, now: datetime) -> bool:
        return self.phase is Phase.FINALIZING and attempts.lingers(self.since, now)

    def start_of(self, phase: Phase, now: datetime) -> datetime:
        return self.since if phase is self.phase else now


def _in_progress(seen: Observed, settings: Settings) -> Plan:
    recording = seen.recording
    let_go = deletion.let_go_at(recording, settings)
    if let_go is not None and seen.now >= let_go:
        return Plan(actions=(Hold(False),) if recording.held else ())
    if seen.namespace_ends and recording.deleted_at is None:
        # Its Pods go first, and the resource only when they have gone: no eviction, and nobody else says stop.
        return Plan(actions=(DeleteRecording(),), retry=True)
    views = attempts.look(seen)
    if not views:
        lost = Fact(ConditionType.RECORDER_READY, "False", Reason.POD_LOST, "status lost its attempts")
        return Plan(status=outcome.ended(seen, recording.status, True, (lost,)))
    finishers = attempts.look(seen, "Finish")
    if finishers:
        return finish.go_on(seen, views, finishers, settings)
    course = _Course.of(seen, settings)
    if not views[-1].attempt.reason:
        if seen.rival is not None and views[-1].report.leave_code is None and not recording.must_stop:
            return Plan(status=recording.status.model_copy(update={"replaced_by": seen.rival}))
        end = attempts.ending(views[-1], seen.recording.must_stop) or _late(seen, views, course, settings)
        if end is None:
            return _going_on(seen, views, course, settings)
        views = [*views[:-1], attempts.ended(views[-1], rivals.ending(end, recording), seen.now)]
        next_ = succession.successor(recording, [view.attempt for view in views], end, seen.recording.must_stop)
        if next_ is not None:
            return _succeeded(seen, views, next_, end)
    return _winding_up(seen, views, course, settings)


def _late(seen: Observed, views: Sequence[View], course: _Course, settings: Settings) -> Ending | None:
    """The end of a newest attempt that has used up its time."""
    newest, now = views[-1], seen.now
    stage = phases.stage(newest, seen.recording.must_stop)
    if stage in (Phase.PENDING, Phase.STARTING):
        start_by = deadlines.start(seen.recording, [view.attempt for view in views], settings)
        if start_by is None or now < start_by:
            return None
        reason, message = waiting.why(seen, newest)
        what = "not in the room in time" if newest.made else "no Pod in time"
        return Ending(Reason.START_TIMEOUT, f"{what}: {reason}: {message}", failed=True)
    if stage is course.phase and (course.overdue(now) or (course.lingers(now) and newest.report.uploaded)):
        if stage is Phase.FINALIZING and newest.report.leave_code is None and not seen.recording.must_stop:
            return Ending(Reason.RECORDER_FAILED, "it has ended, and its container has not", failed=True, again=True)
        return Ending(*attempts.why_left(newest.report))
    return None


def _succeeded(seen: Observed, views: Sequence[View], next_: Attempt, end: Ending) -> Plan:
    """Declare the next attempt; its Pod is the next decision's."""
    status = seen.recording.status
    if end.failed:
        told = facts.failover(status.operator_events, times.to_ms(seen.now))
        status = status.model_copy(update={"operator_events": told})
    both = [*views, View(next_)]
    phase = phases.stage(phases.leading(both, False), False)
    status = outcome.with_views(status, both)
    return Plan(status=outcome.status(seen, status, phase, telling.going_on(both, False, None)))


def _going_on(seen: Observed, views: Sequence[View], course: _Course, settings: Settings) -> Plan:
    """The task rests on its newest attempt: see to its Pod, its token and its deadlines."""
    recording, now = seen.recording, seen.now
    newest = views[-1]
    every = [view.attempt for view in views]
    lead = phases.leading(views, seen.recording.must_stop)
    phase = phases.stage(lead, seen.recording.must_stop)
    starting = phases.stage(newest, seen.recording.must_stop) in (Phase.PENDING, Phase.STARTING)
    since = course.start_of(phase, now)
    told = list(telling.going_on(views, seen.recording.must_stop, waiting.secrets(seen)))
    actions: list[Action] = podwork.clear(views[:-1], now, settings)
    waits = [deletion.let_go_at(recording, settings), deadlines.end(phase, since, settings)]
    if starting:
        waits.append(deadlines.start(recording, every, settings))
    due = succession.due_at(every)
    if not newest.made:
        if lead is newest:
            told[0] = Fact(ConditionType.RECORDER_READY, "False", *waiting.why(seen, newest))
        if due is not None and now < due:
            waits.append(due)
            starting = False
        else:
            actions.extend(podwork.create(seen, newest.attempt, settings))
    elif phase is Phase.STOPPING:
        more, kill_at = podwork.end_overdue(views, since, now, settings)
        actions.extend(more)
        waits.append(kill_at)
    if phase is Phase.FINALIZING:
        waits.append(since + timedelta(seconds=attempts.DRAIN_SECONDS + 1))
    elif newest.made:
        actions.extend(renewal.token(seen, newest.attempt, settings))
        waits.append(renewal.due_at(seen, settings))
    status = outcome.status(seen, outcome.with_views(recording.status, views), phase, told)
    made = any(isinstance(action, CreatePod) for action in actions)
    return Plan(status, tuple(actions), retry=starting and not made, after=times.soonest(now, waits))


def _winding_up(seen: Observed, views: Sequence[View], course: _Course, settings: Settings) -> Plan:
    """No attempt goes on with the task: wait until all are settled, then end it."""
    recording, now = seen.recording, seen.now
    patient = not course.lingers(now)
    unsettled = [view for view in views if not attempts.settled(view, now, settings, patient)]
    status = outcome.with_views(recording.status, views)
    if not unsettled or course.overdue(now):
        return finish.begin(seen, views) if finishing.needed(recording, views) else finish.end(seen, views)
    phase = phases.winding_up(unsettled)
    since = course.start_of(phase, now)
    waits = [deletion.let_go_at(recording, settings), deadlines.end(phase, since, settings)]
    actions = podwork.clear([view for view in views if view not in unsettled], now, settings)
    if phase is Phase.STOPPING:
        more, kill_at = podwork.end_overdue(unsettled, since, now, settings)
        actions.extend(more)
        waits.append(kill_at)
    else:
        waits.append(since + timedelta(seconds=attempts.DRAIN_SECONDS + 1))
    return Plan(
        outcome.status(seen, status, phase, telling.winding_up(views)), tuple(actions), after=times.soonest(now, waits)
    )
