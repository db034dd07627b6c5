"""Whatever is seen, deciding comes to rest: no decision undoes another, and nothing is written twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from cloudrec_contract.resources import Phase
from cloudrec_operator import status as statuses
from cloudrec_operator.decide import decide
from cloudrec_operator.observed import Container, Node, Pod
from cloudrec_operator.plan import CreatePod, DeletePod
from tests.unit.operator.samples import NOW, SETTINGS, SPEC, accepted, attempt, exited, nth, pods, recording, seen

FILE = {"userId": "a", "media": "main", "kind": "audio", "beginTimeStamp": 1}
STOPPED = {**SPEC, "desiredState": "Stopped"}
REASONS = ["RecorderDied", "TokenRefused", "BucketRefused", "LiveKitUnreachable", "BackupInUse", "SpoolFailed"]

reports = st.none() | st.fixed_dictionaries(
    {
        "state": st.sampled_from(["Starting", "Idle", "Recording", "Stopping", "Ended"]),
        "ready": st.booleans(),
        "files": st.sampled_from([[], [FILE]]),
        "uploaded": st.booleans(),
        "missing": st.sampled_from([0, 0, 1]),
        "backup": st.sampled_from([0, 0, 2]),
        "conditions": st.lists(st.sampled_from(REASONS), max_size=2, unique=True).map(
            lambda told: [{"reason": reason, "message": "m"} for reason in told]
        ),
    },
    optional={"leaveCode": st.sampled_from([0, 99, 100])},
)
containers = st.sampled_from(
    [
        Container(running=True),
        Container(waiting="PodInitializing"),
        exited(0),
        exited(0, "HandedOver"),
        exited(1, "TokenRefused"),
        exited(137),
    ]
)
endings: Any = st.sampled_from(
    [
        {"reason": "HandedOver", "message": "drained", "ago": 5},
        {"reason": "RecorderFailed", "message": "killed", "failed": True, "ago": 5},
        {"reason": "NodeLost", "message": "n1", "failed": True, "ago": 4000},
    ]
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Pod]]:
    """Attempts, of which all but the newest have ended, and their Pods as far as they are there."""
    count = draw(st.sampled_from([1, 2, 3, 15, 16]))
    told = [attempt(n, draw(reports), **draw(endings)) for n in range(count - 1)]
    unmade: dict[str, Any] = {"podUID": None} if draw(st.booleans()) else {}
    told.append(attempt(count - 1, None if unmade else draw(reports), **unmade))
    made = [n for n in range(count) if draw(st.booleans()) and not (unmade and n == count - 1)]
    there = [
        nth(
            n,
            node="n1",
            recorder=draw(containers),
            deleting=draw(st.booleans()),
            phase=draw(st.sampled_from(["Running", "Running", "Failed"])),
        )
        for n in made
    ]
    return told, pods(*there)


@given(
    world=worlds(),
    spec=st.sampled_from([SPEC, SPEC, STOPPED]),
    node=st.sampled_from([Node(), Node("not ready"), Node.missing("n1")]),
    phase=st.sampled_from([phase for phase in Phase if not phase.terminal]),
    since=st.sampled_from([1, 130, 4000]),
)
def test_decisions_come_to_rest(
    world: tuple[list[dict[str, Any]], dict[str, Pod]], spec: dict[str, Any], node: Node, phase: Phase, since: int
) -> None:
    attempts, there = world
    status = accepted(attempts=attempts, phase=phase, since=timedelta(seconds=since))
    rec = recording(spec, status)
    for _ in range(4):
        plan = decide(seen(rec, pods=there, nodes={"n1": node}, token_expires=NOW + timedelta(hours=9)), SETTINGS)
        new = plan.status
        assert sum(isinstance(action, CreatePod) for action in plan.actions) <= 1
        ended = [a.pod for a in (new or rec.status).attempts if a.reason]
        if spec is SPEC and new is not None and not new.phase.terminal:  # type: ignore[union-attr]
            assert all(a.name in ended for a in plan.actions if isinstance(a, DeletePod)), "a Pod that is relied on"
        if new is None or not statuses.differs(rec.status, new):
            break
        recorders = [a for a in new.attempts if a.role == "Record"]
        finishers = [a for a in new.attempts if a.role == "Finish"]
        assert len(recorders) <= 16
        assert [a.index for a in recorders] == list(range(len(recorders)))
        assert [a.index for a in finishers] == list(range(len(finishers)))
        assert all(a.reason for a in new.attempts[:-1])
        rec = replace(rec, status=new)
    else:
        raise AssertionError("it goes on and on")
    last = rec.status
    assert last.phase is not None
    event(f"{last.phase.value}, {len(last.attempts) - len(attempts)} declared")
    if last.phase.terminal:
        assert last.ended_at is not None
        assert all(a.reason for a in last.attempts)
        assert [e.type for e in last.operator_events].count(305) <= 1
    elif plan.after is None and not plan.retry:
        assert last.phase in (Phase.IDLE, Phase.RECORDING), "only a recording that goes well waits for nothing"
