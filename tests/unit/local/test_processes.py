"""Detached processes: found again, told from strangers, and ended with all they started."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from cloudrec_local.processes import MARK, ProcessRecord, marked, start, stop, sweep, tail, wait_until


def run(tmp_path: Path, script: str, mark: str = "") -> ProcessRecord:
    env = {"PATH": os.environ["PATH"]}
    return start([sys.executable, "-c", script], log=tmp_path / "log", cwd=tmp_path / "cwd", env=env, mark=mark)


def said(tmp_path: Path, text: str) -> bool:
    return wait_until(lambda: text in tail(tmp_path / "log"), 10)


def test_starts_apart_from_us_and_ends_on_sigterm(tmp_path: Path) -> None:
    record = run(tmp_path, "import os, time; print(os.getcwd(), flush=True); time.sleep(60)")
    assert said(tmp_path, str(tmp_path / "cwd"))
    assert record.alive()
    assert os.getsid(record.pid) == record.pid
    stop([record], 5)
    assert not record.alive()


def test_what_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(60)"
    )
    record = run(tmp_path, script)
    assert said(tmp_path, "x")
    stop([record], 0.1)
    assert not record.alive()


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    record = run(tmp_path, "import time; time.sleep(60)")
    try:
        for stranger in (
            record.model_copy(update={"started": record.started + 1}),
            record.model_copy(update={"boot": "another"}),
        ):
            assert not stranger.alive()
            stranger.signal(signal.SIGKILL)
        assert record.alive()
    finally:
        stop([record], 0)


def test_sweep_ends_what_left_its_group_and_nothing_else(tmp_path: Path) -> None:
    mark = str(tmp_path)
    child = "import time; time.sleep(60)"
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)"
    parent = run(tmp_path, script, mark)
    other = run(tmp_path, "import time; time.sleep(60)", mark + "/other")
    try:
        assert wait_until(lambda: not parent.alive(), 10)
        assert len(list(marked(lambda env: env.get(MARK) == mark))) == 1
        sweep(lambda env: env.get(MARK) == mark)
        assert list(marked(lambda env: env.get(MARK) == mark)) == []
        assert other.alive()
    finally:
        stop([other], 0)


def test_records_survive_being_written(tmp_path: Path) -> None:
    record = ProcessRecord.of(os.getpid())
    assert record is not None
    assert ProcessRecord.model_validate_json(record.model_dump_json()) == record
    assert record.alive()
    assert ProcessRecord.of(2**22 + 1) is None


@pytest.mark.parametrize(("content", "expected"), [("", ""), ("a\nb\nc\n", "b\nc"), ("x" * 50_000, "x" * 16_384)])
def test_tail(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "log").write_text(content)
    assert tail(tmp_path / "log", lines=2) == expected
    assert tail(tmp_path / "none") == ""
