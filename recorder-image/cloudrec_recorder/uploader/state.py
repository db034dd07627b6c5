"""What the journal and the sidecar's own log amount to: files to upload, playlists to publish, events due, the report.

Pure: records in, decisions out. Records of the two files may come in any interleaving, as long as each file's own order
is kept: a sidecar that reads both from the start is where its killed predecessor was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType, args
from cloudrec_contract.resources import EventFact, RecordedFile, Report, ReportedCondition, ReportState
from cloudrec_contract.spool import (
    ClockRecord,
    ConditionRecord,
    EndRecord,
    ImageRecord,
    JoinedRecord,
    JournalRecord,
    LeftRecord,
    SegmentRecord,
    StateRecord,
    TrackRecord,
)
from cloudrec_recorder.uploader.holdings import Holdings
from cloudrec_recorder.uploader.uploadlog import (
    BackedUp,
    BackupOnly,
    GivenUp,
    Listed,
    LogRecord,
    Published,
    Recovered,
    Said,
    Switched,
    Trouble,
    Uploaded,
)

logger = logging.getLogger(__name__)

CLOCKS = 4096
"""Publishers whose clock is remembered."""
UNACKED_EVENTS = 64
LAST_IN = {EventType.UPLOAD_ERROR: 1, EventType.FILE_SLICE: 2, EventType.FILE_INFO: 2}
"""When more events wait than fit, these give way to all others, those with the higher rank first."""
NOT_IN_VOD = frozenset({EventType.UPLOAD_START, EventType.FILE_INFO, EventType.FILE_SLICE})
"""Events that are about a bucket of the customer's."""
FILES = 512
IMAGES = 256
"""URLs whose failure is told of."""
CONDITIONS = 16
MESSAGE = 1024
"""Bounds of the report, as in the resource's schema; `MESSAGE` in characters."""


@dataclass(frozen=True, slots=True)
class Fact:
    """An event that has to be said; `ts` in ms since the Unix epoch."""

    type: EventType
    ts: int
    args: dict[str, Any]


