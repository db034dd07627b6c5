"""The file that arrivals are kept in: appended by the receiver, read and followed by others, bounded by rotation."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from .arrivals import Arrival

SIZE_LIMIT = 16 * 1024 * 1024
"""Bytes of the file; when it is full it becomes the one older file, so twice as much is kept at most."""
PERIOD = 0.2


def older(path: Path) -> Path:
    return path.with_name(path.name + ".1")


class ArrivalLog:
    """Appends whole lines. One writer at a time; a reader sees a line when it is whole."""

    def __init__(self, path: Path, limit: int = SIZE_LIMIT) -> None:
        self._path = path
        self._limit = limit

    def append(self, arrival: Arrival) -> None:
        """Raises OSError: it could not be kept, so it must not be acknowledged."""
        line = arrival.model_dump_json(by_alias=True).encode() + b"\n"
        handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and size + len(line) > self._limit:
                self._path.rename(older(self._path))
                self.append(arrival)
                return
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":  # the writer before this one was killed, or the disk was full
                    line = b"\n" + line
            if file.write(line) != len(line):
                raise OSError("the disk is full")


def read(path: Path) -> list[Arrival]:
    """All that is kept, oldest first; nothing when there is no file. Torn lines are passed over."""
    return [*_kept(older(path)), *_kept(path)]


def follow(path: Path) -> Iterator[Arrival | None]:
    """What is kept, then what arrives, for ever; None when all that was there has been given."""
    file = _open(path)
    rest = b""
    try:
        if file is None or not _same(file, older(path)):
            yield from _kept(older(path))
        while True:
            if file is None:
                file = _open(path)
                rest = b""
            if file is not None:
                turned = not _same(file, path)  # looked at first: nothing is appended to a file that was turned away
                found, rest = _whole(rest + file.read())
                yield from found
                if turned:
                    file.close()
                    file = None
                    continue
            yield None
            time.sleep(PERIOD)
    finally:
        if file is not None:
            file.close()


def _kept(path: Path) -> list[Arrival]:
    try:
        return _whole(path.read_bytes())[0]
    except FileNotFoundError:
        return []


def _open(path: Path) -> IO[bytes] | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _same(file: IO[bytes], path: Path) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _whole(content: bytes) -> tuple[list[Arrival], bytes]:
    """The arrivals of the whole lines, and the beginning of one that is not."""
    *lines, rest = content.split(b"\n")
    found: list[Arrival] = []
    for line in lines:
        try:
            found.append(Arrival.model_validate_json(line))
        except ValidationError:
            continue
    return found, rest
