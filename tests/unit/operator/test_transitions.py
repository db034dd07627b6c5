from __future__ import annotations

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Attempt, CloudRecordingStatus, ConditionType, Phase
from cloudrec_operator.policy import conditions, facts, transitions
from cloudrec_operator.policy.conditions import Fact
from tests.unit.operator.samples import NOW, POD, recording


def status(phase: Phase, *told: Fact, **more: object) -> CloudRecordingStatus:
    made = CloudRecordingStatus(phase=phase, conditions=conditions.merge([], told, 1, NOW))
    return made.model_copy(update=more)


def test_each_transition_is_told_once() -> None:
    starting = status(Phase.STARTING, Fact(ConditionType.RECORDER_READY, "False", Reason.UNSCHEDULABLE, "0/3 nodes"))
    first = transitions.notes(CloudRecordingStatus(), starting)
    assert [(n.type, n.reason, n.message) for n in first] == [
        ("Warning", "Unschedulable", "0/3 nodes"),
        ("Normal", "Starting", "the recorder Pod was made"),
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


def attempt(report: dict[str, object] | None) -> Attempt:
    return Attempt.model_validate({"pod": POD, "index": 0, "report": report})


def told(kind: int, **args: int) -> dict[str, object]:
    return {"seq": 1, "type": kind, "ts": 1, "args": args}


def test_the_operator_tells_only_what_the_attempt_could_not() -> None:
    def closing(report: dict[str, object] | None, failed: bool) -> list[tuple[int, dict[str, int]]]:
        return [(e.type, e.args) for e in facts.closing([attempt(report)], [], failed, 99)]

    assert closing(None, True) == [(301, {"Status": 1})]
    assert closing(None, False) == []
    entered = {"ready": True, "events": [told(301, Status=0)]}
    assert closing(entered, True) == [(302, {"LeaveCode": 100}), (305, {"Status": 1})]
    assert closing({**entered, "leaveCode": 2, "uploaded": True}, True) == []
    assert closing({"events": [told(303, Status=0)]}, True) == [(301, {"Status": 1}), (305, {"Status": 1})]
    assert closing({**entered, "events": [told(302, LeaveCode=0), told(305, Status=1)]}, True) == []


def test_seqs_go_on() -> None:
    first = facts.closing([attempt(None)], [], True, 1)
    second = facts.closing([attempt({"ready": True})], first, True, 2)
    assert [e.seq for e in second] == [1, 2, 3]
