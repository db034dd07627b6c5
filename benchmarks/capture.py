"""CPU time of capture: N users on one connection, each 720p30 H.264 of 1.5 Mbps and Opus, written to segments.

Beside it, on the same media from the same sender, a receiver in Go (pion) writes every track into a raw .h264 or .ogg
file: receive, decrypt, reorder, ask again for what is lost, report, write. Kinds of run, which take turns:

  pion     the Go receiver
  video    the recorder, sound captured and then dropped: the work that pion does, and MPEG-TS; `ratio` is of this
  aac      the recorder with the sound decoded and encoded to AAC
  pod      that, and the uploader's process beside it with a real S3 store: what a recording costs
  loss     `aac` while 2 % of all datagrams are lost, media to the recorder and its requests back

Figures are CPU ms per user and second, medians over the rounds; `ratio` is video/pion, the median of the rounds'
ratios. `packets` per second tell that all did receive the same; `lost` are those that were never got back, `missing`
the pictures that are not in the files. `rss_mb` is the most memory that was held; `pod_mb` the two processes' shares of
memory (PSS) added up. `published_ms`: from a segment's end to the bucket's word that the playlist with it is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks import pion, pod
from benchmarks.figures import alternate, ratio, report
from benchmarks.media import audio_packets, video_frames, write_frames
from cloudrec_local.errors import StackError

TARGETS: Final = {"ratio": 0.8, "pod_mb": 300, "published_ms": 500, "recorded_with_loss": 0.999}
KINDS: Final = ("pion", "video", "aac", "pod", "loss")
LOSS: Final = 0.02
CLIP_SECONDS: Final = 10
WARMUP_SECONDS: Final = 3.0
_GRACE_SECONDS: Final = 60.0
_ROOT: Final = Path(__file__).parent.parent

Result = dict[str, Any]


class Runs:
    """The kinds of run against one sender; `pod` needs a store."""

    def __init__(
        self, program: Path, sender: str, streams: int, seconds: float, store: pod.Bucket | None, *, profile: bool
    ) -> None:
        self._program = program
        self._sender = sender
        self._streams = streams
        self._seconds = seconds
        self._store = store
        self._count = 0
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

    def loss(self) -> Result:
        return self._recorder("--aac", "--loss", str(LOSS))

    def pod(self) -> Result:
        assert self._store is not None
        self._count += 1
        with pod.uploader(self._store, f"{self._streams}-{self._count}/") as beside:
            result = self._receive(beside.folder, "--aac", "--uploader", str(beside.pid))
            result["published"] = pod.read_publishing_times(beside.folder, result["until_ms"])
        result["recorder_cpu"] = result["cpu"]
        result["cpu"] += result["uploader_cpu"]
        return result

    def _recorder(self, *options: str) -> Result:
        with TemporaryDirectory(prefix="cloudrec-bench-") as folder:
            return self._receive(Path(folder), *options)

    def _receive(self, folder: Path, *options: str) -> Result:
        command = (sys.executable, "-m", "benchmarks.receiving", "--sender", self._sender, "--folder", str(folder))
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
    return float(1000 * result["cpu"] / result["seconds"] / streams)


def summary(results: dict[str, list[Result]], streams: int) -> dict[str, Any]:
    """What is reported of one number of users."""
    costs = {name: [cost(result, streams) for result in each] for name, each in results.items()}
    figures: dict[str, Any] = {
        "ms_per_stream_second": {name: round(median(each), 3) for name, each in costs.items()},
        "packets": {name: round(median(r["packets"] / r["seconds"] for r in each)) for name, each in results.items()},
        "lost": {name: sum(int(r["lost"]) for r in each) for name, each in results.items()},
        "rss_mb": {name: round(max(r["rss"] for r in each) / 1e6) for name, each in results.items()},
        "missing": {
            name: sum(int(r["missing"]) for r in each) for name, each in results.items() if name not in ("pion", "pod")
        },
        "left_out": {name: sum(int(r["left_out"]) for r in each) for name, each in results.items() if name != "pion"},
    }
    if {"pion", "video"} <= costs.keys():
        figures["ratio"] = round(ratio(costs["video"], costs["pion"]), 3)
    if runs := results.get("pod"):
        figures |= _pod_figures(runs, streams)
    if runs := results.get("loss"):
        pictures, missing = (sum(int(r[name]) for r in runs) for name in ("pictures", "missing"))
        figures["recorded_with_loss"] = round(pictures / max(pictures + missing, 1), 6)
    return figures


def _pod_figures(runs: list[Result], streams: int) -> dict[str, Any]:
    times = [time for result in runs for time in result["published"]]

    def megabytes(*names: str) -> int:
        return round(max(sum(float(result[name]) for name in names) for result in runs) / 1e6)

    return {
        "pod_mb": megabytes("pss", "uploader_pss"),
        "memory_mb": {
            name: {"pss": megabytes(f"{prefix}pss"), "anonymous": megabytes(f"{prefix}anonymous")}
            for name, prefix in (("recorder", ""), ("uploader", "uploader_"))
        },
        "uploader_ms_per_stream_second": round(
            median(1000 * result["uploader_cpu"] / result["seconds"] / streams for result in runs), 3
        ),
        "segments_published": len(times),
        "published_ms": pod.percentile(times, 0.95) if times else None,
        "published_ms_median": median(times) if times else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capture", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 5, 25], metavar="N", help="users (1 5 25)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (3)")
    parser.add_argument("--time", type=float, default=20.0, metavar="SECONDS", help="measured in each run (20)")
    parser.add_argument("--profile", action="store_true", help="tell where the recorder's time goes (spoils figures)")
    parser.add_argument("--quick", action="store_true", help="one round of 9 s with 25 users: does it still run?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.streams, options.rounds, options.time = [25], 1, 9.0  # a segment takes 10 s
    try:
        figures = _measure(options)
    except (pion.PeerError, StackError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    most = figures[str(max(options.streams))]
    report("capture", {"streams": figures, **{name: most.get(name) for name in TARGETS}, "targets": TARGETS})
    return 0


def _measure(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    figures = {}
    with ExitStack() as stack:
        program, sender = stack.enter_context(_sender())
        store = stack.enter_context(pod.bucket()) if "pod" in options.kinds else None
        for streams in options.streams:
            runs = Runs(program, sender, streams, options.time, store, profile=options.profile)
            results = alternate({kind: getattr(runs, kind) for kind in options.kinds}, options.rounds)
            figures[str(streams)] = summary(results, streams)
            print(f"{streams:2} users: {json.dumps(figures[str(streams)])}", flush=True)
    return figures


@contextmanager
def _sender() -> Iterator[tuple[Path, str]]:
    """The pion peer's program, and the address of one that sends."""
    program = pion.build()
    with TemporaryDirectory(prefix="cloudrec-bench-") as name:
        video, audio = Path(name) / "video", Path(name) / "audio"
        write_frames(video, video_frames(CLIP_SECONDS))
        write_frames(audio, audio_packets(CLIP_SECONDS))
        with pion.sender(program, video, audio) as sender:
            yield program, sender


if __name__ == "__main__":
    raise SystemExit(main())
