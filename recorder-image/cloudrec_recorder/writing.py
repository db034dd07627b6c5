"""What makes files of a room's media: single mode's segmenter, or mixed mode's composer with its files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Protocol

from cloudrec_contract.conditions import Reason
from cloudrec_contract.spool import Task
from cloudrec_recorder.media import MediaSink, TrackKey
from cloudrec_recorder.rooms import Published, Size

_NAMED = 8  # in a condition's message


class Writer(MediaSink, Protocol):
    """For the event loop's thread. Only `run` and `drain` wait for anything."""

    @property
    def units(self) -> int:
        """Access units taken so far."""

    @property
    def lost_seconds(self) -> Mapping[TrackKey, float]:
        """Media that capture gave up on, by track."""

    @property
    def fault(self) -> str:
        """Why no more can be recorded; empty while it can."""

    def sizes(self) -> Mapping[TrackKey, Size] | None:
        """How large the pictures are needed: (0, 0) is not at all. None: as large as they are."""

    def arrange(self, tracks: Sequence[Published], task: Task) -> None:
        """These tracks are to come or are coming already, in the order of entry; and what the task says now."""

    def tick(self) -> None:
        """Several times a second: hand what was made to the disk."""

    def conditions(self, published: Set[TrackKey] | None) -> Iterator[tuple[Reason, str]]:
        """What is noteworthy, or "" for what is not any more, of the tracks that are there (None: of all ever)."""

    def figures(self) -> dict[str, float]:
        """For metrics, by `metrics`' names; read on another thread."""

    async def run(self) -> None:
        """What it does beside, until it is cancelled or drained."""

    async def drain(self, timeout: float) -> bool:
        """Take no more media and make what is on its way; False when that takes longer than `timeout` seconds."""

    def finish(self) -> None:
        """End every open segment, for good."""


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def codecs(codecs: Mapping[TrackKey, str], published: Set[TrackKey] | None) -> list[str]:
    """Which codec of whom, in words."""
    return sorted(
        f"{codec} of {key.user_id} ({key.media})"
        for key, codec in codecs.items()
        if published is None or key in published
    )
