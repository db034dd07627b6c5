"""The newest known state of what is watched: kopf's events fill it, and so do the answers to our own writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

Object = dict[str, Any]


class Key(NamedTuple):
    """An object's place; nodes have no namespace."""

    namespace: str
    name: str


@dataclass(slots=True)
class _Entry:
    object: Object
    at: float


class Kind:
    """The objects of one kind. An older version never replaces a newer one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[Key, _Entry] = {}

    def __iter__(self) -> Iterator[Object]:
        return iter([entry.object for entry in self._entries.values()])

    def keys(self) -> list[Key]:
        return list(self._entries)

    def get(self, key: Key, max_age: float | None = None) -> Object | None:
        """What is known, unless it was last heard of more than `max_age` seconds ago."""
        entry = self._entries.get(key)
        if entry is None or (max_age is not None and self._clock() - entry.at > max_age):
            return None
        return entry.object

    def put(self, new: Object) -> None:
        meta = new["metadata"]
        key = Key(meta.get("namespace", ""), meta["name"])
        old = self._entries.get(key)
        if old is not None and version(new) < version(old.object):
            return
        meta.pop("managedFields", None)
        self._entries[key] = _Entry(new, self._clock())

    def drop(self, key: Key, uid: str | None = None) -> None:
        """Forget it; with `uid`, only if it is that one."""
        entry = self._entries.get(key)
        if entry is not None and (uid is None or entry.object["metadata"]["uid"] == uid):
            del self._entries[key]


class Store:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.recordings = Kind(clock)
        self.apps = Kind(clock)
        self.pods = Kind(clock)
        self.nodes = Kind(clock)


def version(object_: Object) -> int:
    """resourceVersions of one resource compare as numbers (KEP-5504); 0 for none."""
    text = str(object_["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
