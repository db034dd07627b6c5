"""What the journal and the sidecar's own log amount to: files to upload, playlists to publish, events due, the report.

Pure: records in, decisions out. Records of the two files may come in any interleaving, as long as each file's own order
is kept: a sidecar that reads both from the start is where its killed predecessor was.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType, args
from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_contract.resources import EventFact, RecordedFile, Report, ReportedCondition, ReportState
from cloudrec_contract.spool import (
    ConditionRecord,
    EndRecord,
    JoinedRecord,
    JournalRecord,
    LeftRecord,
    SegmentRecord,
    StateRecord,
    TrackRecord,
)
from cloudrec_recorder.uploader.uploadlog import GivenUp, LogRecord, Published, Recovered, Said, Trouble, Uploaded

logger = logging.getLogger(__name__)

LARGE_PLAYLIST = 256 * 1024
LARGE_PLAYLIST_MS = 60_000
"""A playlist above that many bytes is published at most so often, but for its last time."""

UNACKED_EVENTS = 64
LAST_IN = {EventType.UPLOAD_ERROR: 1, EventType.FILE_SLICE: 2, EventType.FILE_INFO: 2}
"""When more events wait than fit, these give way to all others, those with the higher rank first."""
FILES = 512
CONDITIONS = 16
MESSAGE = 1024
"""Bounds of the report, as in the resource's schema; `MESSAGE` in characters."""


@dataclass(slots=True)
class Track:
    """One playlist. `shown` are the segments that it may name: the confirmed ones before the first unsettled one."""

    name: str
    info: TrackRecord | None = None
    waiting: deque[Segment] = field(default_factory=deque)
    shown: list[Segment] = field(default_factory=list)
    gap: bool = False
    published: Published | None = None
    given_up: bool = False


@dataclass(frozen=True, slots=True)
class Publication:
    """A playlist to put into the bucket."""

    text: bytes
    segments: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """An event that has to be said; `ts` in ms since the Unix epoch."""

    type: EventType
    ts: int
    args: dict[str, Any]


