"""The blocking part of an upload, for a thread: it uses the store alone, and returns what to log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cloudrec_contract.manifest import manifest_name
from cloudrec_contract.spool import Task
from cloudrec_recorder.uploader.holdings import Publication
from cloudrec_recorder.uploader.lane import Job, Lane
from cloudrec_recorder.uploader.listing import Snapshot, manifest, snapshot
from cloudrec_recorder.uploader.state import State
from cloudrec_recorder.uploader.uploadlog import BackedUp, Listed, LogRecord, Published, Uploaded


@dataclass(frozen=True, slots=True)
class Puts:
    """`clock`: ms since the Unix epoch."""

    media: Path
    task: Task
    clock: Callable[[], int]

    def work(self, lane: Lane, job: Job, state: State) -> Callable[[], LogRecord | None]:
        """What to run on a thread; all of the state that it needs is taken here. It raises StoreError."""
        match job.kind:
            case "check":
                return lane.store.check
            case "segment":
                return partial(self._segment, lane, job.name)
            case "playlist":
                what = state.publication(state.tracks[job.name], backup=lane.backup)
                return partial(self._playlist, lane, job.name, what)
            case "manifest":
                return partial(self._manifest, lane, snapshot(state))

    def _segment(self, lane: Lane, name: str) -> Uploaded | BackedUp:
        stored = lane.store.put_segment(name, self.media / name)
        record = BackedUp if lane.backup else Uploaded
        return record(ts=self.clock(), file=name, bytes=stored.bytes, sha256=stored.sha256)

    def _playlist(self, lane: Lane, name: str, what: Publication) -> Published:
        lane.store.put_playlist(name, what.text)
        return Published(
            ts=self.clock(),
            track=name,
            segments=what.segments,
            bytes=len(what.text),
            ended=what.ended,
            backup=lane.backup,
        )

    def _manifest(self, lane: Lane, what: Snapshot) -> Listed:
        text = manifest(what, self.task, self.clock())
        lane.store.put_playlist(manifest_name(self.task.index), text)
        return Listed(
            ts=self.clock(), changes=what.changes, bytes=len(text), complete=what.complete, backup=lane.backup
        )
