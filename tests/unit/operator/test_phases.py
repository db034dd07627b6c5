from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import LeaveCode
from cloudrec_contract.resources import CloudRecordingStatus, Condition, ConditionType, Phase
from cloudrec_operator.decide import decide
from cloudrec_operator.observed import Container, Pod, SecretData, parse_exit
from cloudrec_operator.policy import attempts
from tests.unit.operator.samples import (
    NOW,
    POD,
    POD_UID,
    SETTINGS,
    SPEC,
    accepted,
    exited,
    pod,
    recording,
    seen,
)

LATE = SETTINGS.start_seconds
FILE = {"userId": "a", "media": "main", "kind": "audio", "beginTimeStamp": 1}
WAITING = pod(phase="Pending", recorder=Container(waiting="PodInitializing"), uploader=Container())
MOUNTING = SecretData("bucket-keys", None)


def judge(
    report: dict[str, Any] | None,
    pod: Pod | None,
    stop: bool = False,
    phase: Phase = Phase.RECORDING,
    since: float = 1,
    age: float = 10,
    **around: Any,
) -> CloudRecordingStatus:
    """What becomes of a task with one attempt, which has been in `phase` for `since` seconds."""
    status = accepted(report, phase, timedelta(seconds=since), timedelta(seconds=age))
    rec = recording({**SPEC, "desiredState": "Stopped"} if stop else SPEC, status)
    made = decide(seen(rec, pod=pod, token_expires=NOW + timedelta(hours=6), **around), SETTINGS).status
    assert made is not None
    assert made.phase is not None
    return made


def fact(status: CloudRecordingStatus, kind: ConditionType) -> Condition:
    return next(condition for condition in status.conditions if condition.type == kind)


def reason(status: CloudRecordingStatus, kind: ConditionType) -> tuple[str, str]:
    found = fact(status, kind)
    return found.status, found.reason


def told(*reasons: Reason) -> list[dict[str, str]]:
    return [{"reason": r.value, "message": f"about {r.value}"} for r in reasons]


IDLE = {"state": "Idle", "ready": True}
BUSY = {"state": "Recording", "ready": True, "files": [FILE]}
ENDED = {"state": "Ended", "ready": True, "files": [FILE], "leaveCode": 0}
DONE = {**ENDED, "uploaded": True}


@pytest.mark.parametrize(
    ("report", "pod", "stop", "phase"),
    [
        pytest.param(None, WAITING, False, Phase.STARTING, id="pod being created"),
        pytest.param(None, pod(), False, Phase.STARTING, id="running, nothing said"),
        pytest.param({"state": "Starting"}, pod(), False, Phase.STARTING, id="joining"),
        pytest.param(IDLE, pod(), False, Phase.IDLE, id="nobody there is no failure"),
        pytest.param(BUSY, pod(), False, Phase.RECORDING, id="recording"),
        pytest.param({**BUSY, "state": "Stopping"}, pod(), False, Phase.STOPPING, id="leaving by itself (idle)"),
        pytest.param(BUSY, pod(), True, Phase.STOPPING, id="told to stop"),
        pytest.param(BUSY, pod(deleting=True), True, Phase.STOPPING, id="told to stop, pod deleted"),
        pytest.param(None, pod(), True, Phase.STOPPING, id="told to stop while joining"),
        pytest.param(None, WAITING, True, Phase.COMPLETED, id="told to stop before it ran"),
        pytest.param(ENDED, pod(), True, Phase.FINALIZING, id="left, uploading"),
        pytest.param(ENDED, pod(recorder=exited(0)), True, Phase.FINALIZING, id="ended, uploading"),
        pytest.param(DONE, pod(), True, Phase.FINALIZING, id="uploaded, recorder about to exit"),
        pytest.param(DONE, pod(recorder=exited(0)), True, Phase.COMPLETED, id="normal end"),
        pytest.param(DONE, pod(recorder=exited(0), phase="Succeeded"), False, Phase.COMPLETED, id="pod over"),
        pytest.param(DONE, None, True, Phase.COMPLETED, id="uploaded, pod gone"),
        pytest.param(BUSY, pod(recorder=exited(1)), True, Phase.FINALIZING, id="crashed, sidecar finishes"),
        pytest.param({**BUSY, "uploaded": True}, pod(recorder=exited(137)), True, Phase.FAILED, id="crashed, up"),
        pytest.param({**DONE, "missing": 2}, pod(recorder=exited(0)), False, Phase.FAILED, id="files given up"),
        pytest.param(BUSY, None, True, Phase.FAILED, id="pod lost while stopping"),
        pytest.param(BUSY, pod(uid="other"), True, Phase.FAILED, id="another pod of the name"),
        pytest.param(None, None, True, Phase.COMPLETED, id="stopped, nothing was recorded"),
        pytest.param(ENDED, pod(recorder=exited(0), phase="Failed"), False, Phase.FAILED, id="over, not uploaded"),
    ],
)
def test_phase(report: dict[str, Any] | None, pod: Pod | None, stop: bool, phase: Phase) -> None:
    assert judge(report, pod, stop).phase is phase


