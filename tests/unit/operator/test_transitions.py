from __future__ import annotations

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import LeaveCode
from cloudrec_contract.resources import Attempt, CloudRecordingStatus, ConditionType, Phase
from cloudrec_operator.policy import conditions, facts, transitions
from cloudrec_operator.policy.attempts import View
from cloudrec_operator.policy.conditions import Fact
from tests.unit.operator.samples import NOW, recording


def status(phase: Phase, *told: Fact, **more: object) -> CloudRecordingStatus:
    made = CloudRecordingStatus(phase=phase, conditions=conditions.merge([], told, 1, NOW))
    return made.model_copy(update=more)


def test_each_transition_is_told_once() -> None:
    starting = status(Phase.STARTING, Fact(ConditionType.RECORDER_READY, "False", Reason.UNSCHEDULABLE, "0/3 nodes"))
    first = transitions.notes(CloudRecordingStatus(), starting)
    assert [(n.type, n.reason, n.message) for n in first] == [
        ("Warning", "Unschedulable", "0/3 nodes"),
        ("Normal", "Starting", "the recorder Pod is starting"),
    ]
    reworded = status(Phase.STARTING, Fact(ConditionType.RECORDER_READY, "False", Reason.UNSCHEDULABLE, "0/4 nodes"))
    assert transitions.notes(starting, reworded) == []


def test_the_ordinary_is_told_by_the_phase_alone() -> None:
    busy = status(
        Phase.RECORDING,
        Fact(ConditionType.RECORDER_READY, "True", Reason.READY),
        Fact(ConditionType.RECORDING, "True", Reason.RECORDING),
    )
    assert [n.reason for n in transitions.notes(CloudRecordingStatus(), busy)] == ["Recording"]


def test_an_end_by_others_is_a_warning_beside_the_completion() -> None:
    ended = status(
        Phase.COMPLETED,
        Fact(ConditionType.RECORDER_READY, "False", Reason.REJOIN_TIMEOUT, "not joined again"),
        Fact(ConditionType.RECORDING, "False", Reason.STOPPED, "not joined again"),
        files=1,
    )
    told = transitions.notes(status(Phase.FINALIZING), ended)
    assert [(n.type, n.reason) for n in told] == [("Warning", "RejoinTimeout"), ("Normal", "Completed")]


def test_a_reason_is_no_news_when_the_truth_changes_alone() -> None:
    def lacking(phase: Phase, truth: conditions.Truth) -> CloudRecordingStatus:
        return status(phase, Fact(ConditionType.RECORDING, truth, Reason.CODEC_UNSUPPORTED, "AV1 of alice"))

    told = transitions.notes(lacking(Phase.IDLE, "False"), lacking(Phase.RECORDING, "True"))
    assert [n.reason for n in told] == ["Recording"]


def test_transcoding_is_news_and_no_warning() -> None:
    busy = status(Phase.RECORDING, Fact(ConditionType.RECORDING, "True", Reason.TRANSCODED, "VP8 of alice"))
    told = transitions.notes(status(Phase.RECORDING), busy)
    assert [(n.type, n.reason) for n in told] == [("Normal", "Transcoded")]


def test_the_end_says_what_it_came_to() -> None:
    assert transitions.notes(status(Phase.PENDING), status(Phase.FAILED))[0].type == "Warning"
    nothing, something = status(Phase.COMPLETED), status(Phase.COMPLETED, files=2)
    assert "nothing" in transitions.notes(status(Phase.PENDING), nothing)[0].message
    assert "bucket" in transitions.notes(status(Phase.PENDING), something)[0].message


def test_event_names_differ_and_point_at_the_recording() -> None:
    note = transitions.Note("Normal", "Idle", "x" * 5000)
    first, second = (transitions.event(recording(), note, number, NOW, "op-1") for number in (0, 1))
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first["involvedObject"]["uid"] == recording().uid
    assert len(first["message"]) == 1000


def attempt(index: int, **more: object) -> Attempt:
    return Attempt.model_validate({"pod": f"lesson-0b9d2-{index}", "podUID": f"uid-{index}", "index": index, **more})


def test_a_succession_is_told_with_its_cause_and_the_next_pod() -> None:
    first = attempt(0)
    old = CloudRecordingStatus(phase=Phase.RECORDING, attempts=[first])
    died = {"reason": "RecorderFailed", "message": "OOMKilled", "failed": True}
    failed = status(Phase.STARTING, attempts=[first.model_copy(update=died), attempt(1)])
    told = transitions.notes(old, failed)
    assert [(n.type, n.reason) for n in told] == [("Warning", "RecorderFailed"), ("Normal", "Starting")]
    assert told[0].message == "attempt 0: OOMKilled; Pod lesson-0b9d2-1 goes on"
    assert transitions.notes(failed, failed) == []
    handed = status(Phase.RECORDING, attempts=[first.model_copy(update={"reason": "HandedOver"}), attempt(1)])
    assert [(n.type, n.reason) for n in transitions.notes(old, handed)] == [("Normal", "HandedOver")]


