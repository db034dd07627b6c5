"""Recorded files looked at as a player would: every playlist and segment is fetched, read and decoded whole.

It asks no more of a recording than that it plays, and of a synthetic user's that it shows that user; how exact it is in
time is for the media tests to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from cloudrec_contract.naming import parse_single
from cloudrec_local.playback.beeps import onsets
from cloudrec_local.playback.decode import TICKS, Picture, Recording, load
from cloudrec_local.playback.playlist import PlaylistError
from cloudrec_local.synthetic.code import FRAME_MODULUS
from cloudrec_local.synthetic.plan import standard_plan
from cloudrec_local.synthetic.sound import beep_hz

_GAP_FACTOR = 3  # a picture that takes this many times as long as usual is a gap
_LEAST_GAP_SECONDS = 0.25
_LEAST_SOUND_GAP_SECONDS = 0.02
_LEAST_READABLE = 0.9  # of a synthetic user's pictures; what is being muted or ends shows none
_MOST_MISSING = 0.01  # of a synthetic user's pictures
_JOINT_SECONDS = 0.05


STANDARD_USERS = {user.identity: user.number for user in standard_plan(25).users}
"""The synthetic users that `cloudrec publish` and `cloudrec demo` send into a room."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """One playlist with its segments. Times in seconds.

    `frames` counts pictures; `missing` those whose numbers are left out where a user's pictures follow each other;
    `beeps` and `flashes` those of a synthetic user. `gaps` are (offset, length). `recognised` says whether a synthetic
    user's own picture or beep was found; None for other users. `faults` are what a player could stumble over.
    """

    name: str
    user: str
    media: str
    kind: str
    seconds: float = 0.0
    segments: int = 0
    bytes: int = 0
    codec: str = ""
    resolution: str = ""
    frames: int = 0
    missing: int = 0
    flashes: int = 0
    beeps: int = 0
    gaps: tuple[tuple[float, float], ...] = ()
    recognised: bool | None = None
    faults: tuple[str, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """Everything that is wrong, in words. Gaps are not: a user may mute."""
        found = list(self.faults)
        if not self.faults and self.seconds <= 0:
            found.append("empty")
        if self.recognised is False:
            found.append(f"not what {self.user} {'showed' if self.kind == 'video' else 'said'}")
        if self.missing > _MOST_MISSING * (self.frames + self.missing):
            found.append(f"{self.missing} of {self.frames + self.missing} pictures are missing")
        return tuple(found)

    @property
    def content(self) -> str:
        """Codec and measures."""
        return f"{self.codec} {self.resolution}, {self.frames} pictures" if self.kind == "video" else self.codec

    @property
    def seen(self) -> str:
        """What a synthetic user showed or said, and where nothing is."""
        words = []
        if self.recognised and self.kind == "video":
            words.append(f"{self.flashes} flashes, {self.missing or 'no'} pictures missing")
        elif self.recognised:
            words.append(f"{self.beeps} beeps")
        words += [f"nothing for {length:.1f} s at {offset:.1f} s" for offset, length in self.gaps]
        return ", ".join(words)


def check_folder(folder: Path, users: Mapping[str, int] = STANDARD_USERS) -> list[FileReport]:
    """Check every playlist of a recording in a local folder; other playlists there are not looked at."""
    names = [path.name for path in folder.glob("*.m3u8") if _is_recorded(path.name)]
    return check_files(names, lambda name: (folder / name).read_bytes(), users)


def check_files(
    playlists: Iterable[str], get: Callable[[str], bytes], users: Mapping[str, int] = STANDARD_USERS
) -> list[FileReport]:
    """Check every playlist. `playlists` are keys; `get` fetches the object of a key, and what it raises for one that
    is not there (an OSError or KeyError) is a fault of that file. `users` are synthetic users' numbers by identity.
    """
    return [_check(key, get, users) for key in sorted(playlists)]


def _is_recorded(name: str) -> bool:
    try:
        parse_single(name)
    except ValueError:
        return False
    return True


def _check(key: str, get: Callable[[str], bytes], users: Mapping[str, int]) -> FileReport:
    folder, slash, name = key.rpartition("/")
    try:
        whose = parse_single(name)
    except ValueError as error:
        return FileReport(name, "", "", "", faults=(str(error),))
    try:
        recording = load(get(key).decode(), lambda segment: get(folder + slash + segment))
    except (PlaylistError, OSError, KeyError, UnicodeDecodeError) as error:
        return FileReport(name, whose.user_id, whose.media, whose.kind, faults=(f"{type(error).__name__}: {error}",))
    number = users.get(whose.user_id)
    return describe(name, whose.user_id, whose.media, whose.kind, recording, number)


def describe(
    name: str, user: str, media: str, kind: str, recording: Recording, number: int | None = None
) -> FileReport:
    """What there is to say of a decoded recording; `number` is that of a synthetic user."""
    screen = media == "aux"
    own = [p for p in recording.pictures if p.code and (p.code.user, p.code.screen) == (number, screen)]
    beeps = _beeps(recording, beep_hz(number, screen=screen)) if number is not None else 0
    readable = len(own) >= max(_LEAST_READABLE * len(recording.pictures), 1)
    return FileReport(
        name=name,
        user=user,
        media=media,
        kind=kind,
        seconds=recording.seconds,
        segments=len(recording.segments),
        bytes=recording.size,
        codec=recording.codec,
        resolution=", ".join(dict.fromkeys(f"{p.width}x{p.height}" for p in recording.pictures)),
        frames=len(recording.pictures),
        missing=_missing(own),
        flashes=sum(after.flash and not before.flash for before, after in pairwise(own)),
        beeps=beeps,
        gaps=tuple(_gaps(recording)),
        recognised=None if number is None else readable if kind == "video" else beeps > 0,
        faults=(*recording.faults, *_file_faults(recording, kind)),
    )


def _file_faults(recording: Recording, kind: str) -> Iterable[str]:
    if not recording.playlist.ended:
        yield "the playlist has no end"
    if recording.kind != kind:
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


def _beeps(recording: Recording, hz: int) -> int:
    return sum(len(onsets(sound.samples, sound.rate, hz)) for sound in recording.sounds)
