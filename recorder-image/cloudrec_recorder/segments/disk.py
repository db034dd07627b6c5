"""All writing to the spool, on one thread and in one order.

A write into the page cache takes microseconds, until the node's disk is behind: then the kernel holds the writer up for
seconds, and an event loop that waits loses packets. One queue for media and journal also gives the order that the
protocol needs for nothing: when the journal says that a segment is closed, its bytes are in the file.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_OF_ONE_FILE: Final = frozenset(
    {errno.EEXIST, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EISDIR}
    | {errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.EFBIG, errno.ETXTBSY}
)
"""Errors that say nothing about the next file."""
LOST_IN_A_ROW: Final = 8
"""So many files lost with none written between them say that there will be no others."""


class Disk:
    """Runs jobs one after the other. The bytes that wait are counted; whoever submits looks at `backlog` first.

    A job that raises OSError is logged and remembered in `error`; the jobs after it run all the same, because the
    journal may still be written when a media file cannot. A file that alone cannot be written is in `lost_files`.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], int] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._backlog = 0
        self._lost_in_a_row = 0
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)
        self._thread.start()
        self.error: OSError | None = None
        self.lost_files = 0
        self.lost_why = ""
        """Of the last one that was lost."""

    @property
    def backlog(self) -> int:
        """Bytes submitted and not yet written."""
        return self._backlog

    def submit(self, job: Callable[[], None], size: int = 0) -> None:
        """Have `job` run on the disk's thread; `size` is what it will write, in bytes."""
        with self._lock:
            self._backlog += size
        self._jobs.put((job, size))

    def close(self, timeout: float) -> bool:
        """Finish what was submitted; False when that takes longer than `timeout` seconds. Nothing may follow."""
        self._jobs.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def lose_file(self, path: Path, error: OSError) -> None:
        """On the disk's thread: this file cannot be written. Raises `error` when that is not the file's own matter."""
        self._lost_in_a_row += 1
        if error.errno not in _OF_ONE_FILE or self._lost_in_a_row >= LOST_IN_A_ROW:
            raise error
        self.lost_why = os.strerror(error.errno)
        self.lost_files += 1
        logger.error("%s is lost: %s", path.name, self.lost_why)

    def wrote_file(self) -> None:
        """On the disk's thread: a file was written whole."""
        self._lost_in_a_row = 0

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, size = entry
            try:
                job()
            except OSError as error:
                if self.error is None:
                    logger.error("writing to the spool failed: %s", error)
                self.error = error
            with self._lock:
                self._backlog -= size


def write_all(fd: int, data: bytes) -> None:
    """Write every byte. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class SpoolFile:
    """One file, written through a `Disk`. It is made by the first write and never overwrites another."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._fd = -1
        self._broken = False
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._disk.submit(lambda: self._write(data), len(data))

    def close(self, then: Callable[[], None]) -> None:
        """Close it, then run `then` on the disk's thread; left out if a write failed: the file is not whole."""
        self._disk.submit(lambda: self._close(then))

    def _write(self, data: bytes) -> None:
        if self._broken:
            return
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            write_all(self._fd, data)
        except OSError as error:
            self._broken = True
            self._disk.lose_file(self._path, error)

    def _close(self, then: Callable[[], None]) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not self._broken:
            self._disk.wrote_file()
            then()
