"""A recorder killed without warning, with real media: what is lost by the content of the files that salvage leaves.

A picture's number says when it was captured; of sound, the quiet tone goes on without end, and the beeps say by how
much the file's time is off.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from cloudrec_contract.resources import Room as TaskRoom
from cloudrec_contract.secret import Secret
from cloudrec_contract.spool import (
    JOURNAL,
    MEDIA,
    TASK,
    EndRecord,
    JournalRecord,
    LiveKitRoomTask,
    Task,
    TrackRecord,
    decode_record,
)
from cloudrec_local.playback.beeps import silences
from cloudrec_local.playback.decode import Recording, load
from cloudrec_local.synthetic.plan import Plan, UserPlan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.server import Server as Publishing
from cloudrec_local.synthetic.sound import beep_hz
from cloudrec_local.synthetic.truth import Truth
from cloudrec_recorder.segments.held import HELD, HeldSource, parse
from cloudrec_recorder.segments.segmenter import FLUSH_SECONDS
from tests.analysis import content
from tests.analysis.ffprobe import ffprobe_warnings
from tests.media.room import Server
from tests.unit.segments.playlists import playlist

pytestmark = pytest.mark.media

LOSS = 0.5
HELD_SECONDS = 1.0
"""LiveKit's first sender reports come one to three seconds after a track's first media."""
USER = "anna"


def spool_for(server: Server, folder: Path, room: str, *, merge: bool = False) -> Path:
    folder.mkdir()
    task = Task(
        task_id=room,
        sdk_app_id=1400000001,
        epoch=time.time_ns() // 1_000_000,
        room=TaskRoom(id=room),
        livekit=LiveKitRoomTask(url=server.url, room_name=room),
        robot_user_id="robot",
        merge_audio_video=merge,
    )
    (folder / TASK).write_text(task.model_dump_json(by_alias=True))
    (folder / "token").write_text(server.token(task.identity, room, robot=True))
    return folder


@dataclass
class Recorder:
    """A recorder of its own process; `kill` is SIGKILL and tells when."""

    spool: Path
    process: asyncio.subprocess.Process

    def records(self) -> list[JournalRecord]:
        journal = self.spool / JOURNAL
        return [decode_record(line) for line in journal.read_bytes().splitlines()] if journal.exists() else []

    def held(self) -> list[HeldSource]:
        """What is in the copies of held frames."""
        found = (path.read_bytes() for path in (self.spool / HELD).glob("*"))
        return [parse(data) for data in found if b"\n" in data]

    def holding(self) -> bool:
        """Sound and picture of `HELD_SECONDS` are held back, or let out before that."""
        found = {source.header.kind: source for source in self.held() if source.frames}
        return len(found) == 2 and all(
            source.offset is not None or source.frames[-1].arrival - source.frames[0].arrival > HELD_SECONDS
            for source in found.values()
        )

    def recorded(self) -> bool:
        """Sound and picture are in segments for so long that nothing is kept of what was held back."""
        known = [record for record in self.records() if isinstance(record, TrackRecord)]
        return len(known) == 2 and not list((self.spool / HELD).glob("*"))

    async def kill(self) -> float:
        at = time.time()
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()
        return at

    async def until(self, good: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not getattr(self, good)():
            assert time.monotonic() < deadline, good
            await asyncio.sleep(0.02)

    def joined(self) -> bool:
        return any(record.type == "joined" for record in self.records())


@asynccontextmanager
async def recording(spool: Path) -> AsyncIterator[Recorder]:
    with (spool.parent / "recorder.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cloudrec_recorder.main", "--spool", str(spool)),
            *("--token-file", str(spool / "token")),
            stderr=log,
        )
    try:
        recorder = Recorder(spool, process)
        await recorder.until("joined")
        yield recorder
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def salvaged(spool: Path) -> dict[str, Recording]:
    """Run the program; every playlist by its kind."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "cloudrec_recorder.salvage", str(spool))
    async with asyncio.timeout(60):
        assert await process.wait() == 0
    records = [decode_record(line) for line in (spool / JOURNAL).read_bytes().splitlines()]
    assert isinstance(records[-1], EndRecord)
    found = {}
    for record in records:
        if isinstance(record, TrackRecord):
            path = spool / MEDIA / record.track
            path.write_text(playlist(records, record.track))
            assert await asyncio.to_thread(ffprobe_warnings, path) == []
            found[record.kind] = await asyncio.to_thread(
                load, path.read_text(), lambda name: (spool / MEDIA / name).read_bytes()
            )
            assert not found[record.kind].faults
    return found


def video_lost(truth: Truth, video: Recording, killed: float) -> float:
    """Seconds from the capture of the last recorded picture to the kill."""
    (track,) = truth.of(USER, "main", "video")
    times = dict(zip(track.frames, track.times, strict=True))
    return killed - max(times[number] for number, _ in content.numbered(video, track))


def audio_lost(audio: Recording, killed: float) -> float:
    """Seconds from the end of the recorded sound to the kill, by the publisher's clock."""
    last = audio.sounds[-1]
    quiet = [start for start, end in silences(last.samples, last.rate) if end > len(last.samples) / last.rate - 0.05]
    end = last.wall + min(quiet, default=len(last.samples) / last.rate)
    late = median([beep - round(beep) for beep in content.beeps(audio, beep_hz(1))] or [0.0])
    return killed - (end - late)


@asynccontextmanager
async def users(server: Server, room: str, codec: str = "H264") -> AsyncIterator[SyntheticUsers]:
    publishing = Publishing(server.url, server.status.api_key, Secret(server.status.api_secret))
    user = UserPlan.model_validate({"identity": USER, "number": 1, "width": 320, "height": 180, "codec": codec})
    async with SyntheticUsers(publishing, room, Plan(users=(user,))) as made:
        yield made


@pytest.mark.parametrize(
    ("name", "codec", "merge"),
    [("beginning", "H264", False), ("transcoded", "VP8", False), ("merged", "H264", True), ("middle", "H264", False)],
)
async def test_what_a_killed_recorder_loses(server: Server, tmp_path: Path, name: str, codec: str, merge: bool) -> None:
    spool = spool_for(server, tmp_path / "spool", f"kill-{name}", merge=merge)
    async with recording(spool) as recorder, users(server, f"kill-{name}", codec) as made:
        await recorder.until("recorded" if name == "middle" else "holding")
        await asyncio.sleep(0.9 * FLUSH_SECONDS)  # after one flush, and before the next
        killed = await recorder.kill()
        truth = await made.stop()
    held = sorted(source.header.kind for source in recorder.held() if source.offset is None)
    found = await salvaged(spool)
    video, audio = (found["audio_video"],) * 2 if merge else (found["video"], found["audio"])
    lost = video_lost(truth, video, killed), audio_lost(audio, killed)
    print(f"{name}: {lost[0]:.3f} s of pictures, {lost[1]:.3f} s of sound lost before SIGKILL; held: {held}")
    assert max(lost) <= LOSS
    assert content.frame_ratio(truth, video, USER).missing == ()
    assert not list((spool / HELD).glob("*"))
