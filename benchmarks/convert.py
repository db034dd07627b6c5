"""CPU and wall time of a long recording into MP4, and of `cloudrec merge -r`.

The recording, 720p30 of about 1.5 Mbps and stereo sound in playlists of their own, is in a real S3 store (SeaweedFS).
Beside the engine, FFmpeg makes the same MP4 of the same playlists over HTTP: `-c copy -movflags +faststart`. Both run
in processes of their own, in turns; the store's own CPU counts for neither. CPU is of the whole process, Python's start
included.

  cpu_ratio, wall_ratio  engine/ffmpeg, the medians of the rounds' ratios
  memory_mib             the most that the engine's process held
  merge_ratio            wall time of `cloudrec merge -r 640 360` on a folder, beside ffmpeg with the same work
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import boto3
from botocore.config import Config

from benchmarks import media
from benchmarks.converting import OUT, PREFIX, SIGNED
from benchmarks.figures import alternate, ratio, report
from benchmarks.pod import NAMES, Bucket, bucket
from cloudrec_contract.naming import FileKind, playlist_of, segment_of
from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_contract.spool import ObjectStore
from cloudrec_recorder.convert.recode import CRF, KEYFRAME_SECONDS, PRESET, fitting
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.segments.audio import FRAME, RATE, OpusToAac
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer

TARGETS: Final = {"cpu_ratio": 1.5, "wall_ratio": 1.5, "memory_mib": 300, "merge_ratio": 1.1}
SEGMENT_SECONDS: Final = 10
EPOCH_MS: Final = 1_700_000_000_000
SIZE: Final = (640, 360)
FPS: Final = 15
_FFMPEG: Final = ("ffmpeg", "-nostdin", "-v", "error", "-y")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process: CPU seconds, seconds, MiB at most."""

    cpu: float
    wall: float
    memory: float


