"""The benchmark's own parts, without a server."""

import asyncio

import pytest

from benchmarks import gateway, serving
from benchmarks.gateway import Load
from cloudrec_gateway.asgi import App
from tests.unit.gateway.wire.helpers import NOW, Http, call


async def test_both_servers_give_the_same_answer_but_for_the_request_id() -> None:
    backend = await serving.backend()
    head, _, body = gateway.signed_request(8000, NOW).partition(b"\r\n\r\n")
    headers = [tuple(line.split(": ", 1)) for line in head.decode().split("\r\n")[1:]]
    http = Http("POST", [(name, value) for name, value in headers], b"", body)
    answer = await call(App(backend, clock=lambda: NOW), http)
    assert answer.response["Status"] == "InProgress"
    assert len(answer.response["StorageFileList"]) == 4
    bare = await call(serving.bare(answer.body), http)  # type: ignore[arg-type]
    assert (bare.status, bare.body) == (200, answer.body)
    assert bare.headers["content-type"] == answer.headers["content-type"]


async def test_a_connection_puts_an_answer_together() -> None:
    class Transport(asyncio.Transport):
        def write(self, data: object) -> None:
            assert data == b"request"

    connection = gateway.Connection(5)
    connection.connection_made(Transport())
    asking = asyncio.create_task(connection.ask(b"request"))
    await asyncio.sleep(0)
    for part in (b"HTTP/1.1 200 OK\r\n\r", b"\n123", b"45"):
        assert not asking.done()
        connection.data_received(part)
    assert await asking == b"12345"
    asking = asyncio.create_task(connection.ask(b"request"))
    await asyncio.sleep(0)
    connection.connection_lost(None)
    with pytest.raises(ConnectionError):
        await asking


def test_the_figures() -> None:
    full = {"gateway": [Load(500, 1.0, 2.0, [1.0])] * 3, "bare": [Load(1000, 1.0, 2.0, [1.0])] * 3}
    half = {"gateway": [Load(100, 1.0, 2.0, [2.0, 4.0])], "bare": [Load(100, 1.0, 2.0, [1.0, 2.0])]}
    figures = gateway.summary(full, half)
    assert figures["per_cpu_second"] == {"gateway": 500, "bare": 1000}
    assert (figures["ratio"], figures["p99_ratio"], figures["half_load_per_second"]) == (0.5, 2.0, 50)
    assert figures["p99_ms"] == {"gateway": 4.0, "bare": 2.0}
