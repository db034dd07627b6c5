"""A Pod's status from facts about its containers, in kubelet's words."""

from __future__ import annotations

from typing import Any

import pytest

from cloudrec_local.node.status import (
    Facts,
    Role,
    conditions,
    exit_code,
    phase,
    pod_status,
    restarts,
    terminated,
    termination_message,
)

RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
WAITING = {"waiting": {"reason": "PodInitializing"}}


def ended(code: int) -> dict[str, Any]:
    return terminated(code, "2026-01-01T00:00:00Z", "process://1")


def facts(role: Role, state: dict[str, Any], **more: Any) -> Facts:
    return Facts(name=more.pop("name", role), role=role, image="i", state=state, **more)


SIDECAR_UP = facts("sidecar", RUNNING, started=True, ready=True, once=True)


@pytest.mark.parametrize(
    ("containers", "over", "expected"),
    [
        ([facts("main", WAITING)], False, "Pending"),
        ([facts("main", RUNNING)], False, "Running"),
        ([facts("init", RUNNING), facts("main", WAITING)], False, "Pending"),
        ([facts("init", ended(1)), facts("main", WAITING)], False, "Pending"),
        ([facts("sidecar", RUNNING), facts("main", WAITING)], False, "Pending"),
        ([SIDECAR_UP, facts("main", RUNNING)], False, "Running"),
        ([SIDECAR_UP, facts("main", ended(3))], False, "Running"),  # the sidecar still works
        ([facts("sidecar", ended(9), once=True), facts("main", ended(0))], True, "Succeeded"),
        ([facts("sidecar", ended(0), once=True), facts("main", ended(3))], True, "Failed"),
        ([facts("init", ended(1)), facts("main", ended(0))], True, "Failed"),
        ([facts("main", {"waiting": {"reason": "CrashLoopBackOff"}}, last_state=ended(1))], False, "Running"),
        ([facts("main", ended(0)), facts("main", RUNNING, name="b")], False, "Running"),
        ([facts("main", ended(0)), facts("main", ended(2), name="b")], True, "Failed"),
    ],
)
def test_phase(containers: list[Facts], over: bool, expected: str) -> None:
    assert phase(containers, over=over) == expected


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policy(policy: str, code: int, again: bool) -> None:
    assert restarts(policy, code) is again


def test_exit_code_of_a_signal() -> None:
    assert (exit_code(0), exit_code(3), exit_code(-9), exit_code(-15)) == (0, 3, 137, 143)


def test_termination_message_is_the_file_else_on_failure_the_end_of_the_log() -> None:
    lines = b"".join(b"line %d\n" % n for n in range(200))
    assert termination_message("File", 1, b"", lines) == ""
    assert termination_message("File", 1, b"x" * 5000, b"") == "x" * 4096
    assert termination_message("FallbackToLogsOnError", 0, b"", lines) == ""
    assert termination_message("FallbackToLogsOnError", 1, b"own", lines) == "own"
    said = termination_message("FallbackToLogsOnError", 1, b"", lines)
    assert said.endswith("line 199")
    assert len(said.splitlines()) <= 80
    assert termination_message("File", 1, b"\xff\xfe", b"")  # never fails on bytes that are no text


def test_conditions_keep_their_time_and_take_reasons_back() -> None:
    before = {
        "Ready": {"type": "Ready", "status": "False", "lastTransitionTime": "then"},
        "Initialized": {"type": "Initialized", "status": "True", "lastTransitionTime": "then"},
    }
    up = [facts("main", RUNNING, ready=True, started=True)]
    found = {c["type"]: c for c in conditions(up, mounted=True, over=False, phase="Running", before=before, now="now")}
    assert (found["Ready"]["status"], found["Ready"]["lastTransitionTime"]) == ("True", "now")
    assert found["Ready"]["reason"] is None
    assert found["Initialized"]["lastTransitionTime"] == "then"


@pytest.mark.parametrize(
    ("over", "current", "reason"),
    [(False, "Running", "ContainersNotReady"), (True, "Succeeded", "PodCompleted"), (True, "Failed", "PodFailed")],
)
def test_why_a_pod_is_not_ready(over: bool, current: str, reason: str) -> None:
    found = conditions([facts("main", RUNNING)], mounted=True, over=over, phase=current, before={}, now="now")
    assert {c["reason"] for c in found if c["type"].endswith("Ready")} == {reason}


def test_a_sidecar_that_was_never_up_leaves_the_pod_uninitialized() -> None:
    died = facts("sidecar", {"waiting": {"reason": "CrashLoopBackOff"}}, last_state=ended(1))
    found = conditions([died, facts("main", WAITING)], mounted=True, over=False, phase="Pending", before={}, now="now")
    assert {c["type"]: c["status"] for c in found}["Initialized"] == "False"


def test_sidecars_and_init_containers_are_listed_apart_from_the_main_ones() -> None:
    status = pod_status(
        [facts("init", ended(0)), SIDECAR_UP, facts("main", RUNNING, container_id="process://1")],
        ip="127.1.2.3",
        host_ip="127.0.0.1",
        start_time="then",
        mounted=True,
        over=False,
        before={},
        generation=4,
    )
    assert [c["name"] for c in status["initContainerStatuses"]] == ["init", "sidecar"]
    assert [c["containerID"] for c in status["containerStatuses"]] == ["process://1"]
    assert (status["phase"], status["podIP"], status["observedGeneration"]) == ("Running", "127.1.2.3", 4)
