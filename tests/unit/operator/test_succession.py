"""An attempt ends; who goes on, and how the task ends in the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import CloudRecordingStatus, ConditionType, Phase
from cloudrec_operator import times
from cloudrec_operator.decide import decide
from cloudrec_operator.observed import Container, Node, Pod
from cloudrec_operator.plan import CreatePod, DeletePod, DeleteRecording, Plan
from cloudrec_operator.policy import attempts
from tests.unit.operator.samples import (
    NOW,
    SETTINGS,
    SPEC,
    accepted,
    attempt,
    exited,
    nth,
    pods,
    recording,
    seen,
)

FRESH = NOW + timedelta(hours=6)
STOPPED = {**SPEC, "desiredState": "Stopped"}
FILE = {"userId": "a", "media": "main", "kind": "audio", "beginTimeStamp": 1}
JOINED = {"seq": 1, "type": 301, "ts": 5, "args": {"Status": 0}}
BUSY: dict[str, Any] = {"state": "Recording", "ready": True, "files": [FILE], "events": [JOINED]}
ENDED = {**BUSY, "state": "Ended"}
SALVAGED = {**ENDED, "uploaded": True, "conditions": [{"reason": "RecorderDied", "message": "it was killed"}]}
HANDED = {**ENDED, "uploaded": True}
LEFT = {**ENDED, "uploaded": True, "leaveCode": 0}
DOWN = {"n1": Node("node n1 is not ready: no word from the kubelet")}
GONE = {"n1": Node.missing("n1")}
DIED = {"failed": True, "reason": "RecorderFailed", "message": "killed", "ago": 5}
OVER = {"reason": "HandedOver", "message": "drained", "ago": 5}


def plan(declared: list[dict[str, Any]], *some: Pod, phase: Phase = Phase.RECORDING, **more: Any) -> Plan:
    since = timedelta(seconds=more.pop("since", 5))
    spec, meta, events = more.pop("spec", SPEC), more.pop("meta", {}), more.pop("events", [])
    status = accepted(phase=phase, since=since, attempts=declared, operatorEvents=events)
    around = {"pods": pods(*some), "token_expires": FRESH, **more}
    return decide(seen(recording(spec, status, **meta), **around), SETTINGS)


def status(made: Plan) -> CloudRecordingStatus:
    assert made.status is not None
    return made.status


def condition(made: Plan, kind: ConditionType) -> tuple[str, str, str]:
    return next((c.status, c.reason, c.message) for c in status(made).conditions if c.type == kind)


def told(made: Plan) -> list[tuple[int, Any]]:
    return [(event.type, event.args) for event in status(made).operator_events]


# --- what is a failure, what a hand-over, what the end --------------------------------------------------------------


@pytest.mark.parametrize(
    ("report", "pod", "nodes", "reason"),
    [
        pytest.param(BUSY, nth(0, recorder=exited(137)), {}, Reason.RECORDER_FAILED, id="killed"),
        pytest.param(BUSY, nth(0, recorder=exited(137, "OOMKilled")), {}, Reason.RECORDER_FAILED, id="OOM"),
        pytest.param(BUSY, nth(0, recorder=exited(1, "SpoolFailed", "ENOSPC")), {}, Reason.SPOOL_FAILED, id="its own"),
        pytest.param(BUSY, nth(0, recorder=exited(137), deleting=True), {}, Reason.RECORDER_FAILED, id="died leaving"),
        pytest.param(BUSY, nth(0, recorder=exited(1, "TokenRefused")), {}, Reason.TOKEN_REFUSED, id="refused later"),
        pytest.param(BUSY, None, {}, Reason.POD_LOST, id="Pod gone"),
        pytest.param(BUSY, nth(0, uid="other"), {}, Reason.POD_LOST, id="another Pod of the name"),
        pytest.param(SALVAGED, None, {}, Reason.RECORDER_DIED, id="salvaged, Pod gone"),
        pytest.param(SALVAGED, nth(0), {}, Reason.RECORDER_DIED, id="salvaged, the exit not seen yet"),
        pytest.param(BUSY, nth(0, phase="Failed", reason="Evicted", message="disk"), {}, Reason.EVICTED, id="kubelet"),
        pytest.param(
            BUSY, nth(0, phase="Failed", reason="Evicted", recorder=exited(137)), {}, Reason.EVICTED, id="with exit"
        ),
        pytest.param(BUSY, nth(0, deleting=True, node="n1"), DOWN, Reason.NODE_LOST, id="deleted on a dead node"),
        pytest.param(BUSY, nth(0, disruption="DeletionByTaintManager", node="n1"), DOWN, Reason.NODE_LOST, id="taint"),
        pytest.param(BUSY, nth(0, node="n1"), GONE, Reason.NODE_LOST, id="node gone"),
        pytest.param(None, nth(0, recorder=exited(1)), {}, Reason.RECORDER_FAILED, id="before the room"),
        pytest.param(None, None, {}, Reason.POD_LOST, id="lost before it began"),
    ],
)
def test_a_failure_is_followed_at_once(
    report: dict[str, Any] | None, pod: Pod | None, nodes: dict[str, Node], reason: Reason
) -> None:
    made = plan([attempt(0, report)], *([pod] if pod else []), nodes=nodes)
    first, second = status(made).attempts
    assert (first.reason, first.failed, first.ended_at) == (reason, True, times.render(NOW))
    assert (second.index, second.pod, second.pod_uid, second.reason) == (1, "lesson-0b9d2-1", None, "")
    assert told(made) == [(306, {"Status": 0})]
    assert status(made).phase is Phase.STARTING
    assert status(made).attempt == 1
    assert made.actions == (), "in status before its Pod is made"


def test_a_container_that_does_not_end_after_its_recorder_is_not_waited_for_for_ever() -> None:
    failed = {**ENDED, "uploaded": True, "conditions": [{"reason": "SpoolFailed", "message": "disk"}]}
    waits = plan([attempt(0, failed)], nth(0))
    assert (status(waits).phase, len(status(waits).attempts)) == (Phase.FINALIZING, 1)
    late = plan([attempt(0, failed)], nth(0), phase=Phase.FINALIZING, since=attempts.DRAIN_SECONDS + 1)
    assert [(a.reason, a.failed) for a in status(late).attempts] == [("RecorderFailed", True), ("", False)]


def test_the_exit_is_kept_whole() -> None:
    died = nth(0, recorder=exited(137, "OOMKilled", "the last lines of its log"))
    first = status(plan([attempt(0, BUSY)], died)).attempts[0]
    assert first.exit is not None
    assert (first.exit.code, first.exit.reason, first.exit.message) == (137, "OOMKilled", "the last lines of its log")
    assert first.message == "OOMKilled: the last lines of its log"


@pytest.mark.parametrize(
    ("report", "pod", "reason"),
    [
        pytest.param(BUSY, nth(0, deleting=True), Reason.HANDED_OVER, id="deleted, evicted, drained"),
        pytest.param(BUSY, nth(0, disruption="EvictionByEvictionAPI"), Reason.HANDED_OVER, id="about to be"),
        pytest.param({"state": "Starting"}, nth(0, deleting=True), Reason.EVICTED, id="before the room"),
        pytest.param(HANDED, nth(0, deleting=True), Reason.HANDED_OVER, id="nobody came in time, uploaded"),
        pytest.param(ENDED, nth(0, deleting=True), Reason.HANDED_OVER, id="nobody came in time, uploading"),
        pytest.param(ENDED, nth(0, recorder=exited(0, "HandedOver")), Reason.HANDED_OVER, id="told by its exit"),
        pytest.param(HANDED, None, Reason.HANDED_OVER, id="nobody looked, and all is gone"),
        pytest.param(
            None,
            nth(0, deleting=True, phase="Pending", recorder=Container(waiting="PodInitializing")),
            Reason.EVICTED,
            id="before it ran",
        ),
    ],
)
def test_a_hand_over_takes_the_next_index_and_is_no_failure(
    report: dict[str, Any] | None, pod: Pod | None, reason: Reason
) -> None:
    made = plan([attempt(0, report)], *([pod] if pod else []))
    assert [(a.index, a.reason, a.failed) for a in status(made).attempts] == [(0, reason, False), (1, "", False)]
    assert told(made) == []


@pytest.mark.parametrize(
    ("report", "pod", "more", "phase"),
    [
        pytest.param(BUSY, nth(0, deleting=True), {"spec": STOPPED}, Phase.STOPPING, id="stopped"),
        pytest.param(
            BUSY,
            nth(0, deleting=True),
            {"meta": {"deletionTimestamp": times.render(NOW)}},
            Phase.STOPPING,
            id="kubectl delete crec",
        ),
        pytest.param(BUSY, nth(0, recorder=exited(1)), {"spec": STOPPED}, Phase.FINALIZING, id="died while stopping"),
        pytest.param(
            {**BUSY, "state": "Stopping"}, nth(0, deleting=True), {}, Phase.STOPPING, id="leaving by itself already"
        ),
        pytest.param({**ENDED, "leaveCode": 99}, nth(0, deleting=True), {}, Phase.FINALIZING, id="left already"),
        pytest.param({**ENDED, "leaveCode": 99}, nth(0, recorder=exited(1)), {}, Phase.FINALIZING, id="died later"),
        pytest.param(BUSY, nth(0, node="n1"), {"nodes": DOWN}, Phase.RECORDING, id="a short NotReady"),
        pytest.param(LEFT, nth(0, recorder=exited(0)), {}, Phase.COMPLETED, id="a good end"),
        pytest.param(HANDED, None, {"spec": STOPPED}, Phase.COMPLETED, id="stopped, Pod gone"),
    ],
)
def test_no_successor(report: dict[str, Any], pod: Pod | None, more: dict[str, Any], phase: Phase) -> None:
    made = plan([attempt(0, report)], *([pod] if pod else []), **more)
    assert len(status(made).attempts) == 1
    assert status(made).phase is phase


def test_a_namespace_that_ends_ends_the_recording() -> None:
    made = plan([attempt(0, BUSY)], nth(0, deleting=True), namespace_ends=True)
    assert (made.status, made.actions) == (None, (DeleteRecording(),))


@pytest.mark.parametrize("given", [Reason.TOKEN_REFUSED, Reason.BUCKET_REFUSED])
def test_a_refusal_is_no_matter_of_luck(given: Reason) -> None:
    refused = {"state": "Starting", "conditions": [{"reason": given, "message": "403"}]}
    made = plan([attempt(0, SALVAGED, **DIED), attempt(1, refused)], nth(1), phase=Phase.STARTING)
    assert status(made).phase is Phase.FAILED
    assert condition(made, ConditionType.RECORDER_READY) == ("False", given, "403")


# --- the successor's Pod --------------------------------------------------------------------------------------------


def pods_made(made: Plan) -> list[str]:
    return [action.manifest["metadata"]["name"] for action in made.actions if isinstance(action, CreatePod)]


@pytest.mark.parametrize(("failed", "pause"), [(1, 0), (2, 2), (3, 10)])
def test_the_first_successor_at_once_later_ones_after_a_pause(failed: int, pause: int) -> None:
    def after(seconds: float) -> Plan:
        ended = [attempt(n, SALVAGED, **{**DIED, "ago": 60}) for n in range(failed - 1)]
        last = attempt(failed - 1, SALVAGED, **{**DIED, "ago": seconds})
        return plan([*ended, last, attempt(failed, podUID=None)], phase=Phase.STARTING, token_expires=None)

    assert pods_made(after(pause)) == [f"lesson-0b9d2-{failed}"]
    if pause:
        early = after(pause - 1)
        assert (pods_made(early), early.after, early.retry) == ([], 1, False)


def test_a_successor_inherits_the_epoch_and_has_an_identity_of_its_own() -> None:
    made = plan([attempt(0, SALVAGED, **DIED), attempt(1, podUID=None)], phase=Phase.STARTING, token_expires=None)
    manifest = next(action.manifest for action in made.actions if isinstance(action, CreatePod))
    env = {e["name"]: e.get("value") for e in manifest["spec"]["initContainers"][0]["env"]}
    assert f'"epoch":{times.to_ms(NOW - timedelta(seconds=10))}' in env["CLOUDREC_TASK"]
    assert '"index":1' in env["CLOUDREC_TASK"]
    volumes = {volume["name"]: volume for volume in manifest["spec"]["volumes"]}
    assert volumes["room"]["secret"]["secretName"] == "lesson-0b9d2-1-room"


def test_the_old_pod_stays_until_its_sidecar_is_done() -> None:
    def cleared(report: dict[str, Any], **changes: Any) -> list[str]:
        ended = attempt(0, report, **{**DIED, **changes})
        made = plan([ended, attempt(1, BUSY)], nth(0, recorder=exited(137)), nth(1))
        assert status(made).phase is Phase.RECORDING
        return [action.name for action in made.actions if isinstance(action, DeletePod)]

    assert cleared(ENDED) == []
    assert cleared(SALVAGED) == ["lesson-0b9d2-0"]
    assert cleared(ENDED, ago=SETTINGS.finalize_seconds) == ["lesson-0b9d2-0"]


def test_a_successor_that_cannot_start_fails_in_time() -> None:
    waiting = nth(1, phase="Pending", unschedulable="0/3 nodes", recorder=Container())
    made = plan(
        [attempt(0, SALVAGED, **{**DIED, "ago": SETTINGS.start_seconds}), attempt(1)],
        waiting,
        phase=Phase.STARTING,
    )
    assert status(made).phase is Phase.FAILED
    kind, reason, message = condition(made, ConditionType.RECORDER_READY)
    assert (kind, reason) == ("False", Reason.START_TIMEOUT)
    assert "0/3 nodes" in message


# --- a hand-over's course -------------------------------------------------------------------------------------------


def test_while_it_is_handed_over_the_task_goes_on_recording() -> None:
    made = plan([attempt(0, BUSY, **OVER), attempt(1)], nth(0, deleting=True), nth(1), phase=Phase.RECORDING)
    assert status(made).phase is Phase.RECORDING
    truth, reason, message = condition(made, ConditionType.RECORDER_READY)
    assert (truth, reason) == ("True", Reason.HANDED_OVER)
    assert "attempt 0 goes on until attempt 1 is in the room" in message
    there = plan([attempt(0, BUSY, **OVER), attempt(1, BUSY)], nth(0, deleting=True), nth(1))
    assert condition(there, ConditionType.RECORDER_READY)[:2] == ("True", Reason.READY)
    handed = plan([attempt(0, HANDED, **OVER), attempt(1, BUSY)], nth(1))
    assert status(handed).phase is Phase.RECORDING
    assert handed.actions == ()


def test_a_successor_that_fails_while_the_old_one_records_is_a_failure() -> None:
    made = plan(
        [attempt(0, BUSY, **OVER), attempt(1)], nth(0, deleting=True), nth(1, recorder=exited(1)), phase=Phase.RECORDING
    )
    assert [(a.reason, a.failed) for a in status(made).attempts] == [
        ("HandedOver", False),
        ("RecorderFailed", True),
        ("", False),
    ]
    assert status(made).phase is Phase.RECORDING
    assert told(made) == [(306, {"Status": 0})]


def test_the_old_recorder_dies_in_the_hand_over() -> None:
    made = plan([attempt(0, BUSY, **OVER), attempt(1)], nth(0, deleting=True, recorder=exited(137)), nth(1))
    first, second = status(made).attempts
    assert first.exit is not None
    assert (first.failed, second.reason, status(made).phase) == (False, "", Phase.STARTING)


def test_stopped_in_the_middle_of_a_hand_over() -> None:
    old = nth(0, deleting=True)
    made = plan([attempt(0, BUSY, **OVER), attempt(1, podUID=None)], old, spec=STOPPED)
    assert status(made).phase is Phase.STOPPING
    assert status(made).attempts[1].reason == Reason.STOPPED
    left = [attempt(0, LEFT, **OVER), attempt(1, podUID=None, reason="Stopped", message="stopped", ago=1)]
    done = plan(left, spec=STOPPED, phase=Phase.FINALIZING)
    assert status(done).phase is Phase.COMPLETED
    assert told(done) == [(305, {"Status": 0})]
    assert condition(done, ConditionType.UPLOADED)[:2] == ("True", Reason.UPLOADED)


# --- the end of it all ----------------------------------------------------------------------------------------------


def test_four_failures_end_the_task_with_all_reasons() -> None:
    reasons = ["RecorderFailed", "NodeLost", "Evicted"]
    failed = [
        attempt(n, SALVAGED, failed=True, reason=reason, message="x" * 400, ago=100) for n, reason in enumerate(reasons)
    ]
    made = plan([*failed, attempt(3, SALVAGED)], nth(3, recorder=exited(1, "SpoolFailed", "disk")))
    assert status(made).phase is Phase.FAILED
    _, reason, message = condition(made, ConditionType.RECORDER_READY)
    assert reason == Reason.TOO_MANY_FAILURES
    assert message.startswith("4 attempts failed: attempt 0: RecorderFailed: x")
    assert all(f"attempt {n}: {reason}" in message for n, reason in enumerate([*reasons, "SpoolFailed"]))
    assert told(made) == [(302, {"LeaveCode": 100}), (305, {"Status": 0})]
    assert condition(made, ConditionType.UPLOADED)[:2] == ("True", Reason.UPLOADED)


def test_hand_overs_are_not_counted_but_the_names_are() -> None:
    handed = [attempt(n, HANDED, **OVER) for n in range(8)]
    assert len(status(plan([*handed, attempt(8, BUSY)], nth(8, deleting=True))).attempts) == 10
    every = [attempt(n, HANDED, **OVER) for n in range(15)]
    last = plan([*every, attempt(15, BUSY)], nth(15, deleting=True))
    assert len(status(last).attempts) == 16
    assert status(last).phase is Phase.STOPPING
    ended = plan([*every, attempt(15, HANDED, **OVER)], phase=Phase.STOPPING)
    assert status(ended).phase is Phase.FAILED
    assert "all 16 attempts" in condition(ended, ConditionType.RECORDER_READY)[2]


def test_the_end_waits_for_every_attempt_and_not_for_ever() -> None:
    def ending(old: dict[str, Any], *some: Pod, since: float = 5) -> Plan:
        last = attempt(1, LEFT, reason="Stopped", message="stopped", ago=since)
        return plan([old, last], *some, spec=STOPPED, phase=Phase.FINALIZING, since=since)

    uploading = attempt(0, ENDED, **{**DIED, "ago": 100})
    waits = ending(uploading, nth(0, recorder=exited(137)))
    assert status(waits).phase is Phase.FINALIZING
    assert told(waits) == []
    done = ending(attempt(0, SALVAGED, **DIED), nth(0, recorder=exited(137)))
    assert status(done).phase is Phase.COMPLETED
    assert told(done) == [(305, {"Status": 0})]
    late = ending(uploading, nth(0, recorder=exited(137)), since=SETTINGS.finalize_seconds)
    assert status(late).phase is Phase.COMPLETED
    assert told(late) == [(305, {"Status": 1})]
    truth, reason, message = condition(late, ConditionType.UPLOADED)
    assert (truth, reason) == ("False", Reason.UPLOAD_FAILED)
    assert message.startswith("attempt 0: cut off")


def test_what_went_down_with_a_node_is_told_and_is_no_failure_of_the_task() -> None:
    lost = attempt(0, BUSY, failed=True, reason="NodeLost", message="n1", ago=100)
    made = plan([lost, attempt(1, LEFT)], nth(0, deleting=True, node="n1"), nth(1, recorder=exited(0)), nodes=DOWN)
    assert status(made).phase is Phase.COMPLETED
    assert condition(made, ConditionType.UPLOADED)[:2] == ("False", Reason.UPLOAD_FAILED)
    assert told(made) == [(305, {"Status": 1})]
    back = plan([lost, attempt(1, LEFT)], nth(0, deleting=True, node="n1"), nth(1, recorder=exited(0)))
    assert status(back).phase is Phase.STOPPING, "the node is back: its sidecar uploads"


def test_a_finisher_comes_after_the_last_attempt_and_takes_no_index() -> None:
    made = plan([attempt(0, SALVAGED, **DIED), attempt(1, {**LEFT, "backup": 3})], nth(1, recorder=exited(0)))
    assert status(made).phase is Phase.FINALIZING
    truth, reason, message = condition(made, ConditionType.UPLOADED)
    assert (truth, reason) == ("False", Reason.BACKUP_IN_USE)
    assert message.startswith("3 files are in the backup store alone")
    assert told(made) == [(305, {"Status": 1})]
    assert [(a.role, a.index) for a in status(made).attempts] == [("Record", 0), ("Record", 1), ("Finish", 0)]
    assert status(made).attempt == 1


def test_missing_files_of_any_attempt_fail_the_task() -> None:
    made = plan([attempt(0, {**SALVAGED, "missing": 2}, **DIED), attempt(1, LEFT)], nth(1, recorder=exited(0)))
    assert status(made).phase is Phase.FAILED
    assert condition(made, ConditionType.UPLOADED)[:2] == ("False", Reason.UPLOAD_FAILED)


def test_a_status_that_lost_its_attempts_ends_and_leaves_no_pod() -> None:
    made = plan([], nth(0))
    assert status(made).phase is Phase.FAILED
    ended = accepted(phase=Phase.FAILED, attempts=[], endedAt=times.render(NOW))
    after = decide(seen(recording(status=ended), pods=pods(nth(0))), SETTINGS)
    assert DeletePod("lesson-0b9d2-0", "uid-0", 30) in after.actions
