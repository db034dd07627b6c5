"""A work queue of keys, as controllers have: each key once, never by two workers at a time, retried with backoff.

It is bounded by the number of keys that there are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """For one event loop. `first` and `most`: the shortest and the longest pause of `retry`, in seconds."""

    def __init__(self, first: float = 0.2, most: float = 30.0) -> None:
        self._first = first
        self._most = most
        self._ready: deque[K] = deque()
        self._urgent: deque[K] = deque()
        self._dirty: set[K] = set()
        self._busy: set[K] = set()
        self._tries: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._dirty)

    def add(self, key: K, *, urgent: bool = False) -> None:
        """Have `key` looked at soon, `urgent` ones first; once more afterwards if it is being looked at now."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._busy:
            self._push(key, urgent)

    def add_after(self, key: K, seconds: float) -> None:
        """As `add`, `seconds` from now; the earliest of several counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(max(0.0, seconds), self._due, key)

    def retry(self, key: K) -> None:
        """As `add_after`, with a pause that doubles each time up to the longest."""
        tries = self._tries.get(key, 0)
        self._tries[key] = tries + 1
        self.add_after(key, min(self._most, self._first * 2.0 ** min(tries, 30)))

    def settle(self, key: K) -> None:
        """It went well: the next `retry` begins with the shortest pause."""
        self._tries.pop(key, None)

    def clear(self) -> None:
        """Forget all that waits."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._tries.clear()
        self._ready.clear()
        self._urgent.clear()
        self._dirty.clear()

    def close(self) -> None:
        """No worker gets another key."""
        self.clear()
        self._closed = True
        self._wake.set()

    async def get(self) -> K | None:
        """The next key, this worker's until `done`; None once the queue is closed."""
        while not (self._ready or self._urgent or self._closed):
            self._wake.clear()
            await self._wake.wait()
        if self._closed:
            return None
        key = (self._urgent or self._ready).popleft()
        self._dirty.discard(key)
        self._busy.add(key)
        return key

    def done(self, key: K) -> None:
        self._busy.discard(key)
        if key in self._dirty:
            self._push(key)

    def _push(self, key: K, urgent: bool = False) -> None:
        (self._urgent if urgent else self._ready).append(key)
        self._wake.set()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
