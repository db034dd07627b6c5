"""Images from servers that mean ill, over real sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from cloudrec_recorder.mix.fetching import AT_ONCE, Images, Lookup, system_lookup
from cloudrec_recorder.mix.images import BYTES_MAX
from tests.unit.mix.test_images import encoded

PNG = encoded("PNG")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers with what `handler` says."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.asked: list[str] = []
        self.port = 0

    def url(self, name: str = "a.png", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{name}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return await self.handler(request)


async def good(request: web.Request) -> web.StreamResponse:
    return web.Response(body=PNG, content_type="image/png")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(good)
    app = web.Application()
    app.router.add_get("/{name:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


class Fetched:
    """Images, and what they said."""

    def __init__(
        self, *, allow_private: bool = True, lookup: Lookup = system_lookup, seconds: float = 5, tries: int = 3
    ) -> None:
        self.said: list[tuple[str, bytes | str]] = []
        self._news = asyncio.Event()
        self.images = Images(
            self._say, self._say, allow_private=allow_private, lookup=lookup, tries=[0.0] + [0.01] * (tries - 1),
            try_seconds=seconds,
        )  # fmt: skip

    def _say(self, url: str, what: bytes | str) -> None:
        self.said.append((url, what))
        self._news.set()

    async def __aenter__(self) -> Fetched:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.images.close()

    async def want(self, *urls: str) -> list[bytes | str]:
        """What is said of these, once all of them are settled."""
        self.images.want(urls)
        async with asyncio.timeout(30):
            while not set(urls) <= {url for url, _ in self.said}:
                self._news.clear()
                await self._news.wait()
        return [what for url, what in self.said if url in urls]


def leads_to(*addresses: str) -> Lookup:
    async def lookup(host: str, port: int) -> list[tuple[int, str]]:
        return [(int(socket.AF_INET), address) for address in addresses]

    return lookup


async def test_an_image_is_fetched_once(server: Server) -> None:
    async with Fetched() as fetched:
        assert await fetched.want(server.url(), server.url("b.png")) == [PNG, PNG]
        fetched.images.want([server.url()])
        assert fetched.images.kept(server.url()) == PNG
        fetched.images.want([server.url(), server.url("b.png")])
        assert [url for url, _ in fetched.said].count(server.url("b.png")) == 2, "wanted anew, and kept"
    assert sorted(server.asked) == ["/a.png", "/b.png"]


async def test_a_server_that_fails_at_first_is_asked_again(server: Server) -> None:
    answers = [503, 500]

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=answers.pop(0)) if answers else await good(request)

    server.handler = handler
    async with Fetched() as fetched:
        assert await fetched.want(server.url()) == [PNG]
    assert len(server.asked) == 3


async def test_one_that_always_fails_is_told_once(server: Server) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    server.handler = handler
    async with Fetched() as fetched:
        assert len(await fetched.want(server.url())) == 1
        assert len(await fetched.want(server.url())) == 1
    assert len(server.asked) == 3


async def test_a_missing_one_is_not_asked_for_again(server: Server) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    server.handler = handler
    async with Fetched() as fetched:
        assert await fetched.want(server.url()) == ["HTTP 404"]
    assert len(server.asked) == 1


@pytest.mark.parametrize("drip", [False, True])
async def test_a_server_that_hangs_costs_its_time_and_no_more(server: Server, drip: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if drip:
            await response.prepare(request)
        for byte in PNG:
            await asyncio.sleep(0.1)
            if drip:
                await response.write(bytes([byte]))
        return response

    server.handler = handler
    async with Fetched(seconds=0.3, tries=2) as fetched:
        (why,) = await fetched.want(server.url())
    assert "0.3 s" in str(why)
    assert len(server.asked) == 2


@pytest.mark.parametrize("told", [True, False])
async def test_a_large_one_is_not_read_to_its_end(server: Server, told: bool) -> None:
    sent = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        if told:
            response.content_length = 40 << 20
        await response.prepare(request)
        for number in range(640):
            await response.write(PNG.ljust(1 << 16, b"\0") if not number else bytes(1 << 16))
            sent += 1 << 16
        return response

    server.handler = handler
    async with Fetched() as fetched:
        assert await fetched.want(server.url()) == ["more than 5 MB"]
    assert sent < 4 * BYTES_MAX
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"<html><body>hello</body></html>", encoded("GIF"), b"", b"\x89PN"])
async def test_what_is_no_image_is_refused_whatever_its_type_says(server: Server, body: bytes) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="image/png")

    server.handler = handler
    async with Fetched() as fetched:
        assert await fetched.want(server.url()) == ["neither PNG nor JPEG"]


async def test_one_cut_short_is_not_taken_for_whole(server: Server) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(PNG)
        await response.prepare(request)
        await response.write(PNG[:-20])
        assert request.transport is not None
        request.transport.close()
        return response

    server.handler = handler
    async with Fetched() as fetched:
        (why,) = await fetched.want(server.url())
    assert isinstance(why, str)
    assert len(server.asked) == 3


async def test_redirects_are_not_followed(server: Server) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://169.254.169.254/secret.png")

    server.handler = handler
    async with Fetched() as fetched:
        assert await fetched.want(server.url()) == ["redirects are not followed"]
    assert len(server.asked) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "localhost"])
async def test_a_private_address_is_not_asked(server: Server, host: str) -> None:
    async with Fetched(allow_private=False) as fetched:
        (why,) = await fetched.want(server.url(host=host))
    assert isinstance(why, str)
    assert "private" in why or "valid" in why
    assert not server.asked


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254"])
async def test_a_name_that_leads_to_a_private_address_is_not_asked(server: Server, address: str) -> None:
    async with Fetched(allow_private=False, lookup=leads_to("93.184.216.34", address)) as fetched:
        (why,) = await fetched.want(server.url(host="logos.test"))
    assert why == "an address of the host is private"
    assert not server.asked


async def test_a_name_leads_to_what_was_looked_at(server: Server) -> None:
    async with Fetched(lookup=leads_to("127.0.0.1")) as fetched:
        assert await fetched.want(server.url(host="logos.test")) == [PNG]


async def test_an_unknown_name_and_a_closed_port_are_told() -> None:
    async def nowhere(host: str, port: int) -> list[tuple[int, str]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with Fetched(lookup=nowhere) as fetched:
            assert await fetched.want("http://logos.test/a.png") == ["no such host"]
            (why,) = await fetched.want(f"http://127.0.0.1:{port}/a.png")
            assert "Connector" in str(why)


async def test_few_are_fetched_at_once(server: Server) -> None:
    now = most = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return await good(request)

    server.handler = handler
    async with Fetched() as fetched:
        assert len(await fetched.want(*(server.url(f"{n}.png") for n in range(20)))) == 20
    assert 1 < most <= AT_ONCE


async def test_who_is_no_longer_wanted_is_not_waited_for(server: Server) -> None:
    asked = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/b.png":
            return await good(request)
        asked.set()
        await asyncio.sleep(20)
        return await good(request)

    server.handler = handler
    async with Fetched() as fetched:
        fetched.images.want([server.url("a.png")])
        await asked.wait()
        assert await fetched.want(server.url("b.png")) == [PNG]
    assert [url for url, _ in fetched.said] == [server.url("b.png")]
