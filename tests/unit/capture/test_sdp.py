"""The offers under `offers/` are LiveKit 1.13.5's: Anna publishes, leaves, then Ben publishes."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.capture.sdp import LocalDescription, build_answer, parse_offer

OFFERS = Path(__file__).parent / "offers"
LOCAL = LocalDescription("ufrag", "a-password-of-22-chars", [("sha-256", "AA:BB")], ["1 1 udp 1 127.0.0.1 9 typ host"])


def read(name: str) -> str:
    return (OFFERS / f"{name}.sdp").read_text()


def test_whose_each_ssrc_is() -> None:
    streams = parse_offer(read("anna")).streams()
    assert {s: (d.kind, d.track_sid, d.rtx_of) for s, d in streams.items()} == {
        204109726: ("video", "TR_VCiQUuzosfTkxQ", None),
        3489249479: ("video", "TR_VCiQUuzosfTkxQ", 204109726),
        2507933699: ("audio", "TR_AMc3NUdrSroLV6", None),
    }
    video = streams[204109726]
    assert video.participant_sid == "PA_qwKgWGkHoBxr"
    assert video.codecs[108] == "H264"
    assert video.clock_rates[108] == 90_000
    assert video.apt[109] == 108
    assert streams[2507933699].codecs[63] == "RED"


def test_the_table_follows_the_offers() -> None:
    assert parse_offer(read("anna-left")).streams() == {}
    assert {d.participant_sid for d in parse_offer(read("ben")).streams().values()} == {"PA_fMhfWMQnXGH2"}


def test_a_mid_used_again_for_another_user_confuses_nothing() -> None:
    first, *_, last = read("ben").split("m=video")
    reused = first + "m=video" + last.replace("a=mid:3", "a=mid:1").replace("a=mid:4", "a=mid:2")
    assert parse_offer(reused).streams() == parse_offer(read("ben")).streams()


def test_the_transport() -> None:
    offer = parse_offer(read("anna"))
    assert (offer.ice_ufrag, offer.ice_pwd) == ("NhwVcNaXstIWaOuJ", "an-ice-password-made-up")
    assert not offer.ice_lite
    assert [algorithm for algorithm, _ in offer.fingerprints] == ["sha-256"]
    assert len(offer.candidates) == 8
    assert offer.sctp_port == 5000


@pytest.mark.parametrize("name", ["anna", "anna-left", "ben"])
def test_the_answer_matches_the_offer(name: str) -> None:
    offer = SessionDescription.parse(read(name))
    answer = SessionDescription.parse(build_answer(parse_offer(read(name)), LOCAL))
    assert [m.kind for m in answer.media] == [m.kind for m in offer.media]
    assert [m.rtp.muxId for m in answer.media] == [m.rtp.muxId for m in offer.media]
    for asked, given_back in zip(offer.media, answer.media, strict=True):
        assert given_back.port
        assert given_back.ice.usernameFragment == "ufrag"
        if given_back.kind == "application":
            continue
        assert given_back.direction == ("inactive" if asked.direction == "recvonly" else "recvonly")
        names = {codec.name.upper() for codec in given_back.rtp.codecs}
        assert names <= {"OPUS"} if given_back.kind == "audio" else names <= {"H264", "VP8", "VP9", "AV1", "RTX"}


def test_what_cannot_be_received_is_refused_in_its_place() -> None:
    sdp = read("ben").replace("opus/48000/2", "multiopus/48000/6")
    answer = build_answer(parse_offer(sdp), LOCAL)
    refused = [line for line in answer.splitlines() if line.startswith("m=audio")]
    assert all(line.startswith("m=audio 0 ") for line in refused)
    assert "a=group:BUNDLE 0 1 3\r\n" in answer


@pytest.mark.parametrize("sdp", ["", "nonsense", "v=0\r\nm=audio x UDP 1\r\n", "m=\r\n", "m=a b\r\n"])
def test_no_offer_at_all(sdp: str) -> None:
    with pytest.raises(ValueError):
        parse_offer(sdp)


@given(st.data())
def test_a_spoilt_offer_raises_nothing_else(data: st.DataObject) -> None:
    lines = read("anna").splitlines()
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(lines) - 1))
        cut = data.draw(st.integers(0, len(lines[at])))
        lines[at] = lines[at][:cut] + data.draw(st.text(max_size=5))
    try:
        offer = parse_offer("\n".join(lines))
    except ValueError:
        return
    offer.streams()
    build_answer(offer, LOCAL)
