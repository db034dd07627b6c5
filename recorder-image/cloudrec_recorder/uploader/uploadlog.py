"""The sidecar's own memory, /spool/uploads.jsonl: what is confirmed, given up and said.

Append-only, one JSON object a line, like the recorder's journal. A record is written before anything follows from it: a
local file goes after its `uploaded`, an event is reported after its `event`. Only a full disk turns that round.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import deque
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from cloudrec_contract.conditions import Reason
from cloudrec_contract.spool import Record

logger = logging.getLogger(__name__)

UPLOADS = "uploads.jsonl"

Sha256 = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")]
"""In hex."""


class Uploaded(Record):
    """A segment is in the bucket, whole: `bytes` and `sha256` of what was sent."""

    type: Literal["uploaded"] = "uploaded"
    file: str
    bytes: int
    sha256: Sha256


class BackedUp(Record):
    """A segment is in the backup store, whole; it is tried at the bucket all the same."""

    type: Literal["backedUp"] = "backedUp"
    file: str
    bytes: int
    sha256: Sha256


class BackupOnly(Record):
    """A segment, playlist or manifest stays in the backup store alone: the bucket is not tried with it any more."""

    type: Literal["backupOnly"] = "backupOnly"
    file: str


class Published(Record):
    """A playlist is in a store with so many segments, `bytes` long, with its ENDLIST or without."""

    type: Literal["published"] = "published"
    track: str
    segments: int
    bytes: int
    ended: bool = False
    backup: bool = False


class Listed(Record):
    """The manifest is in a store, `bytes` long, as of so many `changes`."""

    type: Literal["listed"] = "listed"
    changes: int
    bytes: int
    complete: bool = False
    backup: bool = False


class GivenUp(Record):
    """A segment, playlist or manifest that is in no store and will not be tried again."""

    type: Literal["givenUp"] = "givenUp"
    file: str
    message: str


class Trouble(Record):
    """An upload failed for `reason`. The episode lasts until `recovered`; `code` and `message` are the store's."""

    type: Literal["trouble"] = "trouble"
    reason: Reason
    code: str
    message: str


class Switched(Record):
    """From here to `recovered` new files go to the backup store as well; `code` and `message` say why."""

    type: Literal["switched"] = "switched"
    code: str
    message: str


class Recovered(Record):
    """All that had failed is uploaded."""

    type: Literal["recovered"] = "recovered"


class Said(Record):
    """A TRTC event as a fact; `ts` is when it happened."""

    type: Literal["event"] = "event"
    seq: int
    event: int
    args: dict[str, Any]


LogRecord = Annotated[
    Uploaded | BackedUp | BackupOnly | Published | Listed | GivenUp | Trouble | Switched | Recovered | Said,
    Field(discriminator="type"),
]

_RECORD: TypeAdapter[LogRecord] = TypeAdapter(LogRecord)


def decode(line: bytes) -> LogRecord:
    """Raises pydantic.ValidationError."""
    return _RECORD.validate_json(line)


class UploadLog:
    """Appends to the file. What a killed predecessor left of a line is cut off at first."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._fd, _whole_lines(self._fd))

    def append(self, record: Record) -> None:
        """Raises OSError when the disk does not take the whole line."""
        line = record.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"
        before = os.fstat(self._fd).st_size
        if os.write(self._fd, line) != len(line):  # some of it fitted
            os.ftruncate(self._fd, before)
            raise OSError(errno.ENOSPC, "a record of an upload could not be written whole")

    def close(self) -> None:
        os.close(self._fd)


class PatientLog:
    """An `UploadLog` whose records wait in memory, in their order, while the disk is full."""

    def __init__(self, path: Path) -> None:
        self._log = UploadLog(path)
        self._owed: deque[Record] = deque()

    def append(self, record: Record) -> None:
        """Raises OSError when the disk fails, but not when it is full."""
        self._owed.append(record)
        self.pay()
        if len(self._owed) == 1:
            logger.warning("the spool is full: the log of uploads waits for room")

    def pay(self) -> None:
        """Write what is owed, as far as the disk takes it. Raises OSError as `append`."""
        while self._owed:
            try:
                self._log.append(self._owed[0])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
            self._owed.popleft()

    def close(self) -> None:
        self._log.close()


def _whole_lines(fd: int, block: int = 65536) -> int:
    """Size of the file up to and with its last newline."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - block)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