def record(folder: Path, seconds: int, put: Callable[[Path], None]) -> None:
    """Write segments and playlists of a clip that is repeated; `put` gets each file as it is made."""
    frames = media.video_frames(SEGMENT_SECONDS)
    coder = OpusToAac(2, 0.0)
    sound = [
        frame.data
        for number, packet in enumerate(media.audio_packets(SEGMENT_SECONDS))
        for frame in coder.push(packet, number * media.PACKET_SAMPLES / RATE)
    ]
    pictures, waves = TsMuxer(Streams(video=True, audio=False)), TsMuxer(Streams(video=False, audio=True))
    made: dict[FileKind, list[Segment]] = {"video": [], "audio": []}

    def keep(kind: FileKind, start: float, duration: float, data: list[bytes]) -> None:
        name = segment_of(NAMES.single("alice", "main", kind), EPOCH_MS + start * 1000)
        (folder / name).write_bytes(b"".join(data))
        put(folder / name)
        made[kind].append(Segment(name, duration, EPOCH_MS + start * 1000))

    frame_seconds = FRAME / RATE
    count = 0
    for begin in range(0, seconds, SEGMENT_SECONDS):
        data = [pictures.tables()]
        for number, frame in enumerate(frames):
            key = number % (media.RATE * media.KEYFRAME_SECONDS) == 0
            data.append(pictures.video(frame, begin * CLOCK + number * CLOCK // media.RATE, keyframe=key))
        keep("video", begin, SEGMENT_SECONDS, data)
        data = [waves.tables()]
        for at in range(0, len(sound), 10):
            group = sound[at : at + 10]
            data.append(waves.audio(b"".join(group), round((count + at) * frame_seconds * CLOCK)))
        keep("audio", count * frame_seconds, len(sound) * frame_seconds, data)
        count += len(sound)
    for kind, segments in made.items():
        path = folder / NAMES.playlist("alice", "main", kind)
        path.write_text(Playlist(EPOCH_MS, segments=tuple(segments), ended=True).render())
        put(path)


def run(command: Sequence[str]) -> Cost:
    """A process to its end. Raises RuntimeError when it fails."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - begin, usage.ru_maxrss / 1024)


def signed_playlists(store: Bucket, folder: Path) -> list[str]:
    """URLs of the two playlists for a client that knows nothing of S3: those of their segments are in them."""
    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=(store.keys / "accessKey").read_text(),
        aws_secret_access_key=(store.keys / "secretKey").read_text(),
        config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
    )

    def url(key: str) -> str:
        return client.generate_presigned_url("get_object", {"Bucket": store.name, "Key": PREFIX + key}, 86_400)

    found = []
    for kind in ("video", "audio"):
        name = playlist_of(NAMES.single("alice", "main", "video" if kind == "video" else "audio"))
        lines = (folder / name).read_text().splitlines()
        names = iter(sorted(path.name for path in folder.glob(f"*_{kind}_*.ts")))
        text = "\n".join(line if line.startswith("#") else url(next(names)) for line in lines) + "\n"
        client.put_object(Bucket=store.name, Key=f"{PREFIX}{SIGNED}{kind}.m3u8", Body=text.encode())
        found.append(url(f"{SIGNED}{kind}.m3u8"))
    return found


def remux_costs(seconds: int, rounds: int) -> dict[str, list[Cost]]:
    """The engine's and FFmpeg's of the recording in a bucket."""
    with bucket() as store, TemporaryDirectory(prefix="cloudrec-bench-convert-") as name:
        folder = Path(name)
        depot = Depot(
            ObjectStore(endpoint=store.endpoint, region="us-east-1", bucket=store.name, key_prefix=PREFIX), store.keys
        )

        def put(path: Path) -> None:
            if path.suffix == ".m3u8":
                depot.put_playlist(path.name, path.read_bytes())
            else:
                depot.put_segment(path.name, path)
                path.write_bytes(b"")  # its name is wanted yet

        record(folder, seconds, put)
        urls = signed_playlists(store, folder)
        theirs = folder / "theirs.mp4"
        inputs = [argument for url in urls for argument in ("-i", url)]
        ffmpeg = (*_FFMPEG, *inputs, "-map", "0:v", "-map", "1:a", "-c", "copy", "-movflags", "+faststart", str(theirs))
        ours = (sys.executable, "-m", "benchmarks.converting", store.endpoint, store.name, str(store.keys), name)

        def measured(command: Sequence[str], out: Path) -> Callable[[], Cost]:
            def once() -> Cost:
                cost = run(command)
                out.unlink()
                return cost

            return once

        return alternate({"engine": measured(ours, folder / OUT), "ffmpeg": measured(ffmpeg, theirs)}, rounds)


def merge_costs(seconds: int, rounds: int) -> dict[str, list[Cost]]:
    """`cloudrec merge -r` and FFmpeg's of a folder."""
    with TemporaryDirectory(prefix="cloudrec-bench-merge-") as name:
        folder = Path(name) / "recording"
        folder.mkdir()
        record(folder, seconds, lambda _: None)
        inputs = [
            argument for kind in ("video", "audio") for argument in ("-i", str(next(folder.glob(f"*_{kind}.m3u8"))))
        ]
        gop = str(FPS * KEYFRAME_SECONDS)
        encoder = ("-c:v", "libx264", "-preset", PRESET, "-crf", CRF, "-bf", "0", "-g", gop, "-c:a", "copy")
        filters = ("-vf", f"fps={FPS},{fitting(SIZE)}", "-map", "0:v", "-map", "1:a")
        theirs = (*_FFMPEG, *inputs, *filters, *encoder, "-movflags", "+faststart", str(Path(name) / "theirs.mp4"))
        program = "from cloudrec_local.cli import main; main()"
        size = [str(each) for each in SIZE]
        ours = (sys.executable, "-c", program, "merge", "-f", str(folder), "-r", *size, "-o", name)
        return alternate({"merge": lambda: run(ours), "ffmpeg": lambda: run(theirs)}, rounds)


def summary(remux: dict[str, list[Cost]], merge: dict[str, list[Cost]]) -> dict[str, object]:
    """What is reported."""

    def of(costs: list[Cost], what: str) -> list[float]:
        return [getattr(cost, what) for cost in costs]

    return {
        "cpu_seconds": {name: round(median(of(costs, "cpu")), 2) for name, costs in remux.items()},
        "wall_seconds": {name: round(median(of(costs, "wall")), 2) for name, costs in remux.items()},
        "cpu_ratio": round(ratio(of(remux["engine"], "cpu"), of(remux["ffmpeg"], "cpu")), 3),
        "wall_ratio": round(ratio(of(remux["engine"], "wall"), of(remux["ffmpeg"], "wall")), 3),
        "memory_mib": round(max(of(remux["engine"], "memory"))),
        "merge_seconds": {name: round(median(of(costs, "wall")), 2) for name, costs in merge.items()},
        "merge_ratio": round(ratio(of(merge["merge"], "wall"), of(merge["ffmpeg"], "wall")), 3),
        "merge_cpu_ratio": round(ratio(of(merge["merge"], "cpu"), of(merge["ffmpeg"], "cpu")), 3),
        "targets": TARGETS,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (3)")
    parser.add_argument("--minutes", type=int, default=120, help="of the recording in the bucket (120)")
    parser.add_argument("--merge-minutes", type=int, default=5, help="of the recording that is merged (5)")
    parser.add_argument("--quick", action="store_true", help="one round of a minute: does it still run?")
    options = parser.parse_args(arguments)
    rounds, minutes, merged = (1, 1, 1) if options.quick else (options.rounds, options.minutes, options.merge_minutes)
    report("convert", summary(remux_costs(minutes * 60, rounds), merge_costs(merged * 60, rounds)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
