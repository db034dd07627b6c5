"""A clock that is moved by hand, and a receiver that answers as it is told."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudrec_operator.callbacks.receivers import Receiver, Undelivered

START_MS = 1_767_323_045_000


class FakeClock:
    """`sender.Clock`: `advance` lets the time go by, from one waiter to the next."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.ms = now_ms
        self._waiters: list[tuple[int, int, asyncio.Event]] = []
        self._count = 0

    def now_ms(self) -> int:
        return self.ms

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        due = asyncio.Event()
        self._count += 1
        heapq.heappush(self._waiters, (self.ms + round(seconds * 1000), self._count, due))
        both = [asyncio.create_task(event.wait()), asyncio.create_task(due.wait())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in both:
                one.cancel()

    async def advance(self, seconds: float) -> None:
        end = self.ms + round(seconds * 1000)
        await settle()
        while self._waiters and self._waiters[0][0] <= end:
            self.ms, _, due = heapq.heappop(self._waiters)
            due.set()
            await settle()
        self.ms = end
        await settle()


async def settle() -> None:
    """Let all that can run do so."""
    for _ in range(30):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Sent:
    at_ms: int
    headers: Mapping[str, str]
    content: bytes
    url: str = ""

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.content)
        return found

    @property
    def key(self) -> str:
        return self.headers["Idempotency-Key"]


Answer = Callable[[Sent], str]
"""Empty: delivered; else why not."""


class Scripted:
    """`Transport` that asks `answer`; while `hold` is given, answers wait for it."""

    def __init__(self, clock: FakeClock, answer: Answer = lambda _: "") -> None:
        self._clock = clock
        self.answer = answer
        self.sent: list[Sent] = []
        self.delivered: list[Sent] = []
        self.open = 0
        self.most_open = 0
        self.hold: asyncio.Event | None = None

    async def post(self, receiver: Receiver, headers: Mapping[str, str], content: bytes) -> None:
        sent = Sent(self._clock.now_ms(), dict(headers), content, receiver.url)
        self.sent.append(sent)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.open -= 1
        if why := self.answer(sent):
            raise Undelivered(why)
        self.delivered.append(sent)
