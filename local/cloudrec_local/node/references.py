"""Secrets and ConfigMaps that Pods refer to, each followed by one watch for as long as somebody uses it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

from ..kubeapi import UNREACHABLE, ApiError, KubeApi, Object

log = logging.getLogger(__name__)
Kind = Literal["secrets", "configmaps"]
Key = tuple[Kind, str, str]
FIRST_RETRY, LAST_RETRY = 0.1, 5.0


class Reference:
    """One followed object: `current` is None when it does not exist, or is not known yet."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.current: Object | None = None
        self.known = asyncio.Event()
        self.listeners: list[Callable[[], None]] = []

    def set(self, current: Object | None) -> None:
        changed = not self.known.is_set() or current != self.current
        self.current = current
        self.known.set()
        if changed:
            for listener in list(self.listeners):
                listener()


class References:
    """All followed objects of this node."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._entries: dict[Key, tuple[Reference, asyncio.Task[None]]] = {}

    def follow(self, kind: Kind, namespace: str, name: str, changed: Callable[[], None]) -> Reference:
        """Follow an object; `changed` is called on the event loop after each change. Undo with `release`."""
        key: Key = (kind, namespace, name)
        if key not in self._entries:
            reference = Reference(key)
            self._entries[key] = (reference, asyncio.create_task(self._run(reference)))
        reference = self._entries[key][0]
        reference.listeners.append(changed)
        return reference

    def release(self, reference: Reference, changed: Callable[[], None]) -> None:
        """End what `follow` began; the last one ends the watch."""
        reference.listeners.remove(changed)
        if not reference.listeners:
            _, task = self._entries.pop(reference.key)
            task.cancel()

    async def _run(self, reference: Reference) -> None:
        kind, namespace, name = reference.key
        path = f"/api/v1/namespaces/{namespace}/{kind}"
        pause = FIRST_RETRY
        while True:
            try:
                async for event, item in self._api.follow(path, field_selector=f"metadata.name={name}"):
                    pause = FIRST_RETRY
                    if event == "LIST":
                        reference.set(item["items"][0] if item["items"] else None)
                    else:
                        reference.set(None if event == "DELETED" else item)
            except (ApiError, *UNREACHABLE) as error:
                # 403 at first: the authorizer learns of a Pod's binding a moment after the node does
                if pause > 1:
                    log.warning("cannot follow %s %s/%s: %s", kind, namespace, name, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_RETRY)
