"""A publisher that lies: aiortc over LiveKit's signalling, its RTP and RTCP rewritten on their way out.

It sends H.264 and Opus that were encoded before, in real time. What its clocks say, where its RTP time jumps and which
SSRCs it uses is up to the test.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from aiortc import (
    MediaStreamTrack,
    RTCBundlePolicy,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.sdp import candidate_from_sdp
from livekit.protocol.models import TrackSource, TrackType
from livekit.protocol.rtc import AddTrackRequest, LeaveRequest, Ping, SignalRequest, SignalResponse
from livekit.protocol.rtc import SessionDescription as RtcDescription
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.media.room import Server
from tests.unit.segments import samples

VIDEO_RATE, AUDIO_RATE = 90_000, 48_000
FPS = 25
_SR = 200


@dataclass
class Lies:
    """`clock`: seconds that the publisher's clock is ahead. `ppm`: how much faster its media clocks run.

    `jump`: added to RTP times from now on (by kind). `ssrcs`: what to send under, by kind.
    """

    clock: float = 0.0
    ppm: float = 0.0
    jump: dict[str, int] | None = None
    ssrcs: tuple[int, int] | None = None


class _Encoded(MediaStreamTrack):
    """Packets in a circle, in real time."""

    def __init__(self, kind: str, packets: list[bytes], duration: int, rate: int) -> None:
        super().__init__()
        self.kind = kind
        self._packets, self._duration, self._rate = packets, duration, rate
        self.sent = 0
        self._begun: float | None = None

    async def recv(self) -> Any:
        if self._begun is None:
            self._begun = time.monotonic()
        wait = self._begun + self.sent * self._duration / self._rate - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        packet = av.Packet(self._packets[self.sent % len(self._packets)])
        packet.pts = packet.dts = self.sent * self._duration
        packet.time_base = Fraction(1, self._rate)
        self.sent += 1
        return packet


class WildPublisher:
    """One user with a camera and a microphone. An async context manager."""

    def __init__(self, server: Server, identity: str, room: str, lies: Lies) -> None:
        self._url = server.url
        self._token = server.token(identity, room)
        self.lies = lies
        frames = samples.h264(4 * FPS, keyint=FPS // 2, keyframes=frozenset(range(0, 4 * FPS, FPS // 2)))
        sound = samples.opus(samples.beeps(2.0, [0.5, 1.5]))
        self.video = _Encoded("video", [data for data, _ in frames], VIDEO_RATE // FPS, VIDEO_RATE)
        self.audio = _Encoded("audio", sound, 960, AUDIO_RATE)
        self._kinds: dict[int, str] = {}
        self._first: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> WildPublisher:
        self._task = asyncio.create_task(self._publish())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _publish(self) -> None:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        url = f"{self._url}/rtc?protocol=15&auto_subscribe=0&sdk=python&version=1.0"
        try:
            async with connect(url, additional_headers={"Authorization": f"Bearer {self._token}"}) as socket:

                async def send(**fields: Any) -> None:
                    await socket.send(SignalRequest(**fields).SerializeToString())

                pinging = asyncio.create_task(self._ping(send))
                try:
                    async for raw in socket:
                        assert isinstance(raw, bytes)
                        await self._handle(SignalResponse.FromString(raw), peer, send)
                finally:
                    pinging.cancel()
                    with suppress(WebSocketException):
                        await send(leave=LeaveRequest())
        finally:
            await peer.close()

    async def _ping(self, send: Callable[..., Any]) -> None:
        while True:
            await asyncio.sleep(4)
            await send(ping_req=Ping(timestamp=int(time.time() * 1000)))

    async def _handle(self, message: SignalResponse, peer: RTCPeerConnection, send: Callable[..., Any]) -> None:
        match message.WhichOneof("message"):
            case "join":
                await send(
                    add_track=AddTrackRequest(
                        cid=self.video.id,
                        name="camera",
                        type=TrackType.VIDEO,
                        source=TrackSource.CAMERA,
                        width=320,
                        height=240,
                    )
                )
                await send(
                    add_track=AddTrackRequest(
                        cid=self.audio.id,
                        name="microphone",
                        type=TrackType.AUDIO,
                        source=TrackSource.MICROPHONE,
                        disable_red=True,
                    )
                )
            case "track_published" if not peer.getTransceivers():
                await self._offer(peer, send)
            case "answer":
                await peer.setRemoteDescription(RTCSessionDescription(message.answer.sdp, "answer"))
            case "trickle" if message.trickle.target == 0 and peer.remoteDescription:
                candidate = candidate_from_sdp(
                    json.loads(message.trickle.candidateInit)["candidate"].removeprefix("candidate:")
                )
                candidate.sdpMLineIndex = 0
                if candidate.protocol.lower() == "udp":
                    await peer.addIceCandidate(candidate)
            case _:
                pass

    async def _offer(self, peer: RTCPeerConnection, send: Callable[..., Any]) -> None:
        senders = [peer.addTrack(self.video), peer.addTrack(self.audio)]
        codecs = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.mimeType == "video/H264"]
        peer.getTransceivers()[0].setCodecPreferences(codecs)
        for sender, ssrc in zip(senders, self.lies.ssrcs or (None, None), strict=True):
            if ssrc is not None:
                sender._ssrc = ssrc
        self._kinds = {senders[0]._ssrc: "video", senders[1]._ssrc: "audio"}
        await peer.setLocalDescription(await peer.createOffer())
        transport = senders[0].transport
        straight = transport._send_rtp
        # before SRTP
        transport._send_rtp = lambda data: straight(self._rewritten(data))  # type: ignore[method-assign]
        await send(offer=RtcDescription(type="offer", sdp=peer.localDescription.sdp, id=1))

    def _rewritten(self, data: bytes) -> bytes:
        if 200 <= data[1] <= 206:
            if data[1] != _SR:
                return data
            ssrc, ntp, stamp = struct.unpack_from("!LQL", data, 4)
            kind = self._kinds.get(ssrc)
            if kind is None:
                return data
            now = ntp + round(self.lies.clock * 2**32)
            return data[:8] + struct.pack("!QL", now % 2**64, self._time(kind, stamp)) + data[20:]
        stamp, ssrc = struct.unpack_from("!LL", data, 4)
        kind = self._kinds.get(ssrc)
        if kind is None:
            return data
        return data[:4] + struct.pack("!L", self._time(kind, stamp)) + data[8:]

    def _time(self, kind: str, stamp: int) -> int:
        first = self._first.setdefault(kind, stamp)
        passed = (stamp - first) & 0xFFFFFFFF
        jump = (self.lies.jump or {}).get(kind, 0)
        return (stamp + round(passed * self.lies.ppm / 1e6) + jump) & 0xFFFFFFFF
