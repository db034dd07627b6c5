"""What is fuzzed: functions of bytes that return, whatever they are given, or fail an assertion.

Targets that take several packets read them off the input: see `pieces`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.depacketize import make_depacketizer
from cloudrec_recorder.capture.frames import FRAME_BYTES_MAX
from cloudrec_recorder.capture.peer import parse_candidate
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from cloudrec_recorder.capture.rtp import parse_rtp, sender_reports
from cloudrec_recorder.capture.sdp import LocalDescription, build_answer, parse_offer
from cloudrec_recorder.h264 import parameter_sets, picture_size, video_parameters
from cloudrec_recorder.segments.audio import OpusToAac
from tests.unit.capture.kit import AUDIO, VIDEO, Sink

FOLDER = Path(__file__).parent.parent
CORPUS = FOLDER / "corpus"
Target = Callable[[bytes], None]

_OFFER = parse_offer((FOLDER / "offers" / "anna.sdp").read_text())
_STREAMS = _OFFER.streams()
_WANTED = {
    stream.track_sid: WantedTrack(VIDEO if stream.kind == "video" else AUDIO, stream.participant_sid)
    for stream in _STREAMS.values()
}
_LOCAL = LocalDescription("ufrag", "password", [("sha-256", "00:11")], ["1 1 udp 1 127.0.0.1 9 typ host"])


def pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """A byte of flags, two of length, and so many bytes (or what is left), again and again; at most 64."""
    at = 0
    for _ in range(64):
        if at + 3 > len(data):
            return
        length = data[at + 1] << 8 | data[at + 2]
        yield data[at], data[at + 3 : at + 3 + length]
        at += 3 + length


def joined(*parts: tuple[int, bytes]) -> bytes:
    """The input that `pieces` takes apart again."""
    return b"".join(bytes((flags,)) + len(piece).to_bytes(2, "big") + piece for flags, piece in parts)


def rtp(data: bytes) -> None:
    packet = parse_rtp(bytearray(b"before" + data + b"behind"), 6, 6 + len(data))
    if packet is not None:
        assert 18 <= packet[5] <= packet[6] <= 6 + len(data)


def rtcp(data: bytes) -> None:
    assert all(math.isfinite(report.ntp) for report in sender_reports(data))


def sdp(data: bytes) -> None:
    try:
        offer = parse_offer(data.decode("utf-8", "replace"))
    except ValueError:
        return
    offer.streams()
    build_answer(offer, _LOCAL).encode()


def candidate(data: bytes) -> None:
    parse_candidate(data.decode("utf-8", "replace"))


def sps(data: bytes) -> None:
    size = picture_size(data)
    assert size is None or 0 < min(size) <= max(size) <= 16384


def keyframe(data: bytes) -> None:
    sets = parameter_sets(data)
    if sets is not None:
        try:
            video_parameters(data, sets)
        except ValueError:
            return


def depacketizer(codec: str) -> Target:
    """Flags of a piece: 1 marker, 2 a gap before it, 4 another RTP time."""

    def target(data: bytes) -> None:
        made = make_depacketizer(codec)
        assert made is not None
        timestamp = 0
        for flags, payload in pieces(data):
            if flags & 2:
                made.gap()
            timestamp = (timestamp + 3000 * bool(flags & 4)) & 0xFFFFFFFF
            if payload:
                around = bytearray(b"\xff" + payload + b"\xff")
                for frame in made.push(around, 1, 1 + len(payload), timestamp, bool(flags & 1)):
                    assert 0 < len(frame.data) <= FRAME_BYTES_MAX

    return target


def opus(data: bytes) -> None:
    run = OpusToAac(1, 1.0)
    for index, (_, packet) in enumerate(pieces(data)):
        run.push(packet, 1.0 + 0.02 * index)
    run.finish()


def receiver(data: bytes) -> None:
    """Flags of a piece: 1 RTCP, and the other bits how much later it comes (8 ms each)."""
    now = 1000.0
    sink, sent = Sink(), list[bytes]()
    made = MediaReceiver(TaskClock(0, lambda: now, lambda: now), sink, itertools.count(1), sent.append)
    made.set_descriptions(_STREAMS)
    made.set_wanted(_WANTED)
    for flags, packet in pieces(data):
        now += 0.008 * (flags >> 1)
        if flags & 1:
            made.rtcp(packet, now)
        else:
            made.rtp(bytearray(packet), 0, len(packet), now)
        made.service()
    made.close()
    last: dict[tuple[object, int], float] = {}
    for unit in sink.units:
        assert last.get((unit.key, unit.source), -math.inf) < unit.time < math.inf
        last[unit.key, unit.source] = unit.time
    assert all(len(packet) < 1200 for packet in sent)


TARGETS: dict[str, Target] = {
    "rtp": rtp,
    "rtcp": rtcp,
    "sdp": sdp,
    "candidate": candidate,
    "sps": sps,
    "keyframe": keyframe,
    "h264": depacketizer("H264"),
    "vp8": depacketizer("VP8"),
    "vp9": depacketizer("VP9"),
    "av1": depacketizer("AV1"),
    "red": depacketizer("RED"),
    "opus": opus,
    "receiver": receiver,
}


def corpus(name: str) -> list[Path]:
    """The inputs kept for a target."""
    return sorted((CORPUS / name).glob("*"))
