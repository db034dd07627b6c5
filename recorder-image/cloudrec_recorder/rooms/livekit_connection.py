"""One join of a LiveKit room: signalling, one media transport, and exactly the subscriptions asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from livekit.protocol.models import SubscriptionError
from livekit.protocol.rtc import JoinResponse, LeaveRequest, SignalResponse, SignalTarget, TrickleRequest
from livekit.protocol.rtc import SessionDescription as RtcDescription

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.peer import MediaLost, MediaPeer
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from cloudrec_recorder.capture.track import Send
from cloudrec_recorder.rooms import Changed, Joined, Left, RoomEvent, Size, Unreachable
from cloudrec_recorder.rooms.livekit_signal import CannotResume, RoomAbsent, SignalClient, SignalError, TokenRefused
from cloudrec_recorder.rooms.livekit_state import Rejoin, Roster, outcome_of_leave, turn_servers

log = logging.getLogger(__name__)

MEDIA_CONNECT_SECONDS = 15.0
MEDIA_QUIET_SECONDS = 5.0  # no media of tracks that are not muted: restart ICE (sender reports come every 3 s)
MEDIA_SILENT_SECONDS = 15.0  # not even STUN: an ICE agent checks consent every 6 s at the latest (RFC 7675)
RESUME_SECONDS = 10.0  # without signalling, while media flows
RESUME_SILENT_SECONDS = 3.0  # nothing flows any more: the server is gone
_RESUME_PAUSE_FIRST = 0.1
_RESUME_PAUSE_MAX = 1.0
_MONITOR_SECONDS = 1.0
_GOODBYE_SECONDS = 1.0
_PING_INTERVAL = 5.0
_PING_TIMEOUT = 15.0


class Connection:
    """One join. Make it, `run` it once; `subscribe` at any time.

    `make_receiver` is given the function that sends RTCP; `tell` hears of `Joined` and `Changed`; `stop` ends it
    politely; `rejoined`: the robot was in the room before.
    """

    def __init__(
        self,
        url: str,
        clock: TaskClock,
        make_receiver: Callable[[Send], MediaReceiver],
        tell: Callable[[RoomEvent], None],
        stop: asyncio.Event,
        *,
        rejoined: bool,
    ) -> None:
        self._url = url
        self._clock = clock
        self._tell = tell
        self._stop = stop
        self._rejoined = rejoined
        self._roster = Roster()
        self._signal: SignalClient | None = None
        self._peer: MediaPeer | None = None
        self._wanted: frozenset[str] = frozenset()
        self._subscribed: set[str] = set()
        self._sizes: Mapping[str, Size] = {}
        self._asked: dict[str, Size | None] = {}
        """What the server was told of each video track's size; None: the best."""
        self._dirty = asyncio.Event()
        self._quiet = asyncio.Event()  # no media arrives though it should
        self._told: Changed | None = None
        self._offsets: dict[str, float] = {}
        self.joined_at: float | None = None
        """By the task's clock, when media could flow; None before."""
        self.refreshed_token: str | None = None
        self.receiver = make_receiver(self._send_rtcp)

    def subscribe(self, sids: frozenset[str]) -> None:
        """Receive exactly these tracks."""
        self._wanted = sids
        self._dirty.set()

    def prefer(self, sizes: Mapping[str, Size]) -> None:
        """Receive the layers of these tracks that are nearest to these sizes; of the others the best."""
        self._sizes = sizes
        self._dirty.set()

    def clock_offsets(self) -> dict[str, float]:
        """By identity: our wall clock minus the publisher's, in seconds; of those who left, as last known."""
        identities = self._roster.identities()
        offsets = self.receiver.clock_offsets().items()
        self._offsets.update((identities[sid], offset) for sid, offset in offsets if sid in identities)
        return self._offsets

    async def run(self, tokens: Callable[[], list[str]]) -> Left | Rejoin:
        """Join and stay; tells why it is over, with everything closed and delivered."""
        work = asyncio.create_task(self._join_and_stay(tokens), name="livekit-connection")
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            await _cancelled(work)
            await self._say_goodbye()
            return Left(0, "Stopped", "the recording was stopped")
        finally:
            await _cancelled(work, stop)
            await self._close()

    async def _join_and_stay(self, tokens: Callable[[], list[str]]) -> Left | Rejoin:
        try:
            self._signal, join = await self._open(tokens)
            return await self._stay(self._signal, join, tokens)
        except TokenRefused as error:
            if self._rejoined:
                return Rejoin("TokenRefused", str(error))
            return Left(None, "TokenRefused", str(error))
        except RoomAbsent as error:
            return Rejoin("LiveKitUnreachable", str(error), emptied=True)
        except SignalError as error:
            return Rejoin("LiveKitUnreachable", str(error))
        except MediaLost as error:
            return Rejoin("MediaUnreachable", str(error))

    async def _open(self, tokens: Callable[[], list[str]]) -> tuple[SignalClient, JoinResponse]:
        refusal = TokenRefused("there is no room token")
        for token in _read_tokens(tokens):
            try:
                return await SignalClient.open(self._url, token)
            except TokenRefused as error:
                refusal = error
        raise refusal

    async def _stay(self, signal: SignalClient, join: JoinResponse, tokens: Callable[[], list[str]]) -> Left | Rejoin:
        self._roster.reset(join.participant.identity, join.other_participants)
        peer = self._peer = MediaPeer(self._clock, turn_servers(join), loopback=signal.on_loopback)
        interval = float(join.ping_interval or _PING_INTERVAL)
        timeout = float(join.ping_timeout or _PING_TIMEOUT)
        media = asyncio.create_task(self._watch_media(peer), name="livekit-media")
        try:
            while True:
                try:
                    return await self._speak(signal, peer, media, interval, timeout)
                except SignalError as error:
                    if self.joined_at is None or not peer.alive:
                        raise
                    signal = await self._resume(error, peer, join.participant.sid, tokens)
        finally:
            await _cancelled(media)

    async def _speak(
        self, signal: SignalClient, peer: MediaPeer, media: asyncio.Task[None], interval: float, timeout: float
    ) -> Left | Rejoin:
        """As long as signalling and media hold."""
        reading = asyncio.create_task(self._read(signal, peer), name="livekit-read")
        others = [
            asyncio.create_task(self._keep_subscribed(signal), name="livekit-subscribe"),
            asyncio.create_task(signal.keep_alive(interval, timeout), name="livekit-ping"),
            asyncio.create_task(self._want_restart(), name="livekit-restart"),
        ]
        try:
            done, _ = await asyncio.wait({reading, media, *others}, return_when=asyncio.FIRST_COMPLETED)
            if reading in done:
                return reading.result()
            for task in done:
                task.result()
            raise SignalError("a part of the connection ended")
        finally:
            await _cancelled(reading, *others)

    async def _want_restart(self) -> None:
        """LiveKit restarts ICE when signalling is resumed."""
        await self._quiet.wait()
        self._quiet.clear()
        raise SignalError(f"no media for {MEDIA_QUIET_SECONDS:.0f} s")

    async def _resume(
        self, lost: SignalError, peer: MediaPeer, sid: str, tokens: Callable[[], list[str]]
    ) -> SignalClient:
        """Signalling is lost, media is not: connect again for the same session. Raises SignalError."""
        log.warning("connecting again for the same session: %s", lost)
        if self._signal is not None:
            await self._signal.close()
        begun = heard_at = self._clock.now()
        heard, pause, told = peer.datagrams, _RESUME_PAUSE_FIRST, False
        while True:
            try:
                self._signal = await self._resume_with(tokens, sid)
                break
            except (CannotResume, RoomAbsent):
                raise
            except SignalError as error:
                now = self._clock.now()
                if peer.datagrams is None or peer.datagrams != heard:
                    heard, heard_at = peer.datagrams, now
                if now - begun > RESUME_SECONDS or now - heard_at > RESUME_SILENT_SECONDS or not peer.alive:
                    raise
                if not told:
                    told = True
                    self._tell(Unreachable("LiveKitUnreachable", str(error)))
            await asyncio.sleep(pause)
            pause = min(_RESUME_PAUSE_MAX, 2 * pause)
        log.info("signalling goes on")
        if told:
            self._tell(Joined(rejoined=True))
        self._subscribed.clear()  # what was asked for last may have been lost
        self._asked.clear()
        self._dirty.set()
        return self._signal

    async def _resume_with(self, tokens: Callable[[], list[str]], sid: str) -> SignalClient:
        for token in filter(None, dict.fromkeys([*_read_tokens(tokens), self.refreshed_token])):
            with contextlib.suppress(TokenRefused):
                return await SignalClient.resume(self._url, token, sid)
        raise CannotResume("the token is refused")

    async def _read(self, signal: SignalClient, peer: MediaPeer) -> Left | Rejoin:
        while True:
            message = await signal.receive()
            outcome = await self._handle(signal, peer, message)
            if outcome is not None:
                return outcome

    async def _handle(self, signal: SignalClient, peer: MediaPeer, message: SignalResponse) -> Left | Rejoin | None:
        match message.WhichOneof("message"):
            case "offer":
                await self._answer(signal, peer, message.offer)
            case "trickle":
                await self._trickle(peer, message.trickle)
            case "update":
                self.clock_offsets()  # before those who leave are forgotten
                self._roster.update(message.update.participants)
                self._changed()
            case "refresh_token":
                self.refreshed_token = message.refresh_token
            case "subscription_response":
                response = message.subscription_response
                if response.err:
                    name = SubscriptionError.Name(response.err)
                    log.warning("cannot subscribe to track %s: %s", response.track_sid, name)
            case "leave":
                if message.leave.action == LeaveRequest.Action.RESUME:
                    raise SignalError("the media server wants the connection to be made again")
                return outcome_of_leave(message.leave, anchors=bool(self._roster.anchors()))
            case "room_moved":
                return Left(3, "RemovedByServer", "the robot was moved to another room")
            case _:
                pass
        return None

    async def _answer(self, signal: SignalClient, peer: MediaPeer, offer: RtcDescription) -> None:
        try:
            answer = await peer.answer(offer.sdp, self.receiver)
        except ValueError as error:
            raise MediaLost(f"the server's offer cannot be answered: {error}") from error
        await signal.answer(answer, offer.id)

    async def _trickle(self, peer: MediaPeer, trickle: TrickleRequest) -> None:
        if trickle.target != SignalTarget.SUBSCRIBER:
            return
        try:
            candidate = json.loads(trickle.candidateInit).get("candidate")
        except (ValueError, AttributeError):
            return
        if isinstance(candidate, str) and candidate:
            await peer.add_candidate(candidate)

    async def _watch_media(self, peer: MediaPeer) -> None:
        """Wait for the connection, tell of it, and raise MediaLost when it is no more."""
        await peer.connected(MEDIA_CONNECT_SECONDS)
        self.joined_at = self._clock.now()
        self._tell(Joined(rejoined=self._rejoined))
        self._changed()
        heard, heard_at = peer.datagrams, self._clock.now()
        media, media_at, told = peer.media, heard_at, False
        while True:
            await asyncio.sleep(_MONITOR_SECONDS)
            if not peer.alive:
                raise MediaLost(f"the connection for media is lost ({peer.describe()})")
            now = self._clock.now()
            if peer.datagrams is None or peer.datagrams != heard:
                heard, heard_at = peer.datagrams, now
            elif now - heard_at > MEDIA_SILENT_SECONDS:
                raise MediaLost(f"no datagram for {MEDIA_SILENT_SECONDS:.0f} s")
            if peer.media is None or peer.media != media or not self._expects_media():
                media, media_at, told = peer.media, now, False
            elif now - media_at > MEDIA_QUIET_SECONDS and not told:
                told = True  # once: it may be the publisher's fault
                self._quiet.set()

    def _expects_media(self) -> bool:
        tracks = self._roster.tracks()
        return any(sid in tracks and not tracks[sid][0].muted for sid in self._subscribed)

    def _changed(self) -> None:
        """Tell of who and what is there now, when it differs from what was told."""
        self._dirty.set()
        if self.joined_at is None:
            return
        tracks = tuple(published for published, _ in self._roster.tracks().values())
        changed = Changed(self._roster.anchors(), tracks)
        if changed != self._told:
            self._told = changed
            self._tell(changed)

    async def _keep_subscribed(self, signal: SignalClient) -> None:
        """Bring the server's subscriptions in line with what is wanted and there, each time either changes."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            there = self._roster.tracks()
            wanted = {sid: there[sid] for sid in self._wanted if sid in there}
            self.receiver.set_wanted(
                {sid: WantedTrack(published.key, owner) for sid, (published, owner) in wanted.items()}
            )
            added = sorted(wanted.keys() - self._subscribed)
            removed = sorted(self._subscribed - wanted.keys())
            self._subscribed = set(wanted)
            if removed:
                await signal.subscribe(removed, subscribe=False)
            if added:
                await signal.subscribe(added, subscribe=True)
            video = {sid: self._sizes.get(sid) for sid in wanted if wanted[sid][0].key.kind == "video"}
            changed = {sid: size for sid, size in video.items() if sid not in self._asked or self._asked[sid] != size}
            self._asked = video
            if best := [sid for sid, size in changed.items() if size is None]:
                await signal.best_quality(best)
            for sid, size in changed.items():
                if size is not None:
                    await signal.nearest_layer(sid, size)

    def _send_rtcp(self, packet: bytes) -> None:
        if self._peer is not None:
            self._peer.send(packet)

    async def _say_goodbye(self) -> None:
        if self._signal is not None:
            with contextlib.suppress(SignalError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self._signal.leave()

    async def _close(self) -> None:
        self.receiver.close()
        if self._peer is not None:
            await self._peer.close()
        if self._signal is not None:
            await self._signal.close()


def _read_tokens(tokens: Callable[[], list[str]]) -> list[str]:
    try:
        return tokens()
    except OSError as error:
        raise SignalError(f"cannot read the room token: {error.strerror}") from error


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are done, whatever they raised."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
