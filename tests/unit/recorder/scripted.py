"""A room that says what the test tells it to, and a task for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Set
from pathlib import Path
from typing import Any

from cloudrec_contract.spool import JOURNAL, TASK, JournalRecord, Task, decode_record, parse_task
from cloudrec_recorder.media import AccessUnit, MediaSink, TrackKey
from cloudrec_recorder.rooms import Changed, Joined, Left, Published, RoomEvent, Size

EPOCH_MS = 1_700_000_000_000


def task(**changes: Any) -> Task:
    return parse_task(
        {
            "taskId": "t-1",
            "sdkAppId": 1400000001,
            "epoch": EPOCH_MS,
            "room": {"id": "12345", "type": "Number"},
            "livekit": {"url": "ws://127.0.0.1:1", "roomName": "12345"},
            "robotUserId": "robot",
            "maxIdleSeconds": 30,
            **changes,
        }
    )


def write_task(folder: Path, value: Task) -> None:
    """As the uploader does: whole, by a rename."""
    temporary = folder / "task.tmp"
    temporary.write_text(value.model_dump_json(by_alias=True))
    temporary.rename(folder / TASK)


def records(folder: Path) -> list[JournalRecord]:
    return [decode_record(line) for line in (folder / JOURNAL).read_bytes().splitlines()]


class Time:
    """Monotonic seconds, set by hand."""

    def __init__(self) -> None:
        self.value = 100.0

    def __call__(self) -> float:
        return self.value


class ScriptedRoom:
    """`say` makes an event; what the session did is in `subscribed`, `asked` and `left`."""

    def __init__(self, sink: MediaSink, *, leaves: bool = True) -> None:
        self.sink = sink
        self.subscribed: frozenset[str] = frozenset()
        self.asked: list[TrackKey] = []
        self.preferred: dict[str, Size] = {}
        self.left = False
        self.offsets: dict[str, float] = {}
        self._leaves = leaves
        self._events: asyncio.Queue[RoomEvent | Exception] = asyncio.Queue()

    def say(self, event: RoomEvent | Exception) -> None:
        self._events.put_nowait(event)

    def joined(self, *users: str) -> None:
        self.say(Joined())
        self.present(*users)

    def present(self, *users: str, tracks: tuple[Published, ...] | None = None) -> None:
        """These users are there, each with a camera and a microphone, or with these tracks."""
        if tracks is None:
            tracks = tuple(
                Published(f"{user}/{kind}", TrackKey(user, "main", kind), "")
                for user in users
                for kind in ("audio", "video")
            )
        self.say(Changed(frozenset(users), tracks))

    def media(self, *units: AccessUnit) -> None:
        for unit in units:
            self.sink.media(unit)

    async def events(self) -> AsyncIterator[RoomEvent]:
        while True:
            event = await self._events.get()
            if isinstance(event, Exception):
                raise event
            yield event
            if isinstance(event, Left):
                return

    def subscribe(self, sids: Set[str]) -> None:
        self.subscribed = frozenset(sids)

    def clock_offsets(self) -> dict[str, float]:
        return self.offsets

    def prefer(self, sizes: Mapping[str, Size]) -> None:
        self.preferred = dict(sizes)

    def request_keyframe(self, key: TrackKey) -> None:
        self.asked.append(key)

    async def leave(self) -> None:
        self.left = True
        if self._leaves:
            self.say(Left(0, "Stopped", "left"))
