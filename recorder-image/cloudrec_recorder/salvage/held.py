"""Segments of the frames that a dead recorder held back, or had let out and not yet written.

A held file has all of its source's frames from the first on. So where it reaches further than the segments that are
open, these are made anew; where they reach as far, nothing is to be done. Nothing that is closed is touched: what comes
behind it is made of H.264 and sound, and of pictures to be transcoded if a keyframe comes; else the open segment stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudrec_contract.spool import JOURNAL, MEDIA, SegmentRecord, Task, TrackRecord, decode_record
from cloudrec_recorder.journal import Journal
from cloudrec_recorder.media import AccessUnit, Kind
from cloudrec_recorder.salvage.sources import Source
from cloudrec_recorder.segments.audio import FRAME, OPUS_LOOKAHEAD, RATE
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.files import Output, SegmentSettings
from cloudrec_recorder.segments.segmenter import Segmenter

TOLERANCE: Final = 0.1
"""Seconds by which two ends of the same media may differ; a source is further ahead before anything is done."""
_AUDIO_LEAD: Final = (FRAME + OPUS_LOOKAHEAD) / RATE
"""Seconds by which the first AAC frame lies before its packet's time."""
_AT_ONCE: Final = 64  # units between two waits: a transcoder takes 300 before it drops some
_TICK_SECONDS: Final = 0.2
_WAIT_SECONDS: Final = 20.0
_DISK_SECONDS: Final = 30.0

Spans = dict[Kind, tuple[float, float]]
"""Begin and end of what there is of each kind, seconds since the task's epoch."""


@dataclass(frozen=True, slots=True)
class Written:
    """An open segment."""

    path: Path
    spans: Spans


@dataclass(frozen=True, slots=True)
class Plan:
    """What a playlist's segments are to be made of, and which open ones they take the place of."""

    units: list[AccessUnit]
    instead: list[Path]
    until: float
    """Where the open ones end, seconds since the epoch."""


def plan(sources: Sequence[Source], files: Sequence[Written], closed_until: float) -> Plan | None:
    """For one playlist, whose closed segments end at `closed_until` (s); None when the open ones have everything."""

    def reach(kind: Kind, among: Iterable[Written]) -> float:
        return max([closed_until, *(file.spans[kind][1] for file in among if kind in file.spans)])

    ahead = [source for source in sources if source.end > reach(source.key.kind, files) + TOLERANCE]
    if not ahead:
        return None
    begin = min(source.begin for source in ahead) - TOLERANCE
    instead = [
        file
        for file in files
        if all(span[0] >= begin and _covered(sources, kind, span) for kind, span in file.spans.items())
    ]
    others = [file for file in files if file not in instead]
    cuts = {kind: reach(kind, others) for kind in {source.key.kind for source in sources}}
    units = [unit for source in sources for unit in source.units if _written_from(unit) >= cuts[unit.key.kind]]
    until = max((end for file in instead for _, end in file.spans.values()), default=float("-inf"))
    return Plan(sorted(units, key=lambda unit: unit.time), [file.path for file in instead], until)


def _covered(sources: Iterable[Source], kind: Kind, span: tuple[float, float]) -> bool:
    own = [source for source in sources if source.key.kind == kind]
    return any(source.begin <= span[0] + TOLERANCE for source in own) and any(
        source.end >= span[1] - 2 * TOLERANCE for source in own
    )


def _written_from(unit: AccessUnit) -> float:
    return unit.time - (_AUDIO_LEAD if unit.key.kind == "audio" else -1e-3)


def make(
    units: Sequence[AccessUnit], task: Task, folder: Path, wall_ms: Callable[[], int], *, continues: bool
) -> list[TrackRecord | SegmentRecord]:
    """Write segments below `folder` as a recorder does; returns what it would have put into its journal.

    `continues`: the playlist has segments already. Raises OSError.
    """
    media = folder / MEDIA
    media.mkdir()
    disk = Disk()
    journal = Journal(folder, disk, wall_ms)
    now = 0.0
    segmenter = Segmenter(
        Output(
            names=task.names,
            epoch_ms=task.epoch,
            folder=media,
            disk=disk,
            journal=journal,
            settings=SegmentSettings(target=task.segment_seconds, continues=continues),
            request_keyframe=lambda key: None,
        ),
        lambda: now,
        merge=task.merge_audio_video,
    )
    ticked = float("-inf")
    for number, unit in enumerate(units, 1):
        now = unit.time
        segmenter.media(unit)
        if number % _AT_ONCE == 0:
            _let_catch_up(segmenter)
        if now - ticked >= _TICK_SECONDS:
            ticked = now
            segmenter.tick()
    _let_catch_up(segmenter)
    segmenter.stop()
    segmenter.settle(_WAIT_SECONDS)
    segmenter.finish()
    closed = disk.close(_DISK_SECONDS)
    journal.close()
    if disk.error is not None:
        raise disk.error
    if not closed:
        raise TimeoutError("the disk does not take what was held back")
    records = map(decode_record, (folder / JOURNAL).read_bytes().splitlines())
    return [record for record in records if isinstance(record, TrackRecord | SegmentRecord)]


def _let_catch_up(segmenter: Segmenter) -> None:
    """Nobody is waited for in a room: give the threads for sound and pictures their time."""
    until = time.monotonic() + _WAIT_SECONDS
    segmenter.tick()
    while segmenter.waiting and time.monotonic() < until:
        time.sleep(0.002)
        segmenter.tick()
