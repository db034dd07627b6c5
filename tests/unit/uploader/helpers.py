"""A recorder's hand, a store in memory, and waiting for what must come."""

import asyncio
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloudrec_contract.naming import FileNames
from cloudrec_contract.resources import ReportState, Room, RoomType
from cloudrec_contract.spool import (
    JOURNAL,
    MEDIA,
    EndRecord,
    JoinedRecord,
    LeftRecord,
    LiveKitRoomTask,
    Record,
    SegmentRecord,
    StateRecord,
    Task,
    TrackRecord,
    encode_record,
)
from cloudrec_recorder.uploader.store import FileGone, Stored, StoreError

NAMES = FileNames(1400123456, "12345", RoomType.NUMBER)
BEGIN = 1_622_186_279_144
TASK = Task(
    task_id="7b1c",
    sdk_app_id=1400123456,
    epoch=BEGIN - 1000,
    room=Room(id="12345"),
    livekit=LiveKitRoomTask(url="ws://livekit", room_name="12345"),
    robot_user_id="cloudrec",
)


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until `condition` returns something true, and return that. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):
            await asyncio.sleep(0.01)
        return found


class Recorder:
    """Writes a spool as the recorder does."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.media = spool / MEDIA
        self.media.mkdir(exist_ok=True)
        self.segments: dict[str, list[str]] = {}
        self.contents: dict[str, bytes] = {}

    def append(self, record: Record) -> None:
        with (self.spool / JOURNAL).open("ab") as file:
            file.write(encode_record(record))

    def join(self) -> None:
        self.append(JoinedRecord(ts=BEGIN - 500))
        self.append(StateRecord(ts=BEGIN - 500, state=ReportState.IDLE))

    def track(self, user: str = "alice", **more: Any) -> str:
        name = NAMES.playlist(user, "main", "video")
        self.append(
            TrackRecord(
                ts=BEGIN,
                track=name,
                user_id=user,
                media="main",
                kind="video",
                codec="h264",
                begin_time_stamp=BEGIN,
                width=640,
                height=360,
                **more,
            )
        )
        self.append(StateRecord(ts=BEGIN, state=ReportState.RECORDING))
        self.segments[name] = []
        return name

    def segment(self, track: str, size: int = 20_000) -> str:
        number = len(self.segments[track])
        start = BEGIN + number * 10_000
        name = f"{track.removesuffix('.m3u8')}_{start}.ts"
        body = hashlib.sha256(name.encode()).digest() * (size // 32)
        (self.media / name).write_bytes(body)
        self.contents[name] = body
        self.segments[track].append(name)
        self.append(
            SegmentRecord(ts=start + 10_000, track=track, file=name, start=start, duration=10.0, bytes=len(body))
        )
        return name

    def end(self, leave_code: int = 0) -> None:
        self.append(StateRecord(ts=BEGIN + 1, state=ReportState.STOPPING))
        self.append(LeftRecord(ts=BEGIN + 2, leave_code=leave_code))
        self.append(EndRecord(ts=BEGIN + 3))


class MemoryStore:
    """A store that fails as told: `fault(name)` returns the error to raise, or None. Puts wait for `go`."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.checks = 0
        self.fault: Callable[[str], StoreError | None] = lambda name: None
        self.go = threading.Event()
        self.go.set()
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def _put(self, name: str, body: bytes) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self.go.wait(20)
            if error := self.fault(name):
                raise error
            with self._lock:
                self.objects[name] = body
                self.puts.append(name)
        finally:
            with self._lock:
                self._now -= 1

    def check(self) -> None:
        self.checks += 1
        if error := self.fault(""):
            raise error

    def put_segment(self, name: str, path: Path) -> Stored:
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            raise FileGone("NoSuchFile", name) from None
        self._put(name, body)
        return Stored(len(body), hashlib.sha256(body).hexdigest())

    def put_playlist(self, name: str, text: bytes) -> None:
        self._put(name, text)
