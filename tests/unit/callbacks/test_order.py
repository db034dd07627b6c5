"""One order of all events of a task, and what of it is still to come."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.resources import CloudRecordingStatus
from cloudrec_operator import times
from cloudrec_operator.callbacks import order
from cloudrec_operator.callbacks.order import Letter
from tests.unit.operator.samples import NOW, UID, accepted, attempt

MS = times.to_ms(NOW)


def fact(seq: int, type_: int = 307, ts: int = MS) -> dict[str, Any]:
    return {"seq": seq, "type": type_, "ts": ts, "args": {"Status": 0}}


def told(*seqs: int) -> dict[str, Any]:
    return {"events": [fact(seq) for seq in seqs]}


def status(*attempts: dict[str, Any], **more: Any) -> CloudRecordingStatus:
    return CloudRecordingStatus.model_validate(accepted(attempts=list(attempts), callbacks={}, **more))


def short(letters: list[Letter]) -> list[str]:
    return [letter.key.removeprefix(f"{UID}-") for letter in letters]


def test_by_attempt_and_number_with_the_operators_between() -> None:
    seen = status(
        attempt(1, told(1, 2)),
        attempt(0, told(2, 1), ago=60, failed=True, reason="RecorderDied"),
        operatorEvents=[fact(1, 306, MS - 60_000), fact(2, 305, MS)],
    )
    assert short(order.waiting(seen)) == ["0-1", "0-2", "op-1", "op-2", "1-1", "1-2"]
    ended = status(
        attempt(0, told(1), ago=60, failed=True, reason="RecorderDied"),
        attempt(1, told(1), ago=5, reason="Stopped"),
        attempt(0, told(1), pod="lesson-0b9d2-f0", role="Finish", ago=1, reason="Uploaded"),
        operatorEvents=[fact(1, 306, MS - 60_000), fact(2, 305, MS - 5000), fact(3, 305, MS)],
    )
    assert short(order.waiting(ended)) == ["0-1", "op-1", "1-1", "op-2", "f-1", "op-3"]


def test_what_is_settled_is_not_waited_for() -> None:
    seen = status(attempt(0, told(3, 4, 5), acked=2), operatorEvents=[fact(1, 305)])
    assert short(order.waiting(seen)) == ["0-3", "0-4", "0-5", "op-1"]
    assert short(order.waiting(seen, (), {"lesson-0b9d2-0": 4, "": 1})) == ["0-5"]


def test_a_gap_is_waited_for_while_its_sidecar_may_fill_it() -> None:
    seen = status(attempt(0, told(1, 2, 5, 9)))
    assert short(order.waiting(seen)) == ["0-1", "0-2"]
    assert short(order.waiting(seen, ["lesson-0b9d2-0"])) == ["0-1", "0-2", "0-5", "0-9"]


def test_nothing_waits_while_no_callback_is_named() -> None:
    seen = status(attempt(0, told(1))).model_copy(update={"callbacks": None})
    assert order.waiting(seen) == []


def test_replayed_dead_letters_come_first_with_the_keys_they_had() -> None:
    dead = [
        {"sequence": 7, "key": f"{UID}-0-7", "type": 307, "ts": MS, "againSince": MS + 5},
        {"sequence": 3, "key": f"{UID}-0-3", "type": 307, "ts": MS, "againSince": MS + 5},
        {"sequence": 1, "key": f"{UID}-0-1", "type": 307, "ts": MS},
    ]
    seen = status(attempt(0, told(9), acked=8)).model_copy(
        update={"callbacks": CloudRecordingStatus.model_validate({"callbacks": {"dead": dead}}).callbacks}
    )
    found = order.waiting(seen)
    assert short(found) == ["0-3", "0-7", "0-9"]
    assert [letter.since for letter in found] == [MS + 5, MS + 5, MS]


def finisher(index: int, *seqs: int, **more: Any) -> dict[str, Any]:
    return attempt(index, told(*seqs), pod=f"lesson-0b9d2-f{index}", role="Finish", **more)


def test_finishers_are_one_source() -> None:
    dead = {"ago": 30, "failed": True, "reason": "FinisherFailed"}
    seen = status(attempt(0, told(1), ago=60), finisher(0, 1, 2, **dead), finisher(1, 1, 2, 3))
    assert short(order.waiting(seen)) == ["0-1", "f-1", "f-2", "f-3"]
    letters = order.waiting(seen)
    later = status(attempt(0, told(1), ago=60), finisher(0, 1, 2, **dead), finisher(1, 2, 3))
    assert order.waiting(later) == letters, "place and key are the same, whoever said it"
    acked = status(attempt(0, acked=1, ago=60), finisher(0, 1, 2, acked=1, **dead), finisher(1, 3, acked=2))
    assert short(order.waiting(acked)) == ["f-3"]
    assert short(order.waiting(later, (), {order.FINISHER: 2})) == ["0-1", "f-3"]


def test_a_last_word_that_comes_too_late_is_not_told_beside_the_operators() -> None:
    late = attempt(0, {"events": [fact(1, 311), fact(2, 310)]}, pod="lesson-0b9d2-f0", role="Finish", ago=9)
    assert short(order.waiting(status(late))) == ["f-1", "f-2"]
    assert short(order.waiting(status(late, operatorEvents=[fact(1, 310)]))) == ["f-1", "op-1"]


def test_a_gap_is_waited_for_while_any_finisher_may_fill_it() -> None:
    seen = status(finisher(0, 1, 3, ago=30, failed=True), finisher(1))
    assert short(order.waiting(seen, ["lesson-0b9d2-f0"])) == ["f-1"]
    assert short(order.waiting(seen, ["lesson-0b9d2-f0", "lesson-0b9d2-f1"])) == ["f-1", "f-3"]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=5), st.integers(0, 12))
def test_each_event_of_a_ledger_is_told_once_whoever_reports_it(parts: list[tuple[int, int]], settled: int) -> None:
    finishers = [finisher(n, *range(acked + 1, last + 1), acked=acked) for n, (acked, last) in enumerate(parts)]
    every = [f["pod"] for f in finishers]
    found = order.waiting(status(*finishers), every, {order.FINISHER: settled})
    beyond = max(settled, *(acked for acked, _ in parts))
    reported = {seq for acked, last in parts for seq in range(acked + 1, last + 1)}
    assert [letter.seq for letter in found] == sorted(seq for seq in reported if seq > beyond)
    assert {letter.source for letter in found} <= {order.FINISHER}


@given(
    seqs=st.lists(st.sets(st.integers(1, 30), max_size=10), min_size=1, max_size=4),
    ago=st.lists(st.integers(0, 500), min_size=4, max_size=4),
    own=st.lists(st.integers(0, 600), max_size=6),
)
def test_places_and_keys_are_of_the_event_alone(seqs: list[set[int]], ago: list[int], own: list[int]) -> None:
    ends = sorted(ago, reverse=True)
    attempts = [attempt(n, told(*found), ago=ends[n], reason="x") for n, found in enumerate(seqs)]
    said = [fact(n + 1, 306, times.to_ms(NOW - timedelta(seconds=s))) for n, s in enumerate(sorted(own, reverse=True))]
    pods = [a["pod"] for a in attempts]
    every = order.waiting(status(*attempts, operatorEvents=said), pods)
    assert len({letter.key for letter in every}) == len({letter.sequence for letter in every}) == len(every)
    assert [letter.sequence for letter in every] == sorted(letter.sequence for letter in every)
    fewer = order.waiting(status(*attempts, operatorEvents=said[:1]), pods, {pods[0]: 5})
    assert all(letter in every for letter in fewer)
