"""One try over HTTP: 200 within five seconds, or Undelivered. Redirects are not followed, answers not looked at."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Protocol

import aiohttp
from yarl import URL

from cloudrec_operator.callbacks.addresses import AddressRefused, CheckedResolver, Lookup, fault, system_lookup
from cloudrec_operator.callbacks.metrics import Outcome
from cloudrec_operator.callbacks.receivers import Receiver, Undelivered
from cloudrec_operator.callbacks.schedule import TIMEOUT_SECONDS

ANSWER_BYTES = 4096
"""A longer answer costs its sender the connection."""
ANSWER_SECONDS = 0.25
CONTEXTS = 64
IDLE_SECONDS = 30.0


class Transport(Protocol):
    """Raises Undelivered."""

    async def post(self, receiver: Receiver, headers: Mapping[str, str], content: bytes) -> None: ...


class HttpTransport:
    """`Transport` over aiohttp; a context manager. `seconds`: to the answer's headers, DNS included."""

    def __init__(self, seconds: float = TIMEOUT_SECONDS, lookup: Lookup = system_lookup) -> None:
        self._seconds = seconds
        self._lookup = lookup
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def __aenter__(self) -> HttpTransport:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def post(self, receiver: Receiver, headers: Mapping[str, str], content: bytes) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._send(receiver, headers, content)
        except TimeoutError:
            raise Undelivered(f"no answer within {self._seconds:g} s", Outcome.TIMEOUT) from None
        except AddressRefused as refused:
            raise Undelivered(f"{receiver.host}: {refused.args[0]}", Outcome.ADDRESS) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Undelivered(_why(receiver, error), _outcome(error)) from None
        await _ignore(response)
        if response.status != 200:
            raise Undelivered(f"{receiver.host} answered {response.status}", Outcome.STATUS)

    async def _send(self, receiver: Receiver, headers: Mapping[str, str], content: bytes) -> aiohttp.ClientResponse:
        url = URL(receiver.url)
        _check_literal(url.raw_host or "", receiver.allow_private)
        own = {name: value.reveal() for name, value in receiver.headers.items()}
        return await self._session(receiver.allow_private).post(
            url,
            data=content,
            headers={**own, **headers},
            allow_redirects=False,
            ssl=self._context(receiver.ca) if receiver.ca is not None else True,
        )

    def _session(self, allow_private: bool) -> aiohttp.ClientSession:
        """One for each kind of receiver: connections are kept, and a private one is never another's."""
        if allow_private not in self._sessions:
            connector = aiohttp.TCPConnector(
                limit=0,
                resolver=CheckedResolver(allow_private, self._lookup),
                use_dns_cache=False,
                keepalive_timeout=IDLE_SECONDS,
            )
            self._sessions[allow_private] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=ANSWER_BYTES,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._sessions[allow_private]

    def _context(self, ca: str) -> ssl.SSLContext:
        """Raises ValueError when the bundle cannot be read."""
        if ca not in self._contexts:
            try:
                made = ssl.create_default_context(cadata=ca)
            except ssl.SSLError:
                raise ValueError("callback.caBundle is no PEM certificate") from None
            while len(self._contexts) >= CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            self._contexts[ca] = made
        return self._contexts[ca]


@lru_cache(1024)
def _check_literal(host: str, allow_private: bool) -> None:
    """An address in the URL is looked up nowhere. `host` as the client itself reads the URL: １２７.0.0.1 is one, too.

    Raises AddressRefused.
    """
    try:
        why = fault(host, allow_private)
    except ValueError:
        return
    if why:
        raise AddressRefused(f"the address {why}")


async def _ignore(response: aiohttp.ClientResponse) -> None:
    """Read a short answer away, so that the connection can be used again; close it on any other."""
    if response.content.is_eof():
        return
    left = ANSWER_BYTES
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while left > 0 and (chunk := await response.content.read(left)):
                left -= len(chunk)
    except (TimeoutError, aiohttp.ClientError, OSError):
        pass
    finally:
        if not response.content.at_eof():
            response.close()


_TLS = (aiohttp.ClientConnectorCertificateError, ssl.SSLError, aiohttp.ClientSSLError)


def _outcome(error: Exception) -> Outcome:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, AddressRefused):
        return Outcome.ADDRESS
    if isinstance(error, _TLS):
        return Outcome.TLS
    return Outcome.SETTINGS if isinstance(error, ValueError) else Outcome.CONNECTION


def _why(receiver: Receiver, error: Exception) -> str:
    """In words without the URL."""
    cause = error.__cause__ or error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        refused = error.os_error
        return f"{receiver.host}: {refused.args[0] if isinstance(refused, AddressRefused) else 'no such host'}"
    if isinstance(error, _TLS):
        return f"{receiver.host}: its TLS certificate or protocol is not accepted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{receiver.host}: {error.os_error.strerror or 'no connection'}"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return f"{receiver.host}: the connection was closed"
    if isinstance(error, ValueError):
        return str(error) if "caBundle" in str(error) else "a header or the URL is not valid"
    return f"{receiver.host}: {type(cause).__name__}"
