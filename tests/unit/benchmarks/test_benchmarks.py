from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import capture, media, pion, segments
from benchmarks.figures import alternate, ratio, report


def test_runs_take_turns() -> None:
    order: list[str] = []

    def run(name: str) -> int:
        order.append(name)
        return len(order)

    assert alternate({"a": lambda: run("a"), "b": lambda: run("b")}, 2) == {"a": [1, 3], "b": [2, 4]}
    assert order == ["a", "b", "a", "b"]


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    assert ratio([1, 9, 3], [2, 1, 4]) == 0.75


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    report("capture", {"ratio": 0.5})
    assert json.loads(capsys.readouterr().out) == {"benchmark": "capture", "ratio": 0.5}


def test_capture_is_summed_up() -> None:
    def result(cpu: float, lost: int = 0) -> capture.Result:
        return {"cpu": cpu, "seconds": 10.0, "packets": 2500.0, "lost": lost, "rss": 100e6}

    results = {
        "pion": [result(1.0), result(2.0, lost=3)],
        "video": [result(0.5), result(1.5)],
        "aac": [result(4.0)] * 2,
    }
    summary = capture.summary(results, 5)
    assert summary["ms_per_stream_second"] == {"pion": 30.0, "video": 20.0, "aac": 80.0}
    assert summary["packets"] == {"pion": 250, "video": 250, "aac": 250}
    assert summary["lost"] == {"pion": 3, "video": 0, "aac": 0}
    assert summary["ratio"] == 0.625
    assert "ratio" not in capture.summary({"video": results["video"]}, 5)


def test_both_sides_of_the_segments_benchmark_write_what_they_are_given() -> None:
    video, audio = media.video_frames(1), media.audio_packets(1)
    assert len(video) == media.RATE
    assert sum(map(len, video)) * 8 == pytest.approx(media.VIDEO_BITS, rel=0.3)
    assert segments.recorder_video(video) == pytest.approx(segments.ffmpeg_video(video), rel=0.05)
    # FFmpeg repeats its tables ten times a second
    assert segments.recorder_audio(audio) == pytest.approx(segments.ffmpeg_audio(audio), rel=0.5)


def test_frames_are_written_with_their_lengths(tmp_path: Path) -> None:
    media.write_frames(tmp_path / "frames", [b"abc", b""])
    assert (tmp_path / "frames").read_bytes() == b"\0\0\0\3abc\0\0\0\0"


def test_without_go_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pion.PeerError, match=r"go\.dev"):
        pion.build()
    assert capture.main(["--quick"]) == 1
    assert "go.dev" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["benchmarks", "benchmarks.capture", "benchmarks.segments", "benchmarks.receiving"])
def test_help_teaches(module: str) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "--" in done.stdout
