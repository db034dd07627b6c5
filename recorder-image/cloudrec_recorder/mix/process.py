"""The composer's process as the recorder sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

from cloudrec_recorder.mix.wire import Done, FromComposer, Picture, Sound, Splitter, Status

COMMAND: Final = (sys.executable, "-m", "cloudrec_recorder.mix")
WAITING_MAX: Final = 32 << 20
"""Bytes that may wait to be taken by the composer; it is far behind then, or hangs."""
END_SECONDS: Final = 2.0
_READ: Final = 256 << 10


def environment() -> dict[str, str]:
    """Of the composer: nothing of it is linear algebra, and NumPy's threads for that would spin for a while."""
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


class ComposerProcess:
    """One life. For the event loop's thread."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout

    @classmethod
    async def start(cls, command: Sequence[str] = COMMAND) -> ComposerProcess:
        """Raises OSError when it cannot be started."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, env=environment(), limit=4 * _READ
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def takes(self) -> bool:
        """Whether it has room for more."""
        return self._stdin.transport.get_write_buffer_size() < WAITING_MAX

    def send(self, data: bytes) -> None:
        """Whole messages; never waits. Into nothing when it does not read any more: its end is to be seen soon."""
        if not self._stdin.is_closing():  # uvloop's transports raise RuntimeError once they are closed
            self._stdin.write(data)

    def hang_up(self) -> None:
        """Nothing follows: it ends."""
        self._stdin.close()

    async def messages(self) -> AsyncIterator[FromComposer]:
        """Until it ends. Raises ValueError when it says what makes no sense."""
        splitter = Splitter()
        while data := await self._stdout.read(_READ):
            for message in splitter.feed(data):
                if not isinstance(message, Picture | Sound | Status | Done):
                    raise ValueError(f"{type(message).__name__} is for the composer to hear")
                yield message

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> int:
        """The exit code (negative: of a signal) of a process that has closed its output; killed if it does not end."""
        try:
            async with asyncio.timeout(END_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self.kill()
            return await self._process.wait()
        finally:
            self._stdin.close()
