"""How many tasks of an app run: counted where acceptance is decided, so that the limit is exact.

Only the leader accepts, and all that it has accepted is in its store: what it accepted itself by the answers to its
writes, what leaders before it accepted by a fresh list, read before the first acceptance in a namespace. Between the
look at the store and the write a slot is taken, so that no two workers see the same last one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from cloudrec_contract.resources import Phase
from cloudrec_operator.store import Key, Kind

Object = Mapping[str, Any]

RUNNING = frozenset({Phase.PENDING, Phase.STARTING, Phase.IDLE, Phase.RECORDING, Phase.STOPPING})
"""Phases in which an accepted task holds a slot. Finalizing has left the room."""


class Slots:
    """`read` puts all recordings of a namespace, as they are now, into `recordings`."""

    def __init__(self, recordings: Kind, read: Callable[[str], Awaitable[None]]) -> None:
        self._recordings = recordings
        self._read = read
        self._known: dict[str, asyncio.Lock | None] = {}
        """Namespaces that have been read since this replica leads: None; that are being read: its lock."""
        self._taken: dict[Key, Key] = {}
        """The apps of recordings that are being accepted and may not be so in the store."""

    def forget(self) -> None:
        """This replica leads anew: others may have accepted meanwhile."""
        self._known.clear()
        self._taken.clear()

    async def know(self, namespace: str) -> None:
        """Be sure of who was accepted in the namespace. Raises the errors of `errors.py`."""
        lock = self._known.setdefault(namespace, asyncio.Lock())
        if lock is None:
            return
        async with lock:
            if self._known.get(namespace) is lock:
                await self._read(namespace)
                if self._known.get(namespace) is lock:
                    self._known[namespace] = None

    def take(self, recording: Key, app: Key, limit: int) -> bool:
        """A slot of `app` for a recording that is not accepted, if there is one; its own until `settle`."""
        if self._taken.get(recording) == app:
            return True
        holders = {key for key, of in self._taken.items() if of == app and key != recording}
        holders |= {key_of(other) for other in self._recordings if app_of(other) == app and holds(other)}
        if len(holders) >= limit:
            return False
        self._taken[recording] = app
        return True

    def settle(self, recording: Key) -> None:
        """The store says whether it holds a slot, or it will hold none."""
        self._taken.pop(recording, None)


def key_of(recording: Object) -> Key:
    return Key(recording["metadata"]["namespace"], recording["metadata"]["name"])


def app_of(recording: Object) -> Key:
    return Key(recording["metadata"]["namespace"], (recording.get("spec") or {}).get("appRef", {}).get("name", ""))


def holds(recording: Object) -> bool:
    """Whether the recording is accepted and counts toward its app's limit."""
    status = recording.get("status") or {}
    return "taskId" in status and status.get("phase") in RUNNING


def waits(recording: Object) -> bool:
    """Whether the recording may be waiting for a slot."""
    status = recording.get("status") or {}
    return "taskId" not in status and status.get("phase") not in (Phase.COMPLETED, Phase.FAILED)
