"""Heads of requests are bounded in size and time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from uvicorn.server import ServerState

from cloudrec_gateway import protocol
from cloudrec_gateway.asgi import App
from cloudrec_gateway.protocol import HEAD_BYTES, BoundedProtocol
from tests.unit.gateway.wire.helpers import NOW, MemoryBackend, tc3


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    app = App(MemoryBackend(), clock=lambda: NOW)
    config = uvicorn.Config(app, http=BoundedProtocol, log_config=None, access_log=False, lifespan="off", ws="none")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BoundedProtocol(config, state, {}), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    async with asyncio.timeout(10):
        while state.connections:
            await asyncio.sleep(0.01)


def sent() -> bytes:
    http = tc3()
    lines = "".join(f"{name}: {value}\r\n" for name, value in http.headers)
    return f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(http.body)}\r\n\r\n".encode() + http.body


async def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """What the server says until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            for part in parts:
                writer.write(part)
                await asyncio.sleep(pause)
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_requests_in_a_row_and_in_parts(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for parts in ([sent()], [sent()[:30], sent()[30:]], [sent()[:-5], sent()[-5:]]):
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.02)
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            assert b"ResourceNotFound" in await reader.readexactly(length)
    writer.close()
    await writer.wait_closed()


async def test_a_body_may_take_longer_than_a_head(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent()[:-5])
    await asyncio.sleep(0.4)
    writer.write(sent()[-5:])
    async with asyncio.timeout(10):
        assert await reader.readuntil(b"ResourceNotFound")
    writer.close()
    await writer.wait_closed()


async def test_nothing_at_all(port: int) -> None:
    assert await talk(port) == b""


async def test_a_slow_head(port: int) -> None:
    assert await talk(port, *[b"POST / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 20], pause=0.02) == b""


async def test_a_second_slow_head(port: int) -> None:
    answer = await talk(port, sent(), b"POST / HTTP/1.1\r\nX-A: b\r\n", pause=0.02)
    assert answer.count(b"HTTP/1.1") == 1


async def test_a_large_head(port: int) -> None:
    parts = [b"POST / HTTP/1.1\r\n", *[b"X-A: " + b"b" * 8000 + b"\r\n"] * (HEAD_BYTES // 8000 + 1)]
    assert b"too large" in await talk(port, *parts)


async def test_one_endless_header(port: int) -> None:
    assert b"too large" in await talk(port, b"POST / HTTP/1.1\r\nX-A: ", *[b"b" * 8000] * (HEAD_BYTES // 8000 + 1))
