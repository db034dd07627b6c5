"""The recorder's side of the capture benchmark, a process of its own: from the socket to segments and journal.

It is put together from the recorder's own classes, as the recorder does it, only that the offer comes by HTTP. All of
the recorder's program is imported, for its memory's sake. `benchmarks.capture` starts it; it prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import itertools
import json
import os
import pstats
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvloop

import cloudrec_recorder.main  # noqa: F401 - for its memory
from benchmarks.figures import peak_memory, processor_time
from benchmarks.pod import NAMES, memory_of, processor_time_of
from benchmarks.recorded import count_pictures
from cloudrec_contract.spool import DRAINED, EndRecord, JoinedRecord
from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.peer import MediaPeer
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from cloudrec_recorder.capture.sdp import parse_offer
from cloudrec_recorder.media import AccessUnit, Held, Kind, MediaSink, TrackKey
from cloudrec_recorder.recording import Clock, Spool
from cloudrec_recorder.segments.files import STAGGER, Output, SegmentSettings
from cloudrec_recorder.segments.segmenter import FLUSH_SECONDS, Segmenter

CONNECT_SECONDS: Final = 20.0
DRAIN_SECONDS: Final = 60.0
_KINDS: Final[tuple[Kind, ...]] = ("audio", "video")


class WithoutAudio:
    """Drops the sound that was captured where it would be made AAC."""

    def __init__(self, sink: MediaSink) -> None:
        self._sink = sink

    def hold(self, key: TrackKey, codec: str, clock_rate: int) -> Held:
        return self._sink.hold(key, codec, clock_rate)

    def media(self, unit: AccessUnit) -> None:
        if unit.key.kind == "video":
            self._sink.media(unit)

    def lost(self, key: TrackKey, seconds: float) -> None:
        self._sink.lost(key, seconds)


class Recorder:
    """Everything of the recorder that touches media."""

    def __init__(self, folder: Path, *, aac: bool) -> None:
        clock = TaskClock(int(time.time() * 1000))
        self.spool = Spool(folder, Clock(now=time.monotonic, wall_ms=_wall_ms))
        self.segmenter = Segmenter(
            Output(
                names=NAMES,
                epoch_ms=int(clock.epoch_ms),
                folder=self.spool.media,
                disk=self.spool.disk,
                journal=self.spool.journal,
                settings=SegmentSettings(stagger=STAGGER),
                request_keyframe=lambda key: self.receiver.request_keyframe(key),
            ),
            time.monotonic,
        )
        self.peer = MediaPeer(clock, [], loopback=True)
        sink = self.segmenter if aac else WithoutAudio(self.segmenter)
        self.receiver = MediaReceiver(clock, sink, itertools.count(), self.peer.send)

    async def connect(self, sender: str, streams: int, loss: float) -> None:
        """Take the sender's offer and wait until media flows; it loses this share of all datagrams."""
        offered = json.loads(await _fetch(f"http://{sender}/offer?streams={streams}&loss={loss}"))
        self.receiver.set_wanted(
            {
                stream.track_sid: WantedTrack(TrackKey(stream.participant_sid, "main", kind), stream.participant_sid)
                for stream in parse_offer(offered["sdp"]).streams().values()
                for kind in _KINDS
                if stream.kind == kind
            }
        )
        answer = await self.peer.answer(offered["sdp"], self.receiver)
        await _fetch(f"http://{sender}/answer?id={offered['id']}", answer.encode())
        await self.peer.connected(CONNECT_SECONDS)

    async def tick(self) -> None:
        """What the recorder does now and then."""
        while True:
            self.segmenter.tick()
            self.spool.alive()
            await asyncio.sleep(FLUSH_SECONDS)

    async def close(self, *, uploaded: bool) -> None:
        """Let everything out, end every segment, and wait for the uploader if there is one."""
        self.receiver.close()
        await self.peer.close()
        self.segmenter.finish()
        if uploaded:
            self.spool.journal.append(EndRecord(ts=_wall_ms(), failed=False, reason="Stopped", message=""))
            async with asyncio.timeout(DRAIN_SECONDS):
                while not (self.spool.folder / DRAINED).exists():
                    self.spool.alive()
                    await asyncio.sleep(FLUSH_SECONDS)
        self.spool.disk.close(10)
        self.spool.journal.close()


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def _fetch(url: str, data: bytes | None = None) -> bytes:
    def fetch() -> bytes:
        with urllib.request.urlopen(url, data, timeout=CONNECT_SECONDS) as response:
            return bytes(response.read())

    return await asyncio.to_thread(fetch)


@contextmanager
def _profiled(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with cProfile.Profile() as profile:
        yield
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(40)


async def measure(options: argparse.Namespace) -> dict[str, float]:
    """Record; `cpu`, `packets` (datagrams of any kind) and `frames` are of the measured time only.

    With an uploader `uploader_cpu` too, and the memory of both in `pss` and `uploader_pss` (bytes).
    """
    recorder = Recorder(options.folder, aac=options.aac)
    recorder.spool.journal.append(JoinedRecord(ts=_wall_ms()))
    ticking = asyncio.create_task(recorder.tick())
    pids = {"": os.getpid()} | ({"uploader_": options.uploader} if options.uploader else {})
    try:
        await recorder.connect(options.sender, options.streams, options.loss)
        await asyncio.sleep(options.warmup)
        gc.collect()
        packets, units = recorder.peer.datagrams or 0, recorder.segmenter.units
        with _profiled(options.profile):
            start, cpu = time.monotonic(), processor_time()
            others = processor_time_of(options.uploader) if options.uploader else 0.0
            await asyncio.sleep(options.time)
            result = {"cpu": processor_time() - cpu, "seconds": time.monotonic() - start, "until_ms": _wall_ms()}
        if options.uploader:
            result["uploader_cpu"] = processor_time_of(options.uploader) - others
        result["packets"] = (recorder.peer.datagrams or 0) - packets
        result["frames"] = recorder.segmenter.units - units
        result["rss"] = peak_memory()
        for name, pid in pids.items():
            result |= {name + kind: size for kind, size in memory_of(pid).items()}
    finally:
        ticking.cancel()
        await recorder.close(uploaded=bool(options.uploader))
    result["lost"] = recorder.receiver.counters.lost
    result["left_out"] = recorder.segmenter.audio_left_out + recorder.segmenter.left_out
    result["segments"] = sum(1 for _ in recorder.spool.media.glob("*.ts"))
    result["pictures"], result["missing"] = count_pictures(recorder.spool.media)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.receiving", description=__doc__)
    parser.add_argument("--sender", required=True, metavar="ADDRESS", help="the pion sender's signalling")
    parser.add_argument("--streams", type=int, default=1, metavar="N", help="users, each with video and audio")
    parser.add_argument("--warmup", type=float, default=3.0, metavar="SECONDS", help="before the measurement")
    parser.add_argument("--time", type=float, default=10.0, metavar="SECONDS", help="of the measurement")
    parser.add_argument("--folder", type=Path, required=True, help="the spool")
    parser.add_argument("--aac", action="store_true", help="write the sound too, as AAC")
    parser.add_argument("--loss", type=float, default=0.0, metavar="SHARE", help="of datagrams, both ways (0)")
    parser.add_argument(
        "--uploader", type=int, default=0, metavar="PID", help="of the spool's uploader, if there is one"
    )
    parser.add_argument("--profile", action="store_true", help="tell on stderr where the time goes")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(options))), flush=True)


if __name__ == "__main__":
    main()
