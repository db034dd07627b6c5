"""Following a collection for ever: a list, then a watch, and again from where it broke."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

from cloudrec_gateway.kube.client import ApiError, Object

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.2
LAST_PAUSE: Final = 10.0


class Reads(Protocol):
    """The part of `client.Kube` that is used here."""

    async def list(self, path: str, params: Mapping[str, str] | None = None) -> tuple[list[Object], str]: ...

    def watch(
        self, path: str, version: str, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[str, Object]]: ...


class Sink(Protocol):
    """Takes what is seen."""

    def replace(self, objects: list[Object]) -> None:
        """There are these, and no others."""

    def put(self, found: Object) -> None: ...

    def drop(self, gone: Object) -> None: ...


async def follow(kube: Reads, path: str, sink: Sink, params: Mapping[str, str] | None = None) -> None:
    """Feed `sink` until cancelled. While the API server is away it keeps what it has, and is asked with backoff."""
    failures = 0
    while True:
        try:
            items, version = await kube.list(path, params)
            sink.replace(items)
            failures = 0
            while True:
                async for kind, found in kube.watch(path, version, params):
                    version = found["metadata"]["resourceVersion"]
                    if kind == "DELETED":
                        sink.drop(found)
                    elif kind != "BOOKMARK":
                        sink.put(found)
                await asyncio.sleep(FIRST_PAUSE)
        except ApiError as error:
            # 410 is among them, and usual: the version to go on from is too old.
            failures += 1
            log.log(logging.WARNING if failures > 1 else logging.DEBUG, "%s cannot be followed: %s", path, error)
            pause = min(LAST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
            await asyncio.sleep(pause * (0.5 + random.random() / 2))
