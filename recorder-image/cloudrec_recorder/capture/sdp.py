"""Just enough SDP (RFC 8866, RFC 9429) to answer an SFU's offers and to know whose each SSRC is.

The table of SSRCs is drawn from every offer anew and never goes by mid: LiveKit uses mids again for other users.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

CODECS = {"audio": ("OPUS",), "video": ("H264", "VP8", "VP9", "AV1")}
_FEEDBACK = frozenset({"nack", "nack pli", "ccm fir"})
SCTP_PORT = 5000


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """Whose an SSRC is. `rtx_of` is the SSRC that this one sends again, None when it is a stream of its own."""

    ssrc: int
    kind: str
    participant_sid: str
    track_sid: str
    codecs: dict[int, str]  # payload type -> codec name in upper case
    clock_rates: dict[int, int]
    apt: dict[int, int]  # RTX payload type -> the payload type that it carries
    rtx_of: int | None


@dataclass(slots=True)
class MediaSection:
    """One m-section of an offer."""

    kind: str
    port: int
    payload_types: list[int]
    lines: list[str]  # its attribute lines without "a="
    mid: str = ""
    rtpmap: dict[int, tuple[str, int]] = field(default_factory=dict)
    apt: dict[int, int] = field(default_factory=dict)

    def attribute(self, name: str) -> str | None:
        """The first value of an attribute, None when it is not there."""
        return next((line[len(name) + 1 :] for line in self.lines if line.startswith(name + ":")), None)


@dataclass(slots=True)
class Offer:
    """An offer taken apart. Raises ValueError (by `parse_offer`) when it cannot be answered."""

    sections: list[MediaSection]
    ice_ufrag: str
    ice_pwd: str
    ice_lite: bool
    fingerprints: list[tuple[str, str]]
    candidates: list[str]
    sctp_port: int | None

    def streams(self) -> dict[int, StreamDescription]:
        """Every SSRC that the offer announces."""
        table: dict[int, StreamDescription] = {}
        for section in self.sections:
            if section.port and section.kind in CODECS:
                table.update((stream.ssrc, stream) for stream in _streams(section))
        return table


def parse_offer(sdp: str) -> Offer:
    """Take an offer apart; ValueError when it lacks what every WebRTC offer has."""
    session: list[str] = []
    sections: list[MediaSection] = []
    lines = session
    for raw in sdp.splitlines():
        line = raw.strip()
        if line.startswith("m="):
            kind, port, _, *formats = line[2:].split()
            payload_types = [int(f) for f in formats if _is_number(f)]
            sections.append(MediaSection(kind, int(port), payload_types, []))
            lines = sections[-1].lines
        elif line.startswith("a="):
            lines.append(line[2:])
    for section in sections:
        section.mid = section.attribute("mid") or ""
        _read_formats(section)
    every = [*session, *(line for section in sections for line in section.lines)]
    fingerprints = list(dict.fromkeys(_values(every, "fingerprint")))
    sctp = next((section for section in sections if section.kind == "application"), None)
    return Offer(
        sections=sections,
        ice_ufrag=_only(every, "ice-ufrag"),
        ice_pwd=_only(every, "ice-pwd"),
        ice_lite="ice-lite" in session,
        fingerprints=[(f.split(" ", 1)[0], f.split(" ", 1)[1]) for f in fingerprints if " " in f],
        candidates=list(dict.fromkeys(_values(every, "candidate"))),
        sctp_port=None if sctp is None else int(sctp.attribute("sctp-port") or SCTP_PORT),
    )


def _is_number(text: str) -> bool:
    """Of at most 32 bits or so; other scripts' digits are none."""
    return text.isascii() and text.isdigit() and len(text) <= 10


def _values(lines: Iterable[str], name: str) -> list[str]:
    return [line[len(name) + 1 :] for line in lines if line.startswith(name + ":")]


def _only(lines: Iterable[str], name: str) -> str:
    values = _values(lines, name)
    if not values:
        raise ValueError(f"the offer has no {name}")
    return values[0]


