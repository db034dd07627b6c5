"""Which segments, playlists and manifests are in which store, and what follows. Pure; the bookkeeping of `state`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_contract.spool import EndRecord, SegmentRecord, TrackRecord
from cloudrec_recorder.uploader.shelf import Shelf, Shown
from cloudrec_recorder.uploader.uploadlog import BackedUp, BackupOnly, GivenUp, Listed, Published, Uploaded

logger = logging.getLogger(__name__)

LARGE_PLAYLIST = 256 * 1024
LARGE_PLAYLIST_MS = 60_000
"""A playlist above that many bytes is published at most so often, but for its last time."""

MANIFEST_MS = 60_000
"""The manifest is put at most so often, and a large one as much more seldom as it is larger than `LARGE_PLAYLIST`."""

SEGMENT = ".ts"
PLAYLIST = ".m3u8"


@dataclass(slots=True)
class Track:
    """One playlist, in the bucket and in the backup store; `segments` are all that the journal has of it."""

    name: str
    info: TrackRecord | None = None
    segments: list[Segment] = field(default_factory=list)
    bucket: Shown = field(default_factory=Shown)
    backup: Shown = field(default_factory=Shown)
    backup_only: int = 0

    @property
    def published(self) -> bool:
        return self.bucket.published is not None or self.backup.published is not None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a store confirmed of a segment; `size` in bytes."""

    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Publication:
    """A playlist to put into the bucket."""

    text: bytes
    segments: int
    ended: bool


