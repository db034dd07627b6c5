"""Mount paths as folders of the host, and Kubernetes' variable expansion."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_local.node.rewrite import command, expand, mounts, rewriter

TABLE = {"/spool": "/h/spool", "/spool/deep": "/h/deep", "/dev/termination-log": "/h/last"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/spool", "/h/spool"),
        ("/spool/", "/h/spool/"),
        ("/spool/task.json", "/h/spool/task.json"),
        ("/spool/deep/x", "/h/deep/x"),  # the longest mount path wins
        ("/spooler/x", "/spooler/x"),
        ("spool", "spool"),
        ("--dir=/spool/x", "--dir=/h/spool/x"),
        ("--dir=spool/x", "--dir=spool/x"),
        ("see /spool/x", "see /spool/x"),
        ("/dev/termination-log", "/h/last"),
        ("/etc/a=/spool/x", "/etc/a=/spool/x"),
        ("", ""),
    ],
)
def test_a_value_is_rewritten_at_its_beginning_or_after_its_equals_sign(value: str, expected: str) -> None:
    assert rewriter(TABLE)(value) == expected


@given(st.text(max_size=40).filter(lambda text: "/" not in text))
def test_values_without_a_path_are_left_alone(value: str) -> None:
    assert rewriter(TABLE)(value) == value


def test_mounts_take_sub_paths_and_the_termination_log() -> None:
    container = {
        "volumeMounts": [{"name": "a", "mountPath": "/a/"}, {"name": "b", "mountPath": "/b", "subPath": "x/y"}],
        "terminationMessagePath": "/last",
    }
    assert mounts(container, {"a": "/h/a", "b": "/h/b"}, "/h/log") == {
        "/last": "/h/log",
        "/a": "/h/a",
        "/b": "/h/b/x/y",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$A ${A}", "$A ${A}"),
        ("$$", "$"),
    ],
)
def test_expansion_is_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_command_replaces_the_entry_point_and_arguments_follow() -> None:
    rewrite = rewriter(TABLE)
    assert command({"args": ["$(A)", "/spool/x"]}, ("run",), {"A": "1"}, rewrite) == ["run", "1", "/h/spool/x"]
    assert command({"command": ["other"]}, ("run",), {}, rewrite) == ["other"]
