"""What pictures and sound say, against what was published.

Offsets are in milliseconds, moments in seconds since the Unix epoch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from cloudrec_local.playback.beeps import onsets, silences
from cloudrec_local.playback.decode import Picture, Recording
from cloudrec_local.synthetic.code import unwrap
from cloudrec_local.synthetic.plan import Media
from cloudrec_local.synthetic.sound import beep_hz
from cloudrec_local.synthetic.truth import TrackTruth, Truth

PAIR_SECONDS = 0.4
"""A flash and a beep further apart than this do not belong together; they come once a second."""

MUTE_MARGIN_SECONDS = 1.5
"""Around mutes, what of a picture was still or already sent is not known: such pictures count neither way."""


@dataclass(frozen=True)
class Frames:
    """Pictures published and recorded. `missing` are numbers, `duplicated` too; `unreadable` and `foreign` (another
    user's, or another media's) are moments."""

    expected: int
    missing: tuple[int, ...]
    duplicated: tuple[int, ...]
    unreadable: tuple[float, ...]
    foreign: tuple[float, ...]

    @property
    def ratio(self) -> float:
        return 1 - len(self.missing) / self.expected if self.expected else 0.0


@dataclass(frozen=True)
class Gap:
    """Nothing was recorded from `start` to `end`."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def numbered(video: Recording, track: TrackTruth) -> list[tuple[int, Picture]]:
    """The pictures that are the track's own, with their full numbers, in the order of the file."""
    return [
        (unwrap(picture.code.frame, picture.wall * track.fps), picture)
        for picture in video.pictures
        if picture.code is not None and _own(picture, track)
    ]


def frame_ratio(
    truth: Truth,
    video: Recording,
    user: str,
    media: Media = "main",
    *,
    since: float | None = None,
    until: float | None = None,
) -> Frames:
    """Compare numbers of published pictures with those recorded.

    Of each publication what counts is from its first recorded picture to its last, which leaves out what passes before
    a recorder has subscribed (see `start_delays`), or from `since` to `until` by when pictures were captured.
    """
    tracks = _tracks(truth, user, media)
    counts = Counter(number for number, _ in numbered(video, tracks[0]))
    published: set[int] = set()
    for track in tracks:
        recorded = [number for number in track.frames if number in counts]
        low = recorded[0] / track.fps if since is None and recorded else since
        high = recorded[-1] / track.fps if until is None and recorded else until
        published |= {
            number
            for number, at in zip(track.frames, track.times, strict=True)
            if (low is None or low <= number / track.fps)
            and (high is None or number / track.fps <= high)
            and not _muted(track, at)
        }
    return Frames(
        expected=len(published),
        missing=tuple(sorted(published - counts.keys())),
        duplicated=tuple(sorted(number for number, count in counts.items() if count > 1)),
        unreadable=tuple(p.wall for p in video.pictures if p.code is None),
        foreign=tuple(p.wall for p in video.pictures if p.code is not None and not _own(p, tracks[0])),
    )


def start_delays(truth: Truth, video: Recording, user: str, media: Media = "main") -> list[float]:
    """For each publication, how long after its first picture the first recorded one was captured (s); infinite for one
    that was not recorded."""
    tracks = _tracks(truth, user, media)
    recorded = {number for number, _ in numbered(video, tracks[0])}
    delays = []
    for track in tracks:
        first = next((n for n in track.frames if n in recorded), None)
        delays.append(math.inf if first is None else (first - track.frames[0]) / track.fps)
    return delays


def capture_errors(truth: Truth, video: Recording, user: str, media: Media = "main") -> list[float]:
    """For each recorded picture, when the file says it was, less when it was captured (ms)."""
    return list(_errors(truth, video, user, media).values())


def begin_error(truth: Truth, recording: Recording, user: str, media: Media = "main") -> float:
    """BeginTimeStamp less the truth (ms): when the first picture was captured; of sound, what the beeps say, whose
    time goes by BeginTimeStamp too."""
    if recording.kind == "video":
        return next(iter(_errors(truth, recording, user, media).values()))
    return median(_from_whole_second(at) for at in beeps(recording, _hz(truth, user, media)))