def _read_formats(section: MediaSection) -> None:
    for value in _values(section.lines, "rtpmap"):
        number, _, encoding = value.partition(" ")
        name, _, rate = encoding.partition("/")
        clock = rate.split("/")[0]
        if _is_number(number) and _is_number(clock) and int(clock):
            section.rtpmap[int(number)] = (name.upper(), int(clock))
    for value in _values(section.lines, "fmtp"):
        number, _, parameters = value.partition(" ")
        for parameter in parameters.split(";"):
            name, _, apt = parameter.strip().partition("=")
            if name == "apt" and _is_number(number) and _is_number(apt):
                section.apt[int(number)] = int(apt)


def _streams(section: MediaSection) -> Iterable[StreamDescription]:
    stream_id, _, track_id = (section.attribute("msid") or "").partition(" ")
    repairs: dict[int, int] = {}
    for group in _values(section.lines, "ssrc-group"):
        kind, _, pair = group.strip().partition(" ")
        ssrcs = pair.split()
        if kind == "FID" and len(ssrcs) == 2 and all(map(_is_number, ssrcs)):
            repairs[int(ssrcs[1])] = int(ssrcs[0])
    for ssrc in dict.fromkeys(v.split(" ", 1)[0] for v in _values(section.lines, "ssrc")):
        if _is_number(ssrc):
            yield StreamDescription(
                ssrc=int(ssrc),
                kind=section.kind,
                participant_sid=stream_id.split("|")[0],
                track_sid=track_id.strip(),
                codecs={pt: name for pt, (name, _) in section.rtpmap.items()},
                clock_rates={pt: rate for pt, (_, rate) in section.rtpmap.items()},
                apt=section.apt,
                rtx_of=repairs.get(int(ssrc)),
            )


@dataclass(frozen=True, slots=True)
class LocalDescription:
    """Our side of the one transport; candidates as in `a=candidate:` without the prefix."""

    ice_ufrag: str
    ice_pwd: str
    fingerprints: Sequence[tuple[str, str]]
    candidates: Sequence[str]
    setup: str = "active"


def build_answer(offer: Offer, local: LocalDescription) -> str:
    """Receive everything that is offered in a codec we know, bundled on one transport; refuse the rest."""
    accepted = [section for section in offer.sections if _accepts(section)]
    lines = [
        "v=0",
        "o=- 1 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE " + " ".join(section.mid for section in accepted),
        "a=msid-semantic: WMS",
    ]
    for section in offer.sections:
        if section not in accepted:
            formats = " ".join(map(str, section.payload_types)) or "0"
            lines += [f"m={section.kind} 0 UDP/TLS/RTP/SAVPF {formats}", "c=IN IP4 0.0.0.0"]
            lines += [f"a=mid:{section.mid}", "a=inactive"]
            continue
        lines += _application(section) if section.kind == "application" else _media(section)
        lines += _transport(local, first=section is accepted[0])
    return "\r\n".join(lines) + "\r\n"


def _accepts(section: MediaSection) -> bool:
    return bool(section.port) and (section.kind == "application" or bool(_known(section)))


def _known(section: MediaSection) -> list[int]:
    """Payload types of codecs we know, each with its RTX."""
    names = CODECS.get(section.kind, ())
    known = {pt for pt in section.payload_types if section.rtpmap.get(pt, ("", 0))[0] in names}
    return [pt for pt in section.payload_types if pt in known or section.apt.get(pt) in known]


def _application(section: MediaSection) -> list[str]:
    return [
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        f"a=sctp-port:{SCTP_PORT}",
        "a=max-message-size:65536",
    ]


def _media(section: MediaSection) -> list[str]:
    known = _known(section)
    lines = [
        f"m={section.kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, known))}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        "a=inactive" if {"recvonly", "inactive"} & set(section.lines) else "a=recvonly",
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    for line in section.lines:
        name, _, value = line.partition(":")
        number, _, rest = value.partition(" ")
        if not _is_number(number) or int(number) not in known:
            continue
        if name in ("rtpmap", "fmtp") or (name == "rtcp-fb" and rest in _FEEDBACK):
            lines.append("a=" + line)
    return lines


def _transport(local: LocalDescription, *, first: bool) -> list[str]:
    lines = [f"a=ice-ufrag:{local.ice_ufrag}", f"a=ice-pwd:{local.ice_pwd}"]
    lines += [f"a=fingerprint:{algorithm} {value}" for algorithm, value in local.fingerprints]
    lines.append(f"a=setup:{local.setup}")
    if first:
        lines += [f"a=candidate:{candidate}" for candidate in local.candidates]
        lines.append("a=end-of-candidates")
    return lines