class State:
    """The fold. `take` and `take_own` add a record of the journal and of the own log."""

    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self.pending: dict[str, str] = {}
        """Segments that are neither confirmed nor given up, oldest first, each with its track."""
        self.started = False
        """The write check has passed, in this process or an earlier one."""
        self.refused = False
        """The store refused the write check: nothing will be recorded."""
        self.end: EndRecord | None = None
        self.trouble: Trouble | None = None
        """What is wrong with the bucket now."""
        self.missing = 0
        self.events: list[EventFact] = []
        self._outcomes: dict[str, bool] = {}
        self._joined: JoinedRecord | None = None
        self._left: LeftRecord | None = None
        self._recorder = ReportState.STARTING
        self._conditions: dict[str, str] = {}
        self._episodes: list[Trouble] = []
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
                if _plain(record.track, ".m3u8"):
                    track = self._track(record.track)
                    track.info = track.info or record
            case SegmentRecord():
                if _plain(record.track, ".m3u8") and _plain(record.file, ".ts"):
                    self._segment(record)
            case LeftRecord():
                self._left = self._left or record
            case EndRecord():
                self.end = self.end or record

    def _segment(self, record: SegmentRecord) -> None:
        track = self._track(record.track)
        track.waiting.append(Segment(record.file, record.duration, record.start, record.discontinuity))
        if record.file not in self._outcomes:
            self.pending[record.file] = record.track
        self._advance(track)

    def _track(self, name: str) -> Track:
        found = self.tracks.get(name)
        if found is None:
            found = self.tracks[name] = Track(name)
        return found

    def _advance(self, track: Track) -> None:
        while track.waiting and track.waiting[0].name in self._outcomes:
            segment = track.waiting.popleft()
            if self._outcomes.pop(segment.name):
                track.shown.append(replace(segment, discontinuity=segment.discontinuity or track.gap))
                track.gap = False
            else:
                track.gap = True

    # --- the sidecar's own log ---

    def take_own(self, record: LogRecord) -> None:
        match record:
            case Uploaded():
                self._settle(record.file, True)
            case GivenUp():
                self.missing += 1
                if record.file.endswith(".m3u8"):
                    self._track(record.file).given_up = True
                else:
                    self._settle(record.file, False)
            case Published():
                self._track(record.track).published = record
            case Trouble():
                if self.trouble is None:
                    self._episodes.append(record)
                self.trouble = record
            case Recovered():
                self.trouble = None
            case Said():
                self.events.append(EventFact(seq=record.seq, type=record.event, ts=record.ts, args=record.args))
                self._said.add((record.event, _subject(record)))
                self._errors_said += record.event == EventType.UPLOAD_ERROR
                if record.event == EventType.UPLOAD_START:
                    self.started = record.args.get("Status") == 0
                    self.refused = not self.started

    def _settle(self, file: str, confirmed: bool) -> None:
        self._outcomes[file] = confirmed
        if track := self.pending.pop(file, None):
            self._advance(self.tracks[track])

    # --- what follows ---

    @property
    def next_seq(self) -> int:
        return self.events[-1].seq + 1 if self.events else 1

    @property
    def drained(self) -> bool:
        """All that the journal names so far is in the bucket, or given up; playlists too."""
        return not self.pending and not any(True for _ in self.unpublished())

    @property
    def finished(self) -> bool:
        """The recording has ended, all of it is dealt with and said."""
        said = (EventType.UPLOAD_STOP, "") in self._said or not self.started
        return self.end is not None and self.drained and said

    def unpublished(self) -> Iterator[Track]:
        """Tracks whose playlist in the bucket is not what it should be."""
        for track in self.tracks.values():
            if track.info is None or track.given_up or not track.shown:
                continue
            done = track.published
            if done is None or done.segments != len(track.shown) or (self._final(track) and not done.ended):
                yield track

    def _final(self, track: Track) -> bool:
        return self.end is not None and not track.waiting

    def may_publish(self, track: Track, now: int) -> bool:
        """False while a large playlist has to wait; `now` in ms since the Unix epoch."""
        last = track.published
        return not last or self._final(track) or last.bytes <= LARGE_PLAYLIST or now - last.ts >= LARGE_PLAYLIST_MS

    def publication(self, track: Track) -> Publication:
        """The playlist of an unpublished track, as it should be in the bucket."""
        final = self._final(track)
        assert track.info is not None
        text = Playlist(
            begin_ms=track.info.begin_time_stamp,
            width=track.info.width,
            height=track.info.height,
            sample_rate=track.info.sample_rate,
            channels=track.info.channels,
            segments=tuple(track.shown),
            ended=final,
        ).render()
        return Publication(text.encode(), len(track.shown), final)

    def due(self, now: int) -> Iterator[Fact]:
        """Events that have happened and are not in the log, in their order; `now` in ms since the Unix epoch."""
        for trouble in self._episodes[self._errors_said :]:
            yield Fact(EventType.UPLOAD_ERROR, trouble.ts, args(EventType.UPLOAD_ERROR, **_store_said(trouble)))
        if self._joined and self._unsaid(EventType.RECORDER_START):
            yield Fact(EventType.RECORDER_START, self._joined.ts, args(EventType.RECORDER_START, Status=0))
        for track in self.tracks.values():
            if track.info and track.shown and self._unsaid(EventType.FILE_SLICE, track.name):
                yield Fact(EventType.FILE_SLICE, now, _slice(track.info))
            if track.published and self._unsaid(EventType.FILE_INFO, track.name):
                yield Fact(EventType.FILE_INFO, now, args(EventType.FILE_INFO, FileList=track.name))
        if self._left and self._unsaid(EventType.RECORDER_STOP):
            leave = args(EventType.RECORDER_STOP, LeaveCode=self._left.leave_code)
            yield Fact(EventType.RECORDER_STOP, self._left.ts, leave)
        if self.end and self.started and self.drained and self._unsaid(EventType.UPLOAD_STOP):
            yield Fact(EventType.UPLOAD_STOP, now, args(EventType.UPLOAD_STOP, Status=int(self.missing > 0)))

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
        )


def _plain(name: str, suffix: str) -> bool:
    """The recorder parses strangers' media: its word may not lead out of the spool, nor out of the task's folder."""
    if PurePosixPath(name).name == name and name.endswith(suffix) and "\0" not in name:
        return True
    logger.warning("a name in the journal is refused: %r", name[:200])
    return False


def _subject(record: Said) -> str:
    """What makes an event of its kind once-only: the playlist of 304 and 307."""
    return str(record.args.get("FileName") or record.args.get("FileList") or "")


def _slice(info: TrackRecord) -> dict[str, Any]:
    return args(
        EventType.FILE_SLICE,
        FileName=info.track,
        UserId=info.user_id,
        TrackType=info.kind,
        BeginTimeStamp=info.begin_time_stamp,
    )


def _store_said(trouble: Trouble) -> dict[str, Any]:
    return {"Code": trouble.code, "Message": trouble.message}
