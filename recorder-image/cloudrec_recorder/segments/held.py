"""Copies of frames that capture holds back, as they come, in the spool: for whoever salvages it.

Until a stream's first sender report its frames cannot be placed, for up to five seconds. Each source has a file here
from its first frame until what became of them is in segments for certain; until then later frames go into it too. A
file is a line of JSON (`Header`), then records: `_RECORD`, and as many bytes as it says. A torn last one is left out.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError

from cloudrec_contract.model import Lenient
from cloudrec_recorder.media import Held, NotKept, TrackKey
from cloudrec_recorder.segments.disk import Disk, write_all

logger = logging.getLogger(__name__)

HELD: Final = "held"
"""The folder, beside the one for segments."""
SUFFIX: Final = ".held"
FILE_BYTES_MAX: Final = 24 << 20
"""What a file takes; capture holds 16 MiB at most."""
_ALL_BYTES_MAX: Final = 128 << 20
_FILES_MAX: Final = 256
_BACKLOG_MAX: Final = 32 << 20
"""Bytes that wait for the disk beyond which no copies are made: media itself comes first."""
_STAYS_MAX: Final = 60.0
"""Seconds after which a file goes whatever is busy."""
_HEADER_MAX: Final = 8192

_RECORD: Final = struct.Struct("<BdqI")
"""Kind, arrival (task time, s), unwrapped RTP time, size of the data."""
_DELTA, _KEYFRAME, _PLACED = range(3)  # of _PLACED the second is the offset


class Header(Lenient):
    """Whose frames, and what they are."""

    user_id: str = Field(min_length=1, max_length=1024)
    media: Literal["main", "aux"]
    kind: Literal["audio", "video"]
    codec: str = Field(max_length=32)
    clock_rate: int = Field(gt=0, le=1_000_000)


@dataclass(frozen=True, slots=True)
class HeldFrame:
    """`arrival` in task time (s), `timestamp` in units of the clock rate, unwrapped."""

    arrival: float
    timestamp: int
    keyframe: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class HeldSource:
    """What a file holds. `offset`: task time less RTP time (s), as its frames were placed; None: they were not."""

    header: Header
    frames: list[HeldFrame]
    offset: float | None


def parse(data: bytes) -> HeldSource:
    """Read a file up to what is torn or senseless. Raises ValueError when not even its header is there."""
    line, newline, _ = data[:_HEADER_MAX].partition(b"\n")
    if not newline:
        raise ValueError("no header")
    try:
        header = Header.model_validate_json(line)
    except ValidationError as error:
        raise ValueError("its header is none") from error
    frames: list[HeldFrame] = []
    offset = None
    at = len(line) + 1
    while at + _RECORD.size <= len(data):
        kind, time, timestamp, size = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + size > len(data) or kind > _PLACED or not abs(time) < 1e10:
            break
        if kind == _PLACED:
            offset = time
        else:
            frames.append(HeldFrame(time, timestamp, kind == _KEYFRAME, data[at : at + size]))
        at += size
    return HeldSource(header, frames, offset)


class HeldFiles:
    """All sources' files in `folder`, written through the disk's thread. For the event loop's thread.

    A file goes `settle` seconds after its frames were placed, unless its track is `busy`: media is on its way still.
    """

    def __init__(
        self,
        folder: Path,
        disk: Disk,
        now: Callable[[], float],
        settle: float,
        busy: Callable[[TrackKey], bool],
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._now = now
        self._settle = settle
        self._busy = busy
        self._numbers = itertools.count()
        self._files: list[_HeldFile] = []

    def begin(self, key: TrackKey, codec: str, clock_rate: int) -> Held:
        """A file for a new source; one that keeps nothing when there are too many."""
        if len(self._files) >= _FILES_MAX or sum(file.size for file in self._files) > _ALL_BYTES_MAX:
            return NotKept()
        header = Header.model_construct(
            user_id=key.user_id, media=key.media, kind=key.kind, codec=codec, clock_rate=clock_rate
        )
        path = self._folder / f"{next(self._numbers):06}{SUFFIX}"
        file = _HeldFile(path, header, key, self._disk, self._now)
        self._files.append(file)
        return file

    def flush(self) -> None:
        """Hand what came to the disk; to be called before media is, several times a second."""
        for file in self._files:
            file.flush()

    def retire(self) -> None:
        """Remove files that are needed no more; to be called after media was handed to the disk."""
        now = self._now()
        kept = []
        for file in self._files:
            past = now - file.placed_at
            if past < self._settle or (past < _STAYS_MAX and self._busy(file.key)):
                kept.append(file)
            else:
                file.remove()
        self._files = kept

    def close(self) -> None:
        """Remove all files: every segment is closed."""
        for file in self._files:
            file.remove()
        self._files = []


class _HeldFile:
    """A `Held` in one file. Whatever goes wrong with it is its own matter."""

    def __init__(self, path: Path, header: Header, key: TrackKey, disk: Disk, now: Callable[[], float]) -> None:
        self.key = key
        self.placed_at = float("inf")
        self._path = path
        self._disk = disk
        self._now = now
        self._buffer = [header.model_dump_json(by_alias=True).encode() + b"\n"]
        self._open = True  # takes frames
        self._fd = -1  # the disk's thread's
        self._broken = False
        self.size = len(self._buffer[0])

    def frame(self, arrival: float, timestamp: int, data: bytes, *, keyframe: bool) -> bool:
        size = _RECORD.size + len(data)
        if self.size + size > FILE_BYTES_MAX or self._disk.backlog > _BACKLOG_MAX:
            self._open = False  # for good: what came behind a hole would not be of use
        if not self._open:
            return False
        self._add(_RECORD.pack(_KEYFRAME if keyframe else _DELTA, arrival, timestamp, len(data)), data)
        return True

    def placed(self, offset: float) -> None:
        self.placed_at = self._now()
        self._add(_RECORD.pack(_PLACED, offset, 0, 0))
        self.flush()

    def flush(self) -> None:
        if self._buffer:
            data = b"".join(self._buffer)
            self._buffer.clear()
            self._disk.submit(lambda: self._write(data), len(data))

    def remove(self) -> None:
        self._open = False
        self._buffer.clear()
        self._disk.submit(self._remove)

    def _add(self, *parts: bytes) -> None:
        self._buffer += parts
        self.size += sum(map(len, parts))

    def _write(self, data: bytes) -> None:
        if self._broken:
            return
        try:
            if self._fd < 0:
                self._path.parent.mkdir(exist_ok=True)
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            write_all(self._fd, data)
        except OSError as error:
            self._broken = True
            logger.warning("no copy is kept of media that is held back: %s", os.strerror(error.errno or 0))

    def _remove(self) -> None:
        self._broken = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            with contextlib.suppress(OSError):
                self._path.unlink()
