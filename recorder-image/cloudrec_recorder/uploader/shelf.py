"""What the playlists in one store may name: the bucket's, or the backup's. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from cloudrec_contract.playlist import Segment
from cloudrec_recorder.uploader.uploadlog import Published


@dataclass(slots=True)
class Shown:
    """One playlist. `segments` are those that it may name: the settled ones before the first unsettled one."""

    waiting: deque[Segment] = field(default_factory=deque)
    segments: list[Segment] = field(default_factory=list)
    gap: bool = False
    published: Published | None = None
    given_up: bool = False


class Shelf:
    """All playlists of one store. Segments may be settled before they are known: the two logs are read apart."""

    def __init__(self) -> None:
        self._outcomes: dict[str, bool] = {}

    def settled(self, file: str) -> bool:
        """Whether this is known of a segment that no playlist has yet."""
        return file in self._outcomes

    def settle(self, file: str, there: bool, shown: Shown | None) -> None:
        """The segment is there to be named, or never will be; `shown` is its playlist, if that is known."""
        self._outcomes[file] = there
        if shown is not None:
            self.advance(shown)

    def advance(self, shown: Shown) -> None:
        """Show what can be shown: a segment that never will be leaves a discontinuity."""
        while shown.waiting and shown.waiting[0].name in self._outcomes:
            segment = shown.waiting.popleft()
            if self._outcomes.pop(segment.name):
                shown.segments.append(replace(segment, discontinuity=True) if shown.gap else segment)
                shown.gap = False
            else:
                shown.gap = True
