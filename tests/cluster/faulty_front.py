"""A TCP front before a real S3 server that does to its requests what networks, load balancers and full stores do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["none", "away", "503", "500", "403", "slow down", "reset", "lost answer", "slow"]

_ERRORS = {
    "503": (503, "Service Unavailable", "ServiceUnavailable"),
    "500": (500, "Internal Server Error", "InternalError"),
    "403": (403, "Forbidden", "AccessDenied"),
    "slow down": (503, "Slow Down", "SlowDown"),
}
_BLOCK = 65536
_RESET_AFTER = 200_000  # bytes of a request
_SLOW_BYTES = 400_000  # a second


class Front:
    """`endpoint` for the client; `fault` holds for connections from now on, and setting it breaks the open ones."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._fault: Fault = "none"
        self._open: set[asyncio.StreamWriter] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.endpoint = ""
        self.connections = 0

    @property
    def fault(self) -> Fault:
        return self._fault

    @fault.setter
    def fault(self, fault: Fault) -> None:
        self._fault = fault
        for writer in self._open:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._fault
        self.connections += 1
        self._open.add(writer)
        self._idle.clear()
        try:
            if fault in _ERRORS:
                await self._answer(reader, writer, *_ERRORS[fault])
            elif fault != "away":
                await self._tunnel(reader, writer, fault)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort()
            if not self._open:
                self._idle.set()

    async def end(self) -> None:
        """Break all connections, and see them gone."""
        self.fault = "away"
        await asyncio.wait_for(self._idle.wait(), 10)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: int, reason: str, code: str
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = f"<Error><Code>{code}</Code><Message>scripted</Message></Error>".encode()
        head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        await reader.read(_BLOCK)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> None:
        upstream_reader, upstream = await asyncio.open_connection(self._host, self._port)
        self._open.add(upstream)
        limit = _RESET_AFTER if fault == "reset" else None
        both = [
            asyncio.create_task(_copy(upstream_reader, writer, drop=fault == "lost answer")),
            asyncio.create_task(_copy(reader, upstream, limit=limit, slow=fault == "slow")),
        ]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
            self._open.discard(upstream)
            upstream.transport.abort()


async def _copy(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    *,
    limit: int | None = None,
    slow: bool = False,
    drop: bool = False,
) -> None:
    done = 0
    with contextlib.suppress(OSError):
        while data := await source.read(_BLOCK):
            done += len(data)
            if limit is not None and done > limit:
                return
            if drop and b"100 Continue" not in data:
                return
            sink.write(data)
            await sink.drain()
            if slow:
                await asyncio.sleep(len(data) / _SLOW_BYTES)


@contextlib.asynccontextmanager
async def front(upstream: str) -> AsyncIterator[Front]:
    made = Front(upstream)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.end()
