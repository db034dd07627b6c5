"""What may be given up on, and when a copy in the backup store is enough. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal

from cloudrec_recorder.uploader.state import State

Kind = Literal["check", "segment", "playlist", "manifest"]
KINDS: Final[tuple[Kind, ...]] = ("segment", "playlist", "manifest")


def waiting(state: State, kind: Kind) -> list[str]:
    """Names of this kind that the bucket lacks."""
    match kind:
        case "segment":
            return list(state.pending)
        case "playlist":
            return [track.name for track in state.unpublished()]
        case "manifest":
            return [""] if state.unlisted() else []
        case "check":
            return []


def in_backup(state: State, kind: Kind, name: str) -> bool:
    """Whether the backup store has this as it should be at the end."""
    match kind:
        case "segment":
            return name in state.backed
        case "playlist":
            published = state.tracks[name].backup.published
            behind = any(track.name == name for track in state.unpublished(backup=True))
            return published is not None and published.ended and not behind
        case "manifest":
            listed = state.listed.get(True)
            return listed is not None and listed.complete and listed.changes == state.changes
        case "check":
            return False


def to_drop(state: State, sizes: Mapping[str, int], excess: int, busy: Collection[str]) -> Iterator[str]:
    """Segments whose files have to go so that `excess` bytes are free: what is settled already, then what is in the
    backup store, then the oldest. `sizes`: of the files in the spool; those that are `busy` stay."""
    settled = [name for name in sizes if name in state.lost or (name in state.kept and name not in state.pending)]
    backed = [name for name in state.pending if name in state.backed]
    others = [name for name in state.pending if name not in state.backed]
    for name in (*settled, *backed, *others):
        if excess <= 0:
            return
        if name in sizes and name not in busy:
            excess -= sizes[name]
            yield name
