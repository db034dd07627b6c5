"""What synthetic users really did, so that a recording can be compared with it.

All times are in seconds since the Unix epoch.
"""

from __future__ import annotations

import time
from typing import Literal

from pydantic import Field

from cloudrec_contract.model import Model
from cloudrec_local.synthetic.plan import Kind, Media

EventType = Literal["joined", "left", "disconnected", "published", "unpublished", "muted", "unmuted"]


class Event(Model):
    """Something that happened. `media` and `kind` are there where it happened to a track."""

    type: EventType
    user: str
    at: float
    media: Media | None = None
    kind: Kind | None = None

    def __str__(self) -> str:
        what = f" {self.media} {self.kind}" if self.kind else ""
        return f"{self.user} {self.type}{what}"


class Interval(Model):
    """A muted stretch; no `end` while it lasts."""

    start: float
    end: float | None = None


class TrackTruth(Model):
    """One publication of one track; a republished track is another.

    `frames` are the numbers of the pictures given to the encoder and `times` when; pictures are numbered in periods
    of 1/fps since the Unix epoch, so number / fps is when a picture was due. Of sound, frames of 10 ms, only the first
    is kept: it goes on without a break, but for `slips` frames that a stalled machine left out.
    """

    user: str
    number: int
    media: Media
    kind: Kind
    sid: str
    fps: int
    published: float
    unpublished: float | None = None
    frames: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    slips: int = 0
    muted: tuple[Interval, ...] = ()


class Truth(Model):
    """Everything that the users of one plan did. `cpu_seconds`: of the whole process, encoders included."""

    started: float
    ended: float
    events: tuple[Event, ...]
    tracks: tuple[TrackTruth, ...]
    cpu_seconds: float = Field(ge=0)

    def of(self, user: str, media: Media, kind: Kind) -> tuple[TrackTruth, ...]:
        """All publications of one track, in their order."""
        return tuple(t for t in self.tracks if (t.user, t.media, t.kind) == (user, media, kind))


class WallClock:
    """Time since the Unix epoch, anchored once: it never steps, whatever is done to the system's clock."""

    def __init__(self) -> None:
        self._anchor = time.time() - time.monotonic()

    def now(self) -> float:
        return self._anchor + time.monotonic()
