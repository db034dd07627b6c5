"""Where segments are read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Missing(Exception):
    """There is no such file, or it may not be read: why. It is skipped; any other error ends the conversion."""


class Source(Protocol):
    """Files by their bare names. Called from several threads."""

    def sizes(self) -> Mapping[str, int]:
        """All files and how many bytes each has."""
        ...

    def read(self, name: str) -> bytes:
        """The whole file. Raises Missing."""
        ...

    def head(self, name: str, count: int) -> bytes:
        """Its first `count` bytes, or more. Raises Missing."""
        ...


class FolderSource:
    """Files in a folder; what is in folders below it is left out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sizes(self) -> Mapping[str, int]:
        return {path.name: path.stat().st_size for path in self._folder.iterdir() if path.is_file()}

    def read(self, name: str) -> bytes:
        with _skipped(), (self._folder / name).open("rb") as file:
            return file.read()

    def head(self, name: str, count: int) -> bytes:
        with _skipped(), (self._folder / name).open("rb") as file:
            return file.read(count)


@contextmanager
def _skipped() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Missing("missing") from error
    except PermissionError as error:
        raise Missing("may not be read") from error
