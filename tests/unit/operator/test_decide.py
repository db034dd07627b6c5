from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import CloudRecordingStatus, ConditionType, Phase
from cloudrec_operator import status as statuses
from cloudrec_operator import times
from cloudrec_operator.decide import decide
from cloudrec_operator.observed import Container, Observed, Recording, SecretData
from cloudrec_operator.plan import (
    CreatePod,
    DeletePod,
    DeleteRecording,
    EnsureAccess,
    Hold,
    Plan,
    WriteToken,
)
from tests.unit.operator.samples import (
    NOW,
    POD,
    POD_UID,
    SETTINGS,
    SPEC,
    UID,
    accepted,
    exited,
    pod,
    recording,
    seen,
)

STOPPED = {**SPEC, "desiredState": "Stopped"}
FRESH = NOW + timedelta(hours=6)
DELETED = times.render(NOW - timedelta(seconds=1))
JOINED = {"seq": 1, "type": 301, "ts": 5, "args": {"Status": 0}}
READY: dict[str, Any] = {"state": "Recording", "ready": True, "files": [], "events": [JOINED]}


def plan(rec: Recording, **around: Any) -> Plan:
    return decide(seen(rec, **around), SETTINGS)


def condition(status: CloudRecordingStatus | None, kind: ConditionType) -> tuple[str, str] | None:
    assert status is not None
    return next(((c.status, c.reason) for c in status.conditions if c.type == kind), None)


def kinds(made: Plan) -> list[type]:
    return [type(action) for action in made.actions]


# --- acceptance -----------------------------------------------------------------------------------------------------


def test_it_is_held_before_it_is_accepted() -> None:
    made = plan(recording(finalizers=[]))
    assert made.status is None
    assert made.actions == (Hold(True),)


def test_acceptance_declares_the_attempt_before_its_pod() -> None:
    made = plan(recording())
    assert made.status is not None
    assert (made.status.phase, made.status.task_id, made.status.epoch) == (Phase.PENDING, UID, times.to_ms(NOW))
    assert [(a.pod, a.pod_uid, a.index) for a in made.status.attempts] == [(POD, None, 0)]
    assert condition(made.status, ConditionType.ACCEPTED) == ("True", Reason.ACCEPTED)
    assert kinds(made) == [EnsureAccess, WriteToken, CreatePod]


def test_the_pod_is_made_again_until_it_is_seen_then_its_uid_is_kept() -> None:
    declared = recording(status=accepted(phase=Phase.PENDING, pod_uid=None))
    assert kinds(plan(declared, token_expires=FRESH)) == [EnsureAccess, CreatePod]
    made = plan(declared, pod=pod(phase="Pending"), token_expires=FRESH)
    assert made.status is not None
    assert made.status.attempts[0].pod_uid == POD_UID
    assert made.status.phase is Phase.STARTING
    assert kinds(made) == []


def test_what_is_missing_is_waited_for_with_growing_pauses() -> None:
    made = plan(recording(finalizers=[]), app=None)
    assert made.status is not None
    assert made.status.phase is Phase.PENDING
    assert made.status.task_id is None
    assert condition(made.status, ConditionType.ACCEPTED) == ("False", Reason.APP_NOT_FOUND)
    assert made.retry
    assert made.actions == ()


def test_what_can_never_work_fails() -> None:
    made = plan(recording({**SPEC, "mode": "Hologram"}, finalizers=[]))
    assert made.status is not None
    assert made.status.phase is Phase.FAILED
    assert made.status.ended_at == times.render(NOW)
    assert made.status.operator_events == []


def test_stopped_before_acceptance_completes_without_a_pod() -> None:
    made = plan(recording(STOPPED, finalizers=[]))
    assert made.status is not None
    assert made.status.phase is Phase.COMPLETED
    assert made.actions == ()


@pytest.mark.parametrize("held", [True, False])
def test_deleted_before_acceptance_is_let_go(held: bool) -> None:
    made = plan(recording(deletionTimestamp=DELETED, finalizers=["cloudrec.dev/recording"] if held else []))
    assert made.status is None
    assert made.actions == ((Hold(False),) if held else ())


