"""Recorded files looked at as a player would: every playlist and segment is fetched, read and decoded whole.

It asks no more of a recording than that it plays, and of a synthetic user's that it shows that user; how exact it is in
time is for the media tests to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from cloudrec_contract.naming import parse_name
from cloudrec_local.playback.beeps import onsets
from cloudrec_local.playback.decode import TICKS, Picture, Recording, load
from cloudrec_local.playback.playlist import PlaylistError
from cloudrec_local.synthetic.code import FRAME_MODULUS
from cloudrec_local.synthetic.sound import beep_hz

_GAP_FACTOR = 3  # a picture that takes this many times as long as usual is a gap
_LEAST_GAP_SECONDS = 0.25
_LEAST_SOUND_GAP_SECONDS = 0.02
_LEAST_READABLE = 0.9  # of a synthetic user's pictures; what is being muted or ends shows none
_JOINT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class FileReport:
    """One playlist with its segments. Times in seconds, `size` in bytes.

    `frames` counts pictures; `missing` those of a synthetic user whose numbers are left out where pictures follow each
    other. `gaps` are (offset, length): a user may mute. `recognised` says whether a synthetic user's own picture or
    beep was found; None for other users. `faults` are what a player could stumble over, in words.
    """

    name: str
    user: str
    media: str
    kind: str
    seconds: float = 0.0
    segments: int = 0
    size: int = 0
    codec: str = ""
    resolution: str = ""
    frames: int = 0
    missing: int = 0
    gaps: tuple[tuple[float, float], ...] = ()
    recognised: bool | None = None
    faults: tuple[str, ...] = ()


def check_files(playlists: Iterable[str], get: Callable[[str], bytes], users: Mapping[str, int]) -> list[FileReport]:
    """Check every playlist. `playlists` are keys; `get` fetches the object of a key, and what it raises for one that
    is not there (an OSError or KeyError) is a fault of that file. `users` are synthetic users' numbers by identity.
    """
    return [_check(key, get, users) for key in sorted(playlists)]


def _check(key: str, get: Callable[[str], bytes], users: Mapping[str, int]) -> FileReport:
    folder, slash, name = key.rpartition("/")
    try:
        whose = parse_name(name)
    except ValueError as error:
        return FileReport(name, "", "", "", faults=(str(error),))
    try:
        recording = load(get(key).decode(), lambda segment: get(folder + slash + segment))
    except (PlaylistError, OSError, KeyError, UnicodeDecodeError) as error:
        return FileReport(name, whose.user_id, whose.media, whose.kind, faults=(f"{type(error).__name__}: {error}",))
    number = users.get(whose.user_id)
    return _describe(name, whose.user_id, whose.media, whose.kind, recording, number)


def _describe(
    name: str, user: str, media: str, kind: str, recording: Recording, number: int | None = None
) -> FileReport:
    """What there is to say of a decoded recording; `number` is that of a synthetic user."""
    screen = media == "aux"
    own = [p for p in recording.pictures if p.code and (p.code.user, p.code.screen) == (number, screen)]
    return FileReport(
        name=name,
        user=user,
        media=media,
        kind=kind,
        seconds=recording.seconds,
        segments=len(recording.segments),
        size=recording.size,
        codec=recording.codec,
        resolution=", ".join(dict.fromkeys(f"{p.width}x{p.height}" for p in recording.pictures)),
        frames=len(recording.pictures),
        missing=_missing(own),
        gaps=tuple(_gaps(recording)),
        recognised=None if number is None else _recognised(recording, own, beep_hz(number, screen=screen)),
        faults=(*recording.faults, *_file_faults(recording, kind)),
    )


def _file_faults(recording: Recording, kind: str) -> Iterable[str]:
    if not recording.playlist.ended:
        yield "the playlist has no end"
    if kind not in (recording.kind, "audio_video"):
        yield f"holds {recording.kind}"
    if recording.playlist.size is None and kind == "video":
        yield "the playlist does not tell the picture's size"
    for before, after in pairwise(recording.segments):
        gap = (after.first_pts - before.first_pts) / TICKS - before.declared
        if abs(gap) > _JOINT_SECONDS and not after.discontinuity:
            yield f"{after.name}: begins {gap:+.3f} s from where the one before ends, without a discontinuity"


def _missing(own: Sequence[Picture]) -> int:
    """Numbers left out in the code of pictures that follow each other without a gap."""
    least = _least_gap(own)
    return sum(
        max((b.code.frame - a.code.frame) % FRAME_MODULUS - 1, 0)
        for a, b in pairwise(own)
        if a.code and b.code and b.wall - a.wall < least
    )


def _least_gap(pictures: Sequence[Picture]) -> float:
    steps = [after.wall - before.wall for before, after in pairwise(pictures)]
    return max(_GAP_FACTOR * median(steps), _LEAST_GAP_SECONDS) if steps else _LEAST_GAP_SECONDS


def _gaps(recording: Recording) -> Iterable[tuple[float, float]]:
    if recording.kind == "video":
        least = _least_gap(recording.pictures)
        spans = [(before.wall, after.wall) for before, after in pairwise(recording.pictures)]
    else:
        least = _LEAST_SOUND_GAP_SECONDS
        spans = [(before.end, after.wall) for before, after in pairwise(recording.sounds)]
    return ((start - recording.playlist.start, end - start) for start, end in spans if end - start > least)


def _recognised(recording: Recording, own: Sequence[Picture], hz: int) -> bool:
    if recording.kind == "video":
        return len(own) >= max(_LEAST_READABLE * len(recording.pictures), 1)
    return any(onsets(sound.samples, sound.rate, hz) for sound in recording.sounds)
