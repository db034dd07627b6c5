"""The decision: from what was observed to a plan. Pure, and safe to make again at any time (level-triggered).

Terminal is looked at first and never left. An attempt is in status before its Pod is made; `podUID` follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from cloudrec_contract import naming
from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.resources import Attempt, CloudRecordingStatus, ConditionType, Phase
from cloudrec_operator import times
from cloudrec_operator.observed import Observed, Pod, Recording
from cloudrec_operator.plan import (
    Action,
    CreatePod,
    DeletePod,
    DeleteRecording,
    EnsureAccess,
    Hold,
    Plan,
    WriteToken,
)
from cloudrec_operator.policy import acceptance, conditions, deadlines, deletion, facts, phases, pods, tokens
from cloudrec_operator.policy.conditions import Fact
from cloudrec_operator.settings import Settings

END_GRACE_SECONDS = 30
"""Grace of a Pod that has nothing left to upload."""


def decide(seen: Observed, settings: Settings) -> Plan:
    recording = seen.recording
    if recording.terminal:
        return _after_the_end(seen)
    if not recording.accepted:
        return _before_acceptance(seen, settings)
    return _in_progress(seen, settings)


def _after_the_end(seen: Observed) -> Plan:
    """Clear up; the status is never touched again."""
    recording = seen.recording
    actions: list[Action] = []
    pod = _own(seen.pod, recording)
    if pod is not None and not pod.deleting:
        actions.append(DeletePod(pod.name, pod.uid, END_GRACE_SECONDS))
    if recording.held:
        actions.append(Hold(False))
    expires = deletion.expires_at(recording)
    if expires is not None and seen.now >= expires:
        actions.append(DeleteRecording())
        expires = None
    return Plan(actions=tuple(actions), after=_seconds_to(seen.now, expires))


def _before_acceptance(seen: Observed, settings: Settings) -> Plan:
    recording = seen.recording
    if recording.deleted_at is not None:
        return Plan(actions=(Hold(False),) if recording.held else ())
    if recording.must_stop:
        stopped = Fact(ConditionType.RECORDING, "False", Reason.STOPPED, "stopped before it was accepted")
        return Plan(status=_end(seen, recording.status, Phase.COMPLETED, (stopped,)))
    verdict = acceptance.examine(seen)
    accepted = Fact(ConditionType.ACCEPTED, "True" if verdict.accepted else "False", verdict.reason, verdict.message)
    if verdict.final:
        return Plan(status=_end(seen, recording.status, Phase.FAILED, (accepted,)))
    if not verdict.accepted:
        return Plan(status=_status(seen, recording.status, Phase.PENDING, (accepted,)), retry=True)
    if not recording.held:
        return Plan(actions=(Hold(True),))
    name = naming.pod_name(recording.name, recording.uid, 0)
    status = _status(seen, recording.status, Phase.PENDING, (accepted,)).model_copy(
        update={
            "task_id": recording.uid,
            "epoch": times.to_ms(seen.now),
            "attempt": 0,
            "attempts": [Attempt(pod=name, index=0)],
        }
    )
    return _in_progress(replace(seen, recording=replace(recording, status=status)), settings)


def _in_progress(seen: Observed, settings: Settings) -> Plan:
    recording = seen.recording
    attempt = recording.attempt
    let_go = deletion.let_go_at(recording, settings)
    if let_go is not None and seen.now >= let_go:
        return Plan(actions=(Hold(False),) if recording.held else ())
    if attempt is None:
        lost = Fact(ConditionType.RECORDER_READY, "False", Reason.POD_LOST, "status lost its attempts")
        return Plan(status=_end(seen, recording.status, Phase.FAILED, (lost,)))
    pod = _own(seen.pod, recording)
    if attempt.pod_uid is None:
        if pod is None:
            return _without_pod(seen, attempt, settings)
        attempt = attempt.model_copy(update={"pod_uid": pod.uid})
    return _with_pod(seen, attempt, pod, settings)


def _without_pod(seen: Observed, attempt: Attempt, settings: Settings) -> Plan:
    """The attempt is declared and its Pod is still to be made."""
    recording, spec = seen.recording, seen.recording.spec
    kind = ConditionType.RECORDER_READY
    if recording.must_stop or spec is None:
        stopped = Fact(ConditionType.RECORDING, "False", Reason.STOPPED, "stopped before its Pod was made")
        return Plan(status=_end(seen, recording.status, Phase.COMPLETED, (stopped,)))
    verdict = acceptance.examine(seen)
    if seen.pod is not None:
        fact = Fact(kind, "False", Reason.POD_STARTING, f"waiting for a Pod of another owner to go: {attempt.pod}")
    elif not verdict.accepted:
        fact = Fact(kind, "False", verdict.reason, verdict.message)
    elif seen.refused:
        fact = Fact(kind, "False", Reason.POD_REFUSED, seen.refused)
    else:
        fact = Fact(kind, "False", Reason.POD_STARTING, "the Pod is being made")
    start_by = deadlines.start(recording, settings)
    if start_by is not None and seen.now >= start_by:
        late = Fact(kind, "False", Reason.START_TIMEOUT, f"no Pod in time: {fact.reason}: {fact.message}")
        return Plan(status=_end(seen, recording.status, Phase.FAILED, (late,)))
    actions: tuple[Action, ...] = ()
    epoch = recording.status.epoch
    if seen.pod is None and verdict.accepted and seen.app and seen.app.spec and epoch is not None:
        token = _token(seen, attempt, settings)
        manifest = pods.build(recording, spec, seen.app.spec, attempt.index, epoch, settings)
        actions = (EnsureAccess(), *token, CreatePod(manifest))
    return Plan(
        status=_status(seen, recording.status, Phase.PENDING, (fact,)),
        actions=actions,
        retry=not actions,
        after=_seconds_to(seen.now, start_by),
    )


def _with_pod(seen: Observed, attempt: Attempt, pod: Pod | None, settings: Settings) -> Plan:
    recording, now = seen.recording, seen.now
    since = times.parse(recording.status.phase_since) if recording.status.phase_since else now
    phase = recording.status.phase or Phase.PENDING
    give_up_at = deadlines.end(phase, since, settings)
    start_by = deadlines.start(recording, settings)
    looked = seen.app_secret is not None and seen.bucket_secret is not None
    secrets = acceptance.examine_secrets(seen, seen.app.spec) if looked and seen.app and seen.app.spec else None
    if seen.refused and secrets is None:
        secrets = acceptance.Verdict(Reason.POD_REFUSED, seen.refused)
    judged = phases.judge(
        attempt, pod, recording.must_stop, phases.Clock(now, phase, since, start_by, give_up_at), secrets
    )
    attempt = attempt.model_copy(update={"exit": judged.exit})
    status = recording.status.model_copy(update={"attempts": _with(recording.status.attempts, attempt)})
    if judged.phase.terminal:
        return Plan(status=_end(seen, status, judged.phase, judged.facts))
    status = _status(seen, status, judged.phase, judged.facts)
    if status.started_at is None and (entered := _entered_at(attempt)) is not None:
        status = status.model_copy(update={"started_at": times.render(entered)})
    actions: list[Action] = []
    waits: list[datetime | None] = [deletion.let_go_at(recording, settings)]
    if judged.phase is Phase.STARTING:
        waits.append(start_by)
    if judged.phase is Phase.STOPPING:
        kill_at = deadlines.stop(since if judged.phase is phase else now, settings)
        if now >= kill_at and pod is not None and not pod.deleting:
            actions.append(DeletePod(pod.name, pod.uid))
        waits.append(kill_at if now < kill_at else None)
    if judged.phase is phase:
        waits.append(give_up_at)
    if judged.phase is Phase.FINALIZING:
        waits.append(since + timedelta(seconds=phases.DRAIN_SECONDS + 1))
    else:
        actions.extend(_token(seen, attempt, settings))
        waits.append(_token_due_at(seen, settings))
    known = [wait for wait in waits if wait is not None and wait > now]
    return Plan(
        status=status,
        actions=tuple(actions),
        retry=judged.phase is Phase.STARTING,
        after=_seconds_to(now, min(known, default=None)),
    )


def _token(seen: Observed, attempt: Attempt, settings: Settings) -> tuple[Action, ...]:
    """The room token, when it is due and what it is made of was observed."""
    life = timedelta(seconds=settings.token_seconds)
    spec, app, keys = seen.recording.spec, seen.app, seen.app_secret
    if not tokens.due(seen.token_expires, seen.now, life) or spec is None or app is None or app.spec is None:
        return ()
    if keys is None or keys.values is None or acceptance.app_keys_fault(seen, app.spec) is not None:
        return ()
    identity = naming.robot_identity(spec.robot.user_id, attempt.index)
    room = tokens.room_name(app.spec.room.livekit.room_names, spec.room)
    key, secret = (keys.values[name] for name in acceptance.APP_KEYS)
    token = tokens.mint(key, secret, room, identity, seen.now, life)
    return (WriteToken(tokens.secret(seen.recording, attempt.index, token, seen.now + life)),)


def _token_due_at(seen: Observed, settings: Settings) -> datetime | None:
    if seen.token_expires is None:
        return None
    return seen.token_expires - timedelta(seconds=settings.token_seconds / 2)


def _entered_at(attempt: Attempt) -> datetime | None:
    """When the robot was in the room, by the report's 301."""
    events = attempt.report.events if attempt.report else []
    return next(
        (times.from_ms(e.ts) for e in events if e.type == EventType.RECORDER_START and e.args.get("Status") == 0), None
    )


