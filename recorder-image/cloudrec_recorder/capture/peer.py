"""One transport to the media server: ICE, DTLS-SRTP and SCTP by aiortc, media by us.

It is put together from aiortc's transports rather than its RTCPeerConnection, whose receivers decode, confuse users
when mids are used again, and cost a thread a track.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from aiortc import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceParameters,
    RTCIceServer,
    RTCIceTransport,
    RTCSctpCapabilities,
    RTCSctpTransport,
)
from aiortc.sdp import candidate_from_sdp, candidate_to_sdp
from pylibsrtp import Error as SrtpError
from pylibsrtp._binding import ffi, lib

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.datagrams import Address
from cloudrec_recorder.capture.ice import TICK_SECONDS, BatchedGatherer
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
        self._gatherer = BatchedGatherer(list(servers), clock, self._on_media, self._on_batch, loopback=loopback)
        self._connection = self._gatherer.connection
        self._ice = RTCIceTransport(self._gatherer)
        self._dtls = RTCDtlsTransport(self._ice, [RTCCertificate.generateCertificate()])
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
        self.strangers = 0

    async def answer(self, sdp: str, receiver: MediaReceiver) -> str:
        """Take an offer, tell the receiver its SSRCs and give the answer.

        Raises ValueError when it cannot be understood, MediaLost when it wants another transport (an ICE restart).
        """
        offer = parse_offer(sdp)
        self._receiver = receiver
        receiver.set_descriptions(offer.streams())
        await self._gatherer.gather()
        first, self._offer = self._offer, offer
        if first is None:
            self._begin(offer)
        elif (first.ice_ufrag, first.ice_pwd, first.fingerprints) != (
            offer.ice_ufrag,
            offer.ice_pwd,
            offer.fingerprints,
        ):
            raise MediaLost("the server restarts ICE")
        for candidate in offer.candidates:
            await self.add_candidate(candidate)
        return build_answer(offer, self._local())

    async def add_candidate(self, candidate: str) -> None:
        """A remote candidate as in SDP, with or without the prefix; unusable ones are ignored."""
        try:
            parsed = candidate_from_sdp(candidate.removeprefix("candidate:"))
        except (ValueError, AssertionError, IndexError):
            log.debug("cannot read the candidate %r", candidate)
            return
        if parsed.protocol.lower() == "udp" and parsed.component == 1:  # RTCP goes with RTP
            await self._ice.addRemoteCandidate(parsed)

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
        return self._dtls.state == "connected" and self._ice.state == "completed"

    @property
    def datagrams(self) -> int | None:
        """Datagrams received so far, media or not; None when nobody counts them (TURN)."""
        return None if self._connection.relayed else self._connection.datagrams

    def describe(self) -> str:
        """The states, for messages."""
        return f"ICE {self._ice.state}, DTLS {self._dtls.state}"

    def send(self, packet: bytes) -> None:
        """Protect and send an RTCP packet."""
        session = self._dtls._tx_srtp
        if session is None or self._dtls.state != "connected":
            return
        try:
            self._connection.send_now(session.protect_rtcp(packet))
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
                await self._ice.stop()
                if self._starting is not None:
                    await asyncio.wait([self._starting])
        except TimeoutError:
            log.warning("the connection for media did not close in %.0f s", _CLOSE_SECONDS)
        finally:
            if self._starting is not None:
                self._starting.cancel()

    def _begin(self, offer: Offer) -> None:
        self._connection.ice_controlling = offer.ice_lite
        if offer.sctp_port is not None:
            self._sctp = RTCSctpTransport(self._dtls)
        self._starting = asyncio.create_task(self._start(offer), name="media-transport")

    async def _start(self, offer: Offer) -> None:
        await self._ice.start(
            RTCIceParameters(usernameFragment=offer.ice_ufrag, password=offer.ice_pwd, iceLite=offer.ice_lite)
        )
        if self._ice.state != "completed":
            return
        fingerprints = [RTCDtlsFingerprint(algorithm, value) for algorithm, value in offer.fingerprints]
        await self._dtls.start(RTCDtlsParameters(fingerprints))
        if self._sctp is not None and offer.sctp_port is not None and self._dtls.state == "connected":
            await self._sctp.start(RTCSctpCapabilities(_REMOTE_MAX_MESSAGE), offer.sctp_port)

    def _local(self) -> LocalDescription:
        ice = self._gatherer.getLocalParameters()
        return LocalDescription(
            ice_ufrag=str(ice.usernameFragment),
            ice_pwd=str(ice.password),
            fingerprints=[(f.algorithm, f.value) for f in self._dtls.getLocalParameters().fingerprints],
            candidates=[candidate_to_sdp(candidate) for candidate in self._gatherer.getLocalCandidates()],
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
            if addr != self._connection.remote_address:
                self._remote = None
                self.strangers += 1
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
