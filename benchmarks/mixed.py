"""CPU time of the composer's picture: N users' H.264 to one H.264 of the whole room.

Beside it FFmpeg's command line does the same: decode, leave out frames, scale, xstack, x264 with the composer's own
settings; in each of four configurations (decoders, filters and encoder with one thread or as many as they like;
bilinear or area scaling), of which the one with the least median counts. The composer is the real process; it is given
the wire's messages, ticks in between, as fast as it takes them. All take turns.

  cpu      CPU seconds for a second of output, medians. Starting a process is left out on both sides: of FFmpeg by the
           difference of a long and a short run, of the composer by what it has used when the first second is out;
           its ending is left out likewise
  start    CPU seconds that starting takes, with the first second of output
  ratio    composer/FFmpeg, the median of the rounds' ratios
  memory   the composer's peak, MB

Cases: NAMExN: N users send pictures of that height, 30 a second. `layers`: the composer is given the simulcast layer
nearest its windows' size (180p), FFmpeg what it would be given (360p).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

import av

from benchmarks.figures import alternate, ratio, report
from cloudrec_contract.mix import Fill, MixAudio, MixVideo
from cloudrec_contract.resources import StreamKind
from cloudrec_recorder.mix import wire
from cloudrec_recorder.mix.composer import DELAY_SECONDS
from cloudrec_recorder.mix.encoding import OPTIONS, PRESET, rate_options
from cloudrec_recorder.mix.ladder import BEHIND_SECONDS
from cloudrec_recorder.mix.process import COMMAND, environment

SOURCE_FPS: Final = 30
SOURCE_BITS: Final = {180: 160_000, 360: 500_000, 720: 1_500_000}
"""A second, as browsers send them."""
FIRST_SECONDS: Final = 1
AHEAD_SECONDS: Final = BEHIND_SECONDS * 0.75
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_READ_BYTES: Final = 1 << 18
_THREADS: Final = {"one": ["-threads", "1"], "default": []}
_SCALERS: Final = ("bilinear", "area")


@dataclass(frozen=True, slots=True)
class Case:
    """`columns` x `columns` windows; what FFmpeg and the composer are given, by the pictures' height."""

    columns: int
    height: int
    video: MixVideo
    layer: int
    target: float

    @property
    def window(self) -> tuple[int, int]:
        return self.video.width // self.columns, self.video.height // self.columns


_720P: Final = MixVideo(width=1280, height=720, fps=15, bit_rate=2_000_000, gop_seconds=2)
_1080P: Final = MixVideo(width=1920, height=1080, fps=30, bit_rate=4_000_000, gop_seconds=2)
CASES: Final = {
    "360x25": Case(5, 360, _720P, 360, 0.95),
    "360x25 layers": Case(5, 360, _720P, 180, 0.6),
    "360x4": Case(2, 360, _720P, 360, 1.0),
    "720x9 to 1080p30": Case(3, 720, _1080P, 720, 0.9),
}


@dataclass(frozen=True, slots=True)
class Run:
    """CPU seconds: for a second of output, and until the first second was out; peak memory in bytes."""

    cpu: float
    start: float
    memory: int = 0


class Clips:
    """Moving pictures of each height, made once: as MP4, and as access units."""

    def __init__(self, folder: Path, seconds: int) -> None:
        self.seconds = seconds
        self._folder = folder

    def file(self, height: int) -> Path:
        path = self._folder / f"{height}.mp4"
        if not path.exists():
            size, bits = f"{height * 16 // 9}x{height}", SOURCE_BITS[height]
            source = f"testsrc2=size={size}:rate={SOURCE_FPS}:duration={self.seconds},format=yuv420p"
            command = [
                "ffmpeg",
                "-v",
                "error",
                "-f",
                "lavfi",
                "-i",
                source,
                "-c:v",
                "libx264",
                "-profile:v",
                "baseline",
            ]
            command += ["-preset", "superfast", "-tune", "zerolatency", "-b:v", str(bits), "-maxrate", str(bits)]
            command += ["-bufsize", str(bits), "-g", str(2 * SOURCE_FPS), "-y", str(path)]
            subprocess.run(command, check=True)
        return path

    def units(self, height: int) -> list[tuple[bytes, bool]]:
        """Access units (Annex B), and which are keyframes."""
        path = self._folder / f"{height}.h264"
        if not path.exists():
            command = ["ffmpeg", "-v", "error", "-i", str(self.file(height)), "-c", "copy", "-f", "h264", str(path)]
            subprocess.run(command, check=True)
        with av.open(path, format="h264") as container:
            return [(bytes(packet), packet.is_keyframe) for packet in container.demux() if packet.size]


