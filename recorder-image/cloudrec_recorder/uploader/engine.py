"""Does what the state asks for: the write check, segments, playlists; keeps the log; tells what changed.

One loop reads the journal and starts uploads on a small pool of threads; whatever comes of them goes into the log first
and into the state from there. Nothing here waits for the API server.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cloudrec_contract.events import EventType, args
from cloudrec_contract.resources import Report
from cloudrec_contract.spool import JOURNAL, MEDIA, decode_record
from cloudrec_recorder.uploader.retry import Retry
from cloudrec_recorder.uploader.state import MESSAGE, Publication, State
from cloudrec_recorder.uploader.store import BucketRefused, FileGone, Store, StoreError, UploadFailed
from cloudrec_recorder.uploader.tail import Tail
from cloudrec_recorder.uploader.taskfile import TaskFile
from cloudrec_recorder.uploader.uploadlog import (
    UPLOADS,
    GivenUp,
    LogRecord,
    Published,
    Recovered,
    Said,
    Trouble,
    Uploaded,
    UploadLog,
    decode,
)

logger = logging.getLogger(__name__)

PARALLEL = 4
POLL_SECONDS = 0.1
LINGER_MS = 20_000
"""How long after `leave` it is waited for room in the report, when more events wait than it holds and somebody
acknowledges them; less than the Pod's grace."""


