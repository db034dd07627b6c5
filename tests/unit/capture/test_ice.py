from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator

import pytest

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.datagrams import Address
from cloudrec_recorder.capture.ice import BatchedConnection, BatchedDatagramTransport, open_socket


class Protocol(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.errors: list[Exception] = []
        self.lost = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data == b"\x00malformed":
            raise struct.error
        self.received.append(data)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


class Stage:
    def __init__(self) -> None:
        self.clock = TaskClock(time.time() * 1000)
        self.media: list[tuple[bytes, Address, float]] = []
        self.batches = 0
        self.protocol = Protocol()
        self.transport = BatchedDatagramTransport(
            open_socket("127.0.0.1"), self.protocol, self.clock, self.on_media, self.on_batch
        )
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind(("127.0.0.1", 0))
        self.peer.settimeout(2)

    def on_media(self, buffer: bytearray, start: int, end: int, addr: Address, arrival: float) -> None:
        self.media.append((bytes(buffer[start:end]), addr, arrival))

    def on_batch(self) -> None:
        self.batches += 1

    def send(self, data: bytes) -> None:
        self.peer.sendto(data, self.transport.get_extra_info("sockname"))


async def until(condition: object) -> None:
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    stage.transport.close()
    stage.peer.close()
    await stage.protocol.lost.wait()


async def test_media_and_the_rest_part_ways(stage: Stage) -> None:
    before = stage.clock.now()
    for data in (
        b"\x00malformed",
        b"\x00stun",
        b"\x16dtls",
        b"\x80rtp",
        b"\x50channel data",
        b"",
        b"\xc8nothing",
        b"\x90more",
    ):
        stage.send(data)
    await until(lambda: len(stage.media) == 2 and len(stage.protocol.received) == 2)
    assert stage.protocol.received == [b"\x00stun", b"\x16dtls"]
    assert [data for data, _, _ in stage.media] == [b"\x80rtp", b"\x90more"]
    assert 1 <= stage.batches <= 2
    assert stage.media[0][1] == stage.peer.getsockname()
    assert before - 0.001 <= stage.media[0][2] <= stage.clock.now()


async def test_arrival_is_the_kernels_and_not_the_ticks(stage: Stage) -> None:
    stage.send(b"\x80one")
    await until(lambda: stage.media)
    stage.send(b"\x80two")
    sent = stage.clock.now()
    time.sleep(0.1)  # the loop is held up
    await until(lambda: len(stage.media) == 2)
    assert abs(stage.media[1][2] - sent) < 0.05


async def test_a_socket_fallen_silent_is_watched_again(stage: Stage) -> None:
    stage.send(b"\x80one")
    await until(lambda: stage.media)
    assert stage.transport._timer is not None
    await until(lambda: stage.transport._timer is None)
    stage.send(b"\x80two")
    await until(lambda: len(stage.media) == 2)


async def test_datagrams_too_long_are_dropped(stage: Stage) -> None:
    stage.send(b"\x80" + bytes(3000))
    stage.send(b"\x80short")
    await until(lambda: stage.media)
    assert [data for data, _, _ in stage.media] == [b"\x80short"]


async def test_sending_and_closing(stage: Stage) -> None:
    stage.transport.sendto(b"hello", stage.peer.getsockname())
    assert stage.peer.recv(100) == b"hello"
    stage.transport.close()
    assert stage.transport.is_closing()
    stage.transport.sendto(b"too late", stage.peer.getsockname())
    stage.transport.close()


async def test_loopback_is_a_candidate_only_when_asked_for() -> None:
    clock = TaskClock(0)
    for loopback in (True, False):
        connection = BatchedConnection(clock, lambda *_: None, lambda: None, loopback=loopback)
        await connection.gather_candidates()
        assert ("127.0.0.1" in {c.host for c in connection.local_candidates}) is loopback
        await connection.close()