def test_completion_says_what_is_not_in_the_bucket() -> None:
    backup = Fact(ConditionType.UPLOADED, "False", Reason.BACKUP_IN_USE, "3 files are in the backup store")
    told = transitions.notes(status(Phase.FINALIZING), status(Phase.COMPLETED, backup, files=2))
    assert [(n.type, n.reason) for n in told] == [("Warning", "BackupInUse"), ("Normal", "Completed")]
    assert told[1].message.endswith("3 files are in the backup store")


def test_files_that_were_made_are_told_of_once_and_what_failed_is_a_warning() -> None:
    def converted(truth: conditions.Truth, reason: Reason, message: str, phase: Phase) -> CloudRecordingStatus:
        return status(phase, Fact(ConditionType.CONVERTED, truth, reason, message), files=2)

    busy = converted("Unknown", Reason.CONVERTING, "10 %", Phase.FINALIZING)
    more = converted("Unknown", Reason.CONVERTING, "20 %", Phase.FINALIZING)
    assert transitions.notes(status(Phase.FINALIZING, files=2), busy) == transitions.notes(busy, more) == []
    made = converted("True", Reason.REENCODED, "3 files; in VOD", Phase.COMPLETED)
    told = transitions.notes(more, made)
    assert [(n.type, n.reason) for n in told] == [("Normal", "Converted"), ("Normal", "Completed")]
    assert told[1].message == "finished: 3 files; in VOD"
    failed = converted("False", Reason.CONVERT_FAILED, "MP4 of anna", Phase.COMPLETED)
    told = transitions.notes(more, failed)
    assert [(n.type, n.reason) for n in told] == [("Warning", "ConvertFailed"), ("Normal", "Completed")]
    assert told[1].message == "finished, but not all files could be made: MP4 of anna"
    nothing = converted("True", Reason.NOTHING_TO_CONVERT, "nothing was recorded", Phase.COMPLETED)
    assert [n.reason for n in transitions.notes(more, nothing)] == ["Completed"]
    kept = converted("True", Reason.HLS_KEPT, "not allowed", Phase.COMPLETED)
    assert [(n.type, n.reason) for n in transitions.notes(more, kept)] == [
        ("Warning", "HLSKept"),
        ("Normal", "Completed"),
    ]


def told(kind: int, **args: int) -> dict[str, object]:
    return {"seq": 1, "type": kind, "ts": 1, "args": args}


ENTERED = {"ready": True, "events": [told(301, Status=0)]}


@pytest.mark.parametrize(
    ("reports", "failed", "why", "whole", "expected"),
    [
        ([None], True, None, False, [(301, {"Status": 1})]),
        ([None], False, LeaveCode.NORMAL, True, []),
        ([ENTERED], True, None, False, [(302, {"LeaveCode": 100}), (305, {"Status": 1})]),
        ([ENTERED], False, LeaveCode.NORMAL, True, [(302, {"LeaveCode": 0}), (305, {"Status": 0})]),
        ([ENTERED], False, LeaveCode.REPEATED_ENTRY, True, [(302, {"LeaveCode": 101}), (305, {"Status": 0})]),
        ([{**ENTERED, "leaveCode": 2}], False, None, True, [(305, {"Status": 0})]),
        ([ENTERED, {**ENTERED, "leaveCode": 0}], False, LeaveCode.NORMAL, False, [(305, {"Status": 1})]),
        ([ENTERED, None], True, None, True, [(302, {"LeaveCode": 100}), (305, {"Status": 0})]),
        ([{"events": [told(303, Status=1)]}], True, None, False, [(301, {"Status": 1}), (305, {"Status": 1})]),
        ([{**ENTERED, "events": [told(302, LeaveCode=0)]}], False, LeaveCode.NORMAL, True, [(305, {"Status": 0})]),
    ],
)
def test_the_operator_tells_only_what_no_attempt_could(
    reports: list[dict[str, object] | None],
    failed: bool,
    why: LeaveCode | None,
    whole: bool,
    expected: list[tuple[int, dict[str, int]]],
) -> None:
    views = [View(attempt(index, report=report)) for index, report in enumerate(reports)]
    assert [(e.type, e.args) for e in facts.closing(views, [], failed, why, whole, 99)] == expected


def test_seqs_go_on() -> None:
    first = facts.failover([], 1)
    second = facts.closing([View(attempt(0, report=ENTERED))], first, True, None, True, 2)
    assert [(e.seq, e.type) for e in second] == [(1, 306), (2, 302), (3, 305)]
