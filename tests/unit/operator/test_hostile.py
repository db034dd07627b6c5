"""What comes from outside, in the status and in Events."""

from __future__ import annotations

from typing import Any

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import CallbackStatus, CloudRecordingStatus, ConditionType, Phase
from cloudrec_operator.callbacks.order import Letter, Progress, Settled
from cloudrec_operator.plan import Plan
from cloudrec_operator.policy import attempts, callbacks, conditions, transitions
from cloudrec_operator.policy.attempts import Ending, View
from cloudrec_operator.policy.conditions import Fact
from tests.unit.operator.samples import NOW, accepted, attempt, recording, seen

ESCAPE = "said: \x1b[2J\x1b]0;x\x07 \u202eevil\r\n"


def test_messages_are_fit_for_a_terminal() -> None:
    fact = Fact(ConditionType.UPLOADED, "False", Reason.BUCKET_REFUSED, ESCAPE)
    (condition,) = conditions.merge([], [fact], 1, NOW)
    assert condition.message == "said:  [2J ]0;x   evil  "
    view = View(recording(status=accepted(attempts=[attempt(0)])).status.attempts[0])
    ended = attempts.ended(view, Ending(Reason.RECORDER_FAILED, ESCAPE, failed=True), NOW)
    assert ended.attempt.message.isprintable()
    assert conditions.plain("zoë 😀") == "zoë 😀"


def test_a_failure_says_why_and_one_cause_is_told_once() -> None:
    refused = [
        Fact(ConditionType.RECORDER_READY, "False", Reason.BUCKET_REFUSED, "InvalidAccessKeyId"),
        Fact(ConditionType.RECORDING, "False", Reason.NOT_STARTED, "nothing was recorded"),
        Fact(ConditionType.UPLOADED, "False", Reason.BUCKET_REFUSED, "InvalidAccessKeyId"),
    ]
    failed = CloudRecordingStatus(phase=Phase.FAILED, conditions=conditions.merge([], refused, 1, NOW))
    told = transitions.notes(CloudRecordingStatus(phase=Phase.STARTING), failed)
    assert [(note.reason, note.message) for note in told] == [
        ("BucketRefused", "InvalidAccessKeyId"),
        ("Failed", "failed: InvalidAccessKeyId"),
    ]
    bare = CloudRecordingStatus(phase=Phase.FAILED)
    assert [note.message for note in transitions.notes(CloudRecordingStatus(), bare)] == ["failed"]


def test_dead_letters_leave_room_in_the_status() -> None:
    def dead(seq: int, args: dict[str, Any]) -> Settled:
        return Settled(Letter("pod", seq, seq, f"key-{seq}", 308, 0, 0, args), "cannot be told")

    rec = recording(status=accepted(attempts=[attempt(0)], callbacks=CallbackStatus().wire()))
    many = Progress(tuple(dead(1 + n, {"Message": "x" * 40_000}) for n in range(16)))
    plan = callbacks.noted(Plan(), seen(rec, progress=many))
    assert plan.status is not None
    assert plan.status.callbacks is not None
    assert [letter.sequence for letter in plan.status.callbacks.dead] == [11, 12, 13, 14, 15, 16]
    assert plan.status.callbacks.dead_letters == 16
