"""One RTP stream: reordering within a bound, asking again for what is missing, receiver statistics.

Packets come in any order and any number; they leave to the depacketizer in sequence. What stays missing is given up
after a while, and a video stream then asks for a keyframe. Times are task times (seconds).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cloudrec_recorder.capture.depacketize import Depacketizer, make_depacketizer
from cloudrec_recorder.capture.output import TrackOutput
from cloudrec_recorder.capture.rtp import Buffer, ReportBlock, build_nack, build_pli, extend

NACK_RETRY_SECONDS = 0.06
GIVE_UP_SECONDS = {"video": 1.0, "audio": 0.15}
PENDING_MAX = {"video": 1024, "audio": 64}
PLI_GRACE_SECONDS = 0.1  # a server sends from a keyframe on
# LiveKit passes on one PLI in half a second or a second, whoever asks, and drops the others in silence: asking again
# soon gets the keyframe that much earlier, and costs a small packet
PLI_RETRY_SECONDS = (*(0.25,) * 6, *(1.2,) * 4)
PLI_SLOW_SECONDS = 5.0
LEAD_PACKETS = 8
"""How many packets that a stream's first one may have overtaken are waited for, and how long."""
LEAD_SECONDS = 0.3

Send = Callable[[bytes], None]


class _Pending(NamedTuple):
    payload: bytes
    payload_type: int
    timestamp: int
    marker: bool
    arrival: float


class PliPolicy:
    """When to ask for a keyframe: at once when needed, again while none comes, slower after some tries."""

    def __init__(self, born: float) -> None:
        self._quiet_until = born + PLI_GRACE_SECONDS
        self._tries = 0
        self._asked = False

    def ask(self) -> None:
        """Somebody wants a keyframe."""
        self._asked = True

    def keyframe(self) -> None:
        """One came."""
        self._asked = False
        self._tries = 0

    def due(self, now: float, *, needed: bool) -> bool:
        """Whether to send a PLI now; telling so counts as having sent it."""
        if not (needed or self._asked) or now < self._quiet_until:
            return False
        pause = PLI_RETRY_SECONDS[self._tries] if self._tries < len(PLI_RETRY_SECONDS) else PLI_SLOW_SECONDS
        self._tries += 1
        self._quiet_until = now + pause
        return True