def ffmpeg_command(case: Case, file: Path, threads: str, scaler: str, seconds: int) -> list[str]:
    """FFmpeg's command line for so much output. Frames are left out before they are scaled: that is cheapest."""
    video, (width, height) = case.video, case.window
    count = case.columns**2
    limit = _THREADS[threads]
    fps = f"fps={video.fps}," if video.fps != SOURCE_FPS else ""
    scaled = [f"[{at}:v]{fps}scale={width}:{height}:flags={scaler}[v{at}]" for at in range(count)]
    places = "|".join(f"{at % case.columns * width}_{at // case.columns * height}" for at in range(count))
    stacked = "".join(f"[v{at}]" for at in range(count)) + f"xstack=inputs={count}:layout={places}[out]"
    inputs = [part for _ in range(count) for part in [*limit, "-i", str(file)]]
    filters = ["-filter_threads", "1", "-filter_complex_threads", "1"] if limit else []
    options = {**OPTIONS, "preset": PRESET, **rate_options(video.bit_rate), "b": str(video.bit_rate)}
    options["g"] = str(video.fps * video.gop_seconds)
    encoder = [part for name, value in options.items() for part in (f"-{name}", value)]
    return [
        *("ffmpeg", "-nostdin", "-v", "error", *filters, *inputs),
        *("-filter_complex", ";".join([*scaled, stacked]), "-map", "[out]", "-t", str(seconds)),
        *("-c:v", "libx264", *limit, *encoder, "-f", "null", "-"),
    ]


def ffmpeg(case: Case, clips: Clips, threads: str, scaler: str) -> Run:
    file = clips.file(case.height)
    used = []
    for seconds in (FIRST_SECONDS, clips.seconds):
        process = subprocess.Popen(ffmpeg_command(case, file, threads, scaler, seconds))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"ffmpeg ended with {process.returncode}")
        used.append(usage.ru_utime + usage.ru_stime)
    return Run((used[1] - used[0]) / (clips.seconds - FIRST_SECONDS), used[0])


def messages(case: Case, units: Sequence[tuple[bytes, bool]], seconds: int) -> list[bytes]:
    """What the composer is told when everybody sends the same and no sound."""
    return messages_of(case, [units] * case.columns**2, [], seconds)


def messages_of(
    case: Case, films: Sequence[Sequence[tuple[bytes, bool]]], sounds: Sequence[Sequence[bytes]], seconds: int
) -> list[bytes]:
    """What the composer is told: first all that goes before, then what belongs to each frame of the output.

    `films`: each user's access units, and which are keyframes; `sounds`: Opus packets of 20 ms. They begin anew when
    they are over.
    """
    video, (width, height) = case.video, case.window
    setup = wire.Setup(
        video=video,
        audio=MixAudio(),
        kind=StreamKind.AUDIO_VIDEO if sounds else StreamKind.VIDEO,
        fill=Fill.LAST_FRAME,
        epoch=0,
        start=0,
        segment_seconds=10,
    )
    windows = [
        wire.SceneWindow(
            left=at % case.columns * width, top=at // case.columns * height, width=width, height=height, stream=at
        )
        for at in range(len(films))
    ]
    named = [wire.Stream(number=at, user_id=f"user{at}", media="main", kind="video") for at in range(len(films))]
    named += [
        wire.Stream(number=len(films) + at, user_id=f"user{at}", media="main", kind="audio")
        for at in range(len(sounds))
    ]
    told = [wire.encode(setup) + b"".join(map(wire.encode, named)) + wire.encode(wire.Scene(windows=windows))]
    pictures = packets = 0
    for frame in range(seconds * video.fps):
        now = frame / video.fps + DELAY_SECONDS + 1e-3
        group = bytearray()
        while pictures / SOURCE_FPS <= min(now, seconds - 1e-9):
            for at, film in enumerate(films):
                data, keyframe = film[pictures % len(film)]
                group += wire.encode(wire.Unit(at, 0, pictures / SOURCE_FPS, keyframe, "H264", data))
            pictures += 1
        while packets * 0.02 <= now:
            for at, sound in enumerate(sounds):
                data = sound[packets % len(sound)]
                group += wire.encode(wire.Unit(len(films) + at, 0, packets * 0.02, True, "OPUS", data))
            packets += 1
        told.append(bytes(group) + wire.encode(wire.Tick(now)))
    return told


