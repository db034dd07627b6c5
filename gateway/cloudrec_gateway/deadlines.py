"""A deadline for every request, at a price that a query from memory can bear: no timer of its own for each."""

from __future__ import annotations

import asyncio
from typing import Any, Final

SWEEP_SECONDS: Final = 0.5
"""How often it is looked for tasks that are late; so much later than their deadline they may be cancelled."""


class Deadlines:
    """Cancels tasks that are not done `seconds` after they began. All have the same time: the first is the eldest."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._running: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._armed = False

    def begin(self) -> asyncio.Task[Any]:
        """Watch the current task, once, until `end`."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._running[task] = loop.time() + self._seconds
        if not self._armed:
            self._armed = True
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)
        return task

    def end(self, task: asyncio.Task[Any]) -> bool:
        """Watch it no more; whether it was late and so was cancelled. The cancellation is then taken back."""
        self._running.pop(task, None)
        if task not in self._late:
            return False
        self._late.discard(task)
        task.uncancel()
        return True

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, deadline in list(self._running.items()):
            if deadline > now:
                break
            del self._running[task]
            self._late.add(task)
            task.cancel()
        self._armed = bool(self._running)
        if self._armed:
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)
