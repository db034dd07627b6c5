from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from cloudrec_recorder.capture.datagrams import DATAGRAM_BYTES_MAX, DATAGRAMS, SO_TIMESTAMPNS, DatagramReader
from cloudrec_recorder.capture.ice import open_socket


class Stage:
    def __init__(self, host: str = "127.0.0.1") -> None:
        self.sock = open_socket(host)
        self.reader = DatagramReader(self.sock)
        self.peers = [socket.socket(self.sock.family, socket.SOCK_DGRAM) for _ in range(2)]
        for peer in self.peers:
            peer.bind((host, 0))

    def send(self, *datagrams: bytes, peer: int = 0) -> None:
        for data in datagrams:
            self.peers[peer].sendto(data, self.sock.getsockname())

    def read(self) -> list[bytes]:
        read = self.reader.datagrams(self.reader.receive())
        return [bytes(self.reader.buffer[start:end]) for start, end, _, _ in read]

    def close(self) -> None:
        for sock in (self.sock, *self.peers):
            sock.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


def test_nothing_is_there(stage: Stage) -> None:
    assert stage.reader.receive() == 0
    assert stage.read() == []


def test_more_than_one_read_takes(stage: Stage) -> None:
    sent = [index.to_bytes(2, "big") * (1 + index % 700) for index in range(DATAGRAMS + 10)]
    stage.send(*sent)
    assert stage.read() == sent[:DATAGRAMS]
    assert stage.read() == sent[DATAGRAMS:]
    assert stage.read() == []


def test_empty_and_too_long_ones_are_left_out(stage: Stage) -> None:
    longest = b"x" * (DATAGRAM_BYTES_MAX - 1)
    stage.send(b"", b"one", longest + b"x", longest + b"xxx", longest, b"two")
    assert stage.reader.receive() == 6
    assert [end - start for start, end, _, _ in stage.reader.datagrams(6)] == [3, DATAGRAM_BYTES_MAX - 1, 3]


def ipv6_loopback() -> bool:
    """Whether the kernel has it: many containers are started without."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


NEEDS_IPV6 = pytest.mark.skipif(not ipv6_loopback(), reason="no IPv6 loopback: nobody can send by it")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=NEEDS_IPV6)])
def test_who_sent_it_and_when(host: str) -> None:
    stage = Stage(host)
    try:
        before = time.time()
        stage.send(b"a")
        stage.send(b"b", peer=1)
        stage.send(b"c")
        after = time.time()
        read = list(stage.reader.datagrams(stage.reader.receive()))
        names = [peer.getsockname()[:2] for peer in stage.peers]
        assert [addr for _, _, addr, _ in read] == [names[0], names[1], names[0]]
        assert read[0][2] is read[2][2]
        assert all(before - 0.001 <= received <= after + 0.001 for *_, received in read)
    finally:
        stage.close()


def test_no_time_stamp_of_another_read_is_taken_over(stage: Stage) -> None:
    stage.send(b"a")
    (stamped,) = stage.reader.datagrams(stage.reader.receive())
    assert stamped[3] > 0
    stage.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
    stage.send(b"b")
    (bare,) = stage.reader.datagrams(stage.reader.receive())
    assert bare[3] == 0


def test_an_unreachable_peer_is_an_oserror(stage: Stage) -> None:
    gone = stage.peers[0].getsockname()
    stage.peers[0].close()
    stage.sock.connect(gone)
    stage.sock.send(b"anybody?")
    with pytest.raises(ConnectionRefusedError):
        stage.reader.receive()
    assert stage.reader.receive() == 0
