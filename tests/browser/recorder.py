"""A recorder process with a spool of its own and nobody who uploads: its files can be read while it records."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from livekit import api

from cloudrec_contract.naming import parse_single
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import DesiredState, Room, RoomType, Streams, Subscription, UserList
from cloudrec_contract.spool import (
    DRAINED,
    JOURNAL,
    MEDIA,
    TASK,
    EndRecord,
    JournalRecord,
    LiveKitRoomTask,
    SegmentRecord,
    Task,
    TrackRecord,
    decode_record,
)
from cloudrec_local.fetch import player_playlists
from cloudrec_local.playback.decode import Recording, load
from cloudrec_local.synthetic.server import Server
from tests.analysis.files import Whose
from tests.unit.segments.playlists import playlist


class Recorder:
    """Records one room, or of it the users named."""

    def __init__(
        self,
        folder: Path,
        server: Server,
        room: str,
        *,
        merged: bool = False,
        users: list[str] | None = None,
        segment_seconds: float = 3.0,
    ) -> None:
        self.folder = folder
        self._server = server
        only = UserList(include=users) if users else None
        self._task = Task(
            task_id=folder.name,
            sdk_app_id=1400000001,
            index=int(merged),  # the two robots of a room have different names then
            epoch=time.time_ns() // 1_000_000,
            room=Room(id=room, type=RoomType.STRING),
            livekit=LiveKitRoomTask(url=server.url, room_name=room),
            robot_user_id="cloudrec",
            segment_seconds=segment_seconds,
            merge_audio_video=merged,
            streams=Streams(subscribe=Subscription(audio=only, video=only)) if only else Streams(),
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Until the robot is in the room."""
        self.folder.mkdir()
        self._tell(self._task)
        grants = api.VideoGrants(
            room_join=True,
            room=self._task.livekit.room_name,
            can_publish=False,
            can_subscribe=True,
            hidden=True,
            recorder=True,
        )
        token = api.AccessToken(self._server.api_key, self._server.api_secret.reveal())
        (self.folder / "token").write_text(token.with_identity(self._task.identity).with_grants(grants).to_jwt())
        with (self.folder / "log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cloudrec_recorder.main", "--spool", str(self.folder)),
                *("--token-file", str(self.folder / "token")),
                stderr=log,
                stdout=log,
                env={**os.environ, "CLOUDREC_TERMINATION_LOG": str(self.folder / "termination")},
            )
        await self.until(lambda records: any(record.type == "joined" for record in records))

    async def stop(self) -> None:
        """Stop the task, and play the uploader that has everything."""
        assert self._process is not None
        self._tell(self._task.model_copy(update={"desired_state": DesiredState.STOPPED}))
        await self.until(lambda records: any(isinstance(record, EndRecord) for record in records))
        (self.folder / DRAINED).touch()
        async with asyncio.timeout(20):
            assert await self._process.wait() == 0

    def _tell(self, task: Task) -> None:
        new = self.folder / "task.new"
        new.write_text(task.model_dump_json(by_alias=True, exclude_none=True))
        new.rename(self.folder / TASK)

    def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def until(self, good: Callable[[list[JournalRecord]], bool], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not good(self.records()):
            assert self._process is not None
            assert self._process.returncode is None, self.records()
            assert time.monotonic() < deadline, self.records()[-20:]
            await asyncio.sleep(0.1)

    async def until_closed(self, user: str, kind: str, count: int) -> None:
        """Until so many segments of a main track are closed."""
        await self.until(
            lambda records: (
                sum(
                    isinstance(record, SegmentRecord) and _whose(record.track) == Whose(user, "main", kind)
                    for record in records
                )
                >= count
            )
        )

    def records(self) -> list[JournalRecord]:
        """The journal so far; a line that is being written is left out."""
        try:
            lines = (self.folder / JOURNAL).read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [decode_record(line) for line in lines]

    def tracks(self) -> dict[Whose, str]:
        """The playlists' names."""
        return {_whose(record.track): record.track for record in self.records() if isinstance(record, TrackRecord)}

    def playable(self, user: str, media: str = "main") -> str:
        """The name of the playlist that has all of a user's sound and pictures: the merged one, or one of both."""
        merged = self.tracks().get(Whose(user, media, "audio_video"))
        return merged or f"play_{user}{'' if media == 'main' else f'_{media}'}.m3u8"

    async def read(self, name: str) -> bytes:
        """A file as the uploader would have it in the bucket now. Raises KeyError."""
        records = self.records()
        ended = any(isinstance(record, EndRecord) for record in records)
        playlists = {
            record.track: replace(parse(playlist(records, record.track)), ended=ended).render()
            for record in records
            if isinstance(record, TrackRecord)
        }
        playlists |= player_playlists(playlists)
        if name in playlists:
            return playlists[name].encode()
        if any(isinstance(record, SegmentRecord) and record.file == name for record in records):
            return (self.folder / MEDIA / name).read_bytes()
        raise KeyError(name)

    def recordings(self) -> dict[Whose, Recording]:
        """All playlists, decoded."""
        records = self.records()
        return {
            whose: load(playlist(records, track), lambda name: (self.folder / MEDIA / name).read_bytes())
            for whose, track in self.tracks().items()
        }


def _whose(track: str) -> Whose:
    name = parse_single(track)
    return Whose(name.user_id, name.media, name.kind)
