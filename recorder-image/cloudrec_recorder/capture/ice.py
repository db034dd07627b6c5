"""ICE sockets that are read in batches.

aioice does ICE; its host sockets are replaced by ours, made here, so that every datagram passes one loop: STUN and DTLS
go on to aioice and aiortc unchanged, SRTP goes straight to the capture. While media flows a socket is not watched but
emptied every 30 ms (25 streams are 6,000 packets a second: one wake-up each would cost more than all parsing); when it
falls silent it is watched again. A change of the nominated pair needs nothing: all sockets are read alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Callable
from typing import Any

from aioice import Candidate, Connection
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import StunProtocol

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.datagrams import DATAGRAMS, SO_TIMESTAMPNS, Address, DatagramReader

log = logging.getLogger(__name__)

TICK_SECONDS = 0.03
RECEIVE_BUFFER_BYTES = 4 << 20  # 25 keyframes at once overflow aioice's 256 KiB
_BATCHES_MAX = 64  # read in a row
_IDLE_TICKS = 50
_SO_RCVBUFFORCE = 33
_STUN_MAX = 3  # of a datagram's first byte (RFC 7983)

# an SRTP or SRTCP datagram: the buffer (reused), its start and end there, its sender, the task time when it came
OnMedia = Callable[[bytearray, int, int, Address, float], None]
OnBatch = Callable[[], None]  # after the last of a batch that had media


class BatchedDatagramTransport(asyncio.DatagramTransport):
    """A UDP socket under an aioice protocol. It owns and closes the socket."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        clock: TaskClock,
        on_media: OnMedia,
        on_batch: OnBatch,
    ) -> None:
        super().__init__({"socket": sock, "sockname": sock.getsockname()})
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._protocol = protocol
        self._clock = clock
        self._on_media = on_media
        self._on_batch = on_batch
        self._reader = DatagramReader(sock)
        self._closing = False
        self._media = False
        self._idle_ticks = 0
        self._timer: asyncio.TimerHandle | None = None
        self.datagrams = 0
        self.batches = 0
        protocol.connection_made(self)
        self._loop.add_reader(sock, self._on_readable)

    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send at once; a full buffer or an unreachable peer loses the datagram, as the network would."""
        if self._closing:
            return
        try:
            self._sock.sendto(data, addr)
        except BlockingIOError:
            pass
        except OSError as error:
            self._protocol.error_received(error)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close the socket; the protocol hears `connection_lost` soon."""
        if self._closing:
            return
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        else:
            self._loop.remove_reader(self._sock)
        self._sock.close()
        self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def _on_readable(self) -> None:
        self._drain()
        if self._media and not self._closing:
            self._loop.remove_reader(self._sock)
            self._idle_ticks = 0
            self._timer = self._loop.call_later(TICK_SECONDS, self._on_tick)

    def _on_tick(self) -> None:
        self._timer = self._loop.call_later(TICK_SECONDS, self._on_tick)
        self._drain()
        if self._closing:
            return
        self._idle_ticks = 0 if self._media else self._idle_ticks + 1
        if self._idle_ticks > _IDLE_TICKS:
            self._timer.cancel()
            self._timer = None
            self._loop.add_reader(self._sock, self._on_readable)

    def _drain(self) -> None:
        """Read everything that is there, within a bound."""
        self._media = False
        try:
            for _ in range(_BATCHES_MAX):
                count = self._reader.receive()
                self._hand_on(count)
                if count < DATAGRAMS or self._closing:
                    break
        except OSError as error:
            self._protocol.error_received(error)  # an ICMP error of an earlier send
        if self._media and not self._closing:
            self.batches += 1
            self._on_batch()

    def _hand_on(self, count: int) -> None:
        self.datagrams += count
        buffer, on_media = self._reader.buffer, self._on_media
        now = self._clock.now()
        wall = self._clock.wall_now()
        for start, end, addr, received in self._reader.datagrams(count):
            first = buffer[start]
            if 127 < first < 192:
                self._media = True
                age = wall - received  # not believed when the wall clock was set just now
                on_media(buffer, start, end, addr, now - age if 0 < age < 1 else now)
            elif first <= _STUN_MAX or 19 < first < 64:  # STUN or DTLS (RFC 7983)
                self._pass_on(bytes(buffer[start:end]), addr)
                if self._closing:
                    return

    def _pass_on(self, data: bytes, addr: Address) -> None:
        """Anybody can send us a malformed STUN message, and aioice raises on some."""
        try:
            self._protocol.datagram_received(data, addr)
        except (ValueError, LookupError, AssertionError, struct.error) as error:
            log.debug("dropped a datagram from %s: %s", addr, error)


