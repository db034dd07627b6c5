"""What can be said before anything is recorded, and the exit code of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudrec_recorder.settings import Standalone, parse
from cloudrec_recorder.standalone.command import BAD_TASK, record
from cloudrec_recorder.standalone.folder import SPOOL

KEY = {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s3cret", "LIVEKIT_URL": "ws://127.0.0.1:1"}


def refused(capsys: pytest.CaptureFixture[str], task: Path, out: Path, environment: dict[str, str] = KEY) -> str:
    assert record(task, Standalone(out), "INFO", environment) == BAD_TASK
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("cloudrec-recorder: ")
    assert "s3cret" not in told.err
    return told.err


@pytest.fixture
def task(tmp_path: Path) -> Path:
    path = tmp_path / "task.yaml"
    path.write_text("room: demo\n")
    return path


def test_a_bad_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "task.yaml"
    path.write_text("room: demo\nmaxIdleSeconds: 1\nsegmentSeconds: 0\n")
    lines = refused(capsys, path, tmp_path / "out").splitlines()
    assert lines == [
        f"cloudrec-recorder: {path} is no task that can be recorded:",
        "  maxIdleSeconds: 1 was given; input should be greater than or equal to 5",
        "  segmentSeconds: 0 was given; input should be greater than or equal to 1",
    ]
    assert not (tmp_path / "out").exists()


def test_no_task_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No such file or directory" in refused(capsys, tmp_path / "task.yaml", tmp_path / "out")
    (tmp_path / "task.yaml").write_bytes(b"\xff\xfe\x00")
    assert "it is not text" in refused(capsys, tmp_path / "task.yaml", tmp_path / "out")


def test_no_token(tmp_path: Path, task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, task, tmp_path / "out", {"LIVEKIT_URL": "ws://127.0.0.1:1"})
    assert "LIVEKIT_TOKEN" in told
    assert "LIVEKIT_API_KEY" in told


@pytest.mark.parametrize("name", ["1_a__UserId_s_YQ..__UserId_e_main_video.m3u8", SPOOL])
def test_a_folder_that_holds_a_recording(
    tmp_path: Path, task: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    assert "holds a recording already" in refused(capsys, task, out)


def test_a_folder_that_cannot_be_made(tmp_path: Path, task: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be used: File exists" in refused(capsys, task, task)
    assert "cannot be used: Not a directory" in refused(capsys, task, task / "out")


def test_arguments() -> None:
    settings = parse(
        ["--task", "t.yaml", "--out", "o", "--url", "ws://x", "--token", "s3cret", "--stop-after", "90"], {}
    )
    alone = settings.standalone
    assert alone is not None
    assert (settings.task, alone.out, alone.url, alone.stop_after) == (Path("t.yaml"), Path("o"), "ws://x", 90.0)
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "o"], "--out goes with --task FILE"),
        (["--task", "t", "--stop-after", "5"], "--stop-after goes with --out DIR"),
        (["--token", "x"], "--token goes with --out DIR"),
        (["--task", "t", "--out", "o", "--stop-after", "soon"], "--stop-after must be a number of seconds above 0"),
        (["--task", "t", "--out", "o", "--stop-after", "0"], "--stop-after must be a number of seconds above 0"),
        (["--task", "t", "--out", "o", "--token", "a", "--token-file", "b"], "not both"),
    ],
)
def test_bad_arguments(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments, {})
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
