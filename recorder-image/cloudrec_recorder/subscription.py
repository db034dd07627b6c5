"""Which of a room's tracks are recorded: the task's streams and lists, and 25 slots. Pure.

A stream is a (user, media) pair with its audio and video; who has a slot keeps it as long as it publishes, the others
wait in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Final

from cloudrec_contract.resources import StreamKind, StreamMedia, Streams, UserList
from cloudrec_recorder.media import Media, TrackKey
from cloudrec_recorder.rooms import Published

MAX_STREAMS: Final = 25
_WILDCARD: Final = ".*$"

Stream = tuple[str, Media]
"""User id and media."""


@dataclass(frozen=True, slots=True)
class Choice:
    """`sids`: what to subscribe to; `streams`: who has a slot, in order; `waiting`: who gets the next one."""

    sids: frozenset[str] = frozenset()
    streams: tuple[Stream, ...] = ()
    waiting: tuple[Stream, ...] = ()


def choose(
    streams: Streams, tracks: Sequence[Published], users: Set[str], before: Choice, limit: int = MAX_STREAMS
) -> Choice:
    """What to record of `tracks` (one for each key, in the order in which they came), given who is in the room and
    what was recorded `before`.
    """
    wanted = {track.key: track for track in tracks if _matches(streams, track.key, users)}
    present: dict[Stream, None] = dict.fromkeys((key.user_id, key.media) for key in wanted)
    kept = [stream for stream in before.streams if stream in present]
    queue = [stream for stream in before.waiting if stream in present]
    queue += [stream for stream in present if stream not in kept and stream not in queue]
    free = max(0, limit - len(kept))
    slots = (*kept, *queue[:free])
    return Choice(
        frozenset(track.sid for key, track in wanted.items() if (key.user_id, key.media) in slots),
        slots,
        tuple(queue[free:]),
    )


def _matches(streams: Streams, key: TrackKey, users: Set[str]) -> bool:
    if streams.kind is StreamKind.AUDIO and key.kind != "audio":
        return False
    if streams.kind is StreamKind.VIDEO and key.kind != "video":
        return False
    if streams.media is StreamMedia.MAIN and key.media != "main":
        return False
    if streams.media is StreamMedia.AUX and key.media != "aux":
        return False
    return allowed(getattr(streams.subscribe, key.kind), key.user_id, users)


def allowed(users: UserList | None, user_id: str, present: Set[str]) -> bool:
    """Whether a list (None: everybody) lets this user be recorded."""
    if users is None:
        return True
    if users.include is not None:
        return _listed(users.include, user_id, present)
    return not _listed(users.exclude or (), user_id, present)


def _listed(entries: Iterable[str], user_id: str, present: Set[str]) -> bool:
    for entry in entries:
        if entry == user_id:
            return True
        # A user whose id is literally `abc.*$` is meant by that entry, and then nobody else.
        if entry.endswith(_WILDCARD) and entry not in present and user_id.startswith(entry[: -len(_WILDCARD)]):
            return True
    return False