def open_socket(address: str) -> socket.socket:
    """A UDP socket on a free port of this local address, set up for `BatchedDatagramTransport`."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.bind((address, 0))
    except OSError:
        sock.close()
        raise
    return sock


class CheckedProtocol(StunProtocol):
    """Takes from strangers nothing but STUN, which aioice authenticates."""

    receiver: BatchedConnection

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        if ord(data[:1]) > _STUN_MAX and addr != self.receiver.remote_address:
            self.receiver.strangers += 1
        else:
            super().datagram_received(data, addr)


class BatchedConnection(Connection):
    """aioice's ICE on our sockets; TURN relays stay aioice's own and deliver through it."""

    def __init__(
        self, clock: TaskClock, on_media: OnMedia, on_batch: OnBatch, *, loopback: bool, **settings: Any
    ) -> None:
        super().__init__(ice_controlling=False, **settings)
        self._clock = clock
        self._on_media = on_media
        self._on_batch = on_batch
        self._loopback = loopback
        self._transports: list[BatchedDatagramTransport] = []
        self.strangers = 0
        """Datagrams that were neither STUN nor the remote end's."""

    def data_received(self, data: bytes, component: int) -> None:
        """What is no STUN message after all; aioice would queue it for ever."""
        if data[0] > _STUN_MAX:
            super().data_received(data, component)

    async def get_component_candidates(self, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        candidates = []
        if self._loopback:
            addresses = ["127.0.0.1", *addresses]  # aioice leaves it out
        for address in addresses:
            with contextlib.suppress(OSError):
                candidates.append(self._host_candidate(component, address))
        # a server that we can reach learns our outer address by itself (peer-reflexive): no STUN server is asked
        self.stun_server = None
        return [*candidates, *await super().get_component_candidates(component, [], timeout)]

    def _host_candidate(self, component: int, address: str) -> Candidate:
        sock = open_socket(address)
        protocol = CheckedProtocol(self)
        self._transports.append(BatchedDatagramTransport(sock, protocol, self._clock, self._on_media, self._on_batch))
        host, port = sock.getsockname()[:2]
        protocol.local_candidate = Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host"),
            host=host,
            port=port,
            type="host",
        )
        self._protocols.append(protocol)
        return protocol.local_candidate

    @property
    def remote_address(self) -> Address | None:
        """The nominated pair's remote end; None while there is none."""
        pair = self._nominated.get(1)
        return None if pair is None else pair.remote_addr

    @property
    def datagrams(self) -> int:
        """Datagrams of any kind received on our own sockets."""
        return sum(transport.datagrams for transport in self._transports)

    @property
    def batches(self) -> int:
        """How often media was read from our own sockets."""
        return sum(transport.batches for transport in self._transports)

    @property
    def relayed(self) -> bool:
        """The nominated pair goes through a TURN server: datagrams do not pass our sockets."""
        pair = self._nominated.get(1)
        return pair is not None and not isinstance(pair.protocol.transport, BatchedDatagramTransport)

    def send_now(self, data: bytes) -> None:
        """Send on the nominated pair; nothing happens without one."""
        pair = self._nominated.get(1)
        if pair is not None:
            pair.protocol.transport.sendto(data, pair.remote_addr)