class RtpStream:
    """One SSRC's packets, from the network to its `TrackOutput`.

    `codecs` are the payload types that may come, with SDP codec names in upper case.
    """

    def __init__(self, ssrc: int, codecs: dict[int, str], output: TrackOutput, now: float) -> None:
        self.ssrc = ssrc
        self.output = output
        self.pli = PliPolicy(now)
        self.received = self.lost = self.nacks = self.plis = 0
        self.stale = False  # the publisher went on in another codec: a new stream must take over
        self._video = output.key.kind == "video"
        self._codecs = codecs
        self._payload_type = -1
        self._depacketizer: Depacketizer | None = None
        self._next: int | None = None  # the sequence number that follows, unwrapped, as in `_pending`
        self._pending: dict[int, _Pending] = {}
        self._furthest = 0  # of those pending
        self._hole_since: float | None = None
        self._nacked_at = float("-inf")
        self._stray: int | None = None
        self._waiting = True
        self._leading = False  # the hole is before the first packet
        self._base = 0
        self._prior_expected = self._prior_received = 0
        self._lsr = 0
        self._lsr_at = 0.0

    def packet(
        self,
        buffer: Buffer,
        start: int,
        end: int,
        payload_type: int,
        sequence: int,
        timestamp: int,
        marker: bool,
        arrival: float,
    ) -> None:
        """A packet of this stream (or one sent again, unwrapped); the payload is `buffer[start:end]`."""
        self.received += 1
        following = self._next
        if following is None:
            following = self._begin(buffer, start, end, payload_type, sequence)
        if sequence == following & 0xFFFF and not self._pending:
            self._next = following + 1
            self._deliver(buffer, start, end, payload_type, timestamp, marker, arrival)
            return
        extended = extend(following, sequence, 16)
        bound = PENDING_MAX[self.output.key.kind]
        if abs(extended - following) > bound:
            self._resynchronise(sequence)
            return
        if extended < following:
            return  # a duplicate, or given up before
        self._stray = None
        arrival = self._no_later_than_what_follows(extended, arrival)
        self._pending[extended] = _Pending(bytes(buffer[start:end]), payload_type, timestamp, marker, arrival)
        self._drain()
        if len(self._pending) >= bound:
            self._give_up()
        self._watch_hole(arrival)

    def sender_report(self, arrival: float, ntp: float, timestamp: int, lsr: int) -> None:
        """A sender report of this SSRC."""
        self._lsr, self._lsr_at = lsr, arrival
        self.output.sender_report(arrival, ntp, timestamp)

    def service(self, now: float, local_ssrc: int, send: Send) -> None:
        """Ask for what is missing, or give it up; call it about every 30 ms."""
        if self._hole_since is not None:
            if self._nacked_at < self._hole_since:
                self._hole_since = now  # time in which nobody could ask, as when the machine was busy, does not count
            patience = LEAD_SECONDS if self._leading else GIVE_UP_SECONDS[self.output.key.kind]
            if now - self._hole_since > patience:
                self._give_up()
                self._watch_hole(now)
            elif now - self._nacked_at >= NACK_RETRY_SECONDS:
                self._nacked_at = now
                self.nacks += 1
                send(build_nack(local_ssrc, self.ssrc, self._missing(self._next or 0)))
        if self._video:
            needed = self._depacketizer is None or self._depacketizer.needs_keyframe
            if self.pli.due(now, needed=needed):
                self.plis += 1
                send(build_pli(local_ssrc, self.ssrc))
        self.output.service(now)

    def report(self, now: float) -> ReportBlock:
        """This stream's part of the next receiver report."""
        following = self._next or 0
        expected = following - self._base
        expected_now = expected - self._prior_expected
        received_now = self.received - self._prior_received
        self._prior_expected, self._prior_received = expected, self.received
        lost_now = expected_now - received_now
        fraction = (lost_now << 8) // expected_now if expected_now > 0 and lost_now > 0 else 0
        lost = expected - self.received
        return ReportBlock(self.ssrc, fraction, lost, following - 1, 0, self._lsr, now - self._lsr_at)

    def close(self) -> None:
        """The stream is over: what can still be delivered is."""
        while self._pending:
            self._give_up()
        self.output.close()

    def _begin(self, buffer: Buffer, start: int, end: int, payload_type: int, sequence: int) -> int:
        """Where the first packet's stream begins: here, or a little before when this cannot be a first one.

        A server sends from the beginning of a keyframe on; when something else comes first that was overtaken or lost.
        """
        if self._video and start < end and (payload_type == self._payload_type or self._switch_codec(payload_type)):
            depacketizer = self._depacketizer
            if depacketizer is not None and not depacketizer.may_begin(buffer, start, end):
                self._leading = True
                return self._start_at(0x10000 + sequence - LEAD_PACKETS)
        return self._start_at(sequence)

    def _start_at(self, sequence: int) -> int:
        self._next = self._base = sequence
        self._prior_expected = 0
        self.received, self._prior_received = 1, 0
        return sequence

    def _resynchronise(self, sequence: int) -> None:
        """Far from what is expected: believed when the next packet follows it (RFC 3550 appendix A.1)."""
        if self._stray is None or sequence != (self._stray + 1) & 0xFFFF:
            self._stray = sequence
            return
        self._stray = None
        while self._pending:
            self._give_up()
        self._hole_since = None
        self._start_at((sequence + 1) & 0xFFFF)
        self._mark_gap()

    def _watch_hole(self, now: float) -> None:
        if not self._pending:
            self._hole_since = None
        elif self._hole_since is None:
            self._hole_since = now
            self._nacked_at = float("-inf")

    def _no_later_than_what_follows(self, extended: int, arrival: float) -> float:
        """When a packet would have come at the latest if it had not been lost or overtaken."""
        if self._pending and extended < self._furthest:
            for at in range(extended + 1, self._furthest + 1):
                if (behind := self._pending.get(at)) is not None:
                    return min(arrival, behind.arrival)
        self._furthest = extended if not self._pending else max(self._furthest, extended)
        return arrival

    def _missing(self, following: int) -> list[int]:
        furthest = max(self._pending)
        return [at & 0xFFFF for at in range(following, furthest) if at not in self._pending]

    def _give_up(self) -> None:
        """Skip the first hole."""
        nearest = min(self._pending)
        if self._leading:
            self._leading = False
            self._base = nearest
        elif self._next is not None:
            self.lost += nearest - self._next
        self._next = nearest
        self._hole_since = None
        self._mark_gap()
        self._drain()

    def _mark_gap(self) -> None:
        if self._depacketizer is not None:
            self._depacketizer.gap()
        self.output.gap()

    def _drain(self) -> None:
        while self._next is not None and (packet := self._pending.pop(self._next, None)) is not None:
            self._next += 1
            self._hole_since = None
            self._leading = False
            payload = packet.payload
            self._deliver(
                payload, 0, len(payload), packet.payload_type, packet.timestamp, packet.marker, packet.arrival
            )

    def _deliver(
        self,
        buffer: Buffer,
        start: int,
        end: int,
        payload_type: int,
        timestamp: int,
        marker: bool,
        arrival: float,
    ) -> None:
        if start >= end:
            return  # padding: the SFU probes the bandwidth
        if payload_type != self._payload_type and not self._switch_codec(payload_type):
            return
        depacketizer = self._depacketizer
        assert depacketizer is not None
        for frame in depacketizer.push(buffer, start, end, timestamp, marker):
            if self._video and frame.keyframe:
                self.pli.keyframe()
            self.output.frame(arrival, frame)
        if depacketizer.needs_keyframe != self._waiting:
            self._waiting = depacketizer.needs_keyframe
            if self._waiting:
                self.output.gap()

    def _switch_codec(self, payload_type: int) -> bool:
        """Another payload type: of the same codec, or Opus and RED taking turns; else this stream is `stale`."""
        codec = self._codecs.get(payload_type)
        if codec is None:
            return False
        if codec != self._codecs.get(self._payload_type):
            if self._video and self._depacketizer is not None:
                self.stale = True
                return False
            made = make_depacketizer(codec)
            if made is None:
                return False
            self._depacketizer = made
        self._payload_type = payload_type
        return True
