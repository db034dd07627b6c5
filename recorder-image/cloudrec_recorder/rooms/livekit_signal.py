"""LiveKit's signalling: protobufs over a WebSocket (protocol 15, one message a frame).

Errors: `SignalError` is anything that trying again may cure; `TokenRefused` and `RoomAbsent` are two of its kinds that
the caller treats in their own ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import time
from urllib.parse import urlencode, urlsplit, urlunsplit

from google.protobuf.message import DecodeError
from livekit.protocol.models import DisconnectReason, VideoQuality
from livekit.protocol.rtc import (
    JoinResponse,
    LeaveRequest,
    Ping,
    SignalRequest,
    SignalResponse,
    UpdateSubscription,
    UpdateTrackSettings,
)
from livekit.protocol.rtc import SessionDescription as RtcDescription
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from cloudrec_recorder.rooms import Size

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
MESSAGE_BYTES_MAX = 16 << 20
PROTOCOL = 15
# at DEBUG the library writes every header, the token among them
_websocket_log = logging.getLogger("cloudrec_recorder.websocket")
_websocket_log.setLevel(logging.INFO)
_NO_ROOM = "room does not exist"  # pkg/service/errors.go of livekit-server
# LiveKit has no other way of being told that a client's ICE has no TCP. To any other client it offers nothing but TCP,
# for minutes and over rejoins, once UDP has failed within 90 seconds (SupportsICETCP in its pkg/rtc/clientinfo.go).
_CLIENT = {"sdk": "swift", "version": "1.0.0"}
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class SignalError(Exception):
    """The media server cannot be reached, or does not answer as it should."""


class TokenRefused(SignalError):
    """HTTP 401 or 403."""


class RoomAbsent(SignalError):
    """HTTP 404 in LiveKit's words: there is no such room, and the server makes none. A proxy's 404 is none of these."""


class CannotResume(SignalError):
    """The media server does not know the session any more: join anew."""


def signal_url(url: str, *, resume: str = "") -> str:
    """Where to join, for a server's base URL (http, https, ws or wss); ValueError for any other scheme.

    `resume`: the participant's sid whose session is to go on.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise ValueError("a LiveKit URL begins with ws://, wss://, http:// or https://")
    fields = {"protocol": PROTOCOL, "auto_subscribe": 0, **_CLIENT}
    if resume:
        fields |= {"reconnect": 1, "sid": resume}
    query = urlencode(fields)
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, parts.path.rstrip("/") + "/rtc", query, ""))


