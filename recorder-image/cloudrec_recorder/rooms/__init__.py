"""A room as the recorder sees it, whatever the media server is.

A connector joins as a hidden, subscribe-only robot and reports what happens as `RoomEvent`s; media goes straight to
the `MediaSink` it was made with, never through the events.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Set
from dataclasses import dataclass
from typing import Protocol

from cloudrec_recorder.media import TrackKey

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Published:
    """A track that can be subscribed to. `sid` is the media server's id, unique over the room's life."""

    sid: str
    key: TrackKey
    codec: str  # what the server announced, may be ""
    width: int = 0
    height: int = 0
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """The robot is in the room and can receive, or the room will be there with its first user.

    Sent again after each rejoin.
    """

    rejoined: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """Who and what is there now: `anchors` may publish (not hidden, no recorder); `tracks` as published."""

    anchors: frozenset[str]  # identities
    tracks: tuple[Published, ...]  # one for each key, in the order in which their publishers came


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Joining or rejoining failed for now; the connector goes on trying until its deadline."""

    reason: str  # a condition's reason: LiveKitUnreachable, MediaUnreachable, TokenRefused (when rejoining)
    message: str


@dataclass(frozen=True, slots=True)
class Left:
    """The end; nothing follows. `code` is TRTC's LeaveCode; None when the robot never got in."""

    code: int | None
    # Stopped, TokenRefused, RemovedByApi, RoomDeleted, RemovedByServer, RoomClosed, RejoinTimeout, RepeatedEntry;
    # without a code also LiveKitUnreachable and MediaUnreachable: the first join's deadline is over
    reason: str
    message: str


RoomEvent = Joined | Changed | Unreachable | Left


class Room(Protocol):
    """One robot in one room. `events()` may be iterated once; it joins, and ends after `Left`."""

    def events(self) -> AsyncIterator[RoomEvent]: ...

    def subscribe(self, sids: Set[str]) -> None:
        """Receive exactly these tracks (level-triggered: called with the whole set at each change)."""

    def prefer(self, sizes: Mapping[str, Size]) -> None:
        """Receive of these tracks, by sid, the simulcast layer nearest to this size; of the others the best.

        A size of nothing pauses the track. Level-triggered, as `subscribe`.
        """

    def request_keyframe(self, key: TrackKey) -> None:
        """Ask the publisher for a keyframe (PLI); rate-limited and repeated by the connector as needed."""

    def clock_offsets(self) -> Mapping[str, float]:
        """By identity: our wall clock minus the publisher's, in seconds, as last known."""

    async def leave(self) -> None:
        """Leave politely; `events()` then yields `Left(0, "Stopped", …)`. Bounded to a few seconds."""
