from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import capture, media, pion, pod, recorded, segments
from benchmarks.figures import alternate, ratio, report
from cloudrec_contract.spool import SegmentRecord, encode_record
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer
from cloudrec_recorder.uploader.kube import Recordings
from cloudrec_recorder.uploader.resource import wishes
from cloudrec_recorder.uploader.settings import from_environment
from cloudrec_recorder.uploader.uploadlog import Published


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


def result(cpu: float, lost: int = 0, **more: float) -> capture.Result:
    return {"cpu": cpu, "seconds": 10.0, "packets": 2500.0, "lost": lost, "rss": 100e6, **OURS, **more}


OURS = {"missing": 0, "left_out": 0, "pictures": 300}


def test_capture_is_summed_up() -> None:
    results = {
        "pion": [result(1.0), result(2.0, lost=3)],
        "video": [result(0.5), result(1.5)],
        "aac": [result(4.0, missing=2), result(4.0, left_out=5)],
    }
    summary = capture.summary(results, 5)
    assert summary["ms_per_stream_second"] == {"pion": 30.0, "video": 20.0, "aac": 80.0}
    assert summary["packets"] == {"pion": 250, "video": 250, "aac": 250}
    assert summary["lost"] == {"pion": 3, "video": 0, "aac": 0}
    assert summary["missing"] == {"video": 0, "aac": 2}
    assert summary["left_out"] == {"video": 0, "aac": 5}
    assert summary["ratio"] == 0.625
    assert "ratio" not in capture.summary({"video": results["video"]}, 5)


def test_the_pod_and_losses_are_summed_up() -> None:
    memory = {"pss": 150e6, "anonymous": 120e6, "uploader_pss": 80e6, "uploader_anonymous": 70e6}
    pod_runs = [{**result(2.0, uploader_cpu=0.5, **memory), "published": times} for times in ([100, 200], [300, 50])]
    summary = capture.summary({"pod": pod_runs, "loss": [result(1.0, missing=1), result(1.0)]}, 5)
    assert summary["pod_mb"] == 230
    assert summary["memory_mb"]["uploader"] == {"pss": 80, "anonymous": 70}
    assert summary["uploader_ms_per_stream_second"] == 10.0
    assert (summary["segments_published"], summary["published_ms"], summary["published_ms_median"]) == (4, 300, 150)
    assert summary["recorded_with_loss"] == pytest.approx(600 / 601, abs=1e-6)
    assert summary["missing"] == {"loss": 1}


def test_percentiles() -> None:
    assert pod.percentile(range(1, 101), 0.95) == 95
    assert pod.percentile([7], 0.95) == 7


def journal(track: str, *times: int) -> list[bytes]:
    segments = [
        SegmentRecord(ts=ts, track=track, file=f"{ts}.ts", start=0, duration=1, bytes=1, discontinuity=False)
        for ts in times
    ]
    return [encode_record(segment).strip() for segment in segments]


def upload(track: str, segments: int, ts: int) -> bytes:
    return Published(ts=ts, track=track, segments=segments, bytes=1).model_dump_json(by_alias=True).encode()


def test_a_segment_is_published_with_the_first_playlist_that_has_it() -> None:
    lines = [*journal("a", 1000, 2000), *journal("b", 1500), *journal("a", 9000)]
    uploads = [upload("a", 1, 1100), upload("b", 1, 1800), upload("a", 2, 2050), upload("a", 2, 2500)]
    assert pod.publishing_times(lines, uploads, 3000) == [100, 50, 300]
    with pytest.raises(ValueError, match=r"9000\.ts was never published"):
        pod.publishing_times(lines, uploads, 9000)


def test_pictures_are_counted_in_files(tmp_path: Path) -> None:
    muxer = TsMuxer(Streams(video=True, audio=False))
    frames = media.video_frames(2)
    wanted = [number for number in range(60) if number not in (7, 8, 40)]
    wrap = (1 << 33) - 10 * CLOCK - CLOCK  # the 33 bits end after a second
    times = []
    for part in (wanted[:30], wanted[30:]):
        data = muxer.tables()
        for number in part:
            data += muxer.video(frames[number], wrap + number * CLOCK // 30, keyframe=number == 0)
        times += recorded.picture_times(data)
        (tmp_path / pod.NAMES.segment("alice", "main", "video", 1_700_000_000_000 + part[0])).write_bytes(data)
    (tmp_path / pod.NAMES.segment("alice", "main", "audio", 1_700_000_000_000)).write_bytes(b"")
    assert len(times) == 57
    assert max(times) > min(times) + (1 << 32)  # wrapped
    assert recorded.count_pictures(tmp_path) == (57, 3)


def test_this_process_can_be_measured() -> None:
    memory = pod.memory_of(os.getpid())
    assert 5e6 < memory["anonymous"] <= memory["pss"] < 5e9
    assert pod.processor_time_of(os.getpid()) > 0


async def test_the_uploader_finds_its_recording_and_reports(tmp_path: Path) -> None:
    """The API server that the benchmark has for it, asked by the uploader's own client."""
    with pod.api_server(tmp_path) as port:
        settings = from_environment(
            pod.uploader_environment(
                tmp_path, tmp_path / "spool", port, pod.Bucket("http://127.0.0.1:1", "b", tmp_path), "x/"
            )
        )
        async with Recordings(settings) as recordings:
            found, version = await recordings.get()
            await recordings.apply_report({"state": "Idle"})
            watch = recordings.watch(version)
            waiting = asyncio.ensure_future(anext(watch, None))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    assert wishes(found, settings.task.task_id, settings.pod, settings.pod_uid).declared


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
