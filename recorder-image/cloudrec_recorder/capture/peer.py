"""One transport to the media server: ICE, DTLS-SRTP and SCTP by aiortc, media by us.

It is put together from aiortc's transports rather than its RTCPeerConnection, whose receivers decode, confuse users
when mids are used again, and cost a thread a track.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, cast

from aioice import Candidate
from aiortc import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceServer,
    RTCIceTransport,
    RTCSctpCapabilities,
    RTCSctpTransport,
)
from aiortc.rtcicetransport import connection_kwargs
from pylibsrtp import Error as SrtpError
from pylibsrtp._binding import ffi, lib

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.datagrams import Address
from cloudrec_recorder.capture.ice import TICK_SECONDS, BatchedConnection
from cloudrec_recorder.capture.path import IcePath, Remote
from cloudrec_recorder.capture.receiver import MediaReceiver
from cloudrec_recorder.capture.sdp import LocalDescription, Offer, build_answer, parse_offer

log = logging.getLogger(__name__)

_REMOTE_MAX_MESSAGE = 65536
_CLOSE_SECONDS = 3.0
_SERVICE_SECONDS = 0.1
_unprotect = lib.srtp_unprotect
_unprotect_rtcp = lib.srtp_unprotect_rtcp


class MediaLost(Exception):
    """ICE or DTLS failed, or fell silent: the connection must be made anew."""


class MediaPeer:
    """The receiving side of one SFU connection.

    `answer` each offer as it comes; `connected` is awaited once; `close` frees everything. The receiver's packets are
    sent with `send`, which drops what cannot be sent.
    """

    def __init__(self, clock: TaskClock, servers: Sequence[RTCIceServer], *, loopback: bool) -> None:
        self._clock = clock
        settings = connection_kwargs(list(servers))
        self._path = IcePath(
            lambda: BatchedConnection(clock, self._on_media, self._on_batch, loopback=loopback, **settings)
        )
        self._dtls = RTCDtlsTransport(cast(RTCIceTransport, self._path), [RTCCertificate.generateCertificate()])
        self._dtls._set_role("client")
        # what reaches aiortc itself (a TURN relay, the first packets) goes the same way
        self._dtls._handle_rtp_data = self._on_plain_rtp  # type: ignore[method-assign]
        self._dtls._handle_rtcp_data = self._on_plain_rtcp  # type: ignore[method-assign]
        self._sctp: RTCSctpTransport | None = None
        self._offer: Offer | None = None
        self._receiver: MediaReceiver | None = None
        self._starting: asyncio.Task[None] | None = None
        self._service: asyncio.TimerHandle | None = None
        self._length = ffi.new("int *")
        self._buffer: bytearray | None = None
        self._view: Any = None  # C's pointer to it
        self._session: Any = None
        self._context: Any = None  # C's side of it
        self._remote: Address | None = None
        self._strangers = 0

    async def answer(self, sdp: str, receiver: MediaReceiver) -> str:
        """Take an offer, tell the receiver its SSRCs and give the answer.

        An offer of other ICE credentials restarts ICE: media goes on over new sockets. Raises ValueError when the offer
        cannot be understood, MediaLost when it wants another DTLS connection.
        """
        offer = parse_offer(sdp)
        self._receiver = receiver
        receiver.set_descriptions(offer.streams())
        first, self._offer = self._offer, offer
        if first is None:
            await self._path.gather()
            self._begin(offer)
        elif first.fingerprints != offer.fingerprints:
            raise MediaLost("the server wants a new DTLS connection")
        elif _remote(first) != _remote(offer):
            if self._dtls.state != "connected":
                raise MediaLost("the server restarts ICE before it was connected")
            await self._path.restart(_remote(offer))
        for candidate in offer.candidates:
            await self.add_candidate(candidate)
        return build_answer(offer, self._local())

    async def add_candidate(self, candidate: str) -> None:
        """A remote candidate as `parse_candidate` takes it; unusable ones are ignored."""
        parsed = parse_candidate(candidate)
        if parsed is not None:
            await self._path.add_remote_candidate(parsed)

    async def connected(self, timeout: float) -> None:
        """Wait until media can flow; MediaLost when it will not, or not in `timeout` seconds."""
        deadline = self._clock.now() + timeout
        while self._starting is None:
            if self._clock.now() >= deadline:
                raise MediaLost("the server made no offer")
            await asyncio.sleep(TICK_SECONDS)
        try:
            await asyncio.wait_for(asyncio.shield(self._starting), deadline - self._clock.now())
        except ConnectionError as error:
            raise MediaLost(f"the connection for media failed: {error}") from error
        except TimeoutError:
            raise MediaLost(f"no connection for media after {timeout:.0f} s ({self.describe()})") from None
        if self._dtls.state != "connected":
            raise MediaLost(f"the connection for media failed ({self.describe()})")
        self._on_service()

    @property
    def alive(self) -> bool:
        """Whether ICE and DTLS still stand, as far as they know."""
        return self._dtls.state == "connected" and self._path.state == "completed"

    @property
    def datagrams(self) -> int | None:
        """Datagrams received so far, media or not; None when nobody counts them (TURN)."""
        return self._path.datagrams

    @property
    def media(self) -> int | None:
        """Grows as long as media arrives; None when nobody counts (TURN)."""
        return None if self._path.datagrams is None else self._path.batches

    @property
    def strangers(self) -> int:
        """Datagrams of others than the server, dropped."""
        return self._strangers + self._path.strangers

    @property
    def restarts(self) -> int:
        """How often ICE has restarted."""
        return self._path.restarts

    def describe(self) -> str:
        """The states, for messages."""
        return f"ICE {self._path.state}, DTLS {self._dtls.state}"

    def send(self, packet: bytes) -> None:
        """Protect and send an RTCP packet."""
        session = self._dtls._tx_srtp
        if session is None or self._dtls.state != "connected":
            return
        try:
            self._path.send_now(session.protect_rtcp(packet))
        except SrtpError as error:
            log.debug("cannot protect RTCP: %s", error)

    async def close(self) -> None:
        """Shut everything down, politely, in a few seconds."""
        if self._service is not None:
            self._service.cancel()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._sctp is not None:
                    await self._sctp.stop()
                await self._dtls.stop()
                await self._path.close()
                if self._starting is not None:
                    await asyncio.wait([self._starting])
        except TimeoutError:
            log.warning("the connection for media did not close in %.0f s", _CLOSE_SECONDS)
        finally:
            if self._starting is not None:
                self._starting.cancel()

    def _begin(self, offer: Offer) -> None:
        if offer.sctp_port is not None:
            self._sctp = RTCSctpTransport(self._dtls)
        self._starting = asyncio.create_task(self._start(offer), name="media-transport")

    async def _start(self, offer: Offer) -> None:
        await self._path.connect(_remote(offer))
        if self._path.state != "completed":
            return
        fingerprints = [RTCDtlsFingerprint(algorithm, value) for algorithm, value in offer.fingerprints]
        await self._dtls.start(RTCDtlsParameters(fingerprints))
        if self._sctp is not None and offer.sctp_port is not None and self._dtls.state == "connected":
            await self._sctp.start(RTCSctpCapabilities(_REMOTE_MAX_MESSAGE), offer.sctp_port)

    def _local(self) -> LocalDescription:
        ice = self._path.local
        return LocalDescription(
            ice_ufrag=ice.local_username,
            ice_pwd=ice.local_password,
            fingerprints=[(f.algorithm, f.value) for f in self._dtls.getLocalParameters().fingerprints],
            candidates=[candidate.to_sdp() for candidate in ice.local_candidates],
        )

    def _on_service(self) -> None:
        """For when there are no batches: silence, or a relay."""
        self._service = asyncio.get_running_loop().call_later(_SERVICE_SECONDS, self._on_service)
        self._on_batch()

    def _on_batch(self) -> None:
        if self._receiver is not None:
            self._receiver.service()

    def _on_media(self, buffer: bytearray, start: int, end: int, addr: Address, arrival: float) -> None:
        """SRTP or SRTCP straight from a socket; decrypted in place."""
        session = self._dtls._rx_srtp
        receiver = self._receiver
        if session is None or receiver is None:
            return  # before the handshake is over there is nothing to decrypt it with
        if addr is not self._remote:  # the same sender's address is the same object, as a rule
            if not self._path.is_remote(addr):
                self._remote = None
                self._strangers += 1
                return
            self._remote = addr
        if buffer is not self._buffer:
            self._buffer = buffer
            self._view = ffi.from_buffer("char[]", buffer)
        if session is not self._session:
            self._session = session
            self._context = session._srtp[0]
        length = self._length
        length[0] = end - start
        if end - start > 1 and 192 <= buffer[start + 1] <= 223:  # RFC 5761 section 4
            if not _unprotect_rtcp(self._context, self._view + start, length):
                receiver.rtcp(bytes(buffer[start : start + length[0]]), arrival)
        elif not _unprotect(self._context, self._view + start, length):  # else forged, replayed or too old
            receiver.rtp(buffer, start, start + length[0], arrival)

    async def _on_plain_rtp(self, data: bytes, arrival_time_ms: int) -> None:
        if self._receiver is not None:
            self._receiver.rtp(data, 0, len(data), self._clock.now())

    async def _on_plain_rtcp(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver.rtcp(data, self._clock.now())


def parse_candidate(candidate: str) -> Candidate | None:
    """A remote candidate as in SDP, with or without the prefix; None when it is none that we can use."""
    try:
        parsed = Candidate.from_sdp(candidate.removeprefix("candidate:"))
    except (ValueError, AssertionError, IndexError):
        log.debug("cannot read the candidate %r", candidate)
        return None
    if parsed.host.endswith(".local"):  # a browser's; to resolve it would hold up signalling
        return None
    # RTCP goes with RTP
    return parsed if parsed.transport.lower() == "udp" and parsed.component == 1 else None


def _remote(offer: Offer) -> Remote:
    return Remote(offer.ice_ufrag, offer.ice_pwd, offer.ice_lite)