# --- before there is a Pod ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("around", "reason"),
    [
        ({"pod": replace(pod(), owner="another")}, Reason.POD_STARTING),
        ({"refused": "exceeded quota"}, Reason.POD_REFUSED),
        ({"bucket_secret": SecretData("bucket-keys", None)}, Reason.SECRET_NOT_FOUND),
        ({"app": None}, Reason.APP_NOT_FOUND),
    ],
)
def test_no_pod_yet_says_why_and_fails_in_time(around: dict[str, Any], reason: Reason) -> None:
    around = {"token_expires": FRESH, **around}
    status = accepted(phase=Phase.PENDING, pod_uid=None)
    made = plan(recording(status=status), **around)
    assert condition(made.status, ConditionType.RECORDER_READY) == ("False", reason)
    assert (CreatePod in kinds(made)) == (reason is Reason.POD_REFUSED)
    late = accepted(phase=Phase.PENDING, pod_uid=None, age=timedelta(seconds=SETTINGS.start_seconds))
    failed = plan(recording(status=late), **around)
    assert failed.status is not None
    assert failed.status.phase is Phase.FAILED
    assert condition(failed.status, ConditionType.RECORDER_READY) == ("False", Reason.START_TIMEOUT)
    assert [(e.type, e.args) for e in failed.status.operator_events] == [(301, {"Status": 1})]


@pytest.mark.parametrize("way", [{"spec": STOPPED}, {"deletionTimestamp": DELETED}])
def test_stopped_before_its_pod_completes(way: dict[str, Any]) -> None:
    made = plan(recording(status=accepted(phase=Phase.PENDING, pod_uid=None), **way))
    assert made.status is not None
    assert made.status.phase is Phase.COMPLETED
    assert made.status.operator_events == []


# --- with a Pod -----------------------------------------------------------------------------------------------------


def test_a_steady_recording_writes_nothing() -> None:
    first = plan(recording(status=accepted(READY)), pod=pod(), token_expires=FRESH)
    assert first.status is not None
    again = Recording.parse(
        {
            "metadata": {"name": "lesson", "namespace": "school", "uid": UID, "resourceVersion": "8", "generation": 3},
            "spec": SPEC,
            "status": first.status.wire(),
        }
    )
    later = seen(again, NOW + timedelta(hours=1), pod=pod(), token_expires=FRESH)
    second = decide(later, SETTINGS)
    assert second.status is not None
    assert not statuses.differs(again.status, second.status)
    assert second.actions == ()
    assert first.status.started_at == "1970-01-01T00:00:00Z"


def test_the_token_is_renewed_at_half() -> None:
    rec = recording(status=accepted(READY))
    assert kinds(plan(rec, pod=pod(), token_expires=NOW + timedelta(hours=3))) == [WriteToken]
    assert kinds(plan(rec, pod=pod(), token_expires=NOW + timedelta(hours=4))) == []
    unsaid = plan(rec, pod=pod(), token_expires=NOW, bucket_secret=SecretData("bucket-keys", None))
    assert kinds(unsaid) == [WriteToken]
    assert kinds(plan(rec, pod=pod(), token_expires=NOW, app_secret=SecretData("livekit-keys", None))) == []


def test_a_refused_token_is_told_of_while_the_pod_waits_for_it() -> None:
    waiting = replace(pod(), phase="Pending", recorder=Container(waiting="ContainerCreating"), uploader=Container())
    made = plan(recording(status=accepted(phase=Phase.STARTING)), pod=waiting, refused="exceeded quota: secrets")
    assert condition(made.status, ConditionType.RECORDER_READY) == ("False", Reason.POD_REFUSED)
    assert WriteToken in kinds(made)


def test_a_recorder_that_will_not_stop_is_sent_a_signal_then_given_up() -> None:
    def stopping(since: float) -> Plan:
        rec = recording(STOPPED, status=accepted(READY, Phase.STOPPING, timedelta(seconds=since)))
        return plan(rec, pod=pod(), token_expires=FRESH)

    assert stopping(1).actions == ()
    assert stopping(1).after == SETTINGS.stop_seconds - 1
    assert stopping(SETTINGS.stop_seconds).actions == (DeletePod(POD, POD_UID),)
    given_up = stopping(SETTINGS.stop_seconds + SETTINGS.finalize_seconds).status
    assert given_up is not None
    assert given_up.phase is Phase.FAILED
    assert [(e.type, e.args) for e in given_up.operator_events] == [(302, {"LeaveCode": 100}), (305, {"Status": 1})]


def test_the_exit_is_kept_for_the_sidecar_to_see() -> None:
    rec = recording(STOPPED, status=accepted(READY))
    made = plan(rec, pod=pod(recorder=exited(1, "OOMKilled")), token_expires=FRESH)
    assert made.status is not None
    assert made.status.phase is Phase.FINALIZING
    kept = made.status.attempts[0].exit
    assert kept is not None
    assert kept.reason == "OOMKilled"


