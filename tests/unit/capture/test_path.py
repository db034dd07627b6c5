"""ICE that restarts under what it carries, against ICE on the other side."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from cloudrec_recorder.capture import path as path_module
from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.datagrams import Address
from cloudrec_recorder.capture.ice import BatchedConnection
from cloudrec_recorder.capture.path import IcePath, Remote

CLOCK = TaskClock(0)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


class Stage:
    """A path, and the servers that it was led to."""

    def __init__(self) -> None:
        self.media: list[bytes] = []
        self.path = IcePath(lambda: BatchedConnection(CLOCK, self.on_media, lambda: None, loopback=True))
        self.servers: list[BatchedConnection] = []

    def on_media(self, buffer: bytearray, start: int, end: int, addr: Address, arrival: float) -> None:
        if self.path.is_remote(addr):
            self.media.append(bytes(buffer[start:end]))

    async def server(self) -> tuple[BatchedConnection, Remote]:
        made = BatchedConnection(CLOCK, lambda *_: None, lambda: None, loopback=True)
        made.ice_controlling = True
        await made.gather_candidates()
        self.servers.append(made)
        return made, Remote(made.local_username, made.local_password, lite=False)

    async def introduce(self, server: BatchedConnection) -> None:
        """Each side hears the other's candidates; the server checks."""
        ours = self.path.local
        server.remote_username, server.remote_password = ours.local_username, ours.local_password
        for candidate in ours.local_candidates:
            await server.add_remote_candidate(candidate)
        for candidate in server.local_candidates:
            await self.path.add_remote_candidate(candidate)

    async def connect(self) -> BatchedConnection:
        server, remote = await self.server()
        await self.path.gather()
        await self.introduce(server)
        async with asyncio.timeout(10):
            await asyncio.gather(self.path.connect(remote), server.connect())
        assert self.path.state == "completed"
        return server

    async def close(self) -> None:
        await self.path.close()
        for server in self.servers:
            await server.close()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.close()


async def receive(path: IcePath) -> bytes:
    async with asyncio.timeout(10):
        return await path._recv()


async def test_it_carries_dtls_and_media(stage: Stage) -> None:
    server = await stage.connect()
    await server.send(b"\x16hello")
    await server.send(b"\x80media")
    assert await receive(stage.path) == b"\x16hello"
    await until(lambda: stage.media)
    assert stage.media == [b"\x80media"]
    await stage.path._send(b"\x16you too")
    assert await server.recv() == b"\x16you too"
    assert stage.path.role == "controlled"
    assert stage.path.batches > 0


async def test_a_restart_moves_everything_to_the_new_session(stage: Stage) -> None:
    first = await stage.connect()
    old = list(stage.path.local._transports)
    waiting = asyncio.create_task(receive(stage.path))
    second, remote = await stage.server()
    seen = stage.path.datagrams
    await stage.path.restart(remote)
    await first.send(b"\x80still from the old one")
    await until(lambda: stage.media)
    await stage.introduce(second)
    await second.connect()
    await until(lambda: stage.path.restarts == 1 and all(transport.is_closing() for transport in old))
    await second.send(b"\x16hello")
    await second.send(b"\x90media")
    assert await waiting == b"\x16hello"
    await until(lambda: stage.media[-1] == b"\x90media")
    await stage.path._send(b"\x16you too")
    assert await second.recv() == b"\x16you too"
    assert stage.path.state == "completed"
    assert seen is not None
    assert stage.path.datagrams is not None
    assert stage.path.datagrams > seen


async def test_a_restart_that_nobody_answers_ends_the_path(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_module, "RESTART_SECONDS", 0.2)
    await stage.connect()
    await stage.path.restart(Remote("nobody", "a password of nobody's", lite=False))
    await until(lambda: stage.path.state == "failed")


async def test_a_second_restart_takes_the_firsts_place(stage: Stage) -> None:
    await stage.connect()
    await stage.path.restart(Remote("nobody", "a password of nobody's", lite=False))
    abandoned = list(stage.path.local._transports)
    server, remote = await stage.server()
    await stage.path.restart(remote)
    assert all(transport.is_closing() for transport in abandoned)
    await stage.introduce(server)
    await server.connect()
    await until(lambda: stage.path.restarts == 1)
    assert stage.path.state == "completed"


async def test_a_lost_session_is_told(stage: Stage) -> None:
    await stage.connect()
    waiting = asyncio.create_task(receive(stage.path))
    await asyncio.sleep(0)
    await stage.path.local.close()
    with pytest.raises(ConnectionError):
        await waiting
    assert stage.path.state == "failed"


async def test_the_server_may_change_the_pair(stage: Stage) -> None:
    """It sends from another socket of its own, and nominates it."""
    server = await stage.connect()
    before = stage.path.local.remote_address
    moved = BatchedConnection(CLOCK, lambda *_: None, lambda: None, loopback=True)
    moved._local_username, moved._local_password = server.local_username, server.local_password
    moved.ice_controlling = True
    stage.servers.append(moved)
    await moved.gather_candidates()
    ours = stage.path.local
    moved.remote_username, moved.remote_password = ours.local_username, ours.local_password
    for candidate in ours.local_candidates:
        await moved.add_remote_candidate(candidate)
    async with asyncio.timeout(10):
        await moved.connect()
    await until(lambda: stage.path.local.remote_address != before)
    await moved.send(b"\x80media of the new pair")
    await until(lambda: stage.media)
    await stage.path._send(b"\x16back")
    assert await asyncio.wait_for(moved.recv(), 5) == b"\x16back"


async def test_strangers_are_not_heard(stage: Stage) -> None:
    server = await stage.connect()
    port = next(t.get_extra_info("sockname") for t in stage.path.local._transports)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for data in (b"\x16dtls", b"\x80media", b"\x00\x01no stun", b"\x03"):
            stranger.sendto(data, port)
        await until(lambda: stage.path.strangers == 1)
    await server.send(b"\x16hello")
    assert await receive(stage.path) == b"\x16hello"
    assert not stage.media