@pytest.mark.parametrize("given", [Reason.TOKEN_REFUSED, Reason.BUCKET_REFUSED])
@pytest.mark.parametrize("state", ["Starting", "Idle", "Ended"])
def test_a_refusal_before_the_recording_fails_at_once(given: Reason, state: str) -> None:
    judged = judge({"state": state, "conditions": told(given)}, pod(), phase=Phase.STARTING)
    assert judged.phase is Phase.FAILED
    assert reason(judged, ConditionType.RECORDER_READY) == ("False", given)


def test_a_refusal_told_by_the_exit_fails_at_once() -> None:
    judged = judge(None, pod(recorder=exited(1, "TokenRefused", "401")), phase=Phase.STARTING)
    assert judged.phase is Phase.FAILED
    assert reason(judged, ConditionType.RECORDER_READY) == ("False", Reason.TOKEN_REFUSED)


def test_a_bucket_that_refuses_while_recording_is_waited_for() -> None:
    judged = judge({**BUSY, "conditions": told(Reason.BUCKET_REFUSED)}, pod())
    assert judged.phase is Phase.RECORDING
    assert reason(judged, ConditionType.UPLOADED) == ("False", Reason.BUCKET_REFUSED)


@pytest.mark.parametrize(
    ("report", "pod", "keys", "expected"),
    [
        (None, replace(WAITING, unschedulable="0/3 nodes"), None, Reason.UNSCHEDULABLE),
        (None, replace(WAITING, uploader=Container("ImagePullBackOff", "no")), None, Reason.IMAGE_MISSING),
        (None, replace(WAITING, recorder=Container("ErrImagePull", "no")), None, Reason.IMAGE_MISSING),
        (None, replace(WAITING, recorder=Container("InvalidImageName", "no")), None, Reason.IMAGE_MISSING),
        (None, WAITING, MOUNTING, Reason.SECRET_NOT_FOUND),
        (None, WAITING, None, Reason.POD_STARTING),
        ({"conditions": told(Reason.LIVEKIT_UNREACHABLE)}, pod(), None, Reason.LIVEKIT_UNREACHABLE),
        ({"conditions": told(Reason.MEDIA_UNREACHABLE)}, pod(), None, Reason.MEDIA_UNREACHABLE),
        ({"conditions": told(Reason.BUCKET_UNREACHABLE)}, pod(), None, Reason.BUCKET_UNREACHABLE),
        ({**BUSY, "conditions": told(Reason.LIVEKIT_UNREACHABLE)}, pod(), None, Reason.LIVEKIT_UNREACHABLE),
    ],
)
def test_why_it_is_not_ready(
    report: dict[str, Any] | None, pod: Pod, keys: SecretData | None, expected: Reason
) -> None:
    around = {"bucket_secret": keys} if keys else {}
    judged = judge(report, pod, age=SETTINGS.start_seconds - 1, **around)
    assert judged.phase in (Phase.STARTING, Phase.RECORDING)
    assert reason(judged, ConditionType.RECORDER_READY) == ("False", expected)


