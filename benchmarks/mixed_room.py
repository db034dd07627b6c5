"""A whole Pod in mixed mode, in a real LiveKit room: recorder, composer and uploader, beside the bare composer.

Synthetic users publish 640x360 at 30 frames a second; the Pod makes 1280x720 at 30 frames and 3 Mbps of it. The bare
composer is given the same picture of as many users from files, with their sound, as fast as it takes it. The users and
the media server need the machine's other core.

  pod       CPU seconds a second: recorder, composer, uploader (all but the last by /proc)
  composer  CPU seconds for a second of output of the bare composer
  ratio     pod/composer
  dropped   frames that the Pod's composer left out
  step      the overload ladder's step at the end
  memory    of the whole Pod, MB (PSS)
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import av
import numpy as np
from av.video.frame import PictureType
from livekit import api

from benchmarks.figures import report
from benchmarks.media import audio_packets
from benchmarks.mixed import Case, composer, messages_of
from benchmarks.pod import Bucket, Uploader, bucket, uploader
from cloudrec_contract.mix import Mix, MixVideo
from cloudrec_contract.resources import DesiredState, Mode, Room, RoomType
from cloudrec_contract.secret import Secret
from cloudrec_contract.spool import TASK, LiveKitRoomTask, Task
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.picture import TestPicture
from cloudrec_local.synthetic.plan import standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.server import Server

ROOM: Final = "benchmark"
WIDTH, HEIGHT, FPS = 640, 360, 30
VIDEO: Final = MixVideo(width=1280, height=720, fps=30, bit_rate=3_000_000, gop_seconds=2)
WARM_SECONDS: Final = 10.0
CLIP_SECONDS: Final = 10
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def clip(user: int) -> list[tuple[bytes, bool]]:
    """The synthetic user's picture as H.264, with a keyframe every two seconds; and which are keyframes."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, FPS), Fraction(FPS)
    encoder.bit_rate, encoder.gop_size, encoder.thread_count = 600_000, 2 * FPS, 1
    encoder.options = {"preset": "superfast", "tune": "zerolatency", "profile": "baseline"}
    picture = TestPicture(WIDTH, HEIGHT, FPS, user)
    made = []
    for number in range(CLIP_SECONDS * FPS):
        planes = np.frombuffer(picture.draw(number), np.uint8).reshape(HEIGHT * 3 // 2, WIDTH)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, FPS), PictureType.NONE
        made += encoder.encode(frame)
    return [(bytes(packet), packet.is_keyframe) for packet in [*made, *encoder.encode(None)]]


@contextmanager
def livekit() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="cloudrec-bench-room-") as name:
        stack = Stack("benchmark-room", home=Path(name) / "home", components=("livekit",))
        found = stack.up().livekit
        try:
            assert found is not None
            yield Server(found.url, found.api_key, Secret(found.api_secret))
        finally:
            stack.down()


def task(server: Server) -> Task:
    return Task(
        task_id="0b000000-0000-4000-8000-000000000001",
        sdk_app_id=1400000001,
        epoch=int(time.time() * 1000),
        room=Room(id=ROOM, type=RoomType.STRING),
        livekit=LiveKitRoomTask(url=server.url, room_name=ROOM),
        robot_user_id="cloudrec",
        mode=Mode.MIXED,
        mix=Mix(video=VIDEO),
    )


def token(server: Server) -> str:
    grants = api.VideoGrants(
        room_join=True, room=ROOM, can_publish=False, can_subscribe=True, hidden=True, recorder=True
    )
    made = api.AccessToken(server.api_key, server.api_secret.reveal()).with_identity("cloudrec~0")
    return made.with_grants(grants).to_jwt()


def processor_time(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(pid: int) -> int:
    """PSS in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Pss:"))) * 1024


def metric(port: int, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"cloudrec_recorder_{name} ")))


async def pod(server: Server, store: Bucket, users: int, seconds: float) -> dict[str, float]:
    """What the Pod takes while it records so many users for so long."""
    with uploader(store, "mixed/", task(server)) as beside, _recorder(beside, server) as (process, port):
        async with SyntheticUsers(server, ROOM, standard_plan(users, width=WIDTH, height=HEIGHT, fps=FPS)) as people:
            await people.published()
            await asyncio.sleep(WARM_SECONDS)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            pids = [process.pid, *map(int, children), beside.pid]
            before, begun = [processor_time(pid) for pid in pids], time.monotonic()
            dropped, frames = metric(port, "mix_dropped_frames_total"), metric(port, "mix_frames_total")
            await asyncio.sleep(seconds)
            passed = time.monotonic() - begun
            used = [(processor_time(pid) - was) / passed for pid, was in zip(pids, before, strict=True)]
            found = {
                "pod": sum(used),
                "recorder": used[0],
                "uploader": used[-1],
                "dropped": metric(port, "mix_dropped_frames_total") - dropped,
                "frames": metric(port, "mix_frames_total") - frames,
                "step": metric(port, "mix_overload_step"),
                "memory": sum(map(memory, pids)) / 1e6,
            }
        told = beside.folder / TASK
        stopped = Task.model_validate_json(told.read_bytes()).model_copy(update={"desired_state": DesiredState.STOPPED})
        told.with_suffix(".new").write_text(stopped.model_dump_json(by_alias=True))
        told.with_suffix(".new").rename(told)
        await asyncio.to_thread(process.wait, 60)
    return found


@contextmanager
def _recorder(beside: Uploader, server: Server) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    secret = beside.folder.with_name("token")
    secret.write_text(token(server))
    process = subprocess.Popen(
        [sys.executable, "-m", "cloudrec_recorder.main"],
        env={
            **os.environ,
            "CLOUDREC_SPOOL": str(beside.folder),
            "CLOUDREC_ROOM_TOKEN": str(secret),
            "CLOUDREC_TERMINATION_LOG": str(beside.folder.with_name("termination-log")),
            "CLOUDREC_METRICS_PORT": str(port),
            "CLOUDREC_LOG_LEVEL": "ERROR",
        },
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def bare(users: int, seconds: int) -> float:
    """CPU seconds of the composer for a second of output."""
    columns = 3 if users > 4 else 2
    case = Case(columns, HEIGHT, VIDEO, HEIGHT, 0.0)
    clips = [clip(user) for user in range(1, users + 1)]
    told = messages_of(case, clips, [audio_packets(CLIP_SECONDS)] * users, seconds)
    return composer(case, told).cpu


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mixed_room",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--users", type=int, default=9, help="(9)")
    parser.add_argument("--time", type=float, default=60, help="seconds that are measured (60)")
    options = parser.parse_args(arguments)
    with livekit() as server, bucket() as store:
        found = asyncio.run(pod(server, store, options.users, options.time))
    alone = bare(options.users, 30)
    figures = {name: round(value, 4) for name, value in found.items()}
    report(
        "mixed_room", {**figures, "composer": round(alone, 4), "ratio": round(found["pod"] / alone, 3), "target": 1.35}
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