class State(Holdings):
    """The fold. `take` and `take_own` add a record of the journal and of the own log. `vod`: files go there later, and
    what is logged of this bucket is not reported."""

    def __init__(self, *, vod: bool = False) -> None:
        super().__init__()
        self._vod = vod
        self.started = False
        """The write check has passed, in this process or an earlier one."""
        self.refused = False
        """The store refused the write check: nothing will be recorded."""
        self.trouble: Trouble | None = None
        """What is wrong with the bucket now."""
        self.notices: dict[str, str] = {}
        """Conditions that this process has seen for itself, by reason."""
        self.clock_offsets: dict[str, float] = {}
        self.events: list[EventFact] = []
        self._joined: JoinedRecord | None = None
        self._left: LeftRecord | None = None
        self._recorder = ReportState.STARTING
        self._conditions: dict[str, str] = {}
        self._images: dict[str, ImageRecord] = {}
        self._episodes: list[Trouble | Switched] = []
        self._errors_said = 0
        self._said: set[tuple[int, str]] = set()

    # --- the recorder's journal ---

    def take(self, record: JournalRecord) -> None:
        match record:
            case JoinedRecord():
                self._joined = self._joined or record
            case StateRecord():
                self._recorder = record.state
            case ConditionRecord(status=True):
                self._conditions[record.reason] = record.message
            case ConditionRecord():
                self._conditions.pop(record.reason, None)
            case TrackRecord():
                self.take_track(record)
            case SegmentRecord():
                self.take_segment(record)
            case ClockRecord():
                if len(self.clock_offsets) < CLOCKS or record.user_id in self.clock_offsets:
                    self.clock_offsets[record.user_id] = record.offset
            case ImageRecord():
                if len(self._images) < IMAGES:
                    self._images.setdefault(record.url, record)
            case LeftRecord():
                self._left = self._left or record
            case EndRecord():
                self.end = self.end or record

    # --- the sidecar's own log ---

    def take_own(self, record: LogRecord) -> None:
        match record:
            case Uploaded() | BackedUp() | BackupOnly() | GivenUp() | Published() | Listed():
                self.take_file(record)
            case Trouble():
                if self.trouble is None:
                    self._episodes.append(record)
                self.trouble = record
            case Switched():
                self._episodes.append(record)
                self.in_use = True
            case Recovered():
                self.trouble = None
                self.in_use = False
            case Said():
                if not (self._vod and record.event in NOT_IN_VOD):
                    self.events.append(EventFact(seq=record.seq, type=record.event, ts=record.ts, args=record.args))
                self._said.add((record.event, _subject(record)))
                self._errors_said += record.event == EventType.UPLOAD_ERROR
                if record.event == EventType.UPLOAD_START:
                    self.started = record.args.get("Status") == 0
                    self.refused = not self.started

    # --- what follows ---

    @property
    def next_seq(self) -> int:
        return self.events[-1].seq + 1 if self.events else 1

    def due(self, now: int) -> Iterator[Fact]:
        """Events that have happened and are not in the log, in their order; `now` in ms since the Unix epoch."""
        for trouble in self._episodes[self._errors_said :]:
            yield Fact(EventType.UPLOAD_ERROR, trouble.ts, args(EventType.UPLOAD_ERROR, **_store_said(trouble)))
        if self._joined and self._unsaid(EventType.RECORDER_START):
            yield Fact(EventType.RECORDER_START, self._joined.ts, args(EventType.RECORDER_START, Status=0))
        for url, image in self._images.items():
            if self._unsaid(EventType.DOWNLOAD_IMAGE_ERROR, url):
                yield Fact(EventType.DOWNLOAD_IMAGE_ERROR, image.ts, args(EventType.DOWNLOAD_IMAGE_ERROR, Url=url))
        for track in self.tracks.values():
            shown = track.bucket.segments or (track.published and track.backup.segments)
            if track.info and shown and self._unsaid(EventType.FILE_SLICE, track.name):
                yield Fact(EventType.FILE_SLICE, now, _slice(track.info))
            if track.published and self._unsaid(EventType.FILE_INFO, track.name):
                yield Fact(EventType.FILE_INFO, now, args(EventType.FILE_INFO, FileList=track.name))
        if self._left and self._unsaid(EventType.RECORDER_STOP):
            leave = args(EventType.RECORDER_STOP, LeaveCode=self._left.leave_code)
            yield Fact(EventType.RECORDER_STOP, self._left.ts, leave)

    def _unsaid(self, event: EventType, subject: str = "") -> bool:
        return (event, subject) not in self._said

    def _waiting(self, acked: int) -> list[EventFact]:
        """What the report holds of the events that are not acknowledged: the oldest, which is to be acknowledged
        next; the beginning and the end of the recording; then as many as fit. A gap in the numbers says that some
        wait, in the log, for room."""
        waiting = [event for event in self.events if event.seq > acked]
        others = sorted(waiting[1:], key=lambda event: (LAST_IN.get(EventType(event.type), 0), event.seq))
        return sorted([*waiting[:1], *others[: UNACKED_EVENTS - 1]], key=lambda event: event.seq)

    def crowded(self, acked: int) -> bool:
        """Whether events wait for others to be acknowledged, because the report holds no more."""
        return bool(self.events) and self.events[-1].seq - acked > UNACKED_EVENTS

    def report(self, acked: int) -> Report:
        """The whole report; events up to `acked` are delivered and need not be in it."""
        conditions = dict(self._conditions)
        if self.trouble:
            conditions[self.trouble.reason] = f"{self.trouble.code}: {self.trouble.message}"
        if self.in_use:
            conditions[Reason.BACKUP_IN_USE] = "the bucket does not take files: they go to the backup store"
        conditions |= self.notices
        if self.end and self.end.failed:
            conditions.setdefault(self.end.reason or Reason.RECORDER_FAILED, self.end.message)
        return Report(
            state=ReportState.ENDED if self.end else self._recorder,
            ready=self.started and self._joined is not None,
            leave_code=self._left.leave_code if self._left else None,
            conditions=[
                ReportedCondition(reason=reason, message=message[:MESSAGE]) for reason, message in conditions.items()
            ][:CONDITIONS],
            files=[
                RecordedFile(
                    user_id=track.info.user_id,
                    media=track.info.media,
                    kind=track.info.kind,
                    begin_time_stamp=track.info.begin_time_stamp,
                    transcoded=track.info.transcoded,
                )
                for track in self.tracks.values()
                if track.info and track.published
            ][:FILES],
            events=self._waiting(acked),
            uploaded=self.finished,
            missing=self.missing,
            backup=len(self.only),
        )


def _subject(record: Said) -> str:
    """What makes an event of its kind once-only: the playlist of 304 and 307, the URL of 309."""
    return str(record.args.get("FileName") or record.args.get("FileList") or record.args.get("Url") or "")


def _slice(info: TrackRecord) -> dict[str, Any]:
    return args(
        EventType.FILE_SLICE,
        FileName=info.track,
        UserId=info.user_id,
        TrackType=info.kind,
        BeginTimeStamp=info.begin_time_stamp,
    )


def _store_said(trouble: Trouble | Switched) -> dict[str, Any]:
    return {"Code": trouble.code, "Message": trouble.message}
