"""The clock that callbacks go by, outside of tests."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """`sender.Clock` of the event loop and the wall clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
