"""The attempt's manifest, made of the state. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudrec_contract.manifest import Gap, Manifest, ManifestSegment, ManifestTrack
from cloudrec_contract.playlist import Segment
from cloudrec_contract.spool import EndRecord, Task, TrackRecord
from cloudrec_recorder.uploader.holdings import Kept
from cloudrec_recorder.uploader.state import State

GAP_SECONDS = 0.1
"""Time between two segments that is told as a gap; less is rounding and clock drift."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What of the state the manifest is made of, taken on the loop; it can be rendered on another thread."""

    changes: int
    complete: bool
    end: EndRecord | None
    missing: int
    only: frozenset[str]
    kept: dict[str, Kept]
    lost: dict[str, str]
    tracks: tuple[tuple[TrackRecord, tuple[Segment, ...]], ...]
    clock_offsets: dict[str, float]


def snapshot(state: State) -> Snapshot:
    return Snapshot(
        changes=state.changes,
        complete=state.end is not None and state.stored,
        end=state.end,
        missing=len(state.lost),
        only=frozenset(state.only),
        kept=state.kept.copy(),
        lost=state.lost.copy(),
        tracks=tuple((t.info, tuple(t.segments)) for t in state.tracks.values() if t.info is not None),
        clock_offsets=state.clock_offsets.copy(),
    )


def manifest(what: Snapshot, task: Task, now: int) -> bytes:
    """The text of a `Manifest`; `now` in ms since the Unix epoch. Segments that are in no store yet are not in it.

    One track after the other: all at once they would take much more memory than all else that the uploader knows.
    """
    head = Manifest(
        task_id=task.task_id,
        attempt=task.index,
        epoch=task.epoch,
        updated=now,
        complete=what.complete,
        failed=what.end is not None and what.end.failed,
        reason=what.end.reason if what.end is not None else "",
        missing=what.missing,
        backup=len(what.only),
        clock_offsets=what.clock_offsets,
    ).model_dump_json(by_alias=True, exclude={"tracks"}, exclude_none=True)
    tracks = b",".join(
        _track(info, segments, what).model_dump_json(by_alias=True, exclude_none=True).encode()
        for info, segments in what.tracks
    )
    return b'%b,"tracks":[%b]}' % (head.removesuffix("}").encode(), tracks)


def _track(info: TrackRecord, segments: tuple[Segment, ...], what: Snapshot) -> ManifestTrack:
    return ManifestTrack(
        playlist=info.track,
        user_id=info.user_id,
        media=info.media,
        kind=info.kind,
        codec=info.codec,
        begin_time_stamp=info.begin_time_stamp,
        width=info.width,
        height=info.height,
        sample_rate=info.sample_rate,
        channels=info.channels,
        transcoded=info.transcoded,
        segments=[
            ManifestSegment(
                file=segment.name,
                start=segment.start_ms,
                duration=segment.duration,
                bytes=kept.size,
                sha256=kept.sha256.hex(),
                discontinuity=segment.discontinuity,
                store="backup" if segment.name in what.only else "bucket",
            )
            for segment in segments
            if (kept := what.kept.get(segment.name)) is not None
        ],
        gaps=list(_gaps(segments, what.lost)),
        store="backup" if info.track in what.only else "bucket",
    )


def _gaps(segments: tuple[Segment, ...], lost: dict[str, str]) -> Iterator[Gap]:
    end: float | None = None
    for segment in segments:
        if end is not None and segment.start_ms - end > GAP_SECONDS * 1000:
            yield Gap(start=round(end, 3), duration=round((segment.start_ms - end) / 1000, 3), reason="NotRecorded")
        if segment.name in lost:
            yield Gap(start=segment.start_ms, duration=segment.duration, reason=lost[segment.name], file=segment.name)
        end = segment.start_ms + segment.duration * 1000
