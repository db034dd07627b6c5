"""The queue between a connector and its consumer: bounded, and what is overtaken is dropped."""

from __future__ import annotations

import asyncio
from collections import deque

from cloudrec_recorder.rooms import Changed, RoomEvent, Unreachable

QUEUE_MAX = 64


class EventQueue:
    """Events in order. A newer `Changed` or `Unreachable` takes the place of the one waiting last."""

    def __init__(self) -> None:
        self._events: deque[RoomEvent] = deque()
        self._waiting = asyncio.Event()
        self._closed = False

    def put(self, event: RoomEvent) -> None:
        """Add an event; with a consumer asleep for very long the oldest is dropped that has a newer one of its kind."""
        last = self._events[-1] if self._events else None
        if last is not None and type(last) is type(event) and isinstance(event, Changed | Unreachable):
            self._events.pop()
        elif len(self._events) >= QUEUE_MAX:
            del self._events[self._overtaken(event)]
        self._events.append(event)
        self._waiting.set()

    def _overtaken(self, event: RoomEvent) -> int:
        """There is always one: there are fewer kinds than places."""
        kinds = [type(waiting) for waiting in self._events] + [type(event)]
        return next(index for index, kind in enumerate(kinds) if kind in kinds[index + 1 :])

    def close(self) -> None:
        """Nothing will be added any more."""
        self._closed = True
        self._waiting.set()

    async def get(self) -> RoomEvent | None:
        """The next event; None when the queue is closed and empty."""
        while not self._events:
            if self._closed:
                return None
            self._waiting.clear()
            await self._waiting.wait()
        return self._events.popleft()
