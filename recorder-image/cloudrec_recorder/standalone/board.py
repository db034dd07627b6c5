"""What is being recorded at the moment, from the journal and the sizes of open files. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from cloudrec_contract.naming import parse_name
from cloudrec_contract.resources import ReportState
from cloudrec_contract.spool import (
    ConditionRecord,
    EndRecord,
    JoinedRecord,
    JournalRecord,
    SegmentRecord,
    StateRecord,
    TrackRecord,
)
from cloudrec_recorder.media import TrackKey

RATE_SECONDS: Final = 5.0
"""What a bit rate is an average of."""

Whose = tuple[str, str, str]
"""User id, media, kind."""


@dataclass(frozen=True, slots=True)
class Row:
    """One playlist. `detail` is the picture's size, or the sound's form where there is no picture; `rate` in bits per
    second, `lost` in seconds."""

    user: str
    media: str
    kind: str
    playlist: str
    codec: str
    detail: str
    seconds: float = 0.0
    segments: int = 0
    bytes: int = 0
    rate: float = 0.0
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment. `elapsed` in seconds; `conditions` by reason."""

    state: ReportState
    elapsed: float
    rows: tuple[Row, ...]
    conditions: Mapping[str, str]

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows)


@dataclass(slots=True)
class _Track:
    row: Row
    samples: deque[tuple[float, int]] = field(default_factory=deque)


class Board:
    """Takes the journal's records, gives snapshots. `now` and `began` are seconds of one monotonic clock."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._state = ReportState.STARTING
        self._tracks: dict[Whose, _Track] = {}
        self._by_playlist: dict[str, Whose] = {}
        self._closed: set[str] = set()
        self._conditions: dict[str, str] = {}
        self.joined_ms: int | None = None
        """When the robot was in the room, ms since the Unix epoch."""

    def take(self, record: JournalRecord) -> None:
        match record:
            case JoinedRecord():
                self.joined_ms = record.ts
            case StateRecord():
                self._state = record.state
            case EndRecord():
                self._state = ReportState.ENDED
            case ConditionRecord(status=True):
                self._conditions[record.reason] = record.message
            case ConditionRecord():
                self._conditions.pop(record.reason, None)
            case TrackRecord():
                self._begin(record)
            case SegmentRecord():
                self._closed.add(record.file)
                if whose := self._by_playlist.get(record.track):
                    track = self._tracks[whose]
                    track.row = replace(
                        track.row,
                        seconds=track.row.seconds + record.duration,
                        segments=track.row.segments + 1,
                        bytes=track.row.bytes + record.bytes,
                    )

    def _begin(self, record: TrackRecord) -> None:
        whose = (record.user_id, record.media, record.kind)
        if whose in self._tracks:
            return
        self._by_playlist[record.track] = whose
        self._tracks[whose] = _Track(
            Row(
                user=record.user_id,
                media=record.media,
                kind=record.kind,
                playlist=record.track,
                codec=record.codec,
                detail=_detail(record),
            )
        )

    def snapshot(
        self, now: float, wall_ms: int, open_files: Mapping[str, int], lost: Mapping[TrackKey, float]
    ) -> Snapshot:
        """`open_files`: sizes of the files in the spool, by name; closed ones among them are not counted again."""
        rows = {whose: track.row for whose, track in self._tracks.items()}
        for name, size in open_files.items():
            if name in self._closed:
                continue
            try:
                parsed = parse_name(name)
            except ValueError:
                continue
            whose = (parsed.user_id, parsed.media, parsed.kind)
            row = rows.get(whose)
            if row is not None and parsed.start_ms is not None:
                seconds = max(0.0, (wall_ms - parsed.start_ms) / 1000)
                rows[whose] = replace(row, bytes=row.bytes + size, seconds=row.seconds + seconds)
        return Snapshot(
            state=self._state,
            elapsed=now - self._began,
            rows=tuple(
                replace(row, rate=self._rate(whose, now, row.bytes), lost=_lost(whose, lost))
                for whose, row in sorted(rows.items())
            ),
            conditions=dict(self._conditions),
        )

    def _rate(self, whose: Whose, now: float, size: int) -> float:
        samples = self._tracks[whose].samples
        samples.append((now, size))
        while len(samples) > 2 and samples[1][0] <= now - RATE_SECONDS:
            samples.popleft()
        (first, before), (last, after) = samples[0], samples[-1]
        return max(0.0, (after - before) * 8 / (last - first)) if last > first else 0.0


def _detail(record: TrackRecord) -> str:
    if record.width:
        return f"{record.width}×{record.height}"
    channels = {1: "mono", 2: "stereo"}.get(record.channels, f"{record.channels} channels")
    return f"{record.sample_rate / 1000:g} kHz {channels}"


def _lost(whose: Whose, lost: Mapping[TrackKey, float]) -> float:
    user, media, kind = whose
    return max(
        (seconds for key, seconds in lost.items() if (key.user_id, key.media) == (user, media) and key.kind in kind),
        default=0.0,
    )
