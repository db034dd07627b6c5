from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import mixed
from benchmarks.mixed import CASES, Case, Clips, Run, composer, ffmpeg, ffmpeg_command, messages, summary
from cloudrec_contract.mix import MixVideo
from cloudrec_recorder.mix import wire

SMALL = Case(2, 180, MixVideo(width=320, height=180, fps=15, bit_rate=300_000, gop_seconds=2), 180, 1.0)


def test_windows_fill_the_canvas() -> None:
    for case in CASES.values():
        width, height = case.window
        assert (width * case.columns, height * case.columns) == (case.video.width, case.video.height)
        assert width % 2 == height % 2 == 0


def test_ffmpeg_is_told_what_the_composer_does() -> None:
    command = ffmpeg_command(CASES["360x25"], Path("in.mp4"), "one", "area", 7)
    text = " ".join(command)
    assert text.count("-threads 1 -i in.mp4") == 25
    assert "[24:v]fps=15,scale=256:144:flags=area[v24]" in text
    assert "0_0|256_0|512_0|768_0|1024_0|0_144|" in text
    assert "-preset veryfast" in text
    assert "-b 2000000" in text
    assert "-g 30" in text
    assert "-t 7 -c:v libx264 -threads 1" in text
    assert "-threads" not in ffmpeg_command(CASES["360x4"], Path("in.mp4"), "default", "area", 7)
    assert "fps=" not in " ".join(ffmpeg_command(CASES["720x9 to 1080p30"], Path("in.mp4"), "one", "area", 7))


def test_the_composer_is_told_every_picture_before_the_tick_it_is_for() -> None:
    units = [(bytes([number]), number == 0) for number in range(30)]
    told = messages(SMALL, units, 1)
    assert len(told) == 16
    splitter = wire.Splitter()
    first = list(splitter.feed(told[0]))
    assert [type(message) for message in first] == [wire.Setup, *[wire.Stream] * 4, wire.Scene]
    sent = 0
    for number, group in enumerate(told[1:]):
        *given, tick = splitter.feed(group)
        assert isinstance(tick, wire.Tick)
        assert all(isinstance(unit, wire.Unit) and unit.time <= tick.now for unit in given)
        sent += len(given)
        assert sent >= 4 * min(30, 2 * number + 1)


def test_both_sides_do_it(tmp_path: Path) -> None:
    clips = Clips(tmp_path, 2)
    ours = composer(SMALL, messages(SMALL, clips.units(180), 2))
    theirs = ffmpeg(SMALL, clips, "one", "bilinear")
    assert ours.memory > 20e6
    assert 0 < ours.start < 30
    assert 0 < theirs.start < 30


def test_a_case_is_summed_up() -> None:
    ours = [Run(0.3, 1.0, 90_000_000), Run(0.5, 1.2, 100_000_000), Run(0.4, 1.1, 80_000_000)]
    theirs = {
        "threads one, area": [Run(0.6, 0.3), Run(0.5, 0.4), Run(0.5, 0.5)],
        "threads default, area": [Run(0.4, 0.3), Run(0.9, 0.4), Run(0.9, 0.5)],
    }
    found = summary(ours, theirs, 0.95)
    assert found["cpu"] == 0.4
    assert found["ratio"] == 0.8
    assert found["ffmpeg_cpu"] == {"threads one, area": 0.5, "threads default, area": 0.9}
    assert (found["memory"], found["start"], found["ffmpeg_start"]) == (100, 1.1, 0.4)


def test_help_teaches() -> None:
    root = Path(mixed.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.mixed", "--help"], cwd=root, capture_output=True, text=True, check=True
    )
    assert "--rounds" in done.stdout