def test_the_start_deadline_names_what_it_waited_for() -> None:
    judged = judge(None, replace(WAITING, unschedulable="0/3 nodes"), phase=Phase.STARTING, age=LATE)
    assert judged.phase is Phase.FAILED
    ready = fact(judged, ConditionType.RECORDER_READY)
    assert ready.reason == Reason.START_TIMEOUT
    assert "Unschedulable: 0/3 nodes" in ready.message


def test_the_start_deadline_does_not_end_a_recording() -> None:
    assert judge(BUSY, pod(), age=LATE).phase is Phase.RECORDING
    assert judge(IDLE, pod(), age=LATE).phase is Phase.IDLE


def test_what_cannot_be_uploaded_in_time_is_given_up() -> None:
    report = {**ENDED, "conditions": told(Reason.BUCKET_UNREACHABLE)}
    judged = judge(report, pod(), phase=Phase.FINALIZING, since=SETTINGS.finalize_seconds)
    assert judged.phase is Phase.FAILED
    assert reason(judged, ConditionType.UPLOADED) == ("False", Reason.UPLOAD_FAILED)


def test_a_recorder_that_lingers_after_the_upload_is_not_waited_for() -> None:
    assert judge(DONE, pod(), phase=Phase.FINALIZING, since=attempts.DRAIN_SECONDS + 1).phase is Phase.COMPLETED
    assert judge(DONE, pod(), phase=Phase.RECORDING, since=attempts.DRAIN_SECONDS + 1).phase is Phase.FINALIZING


def test_a_crash_before_the_room_does_not_wait_for_a_silent_sidecar() -> None:
    crashed = pod(recorder=exited(1))
    assert judge(None, crashed, True, Phase.STARTING, since=999).phase is Phase.FINALIZING
    assert judge(None, crashed, True, Phase.FINALIZING, since=attempts.DRAIN_SECONDS + 1).phase is Phase.FAILED


def test_notices_do_not_end_a_recording() -> None:
    judged = judge({**BUSY, "conditions": told(Reason.STREAMS_WAITING)}, pod())
    assert reason(judged, ConditionType.RECORDING) == ("True", Reason.STREAMS_WAITING)
    assert reason(judge(BUSY, pod()), ConditionType.RECORDING) == ("True", Reason.RECORDING)
    assert reason(judge(IDLE, pod()), ConditionType.RECORDING) == ("False", Reason.NO_MEDIA)


@pytest.mark.parametrize("given", [Reason.CODEC_UNSUPPORTED, Reason.NAME_TOO_LONG, Reason.STREAMS_WAITING])
def test_why_nothing_is_recorded_is_told_in_idle(given: Reason) -> None:
    judged = judge({**IDLE, "conditions": told(given)}, pod(), phase=Phase.IDLE)
    assert judged.phase is Phase.IDLE
    assert reason(judged, ConditionType.RECORDING) == ("False", given)
    assert f"about {given.value}" in fact(judged, ConditionType.RECORDING).message


def test_transcoding_is_told_while_it_lasts() -> None:
    def judged(report: dict[str, Any], *reasons: Reason) -> tuple[str, str]:
        return reason(judge({**report, "conditions": told(*reasons)}, pod()), ConditionType.RECORDING)

    assert judged(BUSY, Reason.TRANSCODED) == ("True", Reason.TRANSCODED)
    assert judged(BUSY, Reason.TRANSCODED, Reason.TRANSCODE_OVERLOAD) == ("True", Reason.TRANSCODE_OVERLOAD)
    assert judged(IDLE, Reason.TRANSCODED) == ("False", Reason.NO_MEDIA)


