"""The same app, room and robot again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import ConditionType, Phase
from cloudrec_operator import times
from cloudrec_operator.api import Object
from cloudrec_operator.decide import decide
from cloudrec_operator.plan import Plan
from cloudrec_operator.policy import rivals
from tests.unit.operator.samples import NOW, SETTINGS, SPEC, accepted, pod, raw, recording, seen
from tests.unit.operator.test_decide import READY, condition

ROBOT = {**SPEC, "robot": {"userId": "r1"}}


def task(uid: str, epoch: int | None, spec: dict[str, Any] | None = None, **meta: Any) -> Object:
    status = {} if epoch is None else {"taskId": uid, "epoch": epoch, "phase": "Idle"}
    return raw(spec or ROBOT, status, uid=uid, name=uid, **meta)


OWN = task("own", 1000)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (OWN, None),
        (task("later", 1001), "later"),
        (task("own-twin", 1000), "own-twin"),
        (task("earlier", 999), None),
        (task("waits", None), None),
        (task("later", 1001, {**ROBOT, "room": {"id": "12346"}}), None),
        (task("later", 1001, {**ROBOT, "room": {"id": "12345", "type": "String"}}), None),
        (task("later", 1001, {**ROBOT, "robot": {"userId": "r2"}}), None),
        (task("later", 1001, {**ROBOT, "appRef": {"name": "other"}}), None),
        (task("later", 1001, {**ROBOT, "mode": "Mixed"}), "later"),
        (
            task("later", 1001, {**ROBOT, "robot": {"userId": "r1", "userSigExpiresAt": "2026-01-01T00:00:00Z"}}),
            "later",
        ),
        (task("later", 1001, namespace="elsewhere"), None),
    ],
)
def test_which_recording_ends_another(other: Object, expected: str | None) -> None:
    assert rivals.later(OWN, [OWN, other]) == expected


def test_the_last_of_several_is_named_and_none_ends_one_that_did_not_begin() -> None:
    assert rivals.later(OWN, [task("b", 1002), task("a", 1005), task("c", 1001)]) == "a"
    assert rivals.later(task("new", None), [OWN]) is None


def plan(status: dict[str, Any], rival: str | None = None, **around: Any) -> Plan:
    return decide(seen(recording(status=status), rival=rival, **around), SETTINGS)


def test_the_older_one_is_told_and_then_stops() -> None:
    made = plan(accepted(READY), "newer", pod=pod(), token_expires=NOW + timedelta(hours=6))
    assert made.status is not None
    assert (made.status.replaced_by, made.status.phase) == ("newer", Phase.RECORDING)
    stopping = plan(made.status.wire(), "newest", pod=pod())
    assert stopping.status is not None
    assert (stopping.status.replaced_by, stopping.status.phase) == ("newer", Phase.STOPPING)


def test_it_ends_with_what_it_was_told() -> None:
    done = {**READY, "state": "Ended", "leaveCode": 101, "uploaded": True}
    status = accepted(done, Phase.FINALIZING, replacedBy="newer")
    ended = plan(status, pod=None).status
    assert ended is not None
    assert ended.phase is Phase.COMPLETED
    assert condition(ended, ConditionType.RECORDER_READY) == ("False", Reason.REPEATED_ENTRY)
    assert [event.type for event in ended.operator_events] == [305]


def test_one_without_a_pod_ends_at_once() -> None:
    waiting = accepted(phase=Phase.PENDING, pod_uid=None, replacedBy="newer")
    ended = plan(waiting).status
    assert ended is not None
    assert ended.phase is Phase.COMPLETED
    assert condition(ended, ConditionType.RECORDER_READY) == ("False", Reason.REPEATED_ENTRY)


@pytest.mark.parametrize(
    ("report", "more"),
    [
        ({**READY, "state": "Ended", "leaveCode": 99}, {}),
        (READY, {"spec": {**SPEC, "desiredState": "Stopped"}}),
        (READY, {"deletionTimestamp": times.render(NOW)}),
    ],
)
def test_one_that_ends_anyway_ends_in_its_own_way(report: dict[str, Any], more: dict[str, Any]) -> None:
    spec = more.pop("spec", None)
    found = recording(spec, accepted(report), **more)
    made = decide(seen(found, rival="newer", pod=pod(), token_expires=NOW + timedelta(hours=6)), SETTINGS)
    assert made.status is not None
    assert made.status.replaced_by is None