class Holdings:
    """Records may come before what they are about: the journal and the own log are read apart."""

    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self.pending: dict[str, str] = {}
        """Segments that are neither in the bucket nor given up on there, oldest first, each with its track."""
        self.kept: dict[str, Kept] = {}
        """Segments that are in a store."""
        self.backed: set[str] = set()
        """Those of `pending` that are in the backup store."""
        self.only: set[str] = set()
        """Files that stay in the backup store alone."""
        self.lost: dict[str, str] = {}
        """Segments that are in no store, and why."""
        self.missing = 0
        """Files that are in no store."""
        self.end: EndRecord | None = None
        self.in_use = False
        """New files go to the backup store."""
        self.changes = 0
        """Grows with everything that the manifest tells; the same for the same records in any order."""
        self.listed: dict[bool, Listed] = {}
        """The manifest as it is in the bucket (False) and in the backup store (True)."""
        self.manifest_settled = False
        """It is not tried any more."""
        self._bucket = Shelf()
        self._backup = Shelf()

    # --- records ---

    def take_track(self, record: TrackRecord) -> None:
        if _plain(record.track, PLAYLIST):
            track = self._track(record.track)
            track.info = track.info or record
            self.changes += 1

    def take_segment(self, record: SegmentRecord) -> None:
        if not (_plain(record.track, PLAYLIST) and _plain(record.file, SEGMENT)):
            return
        track = self._track(record.track)
        segment = Segment(sys.intern(record.file), record.duration, record.start, record.discontinuity)
        track.segments.append(segment)
        track.bucket.waiting.append(segment)
        track.backup.waiting.append(segment)
        track.backup_only += record.file in self.only
        if not self._bucket.settled(record.file):
            self.pending[record.file] = record.track
        self._bucket.advance(track.bucket)
        self._backup.advance(track.backup)
        self.changes += 1

    def _track(self, name: str) -> Track:
        found = self.tracks.get(name)
        if found is None:
            found = self.tracks[name] = Track(name)
        return found

    def take_file(self, record: Uploaded | BackedUp | BackupOnly | GivenUp | Published | Listed) -> None:
        """A record of the own log about one file."""
        match record:
            case Uploaded():
                self._keep(record)
                self._settle(record.file, bucket=True, backup=None if record.file in self.backed else True)
            case BackedUp():
                self._keep(record)
                self._settle(record.file, bucket=None, backup=True)
                self.backed.add(record.file)
            case BackupOnly():
                self.only.add(record.file)
                self._stop_trying(record.file, there=True)
            case GivenUp():
                self.missing += 1
                if record.file.endswith(SEGMENT):
                    self.lost[record.file] = record.message
                self._stop_trying(record.file, there=False)
            case Published():
                track = self._track(record.track)
                (track.backup if record.backup else track.bucket).published = record
            case Listed():
                self.listed[record.backup] = record

    def _keep(self, record: Uploaded | BackedUp) -> None:
        # a name is known by two records, and held for as long as the recording lasts: once is enough
        self.kept[sys.intern(record.file)] = Kept(record.bytes, bytes.fromhex(record.sha256))

    def _settle(self, file: str, *, bucket: bool | None, backup: bool | None) -> None:
        """A segment may be named from now on (True) or never will be (False), in each store; None: as before."""
        track = self.tracks.get(self.pending.get(file, ""))
        if backup is not None:
            self._backup.settle(file, backup, track.backup if track else None)
        if bucket is not None:
            if track is not None and file in self.only:
                track.backup_only += 1
            self._bucket.settle(file, bucket, track.bucket if track else None)
            self.pending.pop(file, None)
            self.backed.discard(file)
        self.changes += 1

    def _stop_trying(self, file: str, *, there: bool) -> None:
        """The file will not be in the bucket; `there`: in the backup store it is."""
        if file.endswith(SEGMENT):
            self._settle(file, bucket=False, backup=None if there or file in self.backed else False)
        elif file.endswith(PLAYLIST):
            track = self._track(file)
            track.bucket.given_up = True
            track.backup.given_up = track.backup.given_up or not there
            self.changes += 1
        else:
            self.manifest_settled = True

    # --- what follows ---

    @property
    def stored(self) -> bool:
        """All that the journal names so far is in a store for good, or given up; playlists too."""
        return not (self.pending or any(self.unpublished()) or any(self.unpublished(backup=True)))

    @property
    def drained(self) -> bool:
        """All is stored, and at the end the manifest says so."""
        return self.stored and (self.end is None or not self.unlisted())

    @property
    def finished(self) -> bool:
        """The recording has ended, and all of it is dealt with."""
        return self.end is not None and self.drained

    def unpublished(self, *, backup: bool = False) -> Iterator[Track]:
        """Tracks whose playlist in the store is not what it should be. The backup store has those that need it."""
        for track in self.tracks.values():
            shown = track.backup if backup else track.bucket
            if track.info is None or shown.given_up or not shown.segments:
                continue
            if backup and not (self.in_use or track.backup_only):
                continue
            done = shown.published
            if done is None or done.segments != len(shown.segments) or (self._final(shown) and not done.ended):
                yield track

    def _final(self, shown: Shown) -> bool:
        return self.end is not None and not shown.waiting

    def may_publish(self, track: Track, now: int, *, backup: bool = False) -> bool:
        """False while a large playlist has to wait; `now` in ms since the Unix epoch."""
        shown = track.backup if backup else track.bucket
        last = shown.published
        return not last or self._final(shown) or last.bytes <= LARGE_PLAYLIST or now - last.ts >= LARGE_PLAYLIST_MS

    def publication(self, track: Track, *, backup: bool = False) -> Publication:
        """The playlist of an unpublished track, as it should be in the store."""
        shown = track.backup if backup else track.bucket
        final = self._final(shown)
        assert track.info is not None
        text = Playlist(
            begin_ms=track.info.begin_time_stamp,
            width=track.info.width,
            height=track.info.height,
            sample_rate=track.info.sample_rate,
            channels=track.info.channels,
            segments=tuple(shown.segments),
            ended=final,
        ).render()
        return Publication(text.encode(), len(shown.segments), final)

    def unlisted(self, *, backup: bool = False) -> bool:
        """Whether the manifest in the store is not what it should be."""
        if self.manifest_settled or not any(track.info for track in self.tracks.values()):
            return False
        if backup and not (self.in_use or self.only):
            return False
        done = self.listed.get(backup)
        return done is None or done.changes != self.changes or (self.end is not None and not done.complete)

    def may_list(self, now: int, *, backup: bool = False) -> bool:
        """Whether it is time for the manifest: once something is stored, seldom, the more so the larger it is; and
        when all is stored at the end. `now` in ms since the Unix epoch."""
        if self.end is not None:
            return self.stored
        last = self.listed.get(backup)
        if last is None:
            return bool(self.kept)
        return now - last.ts >= MANIFEST_MS * max(1, last.bytes / LARGE_PLAYLIST)


def _plain(name: str, suffix: str) -> bool:
    """The recorder parses strangers' media: its word may not lead out of the spool, nor out of the task's folder."""
    if PurePosixPath(name).name == name and name.endswith(suffix) and "\0" not in name:
        return True
    logger.warning("a name in the journal is refused: %r", name[:200])
    return False
