"""Images from the net for watermarks, backgrounds and placeholders. Their URLs are strangers': every bound is enforced.

A URL is fetched once for as long as somebody wants it, with a few tries. Redirects are not followed, and where a name
leads is looked at when the connection is made. Whether what came can be decoded is the composer's to find out.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from cloudrec_contract import addresses
from cloudrec_recorder.mix.images import BYTES_MAX, is_image

TRIES: Final = (0.0, 1.0, 4.0)
"""Seconds before each try."""
TRY_SECONDS: Final = 10.0
"""For a whole try, DNS included."""
AT_ONCE: Final = 4
WANTED_MAX: Final = 64
"""More URLs than a scene can name (25 placeholders, one for all, a background, 25 watermarks)."""
KEPT_BYTES_MAX: Final = 64 << 20
_PASSING: Final = (408, 425, 429)

Lookup = Callable[[str, int], Awaitable[list[tuple[int, str]]]]
"""The (family, address) pairs of a host. Raises OSError."""


class Unusable(Exception):
    """There is no image at the URL, and another try would not change it."""


async def system_lookup(host: str, port: int) -> list[tuple[int, str]]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), str(where[0])) for family, _, _, _, where in found]


class Images:
    """Fetches what is wanted. `ready(url, data)` or `failed(url, why)` is called once for each, on the event loop.

    `allow_private`: private, loopback and link-local addresses may be asked too. `close` ends it.
    """

    def __init__(
        self,
        ready: Callable[[str, bytes], None],
        failed: Callable[[str, str], None],
        *,
        allow_private: bool = False,
        lookup: Lookup = system_lookup,
        tries: Sequence[float] = TRIES,
        try_seconds: float = TRY_SECONDS,
    ) -> None:
        self._ready = ready
        self._failed = failed
        self._allow_private = allow_private
        self._lookup = lookup
        self._tries = tries
        self._try_seconds = try_seconds
        self._session: aiohttp.ClientSession | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._settled: set[str] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def want(self, urls: Collection[str]) -> None:
        """These and no others are wanted from now on. One that is kept is `ready` before this returns."""
        wanted = list(dict.fromkeys(urls))[:WANTED_MAX]
        for url in [url for url in self._running if url not in wanted]:
            self._running.pop(url).cancel()
        self._settled.intersection_update(wanted)
        for url in wanted:
            if url in self._settled or url in self._running:
                continue
            if (data := self.kept(url)) is not None:
                self._settled.add(url)
                self._ready(url, data)
            else:
                self._running[url] = asyncio.create_task(self._fetch(url), name="image")

    def kept(self, url: str) -> bytes | None:
        """What was fetched, for a composer that began anew; None if it was not, or was dropped for newer ones."""
        data = self._kept.get(url)
        if data is not None:
            self._kept.move_to_end(url)
        return data

    async def close(self) -> None:
        tasks = list(self._running.values())
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _fetch(self, url: str) -> None:
        why = ""
        for wait in self._tries:
            await asyncio.sleep(wait)
            try:
                async with self._slots, asyncio.timeout(self._try_seconds):
                    data = await self._tried(url)
            except Unusable as error:
                why = str(error)
                break
            except TimeoutError:
                why = f"not there within {self._try_seconds:g} s"
            except (aiohttp.ClientError, OSError, ValueError) as error:
                refused = getattr(error, "os_error", None)
                if isinstance(refused, _Refused):
                    why = str(refused)
                    break
                why = "no such host" if isinstance(error, aiohttp.ClientConnectorDNSError) else type(error).__name__
            else:
                self._end(url)
                self._keep(url, data)
                self._ready(url, data)
                return
        self._end(url)
        self._failed(url, why)

    def _end(self, url: str) -> None:
        self._running.pop(url, None)
        self._settled.add(url)

    def _keep(self, url: str, data: bytes) -> None:
        self._kept[url] = data
        while sum(map(len, self._kept.values())) > KEPT_BYTES_MAX:
            self._kept.popitem(last=False)

    async def _tried(self, url: str) -> bytes:
        """Raises Unusable, and what aiohttp does."""
        try:
            request = self._opened().get(url, allow_redirects=False)
            async with request as response:
                return await _body(response)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise Unusable("not a valid URL") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=AT_ONCE,
                resolver=_Resolver(self._allow_private, self._lookup),
                use_dns_cache=False,
                force_close=True,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept": "image/png, image/jpeg", "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=None),
                trust_env=False,
                middlewares=(self._checked,),
            )
        return self._session

    async def _checked(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """An address in the URL is looked up nowhere."""
        if why := addresses.literal_fault(request.url.host or "", self._allow_private):
            raise Unusable(f"the address {why}")
        return await handler(request)


class _Refused(OSError):
    """The name leads where nothing may be fetched from."""


class _Resolver(AbstractResolver):
    """Resolves to allowed addresses only; the connection is made to what was looked at."""

    def __init__(self, allow_private: bool, lookup: Lookup) -> None:
        self._allow_private = allow_private
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._lookup(host, port)
        for _, address in found:
            if why := addresses.fault(address, self._allow_private):
                raise _Refused(f"an address of the host {why}")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in found
            if family in (socket.AF_UNSPEC, kind)
        ]

    async def close(self) -> None:
        """Nothing is kept."""


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Raises Unusable when it is no image or too large; reads no more than needed to know."""
    status = response.status
    if 300 <= status < 400:
        raise Unusable("redirects are not followed")
    if status >= 500 or status in _PASSING:
        raise aiohttp.ClientError(f"HTTP {status}")
    if status != 200:
        raise Unusable(f"HTTP {status}")
    if (response.content_length or 0) > BYTES_MAX:
        raise Unusable(f"more than {BYTES_MAX >> 20} MB")
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > BYTES_MAX:
            raise Unusable(f"more than {BYTES_MAX >> 20} MB")
        if len(data) >= 8 and not is_image(bytes(data[:8])):
            break
    if not is_image(bytes(data[:8])):
        raise Unusable("neither PNG nor JPEG")
    return bytes(data)
