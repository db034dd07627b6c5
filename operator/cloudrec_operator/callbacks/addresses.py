"""Which addresses a callback may be sent to, looked at after DNS: a name may lead anywhere. Pure but for the lookup."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

from cloudrec_contract import addresses

LOOKUPS = 32
"""Names that are looked up at the same time: each takes a thread, and a name server may take its time."""

Lookup = Callable[[str, int], list[tuple[int, str]]]
"""Blocking: the (family, address) pairs of a host. Raises OSError."""


class AddressRefused(OSError):
    """The host is at an address that the app does not allow."""


def fault(address: str, allow_private: bool) -> str:
    """`addresses.fault`, naming the setting that allows private ones."""
    why = addresses.fault(address, allow_private)
    return f"{why} (callback.allowPrivateAddresses)" if why == addresses.PRIVATE else why


def system_lookup(host: str, port: int) -> list[tuple[int, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), str(where[0])) for family, _, _, _, where in found]


class CheckedResolver(AbstractResolver):
    """Resolves to allowed addresses only; the connection is made to what was looked at.

    Lookups have threads of their own, and a host that is being looked up is not looked up once more.
    """

    def __init__(self, allow_private: bool, lookup: Lookup = system_lookup) -> None:
        self._allow_private = allow_private
        self._lookup = lookup
        self._pool = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="callback-dns")
        self._running: dict[tuple[str, int], asyncio.Future[list[tuple[int, str]]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError; AddressRefused when any of the addresses is not allowed."""
        known = self._running.get((host, port))
        if known is None:
            known = asyncio.get_running_loop().run_in_executor(self._pool, self._lookup, host, port)
            self._running[host, port] = known
            known.add_done_callback(lambda done: self._done((host, port), done))
        found = await asyncio.shield(known)
        for _, address in found:
            if why := fault(address, self._allow_private):
                raise AddressRefused(f"an address of the host {why}")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    def _done(self, which: tuple[str, int], done: asyncio.Future[list[tuple[int, str]]]) -> None:
        self._running.pop(which, None)
        if not done.cancelled():
            done.exception()  # whoever waited may have gone

    async def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
