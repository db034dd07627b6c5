"""CPU time of capture: N users on one connection, each 720p30 H.264 of 1.5 Mbps and Opus, written to segments.

Beside it, on the same media from the same sender, a receiver in Go (pion) writes every track into a raw .h264 or .ogg
file: receive, decrypt, reorder, ask again for what is lost, report, write. Three kinds of run take turns:

  pion     the Go receiver
  video    the recorder, sound captured and then dropped: the work that pion does, and MPEG-TS; `ratio` is of this
  aac      the recorder with the sound decoded and encoded to AAC: what a recording costs

Figures are CPU ms per user and second, medians over the rounds; `ratio` is video/pion, the median of the rounds'
ratios. `packets` per second tell that both did receive the same. `rss_mb` is the most memory that was held.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import pion
from benchmarks.figures import alternate, ratio, report
from benchmarks.media import audio_packets, video_frames, write_frames

TARGET: Final = 0.8
CLIP_SECONDS: Final = 10
WARMUP_SECONDS: Final = 3.0
_GRACE_SECONDS: Final = 60.0
_ROOT: Final = Path(__file__).parent.parent

Result = dict[str, float]


class Runs:
    """The three kinds of run against one sender."""

    def __init__(self, program: Path, sender: str, streams: int, seconds: float, *, profile: bool) -> None:
        self._program = program
        self._sender = sender
        self._streams = streams
        self._seconds = seconds
        self._profile = profile

    def pion(self) -> Result:
        with TemporaryDirectory(prefix="cloudrec-bench-") as folder:
            times = ("-warmup", f"{WARMUP_SECONDS}s", "-time", f"{self._seconds}s")
            command = (str(self._program), "receive", "-from", self._sender, "-streams", str(self._streams))
            return self._run([*command, *times, "-folder", folder])

    def video(self) -> Result:
        return self._recorder()

    def aac(self) -> Result:
        return self._recorder("--aac")

    def _recorder(self, *options: str) -> Result:
        with TemporaryDirectory(prefix="cloudrec-bench-") as folder:
            command = (sys.executable, "-m", "benchmarks.receiving", "--sender", self._sender, "--folder", folder)
            times = ("--warmup", str(WARMUP_SECONDS), "--time", str(self._seconds))
            profile = ("--profile",) if self._profile else ()
            return self._run([*command, "--streams", str(self._streams), *times, *options, *profile])

    def _run(self, command: Sequence[str]) -> Result:
        done = subprocess.run(
            command,
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=WARMUP_SECONDS + self._seconds + _GRACE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise pion.PeerError(f"a receiver ended with {done.returncode}: {' '.join(command)}")
        result: Result = json.loads(done.stdout.splitlines()[-1])
        if not result["packets"]:
            raise pion.PeerError(f"nothing was received: {' '.join(command)}")
        return result


def cost(result: Result, streams: int) -> float:
    """CPU ms per user and second."""
    return 1000 * result["cpu"] / result["seconds"] / streams


def summary(results: dict[str, list[Result]], streams: int) -> dict[str, object]:
    """What is reported of one number of users."""
    costs = {name: [cost(result, streams) for result in each] for name, each in results.items()}
    figures: dict[str, object] = {
        "ms_per_stream_second": {name: round(median(each), 3) for name, each in costs.items()},
        "packets": {name: round(median(r["packets"] / r["seconds"] for r in each)) for name, each in results.items()},
        "lost": {name: sum(int(r["lost"]) for r in each) for name, each in results.items()},
        "rss_mb": {name: round(max(r["rss"] for r in each) / 1e6) for name, each in results.items()},
    }
    if {"pion", "video"} <= costs.keys():
        figures["ratio"] = round(ratio(costs["video"], costs["pion"]), 3)
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 5, 25], metavar="N", help="users (1 5 25)")
    parser.add_argument("--kinds", nargs="+", choices=("pion", "video", "aac"), default=["pion", "video", "aac"])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (3)")
    parser.add_argument("--time", type=float, default=10.0, metavar="SECONDS", help="measured in each run (10)")
    parser.add_argument("--profile", action="store_true", help="tell where the recorder's time goes (spoils figures)")
    parser.add_argument("--quick", action="store_true", help="one round of 4 s with 25 users: does it still run?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.streams, options.rounds, options.time = [25], 1, 4.0
    try:
        figures = _measure(options)
    except (pion.PeerError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    most = figures[str(max(options.streams))]
    report("capture", {"streams": figures, "ratio": most.get("ratio"), "target": TARGET})
    return 0


def _measure(options: argparse.Namespace) -> dict[str, dict[str, object]]:
    program = pion.build()
    figures = {}
    with TemporaryDirectory(prefix="cloudrec-bench-") as name:
        video, audio = Path(name) / "video", Path(name) / "audio"
        write_frames(video, video_frames(CLIP_SECONDS))
        write_frames(audio, audio_packets(CLIP_SECONDS))
        with pion.sender(program, video, audio) as sender:
            for streams in options.streams:
                runs = Runs(program, sender, streams, options.time, profile=options.profile)
                results = alternate({kind: getattr(runs, kind) for kind in options.kinds}, options.rounds)
                figures[str(streams)] = summary(results, streams)
                print(f"{streams:2} users: {json.dumps(figures[str(streams)])}", flush=True)
    return figures


if __name__ == "__main__":
    raise SystemExit(main())
