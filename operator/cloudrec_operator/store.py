"""The newest known state of what is watched: kopf's events fill it, and so do the answers to our own writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
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
    written: str = ""


class Kind:
    """The objects of one kind. An older version never replaces a newer one."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, group: Callable[[Object], Hashable] | None = None
    ) -> None:
        self._clock = clock
        self._entries: dict[Key, _Entry] = {}
        self._group = group
        self._groups: dict[Hashable, set[Key]] = {}

    def __iter__(self) -> Iterator[Object]:
        return iter([entry.object for entry in self._entries.values()])

    def keys(self) -> list[Key]:
        return list(self._entries)

    def alike(self, one: Object) -> list[Object]:
        """Those of the same group, `one` among them if it is here."""
        assert self._group is not None
        return [self._entries[key].object for key in self._groups.get(self._group(one), ())]

    def get(self, key: Key, max_age: float | None = None) -> Object | None:
        """What is known, unless it was last heard of more than `max_age` seconds ago."""
        entry = self._entries.get(key)
        if entry is None or (max_age is not None and self._clock() - entry.at > max_age):
            return None
        return entry.object

    def put(self, new: Object, *, written: bool = False) -> None:
        """`written`: it is the answer to our own write, whose echo in the watch is no news."""
        meta = new["metadata"]
        key = Key(meta.get("namespace", ""), meta["name"])
        old = self._entries.get(key)
        if old is not None and version(new) < version(old.object):
            return
        meta.pop("managedFields", None)
        if self._group is not None:
            self._leave(key)
            self._groups.setdefault(self._group(new), set()).add(key)
        self._entries[key] = _Entry(new, self._clock(), str(meta.get("resourceVersion", "")) if written else "")

    def echoes(self, new: Object) -> bool:
        """Whether this is what our last write made of it, and nobody has changed since."""
        meta = new["metadata"]
        entry = self._entries.get(Key(meta.get("namespace", ""), meta["name"]))
        return entry is not None and entry.written != "" and entry.written == meta.get("resourceVersion")

    def outdate(self, key: Key) -> None:
        """It has changed since: `get` with a `max_age` does not give it any more. Its key stays, so that whoever leads
        anew looks at it."""
        if entry := self._entries.get(key):
            entry.at = float("-inf")

    def drop(self, key: Key, uid: str | None = None) -> None:
        """Forget it; with `uid`, only if it is that one."""
        entry = self._entries.get(key)
        if entry is not None and (uid is None or entry.object["metadata"]["uid"] == uid):
            self._leave(key)
            del self._entries[key]

    def _leave(self, key: Key) -> None:
        """Take it out of its group, if it is in one."""
        entry = self._entries.get(key)
        if self._group is None or entry is None:
            return
        group = self._group(entry.object)
        members = self._groups.get(group, set())
        members.discard(key)
        if not members:
            self._groups.pop(group, None)


def robot(recording: Object) -> Hashable:
    """What two recordings of which one ends the other have in common (`policy/rivals.py`)."""
    spec = recording.get("spec") or {}
    return recording["metadata"].get("namespace"), (spec.get("robot") or {}).get("userId")


class Store:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.recordings = Kind(clock, robot)
        self.apps = Kind(clock)
        self.pods = Kind(clock)
        self.nodes = Kind(clock)


def version(object_: Object) -> int:
    """resourceVersions of one resource compare as numbers (KEP-5504); 0 for none."""
    text = str(object_["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0
