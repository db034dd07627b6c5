"""From the recording's end to its files: when a finisher makes them, who says what, and what is left if none can."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Attempt, CallbackStatus, ConditionType, Phase, Report
from cloudrec_operator import times
from cloudrec_operator.callbacks import order
from cloudrec_operator.decide import decide
from cloudrec_operator.observed import App, Observed
from cloudrec_operator.plan import CreatePod, DeletePod, DeleteRecording, Plan
from cloudrec_operator.policy import finishing
from tests.unit.operator.samples import (
    BUCKET_VOD,
    NOW,
    SETTINGS,
    SPEC,
    UID,
    VOD_SPEC,
    accepted,
    attempt,
    exited,
    keys,
    pods,
    recording,
    seen,
)
from tests.unit.operator.test_finish import BACKUP, DONE, FILE, after, dead_ones, finisher, its_pod, told

MP4: dict[str, Any] = {**SPEC, "output": {"formats": ["MP4"]}}
WITH_BACKUP: dict[str, Any] = {**MP4, "storage": {"bucket": {**SPEC["storage"]["bucket"], "backup": BACKUP}}}
LEFT: dict[str, Any] = {"state": "Ended", "ready": True, "leaveCode": 0, "files": [FILE], "uploaded": True}
IN_BACKUP = {**LEFT, "backup": 2, "conditions": [{"reason": "BackupInUse", "message": "503"}]}
NOTHING = {**LEFT, "files": []}
AT = times.to_ms(NOW - timedelta(seconds=60))
WHOLE = {"seq": 1, "type": 305, "ts": AT, "args": {"Status": 0}}
LACKING = {"seq": 1, "type": 305, "ts": AT, "args": {"Status": 1}}
MADE = {"reason": "Remuxed", "message": "2 files", "percent": 100, "done": True, "files": 2}
STOP_310 = {"seq": 1, "type": 310, "ts": AT, "args": {"Status": 0, "FileList": ["a.mp4"]}}
DELETED = {"deletionTimestamp": times.render(NOW - timedelta(seconds=1))}


def converting(percent: int = 0, **more: Any) -> dict[str, Any]:
    return {"uploaded": True, "conversion": {"reason": "Converting", "percent": percent, **more}}


def finished(*events: dict[str, Any], **conversion: Any) -> dict[str, Any]:
    return {"state": "Ended", "uploaded": True, "conversion": {**MADE, **conversion}, "events": list(events)}


def world(*attempts: dict[str, Any], spec: Any = MP4, said: Any = (WHOLE,), **around: Any) -> Observed:
    """A task whose recording has ended."""
    meta = around.pop("meta", {})
    status = accepted(
        attempts=list(attempts), phase=Phase.FINALIZING, since=timedelta(seconds=60), operatorEvents=list(said)
    )
    if spec is VOD_SPEC:
        vod = {"app": App.parse({"spec": BUCKET_VOD}), "vod_secret": keys("vod-keys", accessKey="A", secretKey="S")}
        around = {**vod, "bucket_secret": keys("spool-keys", accessKey="A", secretKey="S"), **around}
    around = {"backup_secret": keys("backup-keys", accessKey="AK", secretKey="SK"), **around}
    return seen(recording(spec, status, **meta), **around)


def condition(plan: Plan, kind: ConditionType = ConditionType.CONVERTED) -> tuple[str, str, str] | None:
    assert plan.status is not None
    found = [(c.status, c.reason, c.message) for c in plan.status.conditions if c.type == kind]
    return found[0] if found else None


def phase(plan: Plan) -> Phase | None:
    assert plan.status is not None
    return plan.status.phase


def finishers(plan: Plan) -> list[str]:
    assert plan.status is not None
    return [a.pod for a in plan.status.attempts if a.role == "Finish"]


# --- whether --------------------------------------------------------------------------------------------------------


def test_a_whole_recording_that_is_to_become_mp4_gets_a_finisher() -> None:
    before = world(attempt(0, LEFT, **DONE), said=())
    plan = decide(before, SETTINGS)
    assert phase(plan) is Phase.FINALIZING
    assert finishers(plan) == ["lesson-0b9d2-f0"]
    assert told(plan) == [(305, {"Status": 0})]
    assert condition(plan) == ("Unknown", Reason.CONVERTING, "Pod lesson-0b9d2-f0 is to make the files")
    assert condition(plan, ConditionType.UPLOADED) == ("True", Reason.UPLOADED, "1 playlists and all their segments")
    assert plan.status is not None
    assert plan.status.phase_since == times.render(NOW)
    then = decide(after(before, plan), SETTINGS)
    (made,) = [action for action in then.actions if isinstance(action, CreatePod)]
    assert "CLOUDREC_CONVERT" in str(made.manifest)
    assert "CLOUDREC_BACKUP_STORE" not in str(made.manifest)


def test_hls_alone_gets_none_and_says_nothing_of_files() -> None:
    for output in ({}, {"formats": ["HLS"]}):
        plan = decide(world(attempt(0, LEFT, **DONE), spec={**SPEC, "output": output}, said=()), SETTINGS)
        assert phase(plan) is Phase.COMPLETED
        assert told(plan) == [(305, {"Status": 0})]
        assert condition(plan) is None


def test_a_failed_task_has_its_files_made_too() -> None:
    failed = {"reason": "InvalidSpec", "message": "no", "failed": True, "ago": 60}
    plan = decide(world(attempt(0, {**LEFT, "leaveCode": None}, **failed), said=()), SETTINGS)
    assert phase(plan) is Phase.FINALIZING
    done = decide(world(attempt(0, {**LEFT, "leaveCode": None}, **failed), finisher(0, finished(STOP_310))), SETTINGS)
    assert phase(done) is Phase.FAILED
    assert condition(done) == ("True", Reason.REMUXED, f"2 files; in bucket recordings, under school/2026/{UID}/")


@pytest.mark.parametrize(
    ("spec", "said"),
    [(MP4, [(305, {"Status": 0}), (310, {"Status": 0, "FileList": []})]), (VOD_SPEC, [(312, {"Status": 0})])],
)
def test_nothing_recorded_is_nothing_to_convert(spec: Any, said: list[Any]) -> None:
    before = world(attempt(0, NOTHING, **DONE), spec=spec, said=())
    plan = decide(before, SETTINGS)
    assert phase(plan) is Phase.COMPLETED
    assert told(plan) == said
    assert condition(plan) == ("True", Reason.NOTHING_TO_CONVERT, "nothing was recorded")
    assert decide(after(before, plan), SETTINGS).status is None


def test_one_that_never_was_in_the_room_says_no_more_than_that() -> None:
    failed = {"reason": "TokenRefused", "message": "no", "failed": True, "ago": 60}
    plan = decide(world(attempt(0, {"state": "Ended"}, **failed), said=()), SETTINGS)
    assert phase(plan) is Phase.FAILED
    assert told(plan) == [(301, {"Status": 1})]


def test_of_a_vod_recording_no_305_is_said() -> None:
    before = world(attempt(0, LEFT, **DONE), spec=VOD_SPEC, said=())
    plan = decide(before, SETTINGS)
    assert (phase(plan), told(plan)) == (Phase.FINALIZING, [])
    then = decide(after(before, plan), SETTINGS)
    assert any(isinstance(action, CreatePod) for action in then.actions)
    lacking = {**BUCKET_VOD, "storage": {"backup": BACKUP}}
    drained = world(attempt(0, IN_BACKUP, **DONE), finisher(), spec=VOD_SPEC, said=(), app=App.parse({"spec": lacking}))
    drained = replace(drained, pods=pods(its_pod()))
    assert told(decide(drained, SETTINGS)) == []


def test_a_deleted_recording_gets_none_and_says_so() -> None:
    for spec, said in (
        (MP4, [(305, {"Status": 0}), (310, {"Status": 2, "FileList": []})]),
        (VOD_SPEC, [(312, {"Status": 1})]),
    ):
        plan = decide(world(attempt(0, LEFT, **DONE), spec=spec, said=(), meta=DELETED), SETTINGS)
        assert (phase(plan), finishers(plan)) == (Phase.COMPLETED, [])
        assert told(plan) == said
        found = condition(plan)
        assert found is not None
        assert found[:2] == ("False", Reason.CONVERT_FAILED)
        assert "was deleted before" in found[2]


def test_a_namespace_that_goes_takes_the_recording_and_not_another_finisher() -> None:
    there = pods(its_pod(deleting=True))
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, converting()), pods=there, namespace_ends=True), SETTINGS)
    assert plan.actions == (DeleteRecording(),)


def test_files_wait_for_no_backup_store_that_has_nothing() -> None:
    def manifest(report: dict[str, Any], **around: Any) -> str:
        declared = finisher(podUID=None)
        plan = decide(world(attempt(0, report, **DONE), declared, spec=WITH_BACKUP, **around), SETTINGS)
        return "".join(str(action.manifest) for action in plan.actions if isinstance(action, CreatePod))

    alone = manifest(LEFT, backup_secret=None)
    assert "CLOUDREC_CONVERT" in alone
    assert "CLOUDREC_BACKUP_STORE" not in alone
    for told_less in ({**LEFT, "uploaded": False}, IN_BACKUP):
        assert "CLOUDREC_BACKUP_STORE" in manifest(told_less)
        assert manifest(told_less, backup_secret=None) == ""


# --- while it is at work --------------------------------------------------------------------------------------------


def test_progress_is_told_and_its_end_waited_for() -> None:
    there = pods(its_pod())
    before = world(attempt(0, LEFT, **DONE), finisher(0, converting(40, message="MP4 of anna")), pods=there)
    plan = decide(before, SETTINGS)
    assert phase(plan) is Phase.FINALIZING
    assert condition(plan) == ("Unknown", Reason.CONVERTING, "40 %: MP4 of anna")
    assert told(plan) == [(305, {"Status": 0})]
    again = decide(after(before, plan), SETTINGS)
    assert (again.status, again.actions, again.retry) == (plan.status, (), False)


def test_trouble_with_vod_is_told() -> None:
    trouble = [{"reason": "VodUnreachable", "message": "VOD: 503"}]
    report = {**converting(40), "conditions": trouble}
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, report), spec=VOD_SPEC, pods=pods(its_pod())), SETTINGS)
    assert condition(plan) == ("False", Reason.VOD_UNREACHABLE, "40 %: VOD: 503")
    assert condition(plan, ConditionType.UPLOADED) == ("True", Reason.UPLOADED, "1 playlists and all their segments")


def test_what_keeps_it_from_beginning_is_told() -> None:
    plan = decide(
        world(attempt(0, LEFT, **DONE), finisher(podUID=None), spec=VOD_SPEC, vod_secret=None, said=()), SETTINGS
    )
    assert plan.retry
    found = condition(plan)
    assert found is not None
    assert "Secret vod-keys with the VOD credentials" in found[2]


@pytest.mark.parametrize("report", [{**converting(30)}, {**converting(30), "conditions": []}])
def test_the_second_305_is_said_when_the_bucket_has_all_and_not_when_the_files_are_made(report: dict[str, Any]) -> None:
    draining = world(
        attempt(0, IN_BACKUP, **DONE),
        finisher(0, {"backup": 1}),
        spec=WITH_BACKUP,
        said=(LACKING,),
        pods=pods(its_pod()),
    )
    plan = decide(draining, SETTINGS)
    assert told(plan) == [(305, {"Status": 1})]
    assert condition(plan) == ("Unknown", Reason.CONVERTING, "begins when the bucket has what is in the backup store")
    uploaded = condition(plan, ConditionType.UPLOADED)
    assert uploaded is not None
    assert uploaded[:2] == ("False", Reason.BACKUP_IN_USE)

    drained = world(
        attempt(0, IN_BACKUP, **DONE), finisher(0, report), spec=WITH_BACKUP, said=(LACKING,), pods=pods(its_pod())
    )
    plan = decide(drained, SETTINGS)
    assert phase(plan) is Phase.FINALIZING
    assert told(plan) == [(305, {"Status": 1}), (305, {"Status": 2})]
    assert condition(plan, ConditionType.UPLOADED) == ("True", Reason.UPLOADED, "1 playlists and all their segments")
    assert told(decide(after(drained, plan), SETTINGS)) == [(305, {"Status": 1}), (305, {"Status": 2})]


def test_what_could_not_be_copied_keeps_no_file_from_being_made() -> None:
    left = [{"reason": "BackupInUse", "message": "stays in spare/x"}]
    report = {**converting(50), "backup": 1, "conditions": left}
    plan = decide(
        world(
            attempt(0, IN_BACKUP, **DONE), finisher(0, report), spec=WITH_BACKUP, said=(LACKING,), pods=pods(its_pod())
        ),
        SETTINGS,
    )
    assert phase(plan) is Phase.FINALIZING
    assert told(plan) == [(305, {"Status": 1})]
    found = condition(plan, ConditionType.UPLOADED)
    assert found is not None
    assert found[1:] == (Reason.BACKUP_IN_USE, "1 files are in the backup store alone: stays in spare/x")


def test_a_drained_recording_whose_finisher_died_stays_drained() -> None:
    died = finisher(0, converting(50), reason="FinisherFailed", message="killed", failed=True, ago=30)
    plan = decide(
        world(
            attempt(0, IN_BACKUP, **DONE),
            died,
            finisher(1, {"backup": 0}),
            spec=WITH_BACKUP,
            said=(LACKING,),
            pods=pods(its_pod(1)),
        ),
        SETTINGS,
    )
    assert told(plan) == [(305, {"Status": 1}), (305, {"Status": 2})]
    assert condition(plan, ConditionType.UPLOADED) == ("True", Reason.UPLOADED, "1 playlists and all their segments")


# --- its end --------------------------------------------------------------------------------------------------------


def test_a_good_end() -> None:
    before = world(attempt(0, LEFT, **DONE), finisher(0, finished(STOP_310)), pods=pods(its_pod()))
    plan = decide(before, SETTINGS)
    assert phase(plan) is Phase.COMPLETED
    assert told(plan) == [(305, {"Status": 0})], "310 is the finisher's"
    assert plan.status is not None
    assert (plan.status.attempts[1].reason, plan.status.attempts[1].failed) == (Reason.REMUXED, False)
    assert condition(plan) == ("True", Reason.REMUXED, f"2 files; in bucket recordings, under school/2026/{UID}/")
    then = decide(after(before, plan), SETTINGS)
    assert then.status is None
    assert [action.name for action in then.actions if isinstance(action, DeletePod)] == ["lesson-0b9d2-f0"]


def test_a_last_event_that_was_delivered_is_not_said_again() -> None:
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, finished(), acked=1), pods=pods(its_pod())), SETTINGS)
    assert (phase(plan), told(plan)) == (Phase.COMPLETED, [(305, {"Status": 0})])


@pytest.mark.parametrize(
    ("conversion", "conditions", "expected"),
    [
        ({"reason": "Reencoded", "message": "2 files; encoded anew: x"}, [], ("True", "Reencoded")),
        (
            {"reason": "HLSKept", "message": "2 files; playlists and segments stay: AccessDenied"},
            [],
            ("True", "HLSKept"),
        ),
        ({}, [{"reason": "ExpiryRefused", "message": "no lifecycle rules"}], ("True", "ExpiryRefused")),
        ({"reason": "ConvertFailed", "message": "MP4 of anna: broken", "failed": 1}, [], ("False", "ConvertFailed")),
        ({"failed": 1}, [], ("False", "ConvertFailed")),
        ({"reason": "Novelty"}, [], ("True", "Remuxed")),
        ({"reason": "Novelty", "failed": 1}, [], ("False", "ConvertFailed")),
    ],
)
def test_what_became_of_it_is_told_and_fails_no_recording(
    conversion: dict[str, Any], conditions: list[Any], expected: tuple[str, str]
) -> None:
    report = {**finished(STOP_310, **conversion), "conditions": conditions}
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, report), pods=pods(its_pod())), SETTINGS)
    assert phase(plan) is Phase.COMPLETED
    found = condition(plan)
    assert found is not None
    assert found[:2] == expected
    assert found[2].startswith(conversion.get("message", "2 files"))
    assert "in bucket recordings, under school/2026/" in found[2]
    assert all(condition["message"] in found[2] for condition in conditions)


def test_files_in_vod_are_in_vod() -> None:
    plan = decide(world(attempt(0, LEFT, **DONE), finisher(0, finished()), spec=VOD_SPEC, said=()), SETTINGS)
    assert (phase(plan), told(plan)) == (Phase.COMPLETED, [])
    assert condition(plan) == ("True", Reason.REMUXED, "2 files; in VOD")


def test_one_that_dies_is_followed_and_its_events_go_on() -> None:
    died = finisher(0, converting(40), acked=3)
    before = world(attempt(0, LEFT, **DONE), died, pods=pods(its_pod(finisher=exited(137), phase="Failed")))
    plan = decide(before, SETTINGS)
    assert plan.status is not None
    assert phase(plan) is Phase.FINALIZING
    assert [(a.pod, a.acked) for a in plan.status.attempts[1:]] == [("lesson-0b9d2-f0", 3), ("lesson-0b9d2-f1", 3)]
    assert (plan.status.attempts[1].reason, plan.status.attempts[1].failed) == (Reason.FINISHER_FAILED, True)
    assert told(plan) == [(305, {"Status": 0})]
    due = replace(after(before, plan), now=NOW + timedelta(seconds=finishing.PAUSES[0]), pods={})
    (made,) = [action for action in decide(due, SETTINGS).actions if isinstance(action, CreatePod)]
    assert "CLOUDREC_CONVERT" in str(made.manifest)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4))
def test_a_successor_begins_where_all_before_it_were(acked: list[int]) -> None:
    before = [finisher(n, None, acked=seq, reason="x", failed=True, ago=30) for n, seq in enumerate(acked[:-1])]
    newest = finisher(len(acked) - 1, converting(10), acked=acked[-1])
    plan = decide(world(attempt(0, LEFT, **DONE), *before, newest), SETTINGS)
    assert plan.status is not None
    assert plan.status.attempts[-1].index == len(acked)
    assert plan.status.attempts[-1].acked == max(acked)


@pytest.mark.parametrize(
    ("spec", "said", "where"),
    [
        (MP4, [(305, {"Status": 0}), (310, {"Status": 2, "FileList": []})], "bucket recordings, under school/2026/"),
        (VOD_SPEC, [(312, {"Status": 1})], "vod.spool of RecordingApp demo, under"),
    ],
)
@pytest.mark.parametrize("how", ["died", "deleted", "late", "never made"])
def test_what_no_finisher_could_do_the_operator_says(how: str, spec: Any, said: list[Any], where: str) -> None:
    first = (WHOLE,) if spec is MP4 else ()
    recorder = attempt(0, LEFT, **DONE)
    late = NOW + timedelta(seconds=SETTINGS.finish_seconds + finishing.MARGIN_SECONDS)
    count = finishing.ATTEMPTS_MAX
    cases: dict[str, tuple[Observed, str]] = {
        "died": (
            world(recorder, *dead_ones(count - 1), finisher(count - 1, converting(9)), spec=spec, said=first),
            "its Pod is gone",
        ),
        "deleted": (
            world(recorder, finisher(0, converting(9)), pods=pods(its_pod()), spec=spec, said=first, meta=DELETED),
            "the recording is deleted: nothing more is copied or made",
        ),
        "late": (
            world(recorder, finisher(0, converting(9)), pods=pods(its_pod()), spec=spec, said=first, now=late),
            "given up: it did not end in time",
        ),
        "never made": (world(recorder, finisher(podUID=None), spec=spec, said=first, now=late), "given up"),
    }
    before, why = cases[how]
    plan = decide(before, SETTINGS)
    assert phase(plan) is Phase.COMPLETED
    assert told(plan) == said
    found = condition(plan)
    assert found is not None
    assert found[:2] == ("False", Reason.CONVERT_FAILED)
    assert why in found[2]
    assert where in found[2]
    assert condition(plan, ConditionType.UPLOADED) == ("True", Reason.UPLOADED, "1 playlists and all their segments")
    assert decide(after(before, plan), SETTINGS).status is None, "it is said once"


def test_what_a_finisher_said_before_it_died_is_not_said_again() -> None:
    said = {**converting(90), "events": [STOP_310]}
    died = finisher(0, said, reason="FinisherFailed", message="killed", failed=True, ago=30)
    plan = decide(world(attempt(0, LEFT, **DONE), died, finisher(1), pods=pods(its_pod(1)), meta=DELETED), SETTINGS)
    assert (phase(plan), told(plan)) == (Phase.COMPLETED, [(305, {"Status": 0})])


def test_a_deletion_while_the_backup_store_is_emptied() -> None:
    plan = decide(
        world(
            attempt(0, IN_BACKUP, **DONE),
            finisher(0, {"backup": 2}),
            spec=WITH_BACKUP,
            said=(LACKING,),
            pods=pods(its_pod()),
            meta=DELETED,
        ),
        SETTINGS,
    )
    assert phase(plan) is Phase.COMPLETED
    assert told(plan) == [(305, {"Status": 1}), (310, {"Status": 2, "FileList": []})]
    found = condition(plan, ConditionType.UPLOADED)
    assert found is not None
    assert found[1] == Reason.BACKUP_IN_USE


_REPORTS: list[dict[str, Any]] = [
    {"backup": 2},
    {"uploaded": True},
    converting(10),
    {**converting(90), "events": [STOP_310]},
    {**finished(STOP_310), "backup": 1},
    finished(STOP_310),
]
"""A finisher's, in the order in which they may follow."""
_STEP = st.tuples(
    st.integers(0, len(_REPORTS)), st.sampled_from(["running", "gone", "failed"]), st.booleans(), st.integers(0, 40_000)
)


