"""From playlists to what is used of which segment. Pure.

All attempts of a task share one time line. Where two have the same time the older one is used; a newer one fills the
older one's holes. Pictures can only be taken over at a keyframe, and a segment begins with one: there the older attempt
is left where the newer one's segment begins that goes on longer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from cloudrec_contract.naming import ParsedName, parse_name, parse_single
from cloudrec_contract.playlist import parse

Lane = Literal["video", "audio"]
SECTION_GAP_SECONDS: Final = 15.0
"""More time without any media begins another section (guide, merge script)."""
_LEAST: Final[Mapping[Lane, float]] = {"video": 0.1, "audio": 0.025}
"""Seconds of a segment that are worth taking over from a newer attempt."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment. `start`, `end`: ms since the Unix epoch. `joined`: it goes on from the segment before it."""

    name: str
    attempt: int
    start: float
    end: float
    previous: str = ""
    """The segment that it goes on from, if it does."""


@dataclass(frozen=True, slots=True)
class Use:
    """What is used of a piece: times from `low` up to `high`; `shift` is added to them. All in ms."""

    piece: Piece
    low: float
    high: float
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Stream:
    """What becomes one MP4: a user's main or aux, or the mixed picture (`user_id` None)."""

    sdk_app_id: int
    room: str
    user_id: str | None
    media: str
    video: tuple[Use, ...] = ()
    audio: tuple[Use, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that is not used, or not all of it, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Planned:
    streams: tuple[Stream, ...]
    faults: tuple[Fault, ...] = field(default=())


def plan(playlists: Mapping[str, bytes], sizes: Mapping[str, int]) -> Planned:
    """The streams of a folder's `playlists`, by name; `sizes` are those of all files that are there."""
    faults: list[Fault] = []
    found: dict[tuple[int, str, str | None, str], list[tuple[ParsedName, list[Piece]]]] = defaultdict(list)
    for name, text in sorted(playlists.items()):
        try:
            parsed = parse_name(name)
            user = None if _is_mixed(name) else parsed.user_id
        except ValueError:
            faults.append(Fault(name, "not the name of a recorded file"))
            continue
        try:
            segments = parse(text.decode()).segments
        except ValueError as error:
            faults.append(Fault(name, str(error)))
            continue
        pieces: list[Piece] = []
        before = ""
        for segment in segments:
            size = sizes.get(segment.name)
            if not size:
                faults.append(Fault(segment.name, "missing" if size is None else "empty"))
                before = ""
                continue
            previous = "" if segment.discontinuity else before
            end = segment.start_ms + segment.duration * 1000
            pieces.append(Piece(segment.name, parsed.index, segment.start_ms, end, previous))
            before = segment.name
        found[(parsed.sdk_app_id, parsed.room, user, parsed.media)].append((parsed, pieces))
    streams = []
    for (app, room, user, media), tracks in sorted(found.items(), key=lambda item: (item[0][2] or "", item[0])):
        video = _of(tracks, ("video", "audio_video"))
        audio = _of(tracks, ("audio", "audio_video"))
        made = Stream(app, room, user, media, tuple(covered(video, "video")), tuple(covered(audio, "audio")))
        if made.video or made.audio:
            streams.append(made)
    return Planned(tuple(streams), tuple(faults))


def _is_mixed(name: str) -> bool:
    try:
        parse_single(name)
    except ValueError:
        return True
    return False


def _of(tracks: Iterable[tuple[ParsedName, list[Piece]]], kinds: Container[str]) -> list[Piece]:
    return [piece for parsed, pieces in tracks if parsed.kind in kinds for piece in pieces]


def covered(pieces: Iterable[Piece], lane: Lane) -> list[Use]:
    """What is used of each, in order of time, without overlaps."""
    uses: list[Use] = []
    for piece in sorted(pieces, key=lambda piece: (piece.attempt, piece.start)):
        for low, high in _free(uses, piece):
            if high - low < _LEAST[lane] * 1000 and (low, high) != (piece.start, piece.end):
                continue
            if lane == "video" and low > piece.start:
                uses = _left_before(uses, piece.start, low)
                low = piece.start
            uses.append(Use(piece, low, high))
            uses.sort(key=lambda use: use.low)
    return uses


def _free(uses: Sequence[Use], piece: Piece) -> list[tuple[float, float]]:
    """The parts of a piece's time that no other attempt has. Its own attempt's are never in its way."""
    free = []
    low = piece.start
    for use in uses:
        if use.piece.attempt == piece.attempt or use.high <= low:
            continue
        if use.low >= piece.end:
            break
        if use.low > low:
            free.append((low, use.low))
        low = max(low, use.high)
    if low < piece.end:
        free.append((low, piece.end))
    return free


def _left_before(uses: Iterable[Use], start: float, end: float) -> list[Use]:
    """`uses` without the time from `start` to `end`."""
    kept = []
    for use in uses:
        if use.low < start < use.high <= end:
            kept.append(replace(use, high=start))
        elif use.high <= start or use.low >= end:
            kept.append(use)
    return kept


def sections(uses: Iterable[Use], gap: float = SECTION_GAP_SECONDS) -> list[tuple[float, float]]:
    """Stretches of time, in ms, between which nothing was recorded for more than `gap` seconds."""
    found: list[tuple[float, float]] = []
    for low, high in sorted((use.low, use.high) for use in uses):
        if found and low - found[-1][1] <= gap * 1000:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def within(uses: Iterable[Use], section: tuple[float, float]) -> tuple[Use, ...]:
    """Those that begin in a section."""
    return tuple(use for use in uses if section[0] <= use.low <= section[1])


def closed_up(uses: Iterable[Use], stretches: Sequence[tuple[float, float]]) -> tuple[Use, ...]:
    """With the time between the stretches taken out: each begins where the one before it ends."""
    made: list[Use] = []
    every = list(uses)
    removed = 0.0
    for number, stretch in enumerate(stretches):
        if number:
            removed += stretch[0] - stretches[number - 1][1]
        made += [replace(use, shift=use.shift - removed) for use in within(every, stretch)]
    return tuple(made)
