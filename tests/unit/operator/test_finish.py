"""From the recording's end to an empty backup store: when a finisher is made, followed, given up, and what is said."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import ConditionType, Phase
from cloudrec_operator import times
from cloudrec_operator.decide import decide
from cloudrec_operator.observed import App, Container, Node, Observed, Pod, Recording
from cloudrec_operator.plan import CreatePod, DeletePod, Plan
from cloudrec_operator.policy import finishing
from tests.unit.operator.samples import (
    APP_SPEC,
    NOW,
    SETTINGS,
    SPEC,
    UID,
    accepted,
    attempt,
    exited,
    keys,
    nth,
    pod,
    pods,
    recording,
    seen,
)

BACKUP = {"endpoint": "http://backup.test:8333", "bucket": "spare", "credentialsSecretRef": {"name": "backup-keys"}}
WITH_BACKUP: dict[str, Any] = {**SPEC, "storage": {"bucket": {**SPEC["storage"]["bucket"], "backup": BACKUP}}}
FILE = {"userId": "a", "media": "main", "kind": "audio", "beginTimeStamp": 1}
LEFT: dict[str, Any] = {
    "state": "Ended",
    "ready": True,
    "leaveCode": 0,
    "files": [FILE],
    "uploaded": True,
    "backup": 3,
    "conditions": [{"reason": "BackupInUse", "message": "the bucket does not take files"}],
}
DONE = {"reason": "Stopped", "message": "stopped", "ago": 60}
SAID = {"seq": 1, "type": 305, "ts": times.to_ms(NOW - timedelta(seconds=60)), "args": {"Status": 1}}


def finisher(index: int = 0, report: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return attempt(
        index, report, **{"pod": f"lesson-0b9d2-f{index}", "podUID": f"uid-f{index}", "role": "Finish", **more}
    )


def its_pod(index: int = 0, **changes: Any) -> Pod:
    return pod(
        name=f"lesson-0b9d2-f{index}",
        uid=f"uid-f{index}",
        recorder=Container(),
        uploader=Container(),
        **{"finisher": Container(running=True), **changes},
    )


def world(*attempts: dict[str, Any], told: Any = (SAID,), **around: Any) -> Observed:
    """A task whose recording has ended; with a backup store, and its keys."""
    meta = around.pop("meta", {})
    since = timedelta(seconds=60)
    status = accepted(attempts=list(attempts), phase=Phase.FINALIZING, since=since, operatorEvents=list(told))
    around = {"backup_secret": keys("backup-keys", accessKey="AK", secretKey="SK"), **around}
    return seen(recording(WITH_BACKUP, status, **meta), **around)


def uploaded(plan: Plan) -> tuple[str, str, str]:
    assert plan.status is not None
    (found,) = [c for c in plan.status.conditions if c.type == ConditionType.UPLOADED]
    return found.status, found.reason, found.message


def told(plan: Plan) -> list[tuple[int, Any]]:
    assert plan.status is not None
    return [(event.type, event.args) for event in plan.status.operator_events]


def after(world: Observed, plan: Plan) -> Observed:
    assert plan.status is not None
    return replace(world, recording=replace(world.recording, status=plan.status))


def test_files_in_the_backup_store_are_followed_by_a_finisher() -> None:
    before = world(attempt(0, LEFT, **DONE), told=())
    plan = decide(before, SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.FINALIZING
    assert told(plan) == [(305, {"Status": 1})]
    first, second = plan.status.attempts
    assert (second.pod, second.index, second.role, second.pod_uid) == ("lesson-0b9d2-f0", 0, "Finish", None)
    assert plan.status.attempt == first.index == 0
    truth, reason, message = uploaded(plan)
    assert (truth, reason) == ("False", Reason.BACKUP_IN_USE)
    assert message == "3 files are in the backup store alone; Pod lesson-0b9d2-f0 brings them into the bucket"
    assert plan.actions == ()
    then = decide(after(before, plan), SETTINGS)
    (made,) = [action for action in then.actions if isinstance(action, CreatePod)]
    assert made.manifest["metadata"]["name"] == "lesson-0b9d2-f0"
    assert "CLOUDREC_CONVERT" not in str(made.manifest)
    assert told(then) == [(305, {"Status": 1})]
    assert plan.status.phase_since == times.render(NOW), "its time counts from now on"
    assert [c.type for c in plan.status.conditions if c.type == ConditionType.CONVERTED] == []


@pytest.mark.parametrize(
    ("report", "needed"),
    [
        (LEFT, True),
        ({**LEFT, "backup": 0}, True),  # lost, perhaps, before it could count
        ({**LEFT, "conditions": []}, True),
        ({**LEFT, "backup": 0, "conditions": []}, False),
    ],
)
def test_without_need_there_is_none(report: dict[str, Any], needed: bool) -> None:
    plan = decide(world(attempt(0, report, **DONE), told=()), SETTINGS)
    assert plan.status is not None
    assert (plan.status.phase is Phase.FINALIZING) is needed
    assert told(plan) == [(305, {"Status": int(needed)})]


def test_a_deleted_recording_gets_none() -> None:
    meta = {"deletionTimestamp": times.render(NOW - timedelta(seconds=1))}
    plan = decide(world(attempt(0, LEFT, **DONE), told=(), meta=meta), SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.COMPLETED
    assert uploaded(plan)[:2] == ("False", Reason.BACKUP_IN_USE)


def test_it_waits_for_the_recorders_pods_and_has_them_go() -> None:
    sidecar = nth(0, recorder=exited(0))
    declared = finisher(podUID=None)
    plan = decide(world(attempt(0, LEFT, **DONE), declared, pods=pods(sidecar)), SETTINGS)
    assert [action for action in plan.actions if not isinstance(action, DeletePod)] == []
    (gone,) = plan.actions
    assert isinstance(gone, DeletePod)
    assert gone.name == sidecar.name
    leaving = replace(sidecar, deleting=True)
    plan = decide(world(attempt(0, LEFT, **DONE), declared, pods=pods(leaving)), SETTINGS)
    assert plan.actions == ()
    assert plan.after is not None
    plan = decide(world(attempt(0, LEFT, **DONE), declared, pods=pods(replace(leaving, phase="Succeeded"))), SETTINGS)
    assert any(isinstance(action, CreatePod) for action in plan.actions)
    # One that does not go is not waited for for ever.
    late = world(attempt(0, LEFT, **DONE), declared, pods=pods(leaving), now=NOW + timedelta(seconds=120))
    assert any(isinstance(action, CreatePod) for action in decide(late, SETTINGS).actions)


def test_the_uid_is_kept_and_a_steady_finisher_writes_nothing() -> None:
    before = world(attempt(0, LEFT, **DONE), finisher(podUID=None), pods=pods(its_pod()))
    plan = decide(before, SETTINGS)
    assert plan.status is not None
    assert plan.status.attempts[1].pod_uid == "uid-f0"
    assert plan.actions == ()
    again = decide(after(before, plan), SETTINGS)
    assert again.status == plan.status
    assert (again.retry, again.actions) == (False, ())
    assert again.after == pytest.approx(SETTINGS.finish_seconds - 60 + finishing.MARGIN_SECONDS)


def test_trouble_is_told() -> None:
    report = {"backup": 2, "conditions": [{"reason": "BucketUnreachable", "message": "503"}]}
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, report), pods=pods(its_pod())), SETTINGS)
    assert uploaded(plan)[2].startswith("2 files are in the backup store alone")
    assert "(BucketUnreachable: 503)" in uploaded(plan)[2]
    stuck = its_pod(finisher=Container(waiting="ImagePullBackOff", message="no such image"), phase="Pending")
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(), pods=pods(stuck)), SETTINGS)
    assert "ImagePullBackOff: no such image" in uploaded(plan)[2]


def test_what_it_needs_and_lacks_is_told_and_waited_for() -> None:
    declared = finisher(podUID=None)
    plan = decide(world(attempt(0, LEFT, **DONE), declared, backup_secret=None), SETTINGS)
    assert plan.retry
    assert plan.actions == ()
    assert "backup-keys" in uploaded(plan)[2]
    plan = decide(world(attempt(0, LEFT, **DONE), declared, app=None), SETTINGS)
    assert plan.retry
    plan = decide(
        world(attempt(0, LEFT, **DONE), declared, app=App.parse({"spec": APP_SPEC}), app_secret=None), SETTINGS
    )
    assert any(isinstance(action, CreatePod) for action in plan.actions), "LiveKit's keys are not needed"


def test_a_good_end() -> None:
    report = {"state": "Ended", "uploaded": True}
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, report), pods=pods(its_pod())), SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.COMPLETED
    assert told(plan) == [(305, {"Status": 1}), (305, {"Status": 2})]
    assert uploaded(plan) == ("True", Reason.UPLOADED, "1 playlists and all their segments")
    assert (plan.status.attempts[1].reason, plan.status.attempts[1].failed) == (Reason.UPLOADED, False)
    assert plan.status.ended_at == times.render(NOW)


def test_copies_that_cannot_be_removed_are_told_of() -> None:
    kept = [{"reason": "BackupFailed", "message": "copies stay in spare/: AccessDenied"}]
    report = {"state": "Ended", "uploaded": True, "conditions": kept}
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, report), pods=pods(its_pod())), SETTINGS)
    assert uploaded(plan)[0] == "True"
    assert "AccessDenied" in uploaded(plan)[2]
    assert told(plan)[-1] == (305, {"Status": 2})


@pytest.mark.parametrize(
    ("there", "nodes", "why"),
    [
        ({}, {}, "its Pod is gone"),
        (pods(its_pod(phase="Failed", finisher=exited(137))), {}, "exited with code 137"),
        (pods(its_pod(finisher=exited(1, "FinisherFailed", "no space"))), {}, "no space"),
        (pods(its_pod(node="n1", deleting=True)), {"n1": Node("node n1 is not ready")}, "node n1 is not ready"),
    ],
)
def test_one_that_dies_is_followed_after_a_pause(there: dict[str, Pod], nodes: dict[str, Node], why: str) -> None:
    before = world(attempt(0, LEFT, **DONE), finisher(0, {"backup": 2}), pods=there, nodes=nodes)
    plan = decide(before, SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.FINALIZING
    _, dead, next_ = plan.status.attempts
    assert (dead.reason, dead.failed) == (Reason.FINISHER_FAILED, True)
    assert why in dead.message
    assert (next_.pod, next_.index, next_.role) == ("lesson-0b9d2-f1", 1, "Finish")
    assert told(plan) == [(305, {"Status": 1})]
    waiting = decide(after(before, plan), SETTINGS)
    assert not any(isinstance(action, CreatePod) for action in waiting.actions)
    assert waiting.after == pytest.approx(finishing.PAUSES[0])
    due = replace(after(before, plan), now=NOW + timedelta(seconds=finishing.PAUSES[0]), nodes={}, pods={})
    (made,) = [a for a in decide(due, SETTINGS).actions if isinstance(a, CreatePod)]
    assert made.manifest["metadata"]["name"] == "lesson-0b9d2-f1"


def dead_ones(count: int) -> list[dict[str, Any]]:
    return [finisher(n, None, reason="FinisherFailed", message="killed", failed=True, ago=30) for n in range(count)]


def test_five_that_die_are_enough() -> None:
    count = finishing.ATTEMPTS_MAX
    every = [attempt(0, LEFT, **DONE), *dead_ones(count - 1), finisher(count - 1)]
    plan = decide(world(*every, pods=pods(its_pod(count - 1, finisher=exited(137)))), SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.COMPLETED
    truth, reason, message = uploaded(plan)
    assert (truth, reason) == ("False", Reason.BACKUP_IN_USE)
    assert message == "3 files are in the backup store alone: the finisher exited with code 137"
    assert told(plan) == [(305, {"Status": 1})]


def test_what_cannot_be_copied_is_told_with_its_place() -> None:
    left = [{"reason": "BackupInUse", "message": "what cannot be copied stays in spare/x at http://backup.test"}]
    report = {"state": "Ended", "uploaded": True, "backup": 1, "conditions": left}
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, report), pods=pods(its_pod())), SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.COMPLETED
    assert uploaded(plan)[1:] == (Reason.BACKUP_IN_USE, f"1 files are in the backup store alone: {left[0]['message']}")
    assert told(plan) == [(305, {"Status": 1})]


def test_what_has_gone_from_the_backup_store_is_missing() -> None:
    report = {"state": "Ended", "uploaded": True, "missing": 1}
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, report), pods=pods(its_pod())), SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.FAILED
    assert uploaded(plan)[:2] == ("False", Reason.UPLOAD_FAILED)


def test_it_is_given_up_in_time() -> None:
    there = pods(its_pod())
    late = NOW + timedelta(seconds=SETTINGS.finish_seconds + finishing.MARGIN_SECONDS)
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(), pods=there, now=late), SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.COMPLETED
    assert "given up" in uploaded(plan)[2]


def test_a_deletion_ends_it_and_the_files_stay() -> None:
    meta = {"deletionTimestamp": times.render(NOW - timedelta(seconds=1))}
    before = world(attempt(0, LEFT, **DONE), finisher(0, {"backup": 2}), pods=pods(its_pod()), meta=meta)
    plan = decide(before, SETTINGS)
    assert plan.status is not None
    assert plan.status.phase is Phase.COMPLETED
    assert uploaded(plan)[1:] == (
        Reason.BACKUP_IN_USE,
        "2 files are in the backup store alone: the recording is deleted: its files stay in the backup store",
    )
    then = decide(after(before, plan), SETTINGS)
    assert [action.name for action in then.actions if isinstance(action, DeletePod)] == ["lesson-0b9d2-f0"]


def test_the_newest_attempt_that_records_is_never_a_finisher() -> None:
    both = accepted(attempts=[attempt(0, LEFT, **DONE), finisher(4)], phase=Phase.FINALIZING)
    found: Recording = recording(WITH_BACKUP, both)
    assert found.attempt is not None
    assert found.attempt.index == 0
    assert found.finisher is not None
    assert found.finisher.index == 4
    assert found.uid == UID
