from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pylibsrtp import Policy, Session

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.peer import MediaLost, MediaPeer
from cloudrec_recorder.capture.receiver import MediaReceiver, WantedTrack
from tests.unit.capture.kit import VIDEO, Sink, picture, rtp, sender_report

OFFER = (Path(__file__).parent / "offers" / "anna.sdp").read_text()
SSRC = 204109726
SERVER = ("192.0.2.1", 7882)
KEY = bytes(range(30))


def session(ssrc_type: int) -> Session:
    return Session(Policy(key=KEY, ssrc_type=ssrc_type))


@dataclass
class Pair:
    remote_addr: tuple[str, int] = SERVER


class Stage:
    """A peer as it is after the handshake, and the server's side of SRTP."""

    def __init__(self) -> None:
        clock = TaskClock(time.time() * 1000)
        self.sink = Sink()
        self.peer = MediaPeer(clock, [], loopback=True)
        self.receiver = MediaReceiver(clock, self.sink, itertools.count(1), self.peer.send)
        self.receiver.set_wanted({"TR_VCiQUuzosfTkxQ": WantedTrack(VIDEO, "PA_qwKgWGkHoBxr")})
        self.server = session(Policy.SSRC_ANY_OUTBOUND)

    def connected(self) -> None:
        self.peer._dtls._rx_srtp = session(Policy.SSRC_ANY_INBOUND)
        self.peer._path._current._nominated[1] = Pair()  # type: ignore[assignment]

    def put(self, data: bytes, addr: tuple[str, int] = SERVER) -> None:
        buffer = bytearray(2048)
        buffer[: len(data)] = data
        self.peer._on_media(buffer, 0, len(data), addr, 5.0)

    def frame(self, index: int, *, key: bool = False) -> bytes:
        return self.server.protect(rtp(SSRC, 108, index, index * 3000, picture(index, key=key)))


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    answer = await stage.peer.answer(OFFER, stage.receiver)
    assert "a=setup:active" in answer
    assert "127.0.0.1" in answer
    yield stage
    stage.peer._path._current._nominated.clear()
    await stage.peer.close()


async def test_media_is_decrypted_in_place(stage: Stage) -> None:
    stage.put(stage.frame(0, key=True))
    stage.connected()
    stage.put(stage.frame(1, key=True))
    stage.put(stage.server.protect_rtcp(sender_report(SSRC, 1000.0, 3000)))
    assert len(stage.sink.units) == 1
    assert stage.sink.units[0].time == pytest.approx(5.0)


async def test_strangers_forgeries_and_repetitions_are_dropped(stage: Stage) -> None:
    stage.connected()
    first = stage.frame(0, key=True)
    stage.put(first, ("192.0.2.66", 7882))
    assert stage.peer.strangers == 1
    stage.put(first[:-1] + b"x")
    stage.put(first)
    stage.put(first)
    for length in range(1, 40):
        stage.put(first[:length])
        stage.put(b"\x80\xc8" + first[2:length])
    stage.receiver.close()
    assert len(stage.sink.units) == 1
    assert stage.receiver.counters.received == 1


async def test_a_new_remote_address_of_the_pair_is_followed(stage: Stage) -> None:
    stage.connected()
    stage.put(stage.frame(0, key=True))
    stage.peer._path._current._nominated[1] = Pair(("192.0.2.2", 1))  # type: ignore[assignment]
    stage.put(stage.frame(1), ("192.0.2.2", 1))
    stage.receiver.close()
    assert len(stage.sink.units) == 2


async def test_an_ice_restart_before_there_was_a_connection(stage: Stage) -> None:
    with pytest.raises(MediaLost, match="restarts ICE before"):
        await stage.peer.answer(OFFER.replace("ice-ufrag:Nhw", "ice-ufrag:New"), stage.receiver)


async def test_another_certificate_needs_a_new_connection(stage: Stage) -> None:
    with pytest.raises(MediaLost, match="new DTLS connection"):
        await stage.peer.answer(OFFER.replace("31:02:95", "31:02:96"), stage.receiver)


async def test_candidates_that_are_none_are_ignored(stage: Stage) -> None:
    known = stage.peer._path.local.remote_candidates
    for candidate in (
        "",
        "nonsense",
        "candidate:1 1 udp x",
        "1 1 tcp 5 127.0.0.1 9 typ host",
        "1 2 udp 5 1.2.3.4 9 typ host",
        "1 1 udp 5 4a1f.local 9 typ host",
    ):
        await stage.peer.add_candidate(candidate)
    assert stage.peer._path.local.remote_candidates == known


async def test_nobody_answers(stage: Stage) -> None:
    with pytest.raises(MediaLost, match="no connection for media"):
        await stage.peer.connected(0.2)


async def test_no_offer_comes() -> None:
    peer = MediaPeer(TaskClock(0), [], loopback=True)
    with pytest.raises(MediaLost, match="no offer"):
        await peer.connected(0.05)
    await peer.close()