def _status(seen: Observed, status: CloudRecordingStatus, phase: Phase, new: Sequence[Fact]) -> CloudRecordingStatus:
    """`status` with this phase and these facts."""
    recording, now = seen.recording, seen.now
    since = status.phase_since if status.phase is phase and status.phase_since else times.render(now)
    files = sum(len(attempt.report.files) for attempt in status.attempts if attempt.report)
    return status.model_copy(
        update={
            "phase": phase,
            "phase_since": since,
            "observed_generation": recording.generation,
            "files": files if status.attempts else None,
            "conditions": conditions.merge(status.conditions, new, recording.generation, now),
        }
    )


def _end(seen: Observed, status: CloudRecordingStatus, phase: Phase, new: Sequence[Fact]) -> CloudRecordingStatus:
    """The terminal status."""
    ended = _status(seen, status, phase, new)
    attempt = max(status.attempts, key=lambda a: a.index, default=None)
    started = _entered_at(attempt) if attempt is not None else None
    told = status.operator_events
    if seen.recording.accepted or status.task_id is not None:
        told = facts.closing(status.attempts, told, phase is Phase.FAILED, times.to_ms(seen.now))
    return ended.model_copy(
        update={
            "started_at": status.started_at or (times.render(started) if started else None),
            "ended_at": times.render(seen.now),
            "operator_events": told,
        }
    )


def _with(attempts: Sequence[Attempt], changed: Attempt) -> list[Attempt]:
    return [changed if attempt.pod == changed.pod else attempt for attempt in attempts]


def _own(pod: Pod | None, recording: Recording) -> Pod | None:
    return pod if pod is not None and pod.owner == recording.uid else None


def _seconds_to(now: datetime, then: datetime | None) -> float | None:
    return None if then is None else max(0.0, (then - now).total_seconds())
