"""The writer with real composers: what comes of media, and of composers that die, hang or never live."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import uvloop
from aiohttp import web

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Mode
from cloudrec_contract.spool import ImageRecord, SegmentRecord, Task, TrackRecord
from cloudrec_local.playback.decode import Recording, load
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.mix import writer as writer_module
from cloudrec_recorder.mix.process import COMMAND, ComposerProcess
from cloudrec_recorder.mix.writer import DEATHS_MAX, HUNG_SECONDS, MixedWriter
from cloudrec_recorder.rooms import Published
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.mpegts import CLOCK, PTS_OFFSET
from tests.unit.mix.films import png
from tests.unit.recorder.scripted import task
from tests.unit.segments import samples
from tests.unit.segments.pictures import FPS, encoded
from tests.unit.segments.playlists import playlist

ALICE = TrackKey("alice", "main", "video")
VOICE = TrackKey("alice", "main", "audio")
TASK = task(mode=Mode.MIXED, mix={"video": {"width": 320, "height": 180, "fps": 15}}, segmentSeconds=2.0)
STEP = 0.1
"""Seconds of the test's clock between two turns of the loop."""


class Bench:
    """A writer, a clock that the test moves, and media by it. Processes are started by these commands in turn."""

    def __init__(self, folder: Path, commands: Sequence[Sequence[str]] = (), of: Task = TASK) -> None:
        self.folder = folder
        self.disk = Disk()
        self.time = 0.0
        self.fed = 0.0
        self.paced = True
        self.asked: list[TrackKey] = []
        self.commands = list(commands)
        self.processes: list[ComposerProcess] = []
        self.output = samples.output(folder, self.disk, self.asked, target=2.0)
        self.writer = MixedWriter(
            self.output, of, lambda: self.time, lambda: int(samples.EPOCH_MS + self.time * 1000), self.start
        )
        self.writer.arrange([Published("v", ALICE, "H264"), Published("a", VOICE, "OPUS")], of)
        self.running = asyncio.create_task(self.writer.run())
        numbers = range(0, 300)
        keys = range(0, 300, 15)
        pcm = samples.beeps(10.0, [float(n) for n in range(1, 10)])
        self.media = [
            AccessUnit(ALICE, "H264", data, number / FPS, key, 1)
            for number, (data, key) in zip(numbers, encoded("H264", numbers, keyframes=keys), strict=True)
        ]
        self.media += [AccessUnit(VOICE, "OPUS", data, n * 0.02, True, 2) for n, data in enumerate(samples.opus(pcm))]
        self.media.sort(key=lambda unit: unit.time)

    async def start(self) -> ComposerProcess:
        process = await ComposerProcess.start(self.commands.pop(0) if self.commands else COMMAND)
        self.processes.append(process)
        return process

    async def until(self, time: float) -> None:
        """Let time go by, with its media; the composer keeps up."""
        while self.time < time:
            self.time = min(time, self.time + STEP)
            for unit in self.media:
                if self.fed <= unit.time < self.time:
                    self.writer.media(unit)
            self.fed = self.time
            self.writer.tick()
            await asyncio.sleep(0.03)
            if self.paced:
                await self.made(self.time - 1.0)

    async def made(self, time: float, deadline: float = 30.0) -> None:
        """Wait until pictures up to this time are in the files."""
        async with asyncio.timeout(deadline):
            while self.writer._files.end < time:
                await asyncio.sleep(0.01)

    def conditions(self) -> dict[Reason, str]:
        return {reason: message for reason, message in self.writer.conditions(None) if message}

    async def end(self) -> Recording:
        assert await self.writer.drain(20)
        await self.running
        self.writer.finish()
        assert self.disk.close(10)
        records = samples.records(self.folder)
        (self.track,) = [record for record in records if isinstance(record, TrackRecord)]
        self.segments = [record for record in records if isinstance(record, SegmentRecord)]
        made = load(playlist(records, self.track.track), lambda name: (self.output.folder / name).read_bytes())
        assert list(made.faults) == []
        return made


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await cleared(made)


async def cleared(bench: Bench) -> None:
    bench.running.cancel()
    await asyncio.gather(bench.running, return_exceptions=True)
    bench.disk.close(10)
    for process in bench.processes:
        process.kill()


def heard(made: Recording) -> list[float]:
    return [(s.pts - PTS_OFFSET) / CLOCK + onset for s in made.sounds for onset in samples.onsets(s.samples)]