@dataclass(frozen=True, slots=True)
class Job:
    """One upload: `name` of a segment's file, of a playlist, or empty for the write check."""

    kind: Literal["check", "segment", "playlist"]
    name: str = ""


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Engine:
    """`tell` gets the whole report after each change of it. `finished` is set when all of the recording is dealt with.

    Raises OSError from `run` when the spool cannot be read or written: a new process has to try. A full disk is no such
    case: segments that are confirmed go all the same, and what has to be logged is logged when that has made room.
    """

    def __init__(
        self,
        spool: Path,
        store: Store,
        task_file: TaskFile,
        tell: Callable[[Report], None],
        *,
        give_up_seconds: float,
        clock: Callable[[], int] = wall_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State()
        self.finished = asyncio.Event()
        self._media = spool / MEDIA
        self._journal = Tail(spool / JOURNAL, decode_record)
        self._log_path = spool / UPLOADS
        self._log = UploadLog(self._log_path)
        self._owed: deque[LogRecord] = deque()
        """Records that the full disk has not taken yet, in their order."""
        self._store = store
        self._task_file = task_file
        self._tell = tell
        self._give_up_ms = int(give_up_seconds * 1000)
        self._clock = clock
        self._monotonic = monotonic
        self._retry = Retry(random.random)
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="upload")
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._acked = 0
        self._changed = True
        self._behind = False
        self._left_at: int | None = None

    # --- from outside ---

    def acknowledge(self, seq: int) -> None:
        """Events up to `seq` are delivered."""
        if seq > self._acked:
            self._acked = seq
            self._changed = True
            self._wake.set()

    def leave(self) -> None:
        """Upload what the journal names, then return from `run`."""
        if self._left_at is None:
            self._left_at = self._clock()
            self._wake.set()

    async def run(self) -> None:
        try:
            self._resume()
            async with asyncio.TaskGroup() as group:
                self._turn(group)
                while not self._may_go():
                    await self._pause()
                    self._turn(group)
                for task in self._running.values():
                    task.cancel()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._journal.close()
            self._log.close()

    # --- one turn ---

    def _resume(self) -> None:
        confirmed = set()
        own = Tail(self._log_path, decode)
        for record in own.read_all():
            self.state.take_own(record)
            if isinstance(record, Uploaded):
                confirmed.add(record.file)
        own.close()
        for entry in self._journal.read_all():
            self.state.take(entry)
        if self._media.is_dir():
            for path in self._media.iterdir():
                if path.name in confirmed:
                    path.unlink()
        if self.state.started:
            self._task_file.allow()

    def _turn(self, group: asyncio.TaskGroup) -> None:
        entries = self._journal.read()
        self._behind = bool(entries)
        for entry in entries:
            self.state.take(entry)
            self._changed = True
        self._pay()
        if self._changed:
            self._say_what_is_due()
            self._changed = False
            self._tell(self.state.report(self._acked))
            if self.state.finished:
                self.finished.set()
        now = self._monotonic()
        for job in self._jobs():
            if len(self._running) >= PARALLEL or not self._retry.ready(now, len(self._running)):
                break
            if job not in self._running and self._retry.due(job, now):
                self._running[job] = group.create_task(self._attempt(job))

    def _jobs(self) -> Iterator[Job]:
        """What could be done, the most urgent first: a playlist makes segments visible that are there already."""
        if self.state.refused:
            return
        if not self.state.started:
            yield Job("check")
            return
        now = self._clock()
        for track in self.state.unpublished():
            if self.state.may_publish(track, now):
                yield Job("playlist", track.name)
        for file in self.state.pending:
            yield Job("segment", file)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _may_go(self) -> bool:
        if self._left_at is None:
            return False
        if not self.state.started:
            return True
        heard = self._acked > 0
        if heard and self.state.crowded(self._acked) and self._clock() < self._left_at + LINGER_MS:
            return False
        # Without an `end` the recorder was killed, or only this sidecar is to go: no playlist is ended then.
        whole = self.state.drained if self.state.end is None else self.state.finished
        return whole and not self._running and not self._changed and not self._behind

    # --- uploads ---

    async def _attempt(self, job: Job) -> None:
        try:
            record = await asyncio.get_running_loop().run_in_executor(self._pool, self._work(job))
        except StoreError as error:
            self._failed(job, error)
        else:
            self._done(job, record)
        finally:
            del self._running[job]
            self._wake.set()

    def _work(self, job: Job) -> Callable[[], LogRecord | None]:
        """The blocking part, for a thread: it uses the store alone and returns what to log."""
        match job.kind:
            case "check":
                return self._store.check
            case "segment":
                return partial(self._put_segment, job.name)
            case "playlist":
                return partial(self._put_playlist, job.name, self.state.publication(self.state.tracks[job.name]))

    def _put_segment(self, name: str) -> Uploaded:
        stored = self._store.put_segment(name, self._media / name)
        return Uploaded(ts=self._clock(), file=name, bytes=stored.bytes, sha256=stored.sha256)

    def _put_playlist(self, name: str, what: Publication) -> Published:
        self._store.put_playlist(name, what.text)
        return Published(ts=self._clock(), track=name, segments=what.segments, bytes=len(what.text), ended=what.ended)

    def _done(self, job: Job, record: LogRecord | None) -> None:
        if record is None:
            logger.info("the bucket passed its write check")
            self._say(EventType.UPLOAD_START, self._clock(), args(EventType.UPLOAD_START, Status=0))
            self._task_file.allow()
        else:
            self._note(record)
        if isinstance(record, Uploaded):
            (self._media / record.file).unlink(missing_ok=True)
            self._pay()
            self._task_file.allow()
        if self._retry.succeeded(job) and self.state.trouble:
            logger.info("the bucket takes uploads again")
            self._note(Recovered(ts=self._clock()))

    def _failed(self, job: Job, error: StoreError) -> None:
        level = logging.ERROR if isinstance(error, UploadFailed) else logging.WARNING
        logger.log(level, "%s failed: %s", job.name or "the write check", error, extra={"reason": error.reason})
        if isinstance(error, FileGone):
            self._note(GivenUp(ts=self._clock(), file=job.name, message=error.message))
            return
        self._retry.failed(job, self._monotonic())
        if self.state.trouble is None or self.state.trouble.reason != error.reason:
            self._note(Trouble(ts=self._clock(), reason=error.reason, code=error.code, message=error.message[:MESSAGE]))
        if job.kind == "check":
            if isinstance(error, BucketRefused):
                self._say_what_is_due()
                self._say(EventType.UPLOAD_START, self._clock(), args(EventType.UPLOAD_START, Status=1))
        elif self._too_late():
            self._give_up(job, str(error))

    def _too_late(self) -> bool:
        since = self.state.end.ts if self.state.end else self._left_at
        return since is not None and self._clock() > since + self._give_up_ms

    def _give_up(self, failed: Job, message: str) -> None:
        """After so long a time one more failure ends it for everything of its kind that is not on its way."""
        if failed.kind == "segment":
            waiting = [Job("segment", file) for file in self.state.pending]
        else:
            waiting = [Job("playlist", track.name) for track in self.state.unpublished()]
        lost = [job.name for job in waiting if job == failed or job not in self._running]
        logger.error("%d files are given up on: %s", len(lost), message)
        for name in lost:
            self._note(GivenUp(ts=self._clock(), file=name, message=message[:MESSAGE]))

    # --- the log ---

    def _say_what_is_due(self) -> None:
        for fact in list(self.state.due(self._clock())):
            self._say(fact.type, fact.ts, fact.args)

    def _say(self, event: EventType, ts: int, arguments: dict[str, Any]) -> None:
        self._note(Said(ts=ts, seq=self.state.next_seq, event=event, args=arguments))

    def _note(self, record: LogRecord) -> None:
        self._owed.append(record)
        self._pay()
        if len(self._owed) == 1:
            logger.warning("the spool is full: the log of uploads waits for room")
        self.state.take_own(record)
        self._changed = True

    def _pay(self) -> None:
        """Write what is owed to the log, as far as the disk takes it."""
        while self._owed:
            try:
                self._log.append(self._owed[0])
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
            self._owed.popleft()
