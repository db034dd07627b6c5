"""All streams of one connection: which SSRC is whose, and what goes back to the media server.

Given decrypted RTP and RTCP, whoever received it. Tracks that nobody asked for are ignored.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.output import HOLD_SECONDS, TrackOutput
from cloudrec_recorder.capture.rtp import Buffer, build_receiver_reports, parse_rtp, sender_reports
from cloudrec_recorder.capture.sdp import CODECS, StreamDescription
from cloudrec_recorder.capture.timeline import ParticipantClock
from cloudrec_recorder.capture.track import RtpStream, Send
from cloudrec_recorder.media import MediaSink, TrackKey

REPORT_SECONDS = 1.0
# RED is not asked for, but LiveKit announces it, and it may come
KNOWN = {"audio": frozenset({*CODECS["audio"], "RED"}), "video": frozenset(CODECS["video"])}


@dataclass(frozen=True, slots=True)
class WantedTrack:
    """A track that is to be recorded, and who publishes it (the participant's sid)."""

    key: TrackKey
    participant_sid: str


@dataclass(slots=True)
class Counters:
    """What was dropped, and what has become of ended streams."""

    malformed: int = 0
    unknown: int = 0
    retransmitted: int = 0
    received: int = 0
    lost: int = 0


class MediaReceiver:
    """Streams by SSRC. `send` takes a plain RTCP packet to be protected and sent; it must not raise.

    `sources` numbers the sources of this process; give the same one to each successor of a receiver. A new stream waits
    for its first sender report for `hold` seconds.
    """

    def __init__(
        self,
        clock: TaskClock,
        sink: MediaSink,
        sources: itertools.count[int],
        send: Send,
        hold: float = HOLD_SECONDS,
    ) -> None:
        self._clock = clock
        self._sink = sink
        self._sources = sources
        self._send = send
        self._hold = hold
        self._ssrc = secrets.randbits(31)
        self._descriptions: Mapping[int, StreamDescription] = {}
        self._wanted: Mapping[str, WantedTrack] = {}
        self._participants: dict[str, ParticipantClock] = {}
        self._streams: dict[int, RtpStream] = {}
        self._next_report = 0.0
        self.counters = Counters()

    def set_descriptions(self, descriptions: Mapping[int, StreamDescription]) -> None:
        """The table of the latest offer; streams that it does not have, or gives to another track, are over."""
        before, self._descriptions = self._descriptions, descriptions
        for ssrc in list(self._streams):
            now = descriptions.get(ssrc)
            if now is None or now.track_sid != before[ssrc].track_sid:
                self._end(ssrc)

    def set_wanted(self, wanted: Mapping[str, WantedTrack]) -> None:
        """Exactly these tracks, by sid, are to be delivered; the others' streams are over."""
        self._wanted = dict(wanted)
        for ssrc in list(self._streams):
            if self._descriptions[ssrc].track_sid not in self._wanted:
                self._end(ssrc)
        present = {track.participant_sid for track in self._wanted.values()}
        for sid in [sid for sid in self._participants if sid not in present]:
            del self._participants[sid]

    def rtp(self, buffer: Buffer, start: int, end: int, arrival: float) -> None:
        """A decrypted RTP packet in `buffer[start:end]`, which is reused by the caller."""
        packet = parse_rtp(buffer, start, end)
        if packet is None:
            self.counters.malformed += 1
            return
        payload_type, marker, sequence, timestamp, ssrc, start, end = packet
        stream = self._streams.get(ssrc)
        if stream is None:
            description = self._descriptions.get(ssrc)
            if description is None:
                self.counters.unknown += 1
                return
            if description.rtx_of is not None:
                original = description.apt.get(payload_type)
                if original is None or end - start < 2:
                    return  # empty: the SFU probes the bandwidth
                sequence = buffer[start] << 8 | buffer[start + 1]
                start += 2
                payload_type, ssrc = original, description.rtx_of
                self.counters.retransmitted += 1
            stream = self._streams.get(ssrc) or self._begin(ssrc, payload_type)
            if stream is None:
                self.counters.unknown += 1
                return
        stream.packet(buffer, start, end, payload_type, sequence, timestamp, marker, arrival)

    def rtcp(self, data: Buffer, arrival: float) -> None:
        """A decrypted compound RTCP packet."""
        for report in sender_reports(data):
            stream = self._streams.get(report.ssrc)
            if stream is not None:
                stream.sender_report(arrival, report.ntp, report.timestamp, report.lsr)

    def service(self) -> None:
        """NACKs, PLIs, receiver reports, held output; call it about every 30 ms."""
        now = self._clock.now()
        for ssrc, stream in list(self._streams.items()):
            if stream.stale:
                self._end(ssrc)
            else:
                stream.service(now, self._ssrc, self._send)
        if now >= self._next_report:
            self._next_report = now + REPORT_SECONDS
            for packet in build_receiver_reports(self._ssrc, [s.report(now) for s in self._streams.values()]):
                self._send(packet)

    def request_keyframe(self, key: TrackKey) -> None:
        """Ask the publisher of this track for a keyframe."""
        for stream in self._streams.values():
            if stream.output.key == key:
                stream.pli.ask()

    def close(self) -> None:
        """Let out what is held; the connection is gone."""
        for ssrc in list(self._streams):
            self._end(ssrc)

    def clock_offsets(self) -> dict[str, float]:
        """By participant sid: our wall clock minus the publisher's, in seconds (one-way delay included)."""
        epoch = self._clock.epoch_ms / 1000
        offsets = ((sid, clock.offset) for sid, clock in self._participants.items())
        return {sid: offset + epoch for sid, offset in offsets if offset is not None}

    def _begin(self, ssrc: int, payload_type: int) -> RtpStream | None:
        description = self._descriptions.get(ssrc)
        if description is None or description.rtx_of is not None:
            return None
        wanted = self._wanted.get(description.track_sid)
        codec = description.codecs.get(payload_type)
        if wanted is None or codec not in KNOWN[description.kind] or wanted.key.kind != description.kind:
            return None
        participant = self._participants.setdefault(wanted.participant_sid, ParticipantClock())
        output = TrackOutput(
            wanted.key,
            "OPUS" if description.kind == "audio" else codec,
            description.clock_rates[payload_type],
            participant,
            self._sink,
            lambda: next(self._sources),
            lambda: self._ask(ssrc),
            self._hold,
        )
        stream = RtpStream(ssrc, description.codecs, output, self._clock.now())
        self._streams[ssrc] = stream
        return stream

    def _ask(self, ssrc: int) -> None:
        stream = self._streams.get(ssrc)
        if stream is not None:
            stream.pli.ask()

    def _end(self, ssrc: int) -> None:
        stream = self._streams.pop(ssrc)
        stream.close()
        self.counters.received += stream.received
        self.counters.lost += stream.lost
