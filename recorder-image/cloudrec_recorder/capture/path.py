"""The way to the media server: one ICE session, and after a restart (RFC 8445 section 9) another in its place.

aiortc's DTLS transport takes it for an RTCIceTransport, which cannot be restarted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aioice import Candidate

from cloudrec_recorder.capture.datagrams import Address
from cloudrec_recorder.capture.ice import BatchedConnection

log = logging.getLogger(__name__)

RESTART_SECONDS = 10.0

State = Literal["new", "checking", "completed", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class Remote:
    """The server's side of an ICE session, as its offer says."""

    ufrag: str
    pwd: str
    lite: bool


class IcePath:
    """Carries DTLS; media passes by it, from the sockets. `make` gives a connection that was not used yet.

    A restart is a new session on sockets of its own. The old one stays in use until the new one has a pair, so what
    the server goes on sending is received.
    """

    def __init__(self, make: Callable[[], BatchedConnection]) -> None:
        self._make = make
        self._current = make()
        self._rising: BatchedConnection | None = None
        self._restart: asyncio.Task[None] | None = None
        self._datagrams = self._batches = 0  # of sessions that are over
        self.state: State = "new"
        self.restarts = 0

    # --- what aiortc's DTLS transport asks for --------------------------------------------------------------------

    @property
    def role(self) -> str:
        return "controlling" if self._current.ice_controlling else "controlled"

    async def _recv(self) -> bytes:
        while True:
            connection = self._current
            try:
                return await connection.recv()
            except ConnectionError:
                if connection is self._current:
                    self._fail()
                    raise

    async def _send(self, data: bytes) -> None:
        await self._current.send(data)

    # --- what the peer does ---------------------------------------------------------------------------------------

    @property
    def local(self) -> BatchedConnection:
        """The session that an answer tells of: the newest."""
        return self._rising or self._current

    async def gather(self) -> None:
        """Make our candidates; once for each session."""
        await self.local.gather_candidates()

    async def connect(self, remote: Remote) -> None:
        """Wait until there is a pair, or it has failed (see `state`)."""
        self.state = "checking"
        try:
            await _connect(self._current, remote)
        except ConnectionError:
            self._fail()
        else:
            if self.state == "checking":
                self.state = "completed"

    async def restart(self, remote: Remote) -> None:
        """Begin a new session, with candidates gathered; the path moves to it by itself."""
        await self._abandon_restart()
        self._rising = self._make()
        await self._rising.gather_candidates()
        self._restart = asyncio.create_task(self._rise(self._rising, remote), name="ice-restart")

    async def add_remote_candidate(self, candidate: Candidate) -> None:
        await self.local.add_remote_candidate(candidate)

    def is_remote(self, address: Address) -> bool:
        """Whether the server sends from there."""
        return address == self._current.remote_address or (
            self._rising is not None and address == self._rising.remote_address
        )

    @property
    def datagrams(self) -> int | None:
        """Datagrams received so far on our own sockets; None when they pass a TURN server."""
        if self._current.relayed:
            return None
        return self._datagrams + self._current.datagrams + (self._rising.datagrams if self._rising else 0)

    @property
    def batches(self) -> int:
        """How often media was read from our own sockets."""
        return self._batches + self._current.batches + (self._rising.batches if self._rising else 0)

    @property
    def strangers(self) -> int:
        """Datagrams that were no STUN and not the server's, of the sessions that are up."""
        return self._current.strangers + (self._rising.strangers if self._rising else 0)

    def send_now(self, data: bytes) -> None:
        """Send a datagram; nothing happens without a pair."""
        self._current.send_now(data)

    async def close(self) -> None:
        """Close every socket."""
        self.state = "closed"
        await self._abandon_restart()
        await self._current.close()

    async def _rise(self, connection: BatchedConnection, remote: Remote) -> None:
        try:
            async with asyncio.timeout(RESTART_SECONDS):
                await _connect(connection, remote)
        except (ConnectionError, TimeoutError):
            self._fail()
            return
        before, self._current, self._rising = self._current, connection, None
        self._datagrams += before.datagrams
        self._batches += before.batches
        self.restarts += 1
        log.info("ICE has restarted")
        await before.close()

    async def _abandon_restart(self) -> None:
        task, self._restart = self._restart, None
        if task is not None:
            if self._rising is not None:  # else it closes what went before
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        rising, self._rising = self._rising, None
        if rising is not None:
            await rising.close()

    def _fail(self) -> None:
        if self.state != "closed":
            self.state = "failed"


async def _connect(connection: BatchedConnection, remote: Remote) -> None:
    connection.ice_controlling = remote.lite
    connection.remote_is_lite = remote.lite
    connection.remote_username = remote.ufrag
    connection.remote_password = remote.pwd
    await connection.connect()