def peaks(made: Recording) -> list[tuple[float, float]]:
    """When each beep begins, and how loud it is."""
    return [
        ((s.pts - PTS_OFFSET) / CLOCK + onset, float(np.abs(s.samples[int(onset * s.rate) :][: s.rate // 20]).max()))
        for s in made.sounds
        for onset in samples.onsets(s.samples)
    ]


async def test_a_room_becomes_one_recording(bench: Bench) -> None:
    await bench.until(5.0)
    made = await bench.end()
    (composer,) = bench.processes
    assert bench.track.track == "1400000001_12345.m3u8"
    assert [segment.discontinuity for segment in bench.segments] == [False] * len(bench.segments)
    times = [(picture.pts - PTS_OFFSET) / CLOCK for picture in made.pictures]
    assert times == pytest.approx([number / 15 for number in range(len(times))], abs=1e-3)
    assert times[-1] > 4.8
    shown = [picture.code.frame for picture in made.pictures if picture.code]
    assert shown[3:-3] == pytest.approx([number * 2 for number in range(3, len(shown) - 3)], abs=1.1)
    assert heard(made) == pytest.approx([1, 2, 3, 4], abs=0.01)
    assert bench.conditions() == {}
    with pytest.raises(ProcessLookupError):
        os.kill(composer.pid, 0)


async def test_a_composer_that_is_killed_has_a_successor_and_its_sound_is_not_lost(bench: Bench) -> None:
    await bench.until(3.05)
    await bench.made(2.5)
    os.kill(bench.processes[0].pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while len(bench.processes) < 2:
            await asyncio.sleep(0.01)
    assert "signal 9" in bench.conditions()[Reason.COMPOSER_FAILED]
    assert ALICE in bench.asked
    await bench.until(6.0)
    made = await bench.end()
    assert [segment.discontinuity for segment in bench.segments].count(True) == 1
    found = heard(made)
    assert found == pytest.approx([1, 2, 3, 4, 5], abs=0.01)
    times = [(picture.pts - PTS_OFFSET) / CLOCK for picture in made.pictures]
    assert max(b - a for a, b in pairwise(times)) < 0.1  # it begins where the other ended


async def test_sound_that_comes_while_there_is_no_composer_is_mixed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_BACKOFF", (1.0,))
    bench = Bench(tmp_path)
    try:
        await bench.until(2.5)
        await bench.made(2.0)
        os.kill(bench.processes[0].pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while not bench.writer.figures()["composer_deaths"]:
                await asyncio.sleep(0.01)
        bench.paced = False
        await bench.until(3.5)  # with the beep of second 3; no successor is there yet
        assert len(bench.processes) == 1
        bench.paced = True
        await bench.until(6.0)
        made = await bench.end()
    finally:
        await cleared(bench)
    loudness = {round(at): peak for at, peak in peaks(made)}
    assert loudness[3] == pytest.approx(loudness[5], rel=0.15)


async def test_one_that_hangs_is_killed(tmp_path: Path) -> None:
    # not a wait of the test's: the composer that hangs, until it is killed
    bench = Bench(tmp_path, [[sys.executable, "-c", "import time; time.sleep(300)"]])
    try:
        bench.paced = False
        await bench.until(0.5)
        bench.time = bench.fed = bench.fed + HUNG_SECONDS + 1
        async with asyncio.timeout(20):
            while len(bench.processes) < 2:
                await asyncio.sleep(0.01)
        assert "signal 9" in bench.conditions()[Reason.COMPOSER_FAILED]
        bench.paced = True
        await bench.until(bench.time + 2)
        made = await bench.end()
        assert made.pictures
    finally:
        await cleared(bench)


def test_one_that_is_deaf_before_it_dies_has_a_successor(tmp_path: Path) -> None:
    deaf = "import os, time; os.close(0); os.closerange(3, 99); time.sleep(1)"  # uvloop leaves it duplicates

    async def scene() -> Recording:
        bench = Bench(tmp_path, [[sys.executable, "-c", deaf]])
        try:
            bench.paced = False
            async with asyncio.timeout(20):
                while len(bench.processes) < 2:
                    await bench.until(bench.time + STEP)
            bench.paced = True
            await bench.until(bench.time + 2)
            return await bench.end()
        finally:
            await cleared(bench)

    with asyncio.Runner(
        loop_factory=uvloop.new_event_loop
    ) as runner:  # the recorder's: to write is another thing there
        assert runner.run(scene()).pictures


async def test_a_fault_of_the_writer_itself_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.until(1.0)

    def broken(_process: ComposerProcess, _data: bytes) -> None:
        raise RuntimeError("nothing goes")

    monkeypatch.setattr(ComposerProcess, "send", broken)
    async with asyncio.timeout(20):
        await bench.running
    assert bench.writer.fault == "RuntimeError: nothing goes"


@pytest.mark.parametrize(
    "script",
    [
        "raise SystemExit(3)",
        # it would live on: it is killed for what it said
        "import sys; sys.stdout.buffer.write(b'x' * 100); sys.stdout.flush(); import time; time.sleep(300)",
    ],
    ids=["ends", "talks nonsense"],
)
async def test_when_none_lives_the_recorder_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(writer_module, "_BACKOFF", (0.0,))
    bench = Bench(tmp_path, [[sys.executable, "-c", script]] * DEATHS_MAX)
    try:
        async with asyncio.timeout(60):
            while not bench.writer.fault:
                bench.writer.media(bench.media[0])
                await asyncio.sleep(0.01)
        assert f"{DEATHS_MAX} times" in bench.writer.fault
        assert len(bench.processes) == DEATHS_MAX
    finally:
        await cleared(bench)


async def test_one_that_cannot_be_started_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_BACKOFF", (0.0,))
    bench = Bench(tmp_path, [["/nowhere/composer"]] * DEATHS_MAX)
    try:
        async with asyncio.timeout(20):
            while not bench.writer.fault:
                await asyncio.sleep(0.01)
        assert "cannot be started" in bench.writer.fault
    finally:
        await cleared(bench)


async def test_nothing_to_record_ends_at_once(bench: Bench) -> None:
    assert await bench.writer.drain(5)
    await asyncio.wait_for(asyncio.shield(bench.running), 20)
    bench.writer.finish()
    bench.disk.close(10)
    assert samples.records(bench.folder) == []


async def test_images_are_fetched_and_those_that_fail_are_told_of_once(tmp_path: Path) -> None:
    """A watermark is there from soon after the beginning to the end, whatever happens to the composer."""
    files = {"/mark.png": png(np.full((8, 8, 3), (255, 0, 0), np.uint8)), "/torn.png": b"\x89PNG\r\n\x1a\n torn"}

    async def answer(request: web.Request) -> web.Response:
        found = files.get(request.path)
        return web.Response(body=found) if found else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    marks = [
        {"image": {"url": f"{base}/{name}.png", "left": 0, "top": top, "width": 64, "height": 36}}
        for name, top in (("mark", 144), ("torn", 60), ("none", 100))
    ]
    mix = {"video": {"width": 320, "height": 180, "fps": 15}, "watermarks": marks}
    bench = Bench(tmp_path, of=task(mode=Mode.MIXED, mix=mix, segmentSeconds=2.0, privateImages=True))
    try:
        await bench.until(3.0)
        os.kill(bench.processes[0].pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            while len(bench.processes) < 2:
                await asyncio.sleep(0.01)
        await bench.until(5.0)
        assert {"/torn.png", "/none.png"} == {
            part.partition(" ")[0].removeprefix(base)
            for part in bench.conditions()[Reason.IMAGE_UNUSABLE].removeprefix("left out: ").split(", ")
        }
        await bench.end()
    finally:
        await cleared(bench)
        await runner.cleanup()
    told = [record.url for record in samples.records(tmp_path) if isinstance(record, ImageRecord)]
    assert sorted(told) == [f"{base}/none.png", f"{base}/torn.png"]
    with av.open(str(bench.output.folder / bench.segments[-1].file)) as container:
        pixels = [frame.to_ndarray(format="rgb24")[160, 20] for frame in container.decode(video=0)]
    red = [bool(r > 180 and g < 80 and b < 80) for r, g, b in pixels]
    assert red[-1]
    assert sum(red) > len(red) / 2


async def test_private_addresses_are_refused_unless_the_app_allows_them(tmp_path: Path) -> None:
    mark = {"image": {"url": "http://127.0.0.1:9/mark.png", "left": 0, "top": 0, "width": 64, "height": 36}}
    mix = {"video": {"width": 320, "height": 180, "fps": 15}, "watermarks": [mark]}
    bench = Bench(tmp_path, of=task(mode=Mode.MIXED, mix=mix))
    try:
        async with asyncio.timeout(20):
            while Reason.IMAGE_UNUSABLE not in bench.conditions():
                await asyncio.sleep(0.01)
        assert "address" in bench.conditions()[Reason.IMAGE_UNUSABLE]
    finally:
        await cleared(bench)