@pytest.mark.parametrize("lack", [Reason.CODEC_UNSUPPORTED, Reason.NAME_TOO_LONG])
@pytest.mark.parametrize("report", [DONE, {**DONE, "files": []}])
def test_what_was_never_recorded_is_told_at_the_end(report: dict[str, Any], lack: Reason) -> None:
    given = {**report, "leaveCode": 99, "conditions": told(lack, Reason.SLOW_DISK)}
    judged = judge(given, pod(recorder=exited(0)))
    assert judged.phase is Phase.COMPLETED
    assert reason(judged, ConditionType.RECORDING) == ("False", lack)
    message = fact(judged, ConditionType.RECORDING).message
    assert message.endswith(f"for maxIdleSeconds; about {lack.value}")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, Reason.STOPPED),
        (0, Reason.STOPPED),
        (1, Reason.REMOVED_BY_API),
        (2, Reason.ROOM_DELETED),
        (3, Reason.REMOVED_BY_SERVER),
        (4, Reason.ROOM_CLOSED),
        (7, Reason.STOPPED),
        (99, Reason.STOPPED),
        (100, Reason.REJOIN_TIMEOUT),
        (101, Reason.REPEATED_ENTRY),
    ],
)
def test_an_end_by_others_is_completed_and_says_whose_it_was(code: int | None, expected: Reason) -> None:
    judged = judge({**DONE, "leaveCode": code}, pod(recorder=exited(0)))
    assert judged.phase is Phase.COMPLETED
    assert reason(judged, ConditionType.RECORDER_READY) == ("False", expected)
    assert reason(judged, ConditionType.UPLOADED) == ("True", Reason.UPLOADED)
    assert fact(judged, ConditionType.RECORDER_READY).message == fact(judged, ConditionType.RECORDING).message != ""
    assert reason(judge({**BUSY, "leaveCode": code}, pod()), ConditionType.RECORDER_READY) == ("True", Reason.READY)


def test_every_leave_code_has_a_reason() -> None:
    assert set(attempts.LEAVING) == set(LeaveCode)


def test_a_good_end_says_so_in_every_condition() -> None:
    judged = judge({**DONE, "leaveCode": 99}, pod(recorder=exited(0)))
    assert reason(judged, ConditionType.UPLOADED) == ("True", Reason.UPLOADED)
    assert reason(judged, ConditionType.RECORDER_READY) == ("False", Reason.STOPPED)
    assert "maxIdleSeconds" in fact(judged, ConditionType.RECORDING).message


@pytest.mark.parametrize(
    ("terminated", "expected"),
    [
        ({"exitCode": 0, "reason": "Completed"}, (0, "", "")),
        ({"exitCode": 1, "message": '{"reason":"TokenRefused","message":"401"}'}, (1, "TokenRefused", "401")),
        ({"exitCode": 137, "reason": "OOMKilled"}, (137, "OOMKilled", "")),
        ({"exitCode": 1, "reason": "Error", "message": "Traceback"}, (1, "RecorderFailed", "Traceback")),
        ({"exitCode": 1, "reason": "Error", "message": "[1]"}, (1, "RecorderFailed", "[1]")),
    ],
)
def test_exit(terminated: dict[str, Any], expected: tuple[int, str, str]) -> None:
    ended = parse_exit(terminated)
    assert (ended.code, ended.reason, ended.message) == expected


def test_pod_status_is_read() -> None:
    found = Pod.parse(
        {
            "metadata": {
                "name": POD,
                "uid": POD_UID,
                "deletionTimestamp": "2026-01-01T00:00:00Z",
                "ownerReferences": [{"uid": "x"}, {"uid": "y", "controller": True}],
            },
            "status": {
                "phase": "Running",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "m"}],
                "containerStatuses": [{"name": "recorder", "state": {"terminated": {"exitCode": 3}}}],
                "initContainerStatuses": [{"name": "uploader", "state": {"waiting": {"reason": "ErrImagePull"}}}],
            },
        }
    )
    assert (found.owner, found.deleting, found.unschedulable) == ("y", True, "m")
    assert found.recorder.exit is not None
    assert found.recorder.exit.code == 3
    assert found.uploader.waiting == "ErrImagePull"
