import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudrec_contract.spool import EndRecord
from cloudrec_recorder.settings import parse
from tests.unit.recorder import scripted


def test_defaults() -> None:
    settings = parse([], {})
    assert settings.spool == Path("/spool")
    assert settings.task == Path("/spool/task.json")
    assert settings.drain_timeout == 3000
    assert settings.hand_over_timeout == 60
    assert settings.standalone is None


def test_arguments_win_over_the_environment() -> None:
    settings = parse(["--spool", "/a", "--token-file", "/t"], {"CLOUDREC_SPOOL": "/b", "CLOUDREC_DRAIN_TIMEOUT": "5"})
    assert (settings.spool, settings.task, settings.token_file) == (Path("/a"), Path("/a/task.json"), Path("/t"))
    assert settings.drain_timeout == 5
    settings = parse(["--hand-over-timeout", "0"], {"CLOUDREC_HAND_OVER_TIMEOUT": "7"})
    assert settings.hand_over_timeout == 0
    assert parse([], {"CLOUDREC_HAND_OVER_TIMEOUT": "7"}).hand_over_timeout == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLOUDREC_DRAIN_TIMEOUT", "soon"),
        ("CLOUDREC_TASK_TIMEOUT", "-1"),
        ("CLOUDREC_HAND_OVER_TIMEOUT", "-1"),
        ("CLOUDREC_LOG_LEVEL", "LOUD"),
    ],
)
def test_a_bad_setting_is_named(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([], {name: value})
    assert ended.value.code == 2
    assert name in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], {})
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "CLOUDREC_DRAIN_TIMEOUT" in text
    assert "exit codes" in text


def recorder(folder: Path) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ["PATH"],
        "CLOUDREC_SPOOL": str(folder),
        "CLOUDREC_TERMINATION_LOG": str(folder / "termination"),
        "CLOUDREC_ROOM_TOKEN": str(folder / "token"),
        "CLOUDREC_DRAIN_TIMEOUT": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "cloudrec_recorder.main"], env=environment, stderr=subprocess.PIPE, cwd=folder
    )


def test_the_process_ends_well_on_sigterm(tmp_path: Path) -> None:
    """The room is out of reach (nothing listens at port 1): SIGTERM still ends it in good order."""
    (tmp_path / "token").write_text("not-for-the-log")
    scripted.write_task(tmp_path, scripted.task())
    process = recorder(tmp_path)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if b'"reason": "LiveKitUnreachable"' in line:
                break
        assert json.loads(line)["task"] == "t-1"
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert b"not-for-the-log" not in rest
    end = scripted.records(tmp_path)[-1]
    assert isinstance(end, EndRecord)
    assert not end.failed
    assert json.loads((tmp_path / "termination").read_text())["reason"] == "HandedOver"


def test_a_bad_task_fails_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text("{}")
    process = recorder(tmp_path)
    process.communicate(timeout=60)
    assert process.returncode == 1
    told = json.loads((tmp_path / "termination").read_text())
    assert told["reason"] == "TaskMissing"
    assert "taskId" in told["message"]
