"""Detached processes that outlive the command that started them, and are told apart from strangers.

A process is known by its number, its start time and the machine's boot: a number alone may by now be someone else's.
Linux only: everything is read from /proc.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from .errors import ComponentError

PROC = Path("/proc")
MARK = "CLOUDREC_STACK_MEMBER"
_children: dict[int, subprocess.Popen[bytes]] = {}


class ProcessRecord(BaseModel):
    """A process that was started: `started` in clock ticks since boot `boot`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> ProcessRecord | None:
        """The record of a process that lives now, or None."""
        started = _start_time(pid)
        return None if started is None else cls(pid=pid, started=started, boot=boot_id())

    def alive(self) -> bool:
        """Whether this very process runs (a zombie does not)."""
        started = _start_time(self.pid)
        if started is None and (child := _children.pop(self.pid, None)):
            child.wait()  # a zombie of ours: it is over already
        return started == self.started and self.boot == boot_id()

    def signal(self, number: signal.Signals) -> None:
        """Signal the process's group if it still is the one that was started."""
        if self.alive():
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass
            except PermissionError:  # pragma: no cover - became another user's: not ours any more
                pass


def boot_id() -> str:
    """What this boot of the machine is called."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def _start_time(pid: int) -> int | None:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold blanks and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def start(argv: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str], mark: str = "") -> ProcessRecord:
    """Start `argv` detached in a session of its own with output into `log`; `mark` names the stack that owns it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    cwd.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env={**env, MARK: mark} if mark else dict(env),
            start_new_session=True,
        )
    _children[process.pid] = process
    record = ProcessRecord.of(process.pid)
    if record is None:
        raise ComponentError(f"{argv[0]} ended at once\n{tail(log)}")
    return record


def stop(records: Iterable[ProcessRecord], grace: float) -> None:
    """SIGTERM all, wait `grace` seconds together, SIGKILL what is left of their groups."""
    pending = list(records)
    for record in pending:
        record.signal(signal.SIGTERM)
    wait_until(lambda: not any(record.alive() for record in pending), grace)
    for record in pending:
        record.signal(signal.SIGKILL)
    wait_until(lambda: not any(record.alive() for record in pending), 5)


def marked(is_ours: Callable[[Mapping[str, str]], bool]) -> Iterator[ProcessRecord]:
    """Processes of this user, except this one, whose environment at their start satisfies `is_ours`."""
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            raw = (entry / "environ").read_bytes()
        except OSError:  # gone, or another user's
            continue
        environ = dict(item.split("=", 1) for item in raw.decode(errors="replace").split("\0") if "=" in item)
        if is_ours(environ) and (record := ProcessRecord.of(int(entry.name))):
            yield record


def sweep(is_ours: Callable[[Mapping[str, str]], bool], timeout: float = 5) -> None:
    """SIGKILL every process that `is_ours` recognises, again until none is left or `timeout` seconds passed."""
    deadline = time.monotonic() + timeout
    while found := list(marked(is_ours)):
        for record in found:
            if record.alive():
                try:
                    os.kill(record.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        wait_until(lambda found=found: not any(item.alive() for item in found), 1)  # type: ignore[misc]
        if time.monotonic() > deadline:
            return


def wait_until(condition: Callable[[], bool], timeout: float, interval: float = 0.02) -> bool:
    """Poll `condition` until it holds (True) or `timeout` seconds passed (False)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval)
    return True


def tail(log: Path, lines: int = 20, limit: int = 16_384) -> str:
    """The last lines of a log, or "" when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - limit))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