def test_a_good_end() -> None:
    events = [*READY["events"], {"seq": 2, "type": 302, "ts": 6, "args": {"LeaveCode": 0}}]
    report = {**READY, "state": "Ended", "uploaded": True, "leaveCode": 0, "events": events}
    made = plan(recording(STOPPED, status=accepted(report)), pod=pod(recorder=exited(0)), token_expires=FRESH)
    assert made.status is not None
    assert made.status.phase is Phase.COMPLETED
    assert [(e.type, e.args) for e in made.status.operator_events] == [(305, {"Status": 0})]
    assert made.status.ended_at == times.render(NOW)


# --- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.FAILED])
def test_terminal_is_never_left(phase: Phase) -> None:
    ended = accepted(READY, phase, endedAt=times.render(NOW))
    for around in ({"pod": pod()}, {"pod": None}, {"pod": pod(recorder=exited(1))}):
        assert plan(recording(status=ended), **around).status is None


def test_after_the_end_the_pod_goes_and_the_resource_is_let_go() -> None:
    ended = recording(status=accepted(READY, Phase.COMPLETED, endedAt=times.render(NOW)))
    assert plan(ended, pod=pod()).actions == (DeletePod(POD, POD_UID, 30), Hold(False))
    assert plan(ended, pod=pod(deleting=True)).actions == (Hold(False),)
    assert plan(ended, pod=replace(pod(), owner="another")).actions == (Hold(False),)


def test_ttl_after_the_end() -> None:
    spec = {**SPEC, "ttlSecondsAfterFinished": 60}
    ended = accepted(READY, Phase.COMPLETED, endedAt=times.render(NOW - timedelta(seconds=50)))
    early = plan(recording(spec, status=ended, finalizers=[]))
    assert (early.actions, early.after) == ((), 10)
    due = Observed(recording(spec, status=ended, finalizers=[]), NOW + timedelta(seconds=10))
    assert decide(due, SETTINGS).actions == (DeleteRecording(),)
    kept = plan(recording(status=ended, finalizers=[]))
    assert (kept.actions, kept.after) == ((), None)


# --- deletion -------------------------------------------------------------------------------------------------------


def test_a_deleted_recording_is_stopped_and_flushed_then_let_go() -> None:
    rec = recording(status=accepted(READY), deletionTimestamp=DELETED)
    made = plan(rec, pod=pod(), token_expires=FRESH)
    assert made.status is not None
    assert made.status.phase is Phase.STOPPING
    assert made.actions == ()
    assert made.after is not None


def test_a_deleted_recording_is_let_go_at_its_deadline() -> None:
    deleted = times.render(NOW - timedelta(seconds=SETTINGS.delete_seconds))
    for phase in (Phase.STOPPING, Phase.FINALIZING, Phase.PENDING):
        made = plan(recording(status=accepted(READY, phase), deletionTimestamp=deleted), pod=pod())
        assert made.status is None
        assert made.actions == (Hold(False),)


# --- the write ------------------------------------------------------------------------------------------------------


def test_the_operator_never_applies_a_report() -> None:
    rec = recording(status=accepted(READY))
    made = plan(rec, pod=pod(), token_expires=FRESH)
    assert made.status is not None
    body = statuses.body(rec, made.status)
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["metadata"]["uid"] == UID
    assert body["status"]["attempts"] == [
        {
            "pod": POD,
            "podUID": POD_UID,
            "index": 0,
            "role": "Record",
            "reason": "",
            "message": "",
            "failed": False,
            "acked": 0,
        }
    ]
    assert "report" not in str(body)
    assert set(body) == {"apiVersion", "kind", "metadata", "status"}


def test_transition_times_move_only_with_the_status() -> None:
    rec = recording(status=accepted(phase=Phase.STARTING))
    first = plan(rec, pod=pod(unschedulable="0/1 nodes", recorder=Container()), token_expires=FRESH).status
    assert first is not None
    later = seen(replace(rec, status=first), NOW + timedelta(seconds=9), pod=pod(), token_expires=FRESH)
    second = decide(later, SETTINGS).status
    assert second is not None
    ready = [next(c for c in s.conditions if c.type == "RecorderReady") for s in (first, second)]
    assert ready[0].reason != ready[1].reason
    assert ready[0].last_transition_time == ready[1].last_transition_time
