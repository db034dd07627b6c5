"""Reading a file of lines while another process appends to it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

logger = logging.getLogger(__name__)

R = TypeVar("R")

BLOCK = 1 << 20
LONGEST = 65536
"""Bytes of the longest line that is taken; the recorder's are below 2 KB."""


class Tail(Generic[R]):
    """Whole lines of `path`, decoded, each once. A last line without its newline waits for the rest of it.

    A line that cannot be decoded (of a newer version, or damaged) is logged and left out.
    """

    def __init__(self, path: Path, decode: Callable[[bytes], R]) -> None:
        self._path = path
        self._decode = decode
        self._fd: int | None = None
        self._offset = 0
        self._rest = b""
        self._skipping = False

    def read(self) -> list[R]:
        """What is new, of at most 1 MiB; empty when there is nothing (or no file) yet. Raises OSError."""
        if self._fd is None:
            try:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                return []
        data = os.pread(self._fd, BLOCK, self._offset)
        if not data:
            return []
        self._offset += len(data)
        return list(self._lines(data))

    def read_all(self) -> Iterator[R]:
        """Everything up to now."""
        while self._more():
            yield from self.read()

    def _more(self) -> bool:
        try:
            return self._path.stat().st_size > self._offset
        except FileNotFoundError:
            return False

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _lines(self, data: bytes) -> Iterator[R]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._skipping:
                self._skipping = False
                continue
            if not line:
                continue
            if len(line) > LONGEST:
                logger.warning("a line of %d bytes in %s is left out", len(line), self._path.name)
                continue
            try:
                yield self._decode(line)
            except ValidationError as error:
                what = error.errors(include_input=False, include_url=False)[0]["msg"]
                logger.warning("a line in %s is left out: %s", self._path.name, what)
        if len(self._rest) > LONGEST:
            logger.warning("a line in %s is longer than %d bytes and left out", self._path.name, LONGEST)
            self._rest, self._skipping = b"", True
