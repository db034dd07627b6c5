"""One recording on the real node: two synthetic users, what is done to its Pods meanwhile, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from cloudrec_contract.resources import CloudRecordingStatus, Phase
from cloudrec_local.fetch import download
from cloudrec_local.onenode.cluster import OneNode
from cloudrec_local.playback.decode import Recording
from cloudrec_local.synthetic.plan import standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.truth import Truth
from tests.analysis import content
from tests.analysis.ffprobe import ffprobe_warnings
from tests.analysis.files import Whose, read_folder
from tests.e2e.task import Cluster, recording
from tests.node.damage import Damage, Object

USERS = ("user-1", "user-2")


@dataclass(frozen=True)
class Pictures:
    """`ratio` of all pictures, and the longest step from one to the next (s)."""

    ratio: float
    longest_step: float


@dataclass(frozen=True)
class Result:
    """What is in the bucket after the end, decoded, with the truth beside it."""

    truth: Truth
    final: CloudRecordingStatus
    folder: Path
    files: dict[Whose, Recording]

    def video(self, user: str, attempt: int = 0) -> Recording:
        return self.files[Whose(user, "main", "video", attempt)]

    def audio(self, user: str, attempt: int = 0) -> Recording:
        return self.files[Whose(user, "main", "audio", attempt)]

    def video_end(self, user: str, attempt: int = 0) -> float:
        """Until when the last picture was to be seen."""
        (track,) = self.truth.of(user, "main", "video")
        return self.video(user, attempt).pictures[-1].wall + 1 / track.fps

    def pictures(self, user: str) -> Pictures:
        """Of the pictures captured from the first recorded to the last, those that some attempt has."""
        (track,) = self.truth.of(user, "main", "video")
        recorded = {
            number
            for whose, video in self.files.items()
            if (whose.user, whose.kind) == (user, "video")
            for number, _ in content.numbered(video, track)
        }
        captured = [number for number in track.frames if min(recorded) <= number <= max(recorded)]
        have = [number for number in captured if number in recorded]
        longest = max((after - before for before, after in pairwise(have)), default=0) / track.fps
        return Pictures(len(have) / len(captured), longest)

    def faults(self) -> list[str]:
        """What a player or ffprobe could object to in any file."""
        found = [f"{whose}: {fault}" for whose, file in self.files.items() for fault in file.faults]
        found += [f"{whose}: the playlist has no end" for whose, file in self.files.items() if not file.playlist.ended]
        for path in self.folder.glob("*.m3u8"):
            found += [f"{path.name}: {line}" for line in ffprobe_warnings(path)]
        return found


@dataclass
class Room:
    """A room with two users who talk to its end; `name` is the recording's too."""

    node: OneNode
    folder: Path
    name: str
    users: SyntheticUsers | None = field(default=None, init=False)

    @cached_property
    def cluster(self) -> Cluster:
        return Cluster.of(self.node)

    @cached_property
    def damage(self) -> Damage:
        return Damage(self.node, self.cluster)

    @contextlib.asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """The recording runs and media is being recorded."""
        async with SyntheticUsers(self.cluster.server, self.name, standard_plan(len(USERS))) as self.users:
            await self.users.published()
            await self.cluster.apply(self.folder, recording(self.name, self.name))
            await self.cluster.phase(self.name, Phase.RECORDING)
            yield

    async def finish(self) -> Result:
        """Stop, wait for the end and read all that was recorded."""
        assert self.users is not None
        final = await self.cluster.stop(self.name)
        truth = await self.users.stop()
        objects = await self.cluster.objects(self.name)
        files = self.folder / "files"
        await asyncio.to_thread(download, objects, files, players=False)
        return Result(truth, final, files, await asyncio.to_thread(read_folder, files))

    async def pod(self, index: int = 0) -> Object:
        """The Pod of an attempt."""
        for pod in await self.cluster.pods(self.name):
            if pod["metadata"]["name"].endswith(f"-{index}"):
                return pod
        raise KeyError(f"{self.name} has no Pod of attempt {index}")

    async def pod_when(self, good: Callable[[Object], bool], index: int = 0, seconds: float = 60) -> Object:
        """The Pod once it is as wanted."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(KeyError):  # not made yet, or a status not written yet
                if good(pod := await self.pod(index)):
                    return pod
            assert time.monotonic() < deadline, f"the Pod of attempt {index} is not as wanted after {seconds} s"
            await asyncio.sleep(0.1)

    async def recording_again(self, index: int, seconds: float = 90) -> CloudRecordingStatus:
        """Until attempt `index` reports files."""

        def good(status: CloudRecordingStatus) -> bool:
            return any(a.index == index and a.report is not None and a.report.files for a in status.attempts)

        return await self.cluster.until(self.name, good, seconds)