def _reported(one: Attempt, stage: int, vod: bool) -> Attempt:
    if stage == 0:
        return one
    report = _REPORTS[stage - 1]
    if vod and "events" in report:
        report = {**report, "events": [{**STOP_310, "type": 312, "args": {"Status": 0}}]}
    return one.model_copy(update={"report": Report.model_validate(report)})


@given(
    steps=st.lists(_STEP, min_size=1, max_size=12),
    spec=st.sampled_from([MP4, WITH_BACKUP, VOD_SPEC]),
    recorded=st.sampled_from([LEFT, IN_BACKUP, NOTHING]),
)
def test_whatever_happens_each_event_is_said_once_and_the_last_one_in_any_case(
    steps: list[tuple[int, str, bool, int]], spec: Any, recorded: dict[str, Any]
) -> None:
    now = NOW
    reached: dict[int, int] = {}
    view = world(attempt(0, recorded, **DONE), spec=spec, said=())
    for stage, there, deleted, seconds in [*steps, (0, "gone", True, 10)]:
        now += timedelta(seconds=seconds)
        rec = view.recording
        if deleted and rec.deleted_at is None:
            rec = replace(rec, deleted_at=now)
        every = list(rec.status.attempts)
        found = {}
        if every[-1].role == "Finish":
            number = every[-1].index
            made = every[-1].model_copy(update={"pod_uid": f"uid-f{number}"})
            reached[number] = max(stage, reached.get(number, 0))
            every[-1] = _reported(made, reached[number], spec is VOD_SPEC)
            its = its_pod(number, finisher=exited(1), phase="Failed") if there == "failed" else its_pod(number)
            found = {} if there == "gone" else pods(its)
        rec = replace(rec, status=rec.status.model_copy(update={"attempts": every}))
        view = replace(view, recording=rec, now=now, pods=found)
        plan = decide(view, SETTINGS)
        if plan.status is not None:
            view = replace(view, recording=replace(rec, status=plan.status))
    status = view.recording.status.model_copy(update={"callbacks": CallbackStatus()})
    assert status.phase is Phase.COMPLETED
    letters = order.waiting(status, [one.pod for one in status.attempts])
    assert len([letter for letter in letters if letter.type in (310, 312)]) == 1
    own = [(event.type, event.args.get("Status")) for event in status.operator_events]
    assert len(own) == len(set(own)), "nothing is said twice"
    if spec is VOD_SPEC:
        assert not [kind for kind, _ in own if kind in (305, 310)]
    else:
        assert [truth for kind, truth in own if kind == 305][:1] in ([0], [1])
        assert (305, 2) not in own or (305, 1) in own
