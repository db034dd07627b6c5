"""The recorder's side of the journal: what it says to the uploader, one line a record (cloudrec_contract.spool)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

from cloudrec_contract.spool import JOURNAL, ConditionRecord, Record, encode_record
from cloudrec_recorder.segments.disk import Disk, write_all

logger = logging.getLogger(__name__)


class Journal:
    """Appends records, each by one write to a file opened with O_APPEND, on the disk's thread."""

    def __init__(self, folder: Path, disk: Disk, wall_ms: Callable[[], int]) -> None:
        self._fd = os.open(folder / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._disk = disk
        self.wall_ms = wall_ms
        """Milliseconds since the Unix epoch, for a record's `ts`."""

    def append(self, record: Record) -> None:
        """Have the record written after everything that was submitted before it."""
        line = encode_record(record)
        self._disk.submit(lambda: self.write_line(line), len(line))

    def close(self) -> None:
        """After the disk was closed."""
        os.close(self._fd)

    def write_line(self, line: bytes) -> None:
        """On the disk's thread only."""
        write_all(self._fd, line)


class Conditions:
    """Conditions in force, so that only changes are journaled."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._said: dict[str, str] = {}

    def set(self, reason: str, message: str) -> None:
        if self._said.get(reason) == message:
            return
        self._said[reason] = message
        logger.warning("%s", message, extra={"reason": reason})
        self._journal.append(ConditionRecord(ts=self._journal.wall_ms(), reason=reason, message=message))

    def clear(self, reason: str) -> None:
        if self._said.pop(reason, None) is not None:
            logger.info("over: %s", reason, extra={"reason": reason})
            self._journal.append(ConditionRecord(ts=self._journal.wall_ms(), reason=reason, message="", status=False))
