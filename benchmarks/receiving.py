"""The recorder's side of the capture benchmark, a process of its own: from the socket to segments and journal.

It is put together from the recorder's own classes, as the recorder does it, only that the offer comes by HTTP.
`benchmarks.capture` starts it; it prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import itertools
import json
import pstats
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.figures import peak_memory, processor_time
from cloudrec_contract.naming import FileNames
from cloudrec_contract.resources import RoomType
from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.peer import MediaPeer
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from cloudrec_recorder.capture.sdp import parse_offer
from cloudrec_recorder.media import AccessUnit, Kind, MediaSink, TrackKey
from cloudrec_recorder.recording import Clock, Spool
from cloudrec_recorder.segments.files import Output, SegmentSettings
from cloudrec_recorder.segments.segmenter import FLUSH_SECONDS, Segmenter

CONNECT_SECONDS: Final = 20.0
_KINDS: Final[tuple[Kind, ...]] = ("audio", "video")


class WithoutAudio:
    """Drops the sound that was captured where it would be made AAC."""

    def __init__(self, sink: MediaSink) -> None:
        self._sink = sink

    def media(self, unit: AccessUnit) -> None:
        if unit.key.kind == "video":
            self._sink.media(unit)

    def lost(self, key: TrackKey, seconds: float) -> None:
        self._sink.lost(key, seconds)


class Recorder:
    """Everything of the recorder that touches media."""

    def __init__(self, folder: Path, *, aac: bool) -> None:
        clock = TaskClock(int(time.time() * 1000))
        self.spool = Spool(folder, Clock(now=time.monotonic, wall_ms=lambda: time.time_ns() // 1_000_000))
        self.segmenter = Segmenter(
            Output(
                names=FileNames(1400000001, "benchmark", RoomType.STRING),
                epoch_ms=int(clock.epoch_ms),
                folder=self.spool.media,
                disk=self.spool.disk,
                journal=self.spool.journal,
                settings=SegmentSettings(),
                request_keyframe=lambda key: self.receiver.request_keyframe(key),
            ),
            time.monotonic,
        )
        self.peer = MediaPeer(clock, [], loopback=True)
        sink = self.segmenter if aac else WithoutAudio(self.segmenter)
        self.receiver = MediaReceiver(clock, sink, itertools.count(), self.peer.send)

    async def connect(self, sender: str, streams: int) -> None:
        """Take the sender's offer and wait until media flows."""
        offered = json.loads(await _fetch(f"http://{sender}/offer?streams={streams}"))
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

    async def close(self) -> None:
        """Let everything out, and end every segment."""
        self.receiver.close()
        await self.peer.close()
        self.segmenter.finish()
        self.spool.disk.close(10)
        self.spool.journal.close()


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
    """Record; `cpu`, `packets` (datagrams of any kind) and `frames` are of the measured time only."""
    recorder = Recorder(options.folder, aac=options.aac)
    ticking = asyncio.create_task(recorder.tick())
    try:
        await recorder.connect(options.sender, options.streams)
        await asyncio.sleep(options.warmup)
        gc.collect()
        packets, units = recorder.peer.datagrams or 0, recorder.segmenter.units
        with _profiled(options.profile):
            start, cpu = time.monotonic(), processor_time()
            await asyncio.sleep(options.time)
            result = {"cpu": processor_time() - cpu, "seconds": time.monotonic() - start}
        result["packets"] = (recorder.peer.datagrams or 0) - packets
        result["frames"] = recorder.segmenter.units - units
        result["rss"] = peak_memory()
    finally:
        ticking.cancel()
        await recorder.close()
    result["lost"] = recorder.receiver.counters.lost
    result["segments"] = sum(1 for _ in recorder.spool.media.glob("*.ts"))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.receiving", description=__doc__)
    parser.add_argument("--sender", required=True, metavar="ADDRESS", help="the pion sender's signalling")
    parser.add_argument("--streams", type=int, default=1, metavar="N", help="users, each with video and audio")
    parser.add_argument("--warmup", type=float, default=3.0, metavar="SECONDS", help="before the measurement")
    parser.add_argument("--time", type=float, default=10.0, metavar="SECONDS", help="of the measurement")
    parser.add_argument("--folder", type=Path, required=True, help="the spool")
    parser.add_argument("--aac", action="store_true", help="write the sound too, as AAC")
    parser.add_argument("--profile", action="store_true", help="tell on stderr where the time goes")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(measure(options))), flush=True)


if __name__ == "__main__":
    main()
