"""Segments in a bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from cloudrec_recorder.convert.source import Missing
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.uploader.store import FileGone

T = TypeVar("T")


class Ask(Protocol):
    """Does a call; where it fails, perhaps again."""

    def __call__(self, call: Callable[[], T]) -> T: ...


def _once(call: Callable[[], T]) -> T:
    return call()


class DepotSource:
    """A task's folder in a bucket, as it was when it was listed first. What goes wrong but for missing objects raises
    StoreError, or what `ask` raises."""

    def __init__(self, depot: Depot, ask: Ask = _once) -> None:
        self._depot = depot
        self._ask = ask
        self._sizes: Mapping[str, int] | None = None

    def sizes(self) -> Mapping[str, int]:
        if self._sizes is None:
            found = self._ask(self._depot.entries)
            self._sizes = {name: entry.bytes for name, entry in found.items() if "/" not in name}
        return self._sizes

    def read(self, name: str) -> bytes:
        try:
            return self._ask(lambda: self._depot.read(name))
        except FileGone as error:
            raise Missing("missing") from error

    def head(self, name: str, count: int) -> bytes:
        del count  # sound is small: a request for a part of it is no cheaper
        return self.read(name)
