"""The task file, as the uploader writes it: looked at four times a second, because its folder is all we share."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from cloudrec_contract.spool import Task, parse_task

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.25


class TaskMissing(Exception):
    """No task was there in time, or the first one could not be read; the message says which."""


class TaskFile:
    """Reads `path` again when it was replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None

    def poll(self) -> Task | None:
        """The task when the file is new since the last call, else None.

        Raises pydantic.ValidationError when it is new and not a task.
        """
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if seen == self._seen:
            return None
        data = self.path.read_bytes()
        self._seen = seen
        return parse_task(data)

    def changed(self) -> Task | None:
        """`poll` for a task that runs: one that cannot be read is logged, and what was known stays."""
        try:
            return self.poll()
        except ValidationError as error:
            logger.error("task file ignored: %s", _short(error))
            return None

    async def first(self, timeout: float, now: Callable[[], float]) -> Task:
        """Wait for the first task. Raises TaskMissing after `timeout` seconds or if it is not one."""
        deadline = now() + timeout
        while True:
            try:
                task = self.poll()
            except ValidationError as error:
                raise TaskMissing(f"{self.path} is not a task: {_short(error)}") from error
            if task is not None:
                return task
            if now() >= deadline:
                raise TaskMissing(f"no task at {self.path} after {timeout:.0f} s")
            await asyncio.sleep(POLL_SECONDS)


def _short(error: ValidationError) -> str:
    """Where and why, without the input: it goes into logs."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