def flashes(video: Recording) -> list[float]:
    """When the flash box was lit; a flash in the very first picture has no beginning and is left out."""
    return [after.wall for before, after in pairwise(video.pictures) if after.flash and not before.flash]


def beeps(audio: Recording, hz: float) -> list[float]:
    """When beeps of this pitch began."""
    return [sound.wall + at for sound in audio.sounds for at in onsets(sound.samples, sound.rate, hz)]


def av_offset(truth: Truth, video: Recording, audio: Recording, user: str, media: Media = "main") -> list[float]:
    """Beep less flash (ms) of each second that has both, across the two files; positive: sound is late."""
    return _pairs(flashes(video), beeps(audio, _hz(truth, user, media)))


def users_offset(truth: Truth, a: Recording, user_a: str, b: Recording, user_b: str) -> list[float]:
    """For pictures of two users that were captured in the same period of 1/fps: what the files say, b less a, less what
    is true (ms)."""
    track_a, track_b = _tracks(truth, user_a, "main")[0], _tracks(truth, user_b, "main")[0]
    if track_a.fps != track_b.fps:
        raise ValueError("the users' pictures come at different rates")
    errors_a, errors_b = _errors(truth, a, user_a), _errors(truth, b, user_b)
    return [errors_b[number] - errors_a[number] for number in errors_a.keys() & errors_b.keys()]


def gaps(recording: Recording, least_seconds: float) -> list[Gap]:
    """Where longer than this nothing follows: of pictures between two of them, of sound between what joins up."""
    if recording.kind == "video":
        spans = [(before.wall, after.wall) for before, after in pairwise(recording.pictures)]
    else:
        spans = [(before.end, after.wall) for before, after in pairwise(recording.sounds)]
    return [Gap(start, end) for start, end in spans if end - start > least_seconds]


def silent(audio: Recording, least_seconds: float = 0.04) -> list[Gap]:
    """Where sound was recorded that has not even the quiet tone: filled in, or a mute."""
    return [
        Gap(sound.wall + start, sound.wall + end)
        for sound in audio.sounds
        for start, end in silences(sound.samples, sound.rate, least_seconds)
    ]


def percentile(values: Iterable[float], part: float) -> float:
    """The nearest-rank percentile of absolute values; `part` from 0 to 1. Raises ValueError when there are none."""
    ordered = sorted(map(abs, values))
    if not ordered:
        raise ValueError("nothing was measured")
    return ordered[max(math.ceil(part * len(ordered)) - 1, 0)]


def _tracks(truth: Truth, user: str, media: Media) -> tuple[TrackTruth, ...]:
    tracks = truth.of(user, media, "video")
    if not tracks:
        raise KeyError(f"{user!r} published no {media} video")
    return tracks


def _hz(truth: Truth, user: str, media: Media) -> int:
    tracks = truth.of(user, media, "audio")
    if not tracks:
        raise KeyError(f"{user!r} published no {media} audio")
    return beep_hz(tracks[0].number, screen=media == "aux")


def _own(picture: Picture, track: TrackTruth) -> bool:
    code = picture.code
    return code is not None and (code.user, code.screen) == (track.number, track.media == "aux")


def _muted(track: TrackTruth, at: float) -> bool:
    return any(
        mute.start - MUTE_MARGIN_SECONDS <= at <= (mute.end or math.inf) + MUTE_MARGIN_SECONDS for mute in track.muted
    )


def _errors(truth: Truth, video: Recording, user: str, media: Media = "main") -> dict[int, float]:
    """By number, in the order of the file."""
    tracks = _tracks(truth, user, media)
    times = {n: at for track in tracks for n, at in zip(track.frames, track.times, strict=True)}
    return {n: (p.wall - times[n]) * 1000 for n, p in numbered(video, tracks[0]) if n in times}


def _pairs(flashed: Sequence[float], beeped: Sequence[float]) -> list[float]:
    offsets = []
    for flash in flashed:
        near = min(beeped, key=lambda beep: abs(beep - flash), default=math.inf)
        if abs(near - flash) < PAIR_SECONDS:
            offsets.append((near - flash) * 1000)
    return offsets


def _from_whole_second(at: float) -> float:
    return (at - round(at)) * 1000
