"""What the status says of callbacks, when a finished recording is let go, and when its TTL begins."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cloudrec_contract.resources import Callback, Phase
from cloudrec_operator import times
from cloudrec_operator.callbacks import order
from cloudrec_operator.callbacks.order import Progress, Settled
from cloudrec_operator.decide import decide
from cloudrec_operator.observed import Observed, Recording
from cloudrec_operator.plan import DeleteRecording, Hold, Plan
from cloudrec_operator.policy import callbacks, facts, transitions
from cloudrec_operator.policy.attempts import View
from tests.unit.operator.samples import NOW, SETTINGS, SPEC, accepted, attempt, nth, pods, recording, seen

CALLBACK = Callback(url="https://app.test/hook")
EVENTS = {"events": [{"seq": 1, "type": 303, "ts": times.to_ms(NOW), "args": {"Status": 0}}], "uploaded": True}
SETTLED_AT = "2026-01-02T03:04:00Z"
MINUTE = timedelta(minutes=1)


def ended(acked: int = 0, ttl: int | None = None, ago: timedelta = MINUTE, **more: Any) -> Recording:
    meta = {"deletionTimestamp": times.render(NOW - more.pop("deleted"))} if "deleted" in more else {}
    spec = SPEC if ttl is None else {**SPEC, "ttlSecondsAfterFinished": ttl}
    told = {"callbacks": {}, "endedAt": times.render(NOW - ago), **more}
    done = attempt(0, EVENTS, acked=acked, ago=70, reason="Stopped")
    return recording(spec, accepted(attempts=[done], phase=Phase.COMPLETED, **told), **meta)


def look(rec: Recording, **around: Any) -> Observed:
    return seen(rec, **{"callback": CALLBACK, **around})


def test_a_recording_of_an_app_without_a_callback_says_nothing_of_them() -> None:
    rec = recording(status=accepted(attempts=[attempt(0, EVENTS)]))
    assert callbacks.noted(Plan(), seen(rec)) == Plan()
    late = replace(rec, status=rec.status.model_copy(update={"phase": Phase.COMPLETED}))
    assert callbacks.noted(Plan(), look(late)) == Plan(), "what ended before the app named one is not told later"


def test_from_the_first_look_on_events_are_kept_for_delivery() -> None:
    rec = recording(status=accepted(attempts=[attempt(0, EVENTS)]))
    plan = callbacks.noted(Plan(), look(rec))
    assert plan.status is not None
    assert plan.status.callbacks is not None
    assert order.waiting(plan.status)
    again = callbacks.noted(Plan(), look(replace(rec, status=plan.status)))
    assert again == Plan(), "what waits is no reason to write"


def test_the_finalizer_stays_until_the_callbacks_are_settled() -> None:
    plan = decide(look(ended()), SETTINGS)
    assert plan.actions == ()
    assert plan.status is None
    assert plan.after == pytest.approx(540), "a Pod that hangs is not listened to for ever"
    plan = decide(look(ended(acked=1)), SETTINGS)
    assert plan.status is not None
    assert plan.status.callbacks is not None
    assert plan.status.callbacks.settled_at == times.render(NOW)
    assert plan.actions == ()
    after = decide(look(replace(ended(acked=1), status=plan.status)), SETTINGS)
    assert after.actions == (Hold(False),)
    assert after.status is None


def test_what_a_pod_may_still_report_is_waited_for() -> None:
    there = pods(nth(0, deleting=True))
    plan = decide(look(ended(acked=1), pods=there), SETTINGS)
    assert plan.status is None
    late = decide(look(ended(acked=1, ago=timedelta(seconds=601)), pods=there), SETTINGS)
    assert late.status is not None


@pytest.mark.parametrize(("deleted", "let_go"), [(10, False), (59, False), (61, True)])
def test_a_deleted_recording_waits_a_minute_for_its_last_callbacks(deleted: int, let_go: bool) -> None:
    plan = decide(look(ended(deleted=timedelta(seconds=deleted))), SETTINGS)
    assert (Hold(False) in plan.actions) is let_go
    assert let_go or plan.after == pytest.approx(60 - deleted)


def test_the_ttl_counts_from_when_the_callbacks_were_settled() -> None:
    long_ago = timedelta(hours=5)
    assert decide(look(ended(ttl=60, ago=long_ago)), SETTINGS).actions == ()
    waits = decide(look(ended(acked=1, ttl=60, ago=long_ago, callbacks={"settledAt": SETTLED_AT})), SETTINGS)
    assert DeleteRecording() not in waits.actions
    assert waits.after == pytest.approx(55)
    over = decide(look(ended(acked=1, ttl=4, ago=long_ago, callbacks={"settledAt": SETTLED_AT})), SETTINGS)
    assert DeleteRecording() in over.actions


def test_a_callback_that_is_taken_from_the_app_holds_nothing_up() -> None:
    plan = decide(look(ended(), callback=None), SETTINGS)
    assert plan.status is not None
    assert plan.status.callbacks is not None
    assert plan.status.callbacks.settled_at is not None
    assert plan.status.conditions[-1].reason == "NoCallback"
    after = decide(look(replace(ended(), status=plan.status), callback=None), SETTINGS)
    assert after.status is None


def test_no_more_dead_letters_are_kept_than_a_status_can_hold() -> None:
    told = [{"seq": n, "type": 301, "ts": 1, "args": {"Status": 0}} for n in range(1, 121)]
    rec = recording(status=accepted(attempts=[attempt(0, {"events": told[:60]})], callbacks={}))
    letters = order.waiting(rec.status)
    for _ in range(2):
        done = Progress(tuple(Settled(letter, "gone") for letter in letters))
        plan = callbacks.noted(Plan(), look(rec, progress=done))
        assert plan.status is not None
        one = plan.status.attempts[0]
        report = one.report.model_validate({"events": told[60:]}) if one.report else None
        status = plan.status.model_copy(update={"attempts": [one.model_copy(update={"report": report})]})
        rec = replace(rec, status=status)
        letters = order.waiting(status)
    known = rec.status.callbacks
    assert known is not None
    assert (known.watermark, known.dead_letters, len(known.dead)) == (120, 120, 100)
    assert known.dead[-1].sequence == 120


def test_305_is_due_although_the_303_was_delivered_and_is_not_reported_any_more() -> None:
    view = View(recording(status=accepted(attempts=[attempt(0, {"uploaded": True}, acked=1)])).status.attempts[0])
    assert [fact.type for fact in facts.closing([view], [], False, None, True, 1)] == [305]


def test_what_goes_with_a_deleted_recording_is_counted() -> None:
    gone = ended(deleted=timedelta(seconds=61))
    assert callbacks.unsent(look(gone)) == 1
    (letter,) = order.waiting(gone.status)
    assert callbacks.unsent(look(gone, progress=Progress((Settled(letter),)))) == 0
    assert callbacks.unsent(look(gone, callback=None)) == 0
    assert callbacks.unsent(look(ended(acked=1, callbacks={"settledAt": SETTLED_AT}))) == 0
    note = transitions.unsent(2)
    assert (note.type, note.reason) == ("Warning", "CallbacksUnsent")
    assert "2 callbacks" in note.message


def test_what_is_settled_of_one_finisher_is_settled_of_all() -> None:
    def finisher(index: int, *seqs: int, **more: Any) -> dict[str, Any]:
        told = {"events": [{"seq": seq, "type": 311, "ts": 1, "args": {"Status": 1, "TencentVod": {}}} for seq in seqs]}
        return attempt(index, told, **{"pod": f"lesson-0b9d2-f{index}", "role": "Finish", **more})

    both = [attempt(0, ago=60), finisher(0, 1, 2, acked=1, ago=9, failed=True), finisher(1, 2, 3, acked=1)]
    rec = recording(status=accepted(attempts=both, callbacks={}, phase=Phase.FINALIZING))
    letters = order.waiting(rec.status)
    assert [letter.seq for letter in letters] == [2, 3]
    plan = callbacks.noted(Plan(), look(rec, progress=Progress(tuple(Settled(letter) for letter in letters))))
    assert plan.status is not None
    assert [one.acked for one in plan.status.attempts] == [0, 3, 3]
    assert order.waiting(plan.status) == []
    assert plan.status.callbacks is not None
    assert plan.status.callbacks.watermark == 2


def test_progress_alone_is_written_only_when_it_is_due() -> None:
    rec = recording(status=accepted(attempts=[attempt(0, EVENTS)], callbacks={}))
    settled = tuple(Settled(letter) for letter in order.waiting(rec.status))
    early = look(rec, progress=Progress(settled, due=False))
    assert callbacks.noted(Plan(), early) == Plan()
    other = rec.status.model_copy(update={"files": 7})
    carried = callbacks.noted(Plan(other), early)
    assert carried.status is not None
    assert (carried.status.attempts[0].acked, carried.progress_only) == (1, False)
    due = callbacks.noted(Plan(), look(rec, progress=Progress(settled)))
    assert due.status is not None
    assert (due.status.attempts[0].acked, due.progress_only) == (1, True)
