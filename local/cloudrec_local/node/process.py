"""One process of a container: started by this agent or adopted from its predecessor."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which

from ..processes import MARK, ProcessRecord, sweep


class StartError(Exception):
    """The program could not be started; the message says why."""


class ContainerProcess:
    """A running process and all that it has started. `mark` is in the environment of each of them."""

    def __init__(self, record: ProcessRecord, mark: str, child: subprocess.Popen[bytes] | None) -> None:
        self.record = record
        self._mark = mark
        self._child = child

    @classmethod
    def start(cls, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, log: Path) -> ContainerProcess:
        """Start `argv` in a session of its own. Raises StartError.

        Not by asyncio's own subprocesses: these are killed with the event loop, and containers outlive their agent.
        """
        if not argv:
            raise StartError("no command specified")
        if which(argv[0], path=env.get("PATH")) is None:
            raise StartError(f'exec: "{argv[0]}": executable file not found in $PATH')
        try:
            with log.open("ab") as output:
                child = subprocess.Popen(
                    argv,
                    env=dict(env),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise StartError(str(error)) from error
        record = ProcessRecord.of(child.pid)
        if record is None:  # over already; nobody will look for it
            record = ProcessRecord(pid=child.pid, started=0, boot="")
        return cls(record, env[MARK], child)

    @classmethod
    def adopt(cls, record: ProcessRecord, mark: str) -> ContainerProcess | None:
        """A process that an earlier agent started, or None when it has ended."""
        return cls(record, mark, None) if record.alive() else None

    async def wait(self) -> int | None:
        """Wait for the end, end what it left behind, and give its return code; None for an adopted one's."""
        await _ended(self.record)
        self.signal_group(signal.SIGKILL)  # before its number is given back
        code = self._child.wait() if self._child is not None else None
        sweep(lambda env: env.get(MARK) == self._mark)
        return code

    def terminate(self) -> None:
        """SIGTERM to the container's first process, as a container runtime does."""
        if self.record.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.record.pid, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.record.alive():
            self.signal_group(signal.SIGKILL)

    def signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.record.pid, number)


async def _ended(record: ProcessRecord) -> None:
    try:
        handle = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return
    try:
        if not record.alive():  # the number was taken by another process meanwhile
            return
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        loop.add_reader(handle, over.set)
        try:
            await over.wait()
        finally:
            loop.remove_reader(handle)
    finally:
        os.close(handle)
