"""What is in no file: what users published, against all attempts' files laid over each other on their one time line.

Spans are (start, end) in seconds since the Unix epoch, in order, apart from each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cloudrec_local.playback.decode import Recording
from cloudrec_local.synthetic.sound import FRAMES_PER_SECOND
from cloudrec_local.synthetic.truth import TrackTruth, Truth
from tests.analysis import content
from tests.analysis.files import Whose

Spans = list[tuple[float, float]]
Kind = Literal["audio", "video"]
KINDS: tuple[Kind, ...] = ("audio", "video")

NOTHING_SECONDS = 0.1
"""Of media; as good as nothing lost."""

JOIN_SECONDS: Mapping[Kind, float] = {"video": 0.25, "audio": 0.06}
"""A break this short is no loss: a busy machine's encoder leaves single pictures out, its microphone a few frames."""


@dataclass(frozen=True)
class Hole:
    """Published, and in no file."""

    user: str
    kind: Kind
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def merged(spans: Iterable[tuple[float, float]], join: float = 0.0) -> Spans:
    """The union; breaks of at most `join` seconds are closed."""
    out: Spans = []
    for start, end in sorted(spans):
        if out and start - out[-1][1] <= join:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def without(spans: Spans, taken: Spans) -> Spans:
    """What of `spans` is in none of `taken`."""
    out: Spans = []
    for begin, end in spans:
        at = begin
        for start, stop in taken:
            if stop <= at or start >= end:
                continue
            if start > at:
                out.append((at, start))
            at = max(at, stop)
        if at < end:
            out.append((at, end))
    return out


def published(track: TrackTruth, until: float) -> Spans:
    """When a publication sent something; where a stalled machine captured nothing, nothing was to be recorded."""
    if track.kind == "audio":
        return [(track.published, track.unpublished or until)]
    return merged(((n / track.fps, (n + 1) / track.fps) for n in track.frames), JOIN_SECONDS["video"])


def recorded(files: Iterable[Recording], tracks: tuple[TrackTruth, ...]) -> Spans:
    """When any of the files has content: pictures by the numbers in them, sound where it is not silent."""
    track = tracks[0]
    spans: Spans = []
    for file in files:
        if track.kind == "video":
            spans += [(n / track.fps, (n + 1) / track.fps) for n, _ in content.numbered(file, track)]
        else:
            silences = [(gap.start, gap.end) for gap in content.silent(file)]
            spans += without([(sound.wall, sound.end) for sound in file.sounds], silences)
    return merged(spans, JOIN_SECONDS[track.kind])


def common(spans: Spans, others: Spans) -> Spans:
    """What is in both."""
    return without(spans, without(spans, others))


@dataclass(frozen=True)
class Coverage:
    """A task's files beside the truth.

    `witness` is another recording of the same room, to which nothing was done: pictures that it has not either, a
    stalled encoder or media server did not send. `others` are all other recordings of the room: sound that a stalled
    machine left out is a jump of the user's clock, which each of them notices at a time of its own, so of sound seconds
    are compared, not moments.
    """

    truth: Truth
    files: Mapping[Whose, Recording]
    witness: Coverage | None = None
    others: tuple[Coverage, ...] = ()

    @property
    def users(self) -> list[str]:
        return sorted({whose.user for whose in self.files})

    def content(self, user: str, kind: Kind, attempts: Iterable[int] | None = None) -> Spans:
        """Where there is content of a user in the files of these attempts (None: all)."""
        chosen = None if attempts is None else set(attempts)
        tracks = self.truth.of(user, "main", kind)
        files = [
            file
            for whose, file in self.files.items()
            if (whose.user, whose.media, whose.kind) == (user, "main", kind)
            and (chosen is None or whose.attempt in chosen)
        ]
        return recorded(files, tracks) if files else []

    def holes(self, until: float) -> list[Hole]:
        """What users published from the first content of each to `until` and is in no file."""
        found: list[Hole] = []
        for user in self.users:
            for kind in KINDS:
                have = self.content(user, kind)
                if not have:
                    continue
                wanted = self._wanted(user, kind, have[0][0], until)
                found += [
                    Hole(user, kind, start, end)
                    for start, end in without(wanted, have)
                    if end - start > JOIN_SECONDS[kind]
                ]
        return found

    def _wanted(self, user: str, kind: Kind, since: float, until: float) -> Spans:
        sent = merged(s for track in self.truth.of(user, "main", kind) for s in published(track, self.truth.ended))
        if self.witness is not None and kind == "video":
            sent = common(sent, self.witness.content(user, kind))
        return common(sent, [(since, until)])

    def lost(self, until: float) -> float:
        """Seconds from the first content to `until`, of the user and kind that lost most."""
        return max((self._lost(user, kind, until) for user in self.users for kind in KINDS), default=0.0)

    def _lost(self, user: str, kind: Kind, until: float) -> float:
        seconds = sum(hole.seconds for hole in self.holes(until) if (hole.user, hole.kind) == (user, kind))
        return max(0.0, seconds - self._not_sent(user, until)) if kind == "audio" else seconds

    def _not_sent(self, user: str, until: float) -> float:
        """Sound, in seconds, at most: what the user knows of, or what none of the others has."""
        slipped = sum(track.slips for track in self.truth.of(user, "main", "audio")) / FRAMES_PER_SECOND
        missed = [
            sum(hole.seconds for hole in other.holes(until) if (hole.user, hole.kind) == (user, "audio"))
            for other in self.others
        ]
        return min(missed, default=slipped)

    def saved_until(self, attempt: int, before: float = float("inf")) -> float:
        """To when the attempt has everybody's picture and sound; of those who have anything before `before`."""
        ends = [
            spans[-1][1]
            for user in self.users
            for kind in KINDS
            if (spans := self.content(user, kind, [attempt])) and spans[0][0] < before
        ]
        return min(ends)

    def back_at(self, attempt: int) -> float:
        """Since when the attempt has everybody's picture and sound."""
        return max(self.content(user, kind, [attempt])[0][0] for user in self.users for kind in KINDS)
