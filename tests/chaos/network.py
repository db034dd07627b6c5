"""The network between a recorder and LiveKit, in this process: signalling and datagrams, which a cut holds up.

It stands in LiveKit's place: it passes on the WebSocket, putting its own port for LiveKit's into the candidates that
LiveKit offers and leaving out those of the recorder, so that all media comes through it. During a cut datagrams are
lost and messages wait, as TCP has them wait; new connections are not answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from livekit.protocol.rtc import SignalRequest, SignalResponse
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request, Response

from cloudrec_local.state import LOOPBACK, StackState

Address = tuple[str, int]
CANDIDATE = "a=candidate:"
MESSAGE_BYTES_MAX = 16 << 20


class Network:
    """`url` is where LiveKit is for the recorder."""

    def __init__(self, state: StackState) -> None:
        self._livekit = state.livekit_url
        self._media = (state.address, state.ports["livekit-udp"])
        self._up = asyncio.Event()
        self._up.set()
        self._datagrams: _Datagrams | None = None
        self.url = ""
        self.passed = 0

    @asynccontextmanager
    async def cut(self) -> AsyncIterator[None]:
        """Nothing gets through inside."""
        self._up.clear()
        try:
            yield
        finally:
            self._up.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Network]:
        loop = asyncio.get_running_loop()
        transport, self._datagrams = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._media, self._counted), local_addr=(LOOPBACK, 0)
        )
        try:
            async with serve(
                self._serve, LOOPBACK, 0, process_request=self._hold, max_size=MESSAGE_BYTES_MAX, close_timeout=1
            ) as server:
                self.url = f"ws://{LOOPBACK}:{next(iter(server.sockets)).getsockname()[1]}"
                yield self
                self._up.set()
        finally:
            self._datagrams.close()
            transport.close()

    def _counted(self) -> bool:
        self.passed += self._up.is_set()
        return self._up.is_set()

    async def _hold(self, connection: ServerConnection, request: Request) -> Response | None:
        await self._up.wait()
        return None

    async def _serve(self, client: ServerConnection) -> None:
        assert client.request is not None
        headers = {"Authorization": client.request.headers["Authorization"]}
        with contextlib.suppress(ConnectionClosed, InvalidStatus, OSError):
            async with connect(
                self._livekit + client.request.path,
                additional_headers=headers,
                max_size=MESSAGE_BYTES_MAX,
                close_timeout=1,
            ) as server:
                both = {
                    asyncio.create_task(self._pass(server, client, self._response)),
                    asyncio.create_task(self._pass(client, server, _request)),
                }
                _, left = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in left:
                    task.cancel()
                await asyncio.wait(both)

    async def _pass(
        self,
        source: ClientConnection | ServerConnection,
        sink: ClientConnection | ServerConnection,
        changed: Callable[[bytes], bytes | None],
    ) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in source:
                assert isinstance(message, bytes)
                await self._up.wait()
                if (passed := changed(message)) is not None:
                    await sink.send(passed)

    def _response(self, raw: bytes) -> bytes | None:
        """LiveKit's candidates become one: ours."""
        message = SignalResponse.FromString(raw)
        kind = message.WhichOneof("message")
        if kind == "offer":
            lines = message.offer.sdp.split("\r\n")
            message.offer.sdp = "\r\n".join(
                self._moved(line) for line in lines if not line.startswith(CANDIDATE) or self._passes(line)
            )
        elif kind == "trickle":
            fields = json.loads(message.trickle.candidateInit)
            if not self._passes(fields.get("candidate") or ""):
                return None
            fields["candidate"] = self._moved(fields["candidate"])
            message.trickle.candidateInit = json.dumps(fields)
        return message.SerializeToString()

    def _passes(self, candidate: str) -> bool:
        words = candidate.split()
        return len(words) > 5 and words[2].lower() == "udp" and int(words[5]) == self._media[1]

    def _moved(self, line: str) -> str:
        if not line.startswith((CANDIDATE, CANDIDATE.removeprefix("a="))):
            return line
        assert self._datagrams is not None
        words = line.split(" ")
        words[4], words[5] = self._datagrams.address[0], str(self._datagrams.address[1])
        return " ".join(words)


def _request(raw: bytes) -> bytes | None:
    """The recorder's candidates are left out: LiveKit is to hear of it by its datagrams alone."""
    message = SignalRequest.FromString(raw)
    kind = message.WhichOneof("message")
    if kind == "trickle":
        return None
    if kind == "answer":
        lines = message.answer.sdp.split("\r\n")
        message.answer.sdp = "\r\n".join(line for line in lines if not line.startswith(CANDIDATE))
    return message.SerializeToString()


class _Datagrams(asyncio.DatagramProtocol):
    """Passes on what comes from recorders, by a socket for each, and what comes back."""

    def __init__(self, upstream: Address, passes: Callable[[], bool]) -> None:
        self._upstream, self._passes = upstream, passes
        self._ways: dict[Address, socket.socket] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self.address: Address = (LOOPBACK, 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # by name only since Python 3.12
        self.address = transport.get_extra_info("socket").getsockname()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if addr not in self._ways:
            way = self._ways[addr] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            way.setblocking(False)
            way.connect(self._upstream)
            asyncio.get_running_loop().add_reader(way, self._back, way, addr)
        if self._passes():
            with contextlib.suppress(OSError):
                self._ways[addr].send(data)

    def _back(self, way: socket.socket, addr: Address) -> None:
        assert self._transport is not None
        with contextlib.suppress(OSError):
            while data := way.recv(65536):
                if self._passes():
                    self._transport.sendto(data, addr)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        for way in self._ways.values():
            loop.remove_reader(way)
            way.close()
