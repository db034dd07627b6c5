"""Real HTTP on the loopback: receivers that answer, refuse, hang, reset, redirect, babble."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from cloudrec_contract.secret import Secret
from cloudrec_operator.callbacks.receivers import Receiver, Undelivered
from cloudrec_operator.callbacks.transport import HttpTransport
from tests.unit.callbacks.tls import authority

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Receiver]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield Receiver(f"http://127.0.0.1:{port}/hook?t=s3cret", "127.0.0.1", 1, None, allow_private=True)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Receiver]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Receiver(f"http://127.0.0.1:{port}/", "127.0.0.1", 1, None, allow_private=True)
    finally:
        server.close()


async def refusal(receiver: Receiver, seconds: float = 5.0) -> str:
    async with HttpTransport(seconds) as transport:
        with pytest.raises(Undelivered) as caught:
            await transport.post(receiver, {}, b"{}")
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


async def test_the_very_bytes_and_headers_arrive_and_the_connection_is_kept() -> None:
    got: list[tuple[bytes, str, str, str]] = []
    peers: set[object] = set()

    async def hook(request: web.Request) -> web.Response:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        got.append((await request.read(), request.path_qs, request.headers["Sign"], request.headers["Authorization"]))
        return web.json_response({"code": 0})

    async with serving(hook) as receiver, HttpTransport() as transport:
        mine = replace(receiver, headers={"Authorization": Secret("Bearer x"), "sign": Secret("forged")})
        for _ in range(3):
            await transport.post(mine, {"Sign": "c2ln", "Content-Type": "application/json"}, b'{"a":"\xc3\xbc"}')
    assert got == [(b'{"a":"\xc3\xbc"}', "/hook?t=s3cret", "c2ln", "Bearer x")] * 3
    assert len(peers) == 1


@pytest.mark.parametrize("status", [201, 204, 301, 307, 400, 403, 404, 429, 500, 503])
async def test_only_200_counts_and_redirects_are_not_followed(status: int) -> None:
    asked: list[str] = []

    async def hook(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    async with serving(hook) as receiver:
        assert str(status) in await refusal(receiver)
    assert asked == ["/hook"]


async def test_a_receiver_that_hangs_or_is_too_late_has_failed() -> None:
    async def hook(request: web.Request) -> web.Response:
        await asyncio.sleep(1)
        return web.Response()

    async with serving(hook) as receiver:
        assert await refusal(receiver, 0.2) == "no answer within 0.2 s"


async def test_a_slow_answer_in_time_is_good() -> None:
    async def hook(request: web.Request) -> web.Response:
        await asyncio.sleep(0.2)
        return web.Response()

    async with serving(hook) as receiver, HttpTransport() as transport:
        await transport.post(receiver, {}, b"{}")


async def test_an_answer_in_time_is_good_although_its_body_is_not() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.4)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        await writer.drain()
        assert await reader.read(1) == b"{"
        assert await reader.read() == b"}"

    async with raw(talk) as receiver, HttpTransport(0.5) as transport:
        await transport.post(receiver, {}, b"{}")


async def test_a_reset() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.transport.abort()

    async with raw(talk) as receiver:
        assert "closed" in await refusal(receiver)


async def test_nobody_listens() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    receiver = Receiver(f"http://127.0.0.1:{port}/", "127.0.0.1", 1, allow_private=True)
    assert "127.0.0.1: " in await refusal(receiver)


async def test_an_answer_without_end_is_cut_and_good() -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sent < 100_000_000:
            writer.write(b"10000\r\n" + bytes(65536) + b"\r\n")
            await writer.drain()
            sent += 65536

    async with raw(talk) as receiver, HttpTransport() as transport:
        await transport.post(receiver, {}, b"{}")
    assert sent < 20_000_000


async def test_no_http_at_all() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"220 smtp ready\r\n\r\n")

    async with raw(talk) as receiver:
        assert await refusal(receiver)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "10.0.0.1"])
async def test_private_addresses_in_the_url_are_refused(host: str) -> None:
    assert "private" in await refusal(Receiver(f"http://{host}/", host.strip("[]"), 1))


@pytest.mark.parametrize("host", ["１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "[::ffff:7f00:1]", "[::1%25lo]"])
async def test_private_addresses_in_disguise_are_refused(host: str) -> None:
    assert "private" in await refusal(Receiver(f"http://{host}:9/", host.strip("[]"), 1))


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "127.1"])
async def test_names_and_numbers_that_lead_to_private_addresses_are_refused(host: str) -> None:
    why = await refusal(Receiver(f"http://{host}:9/", host, 1))
    assert "private" in why or "URL is not valid" in why


async def test_a_name_that_does_not_exist() -> None:
    def lookup(host: str, port: int) -> list[tuple[int, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    async with HttpTransport(lookup=lookup) as transport:
        with pytest.raises(Undelivered, match="no such host"):
            await transport.post(Receiver("http://nowhere.test/", "nowhere.test", 1), {}, b"{}")


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb"])
async def test_a_secret_header_cannot_forge_others_and_is_not_shown(value: str) -> None:
    async def hook(request: web.Request) -> web.Response:
        return web.Response()

    async with serving(hook) as receiver:
        why = await refusal(replace(receiver, headers={"X-Token": Secret(value)}))
    assert "not valid" in why


async def test_tls_is_verified_against_the_apps_own_ca_if_it_has_one(tmp_path: Path) -> None:
    ca, context = authority(tmp_path)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    receiver = Receiver(f"https://127.0.0.1:{port}/", "127.0.0.1", 1, allow_private=True)
    async with HttpTransport() as transport:
        await transport.post(replace(receiver, ca=ca), {}, b"{}")
    assert "TLS" in await refusal(receiver)
    assert "caBundle" in await refusal(replace(receiver, ca="nonsense"))
    server.close()