def composer(case: Case, told: Sequence[bytes]) -> Run:
    """Tell it everything, a little ahead so that it need not wait, never so much that it thinks it is behind."""
    frames, begin = len(told) - 1, FIRST_SECONDS * case.video.fps
    first = last = 0.0
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment()
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        splitter = wire.Splitter()
        ahead = int(AHEAD_SECONDS * case.video.fps)
        pictures = 0
        status = wire.Status()
        for number, group in enumerate([*told, wire.encode(wire.End(frames / case.video.fps))]):
            rest = memoryview(group)
            while rest:
                rest = rest[process.stdin.write(rest) :]
            # when its time is taken it has done all that it was given
            while pictures < (number if number in (begin, frames) else min(number, frames) - ahead):
                data = process.stdout.read(_READ_BYTES)
                if not data:
                    raise RuntimeError("the composer ended")
                for message in splitter.feed(data):
                    pictures += isinstance(message, wire.Picture)
                    status = message if isinstance(message, wire.Status) else status
            if number == begin:
                first = _processor_time(process.pid)
            if number == frames:
                last = _processor_time(process.pid)
        process.stdin.close()
        while data := process.stdout.read(_READ_BYTES):
            for message in splitter.feed(data):
                status = message if isinstance(message, wire.Status) else status
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode or status.frames != frames or status.dropped or status.step:
        raise RuntimeError(f"not all was composed: {status}")
    return Run((last - first) / (frames - begin) * case.video.fps, first, usage.ru_maxrss * 1024)


def _processor_time(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def summary(ours: Sequence[Run], theirs: dict[str, list[Run]], target: float) -> dict[str, object]:
    """A case's figures."""
    medians = {name: median(run.cpu for run in runs) for name, runs in theirs.items()}
    cheapest = min(medians, key=medians.__getitem__)
    return {
        "cpu": round(median(run.cpu for run in ours), 4),
        "ffmpeg_cpu": {name: round(cpu, 4) for name, cpu in medians.items()},
        "start": round(median(run.start for run in ours), 3),
        "ffmpeg_start": round(median(run.start for run in theirs[cheapest]), 3),
        "memory": round(max(run.memory for run in ours) / 1e6),
        "ratio": round(ratio([run.cpu for run in ours], [run.cpu for run in theirs[cheapest]]), 3),
        "target": target,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mixed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind (5)")
    parser.add_argument("--time", type=int, default=11, help="seconds of output in a run (11)")
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; may be given again")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds: does it still run?")
    options = parser.parse_args(arguments)
    rounds, seconds = (1, 2) if options.quick else (options.rounds, options.time)
    with tempfile.TemporaryDirectory() as folder:
        clips = Clips(Path(folder), seconds)
        for name in options.case or CASES:
            case = CASES[name]
            told = messages(case, clips.units(case.layer), seconds)
            runs: dict[str, Callable[[], Run]] = {"composer": partial(composer, case, told)}
            for threads in _THREADS:
                for scaler in _SCALERS:
                    runs[f"threads {threads}, {scaler}"] = partial(ffmpeg, case, clips, threads, scaler)
            results = alternate(runs, rounds)
            ours = results.pop("composer")
            report("mixed", {"case": name, **summary(ours, results, case.target)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