class SignalClient:
    """One signalling connection. Made by `open`; `receive` in one task, `send` and its like from any."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._heard = time.monotonic()
        self._rtt = 0

    @classmethod
    async def open(cls, url: str, token: str) -> tuple[SignalClient, JoinResponse]:
        """Connect and join; raises SignalError."""
        client, response = await cls._open(url, token)
        if response.WhichOneof("message") != "join":
            await client.close()
            raise SignalError(_no_join(response))
        return client, response.join

    @classmethod
    async def resume(cls, url: str, token: str, sid: str) -> SignalClient:
        """Connect again for a session whose media still flows; raises SignalError, CannotResume when it is gone."""
        client, response = await cls._open(url, token, resume=sid)
        if response.WhichOneof("message") != "reconnect":
            await client.close()
            raise CannotResume(_no_join(response))
        return client

    @classmethod
    async def _open(cls, url: str, token: str, *, resume: str = "") -> tuple[SignalClient, SignalResponse]:
        """A connection and the first message on it."""
        try:
            # the token in a header, never in the URL, which gets logged
            socket = await connect(
                signal_url(url, resume=resume),
                additional_headers={"Authorization": f"Bearer {token}"},
                open_timeout=CONNECT_SECONDS,
                close_timeout=CLOSE_SECONDS,
                max_size=MESSAGE_BYTES_MAX,
                logger=_websocket_log,
            )
        except InvalidStatus as error:
            raise _refusal(error.response.status_code, error.response.body) from None
        except (OSError, WebSocketException, TimeoutError, ValueError) as error:
            raise SignalError(f"cannot connect to the media server: {error or type(error).__name__}") from error
        client = cls(socket)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return client, await client.receive()
        except TimeoutError:
            await client.close()
            raise SignalError("the media server did not answer the join request") from None
        except SignalError:
            await client.close()
            raise

    @property
    def on_loopback(self) -> bool:
        """Whether the server was reached on this machine's loopback."""
        address = self._socket.remote_address
        with contextlib.suppress(ValueError, TypeError, IndexError):
            return ipaddress.ip_address(address[0]).is_loopback
        return False

    async def receive(self) -> SignalResponse:
        """The next message; raises SignalError when there will be none."""
        try:
            raw = await self._socket.recv()
        except WebSocketException as error:
            raise SignalError(f"the signalling connection is lost: {error}") from error
        self._heard = time.monotonic()
        message = SignalResponse()
        if isinstance(raw, str):
            raise SignalError("the media server does not speak LiveKit's protocol")
        try:
            message.ParseFromString(raw)
        except DecodeError as error:
            raise SignalError("the media server sent a malformed message") from error
        if message.WhichOneof("message") == "pong_resp":
            self._rtt = max(0, int(time.time() * 1000) - message.pong_resp.last_ping_timestamp)
        return message

    async def keep_alive(self, interval: float, timeout: float) -> None:
        """Ping for ever; raises SignalError when nothing is heard for `timeout` seconds."""
        while True:
            await self.send(SignalRequest(ping_req=Ping(timestamp=int(time.time() * 1000), rtt=self._rtt)))
            await asyncio.sleep(interval)
            if time.monotonic() - self._heard > timeout:
                raise SignalError(f"the media server has been silent for {timeout:.0f} s")

    async def send(self, request: SignalRequest) -> None:
        """Send a request; raises SignalError."""
        try:
            await self._socket.send(request.SerializeToString())
        except WebSocketException as error:
            raise SignalError(f"the signalling connection is lost: {error}") from error

    async def answer(self, sdp: str, offer_id: int) -> None:
        """Answer the subscriber's offer of this id."""
        await self.send(SignalRequest(answer=RtcDescription(type="answer", sdp=sdp, id=offer_id)))

    async def subscribe(self, sids: list[str], *, subscribe: bool) -> None:
        """Start or stop receiving tracks."""
        await self.send(SignalRequest(subscription=UpdateSubscription(track_sids=sids, subscribe=subscribe)))

    async def best_quality(self, sids: list[str]) -> None:
        """Receive the highest layer of these video tracks."""
        settings = UpdateTrackSettings(track_sids=sids, disabled=False, quality=VideoQuality.HIGH)
        await self.send(SignalRequest(track_setting=settings))

    async def nearest_layer(self, sid: str, size: Size) -> None:
        """Receive the layer of this video track that is nearest to a size, or nothing of it when that is (0, 0)."""
        width, height = size
        settings = UpdateTrackSettings(track_sids=[sid], disabled=not (width and height), width=width, height=height)
        await self.send(SignalRequest(track_setting=settings))

    async def leave(self) -> None:
        """Say goodbye; raises SignalError."""
        goodbye = LeaveRequest(reason=DisconnectReason.CLIENT_INITIATED, action=LeaveRequest.Action.DISCONNECT)
        await self.send(SignalRequest(leave=goodbye))

    async def close(self) -> None:
        """Close the connection, bounded to a few seconds."""
        await self._socket.close()


def _refusal(status: int, body: bytes | bytearray | None) -> SignalError:
    detail = bytes(body or b"")[:200].decode("utf-8", "replace").strip()
    text = f"the media server answered HTTP {status}" + (f": {detail}" if detail else "")
    if status in (401, 403):
        return TokenRefused(text)
    return RoomAbsent(text) if status == 404 and _NO_ROOM in detail else SignalError(text)


def _no_join(response: SignalResponse) -> str:
    kind = response.WhichOneof("message")
    if kind == "leave":
        return f"the media server refused to join: {DisconnectReason.Name(response.leave.reason)}"
    return f"the media server answered the join request with {kind}"
