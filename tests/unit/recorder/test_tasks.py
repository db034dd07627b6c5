import asyncio
import time
from pathlib import Path

import pytest

from cloudrec_contract.spool import Task
from cloudrec_recorder.tasks import TaskFile, TaskMissing
from tests.unit.recorder.scripted import task, write_task


def test_only_a_new_file_is_told(tmp_path: Path) -> None:
    file = TaskFile(tmp_path / "task.json")
    assert file.poll() is None
    write_task(tmp_path, task())
    assert isinstance(file.poll(), Task)
    assert file.poll() is None
    write_task(tmp_path, task(desired_state="Stopped"))
    changed = file.poll()
    assert changed is not None
    assert changed.desired_state == "Stopped"


def test_a_running_task_outlives_a_bad_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = TaskFile(tmp_path / "task.json")
    (tmp_path / "task.json").write_text('{"taskId": "secret-value"')
    assert file.changed() is None
    assert "task file ignored" in caplog.text
    assert "secret-value" not in caplog.text
    write_task(tmp_path, task())
    assert file.changed() is not None


async def test_the_first_task_may_come_late(tmp_path: Path) -> None:
    waiting = asyncio.create_task(TaskFile(tmp_path / "task.json").first(30, time.monotonic))
    await asyncio.sleep(0)
    assert not waiting.done()
    write_task(tmp_path, task())
    assert (await waiting).task_id == "t-1"


async def test_no_task_in_time(tmp_path: Path) -> None:
    times = iter([0.0, 10.0, 31.0])
    with pytest.raises(TaskMissing, match="no task at"):
        await TaskFile(tmp_path / "task.json").first(30, lambda: next(times))


async def test_a_first_task_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text("{}")
    with pytest.raises(TaskMissing, match="taskId"):
        await TaskFile(tmp_path / "task.json").first(30, time.monotonic)
