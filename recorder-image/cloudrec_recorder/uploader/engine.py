"""Does what the state asks for: the write check, segments, playlists, manifest; keeps the log; tells what changed.

One loop reads the journal and starts uploads on a small pool of threads; whatever comes of them goes into the log first
and into the state from there. Nothing here waits for the API server.

A bucket that fails for long has its files put into the backup store too. It is tried all the same, and the local file
stays until the bucket has it: only when the spool fills up, or at the end, is the backup's word enough (`yielding`).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType, args
from cloudrec_contract.manifest import manifest_name
from cloudrec_contract.resources import Report
from cloudrec_contract.spool import JOURNAL, MEDIA, EndRecord, decode_record
from cloudrec_recorder.uploader import yielding
from cloudrec_recorder.uploader.holdings import SEGMENT
from cloudrec_recorder.uploader.lane import BACKUP_PARALLEL, PARALLEL, Job, Lane, lanes
from cloudrec_recorder.uploader.puts import Puts
from cloudrec_recorder.uploader.salvaging import SalvageFailed
from cloudrec_recorder.uploader.spoolgauge import CLEAR, LOOK_SECONDS, measure
from cloudrec_recorder.uploader.state import MESSAGE, State
from cloudrec_recorder.uploader.store import BucketRefused, FileGone, Store, StoreError, UploadFailed
from cloudrec_recorder.uploader.tail import Tail
from cloudrec_recorder.uploader.taskfile import TaskFile
from cloudrec_recorder.uploader.uploadlog import (
    UPLOADS,
    BackupOnly,
    GivenUp,
    LogRecord,
    PatientLog,
    Recovered,
    Said,
    Switched,
    Trouble,
    Uploaded,
    decode,
)

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
LINGER_MS = 20_000
"""How long after `leave` it is waited for room in the report, when more events wait than it holds and somebody
acknowledges them; less than the Pod's grace."""


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Engine:
    """`tell` gets the whole report after each change of it. `finished` is set when all of the recording is dealt with.

    `backup` takes files once the bucket has failed for `backup_seconds`; without it they wait for the bucket alone.
    Above `high_water` bytes the spool is emptied. `salvage` ends the journal of a recorder that died (False: it lives)
    or raises SalvageFailed. `vod`: the files are on their way to VOD, and no event tells of them.

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
        backup: Store | None = None,
        backup_seconds: float = 30.0,
        high_water: int | None = None,
        salvage: Callable[[], Awaitable[bool]] | None = None,
        vod: bool = False,
        clock: Callable[[], int] = wall_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State(vod=vod)
        self.finished = asyncio.Event()
        self._spool = spool
        self._media = spool / MEDIA
        self._journal = Tail(spool / JOURNAL, decode_record)
        self._log_path = spool / UPLOADS
        self._log = PatientLog(self._log_path)
        self._bucket, self._backup = lanes(store, backup, random.random)
        self._backup_seconds = backup_seconds
        self._backup_checked = False
        self._high_water = high_water
        self._look_at = 0.0
        self._salvage = salvage
        self._salvaging: asyncio.Task[None] | None = None
        self._puts = Puts(self._media, task_file.task, clock)
        self._task_file = task_file
        self._tell = tell
        self._give_up_seconds = give_up_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._pool = ThreadPoolExecutor(PARALLEL + (BACKUP_PARALLEL if backup else 0), thread_name_prefix="upload")
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
                for task in [task for lane in self._lanes() for task in lane.running.values()]:
                    task.cancel()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._journal.close()
            self._log.close()

    # --- one turn ---

    def _lanes(self) -> Iterator[Lane]:
        yield self._bucket
        if self._backup is not None:
            yield self._backup

    def _resume(self) -> None:
        own = Tail(self._log_path, decode)
        for record in own.read_all():
            self.state.take_own(record)
        own.close()
        for entry in self._journal.read_all():
            self.state.take(entry)
        if self._media.is_dir():
            for path in self._media.iterdir():
                if path.name in self.state.kept and path.name not in self.state.pending:
                    path.unlink()
        if self.state.started:
            self._task_file.allow()

    def _turn(self, group: asyncio.TaskGroup) -> None:
        self._read()
        self._log.pay()
        self._relieve()
        if self._changed:
            self._say_what_is_due()
            self._changed = False
            self._tell(self.state.report(self._acked))
            if self.state.finished:
                self.finished.set()
        orphaned = self._left_at is not None and self.state.started and self.state.end is None and not self._behind
        if orphaned and self._salvage is not None and self._salvaging is None:
            self._salvaging = group.create_task(self._bury(self._salvage))
        now = self._monotonic()
        for lane in self._lanes():
            for job in self._jobs(lane):
                if not lane.open(now):
                    break
                if lane.due(job, now):
                    lane.running[job] = group.create_task(self._attempt(lane, job))

    def _read(self) -> None:
        entries = self._journal.read()
        self._behind = bool(entries)
        for entry in entries:
            self.state.take(entry)
            self._changed = True

    def _jobs(self, lane: Lane) -> Iterator[Job]:
        """What could be done, the most urgent first: a playlist makes segments visible that are there already."""
        if self.state.refused:
            return
        if not (self._backup_checked if lane.backup else self.state.started):
            yield Job("check")
        if not self.state.started:
            return
        now = self._clock()
        for track in self.state.unpublished(backup=lane.backup):
            if self.state.may_publish(track, now, backup=lane.backup):
                yield Job("playlist", track.name)
        for file in self.state.pending:
            if not lane.backup or self._needs_backup(file):
                yield Job("segment", file)
        if self.state.unlisted(backup=lane.backup) and self.state.may_list(now, backup=lane.backup):
            yield Job("manifest")

    def _needs_backup(self, file: str) -> bool:
        return self.state.in_use and file not in self.state.backed and self._bucket_fails(Job("segment", file))

    def _bucket_fails(self, job: Job) -> bool:
        """For so long, with everything or with this, that the backup store has to take it."""
        return self._bucket.retry.failing(self._monotonic(), job) >= self._backup_seconds

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
        if self._salvaging is not None and not self._salvaging.done():
            return False
        heard = self._acked > 0
        if heard and self.state.crowded(self._acked) and self._clock() < self._left_at + LINGER_MS:
            return False
        # Without an `end` the recorder lives, and only this sidecar is to go: no playlist is ended then.
        whole = self.state.stored if self.state.end is None else self.state.finished
        return whole and not any(lane.running for lane in self._lanes()) and not self._changed and not self._behind

    # --- uploads ---

    async def _attempt(self, lane: Lane, job: Job) -> None:
        try:
            record = await asyncio.get_running_loop().run_in_executor(
                self._pool, self._puts.work(lane, job, self.state)
            )
        except StoreError as error:
            self._failed(lane, job, error)
        else:
            self._done(lane, job, record)
        finally:
            del lane.running[job]
            self._wake.set()

    def _done(self, lane: Lane, job: Job, record: LogRecord | None) -> None:
        if record is not None:
            self._note(record)
        elif lane.backup:
            self._backup_checked = True
        elif not self.state.started:
            self._begin("the bucket passed its write check")
        if isinstance(record, Uploaded):
            (self._media / record.file).unlink(missing_ok=True)
            self._log.pay()
            self._task_file.allow()
        all_well = lane.retry.succeeded(job)
        if lane.backup:
            self._changed |= self.state.notices.pop(Reason.BACKUP_FAILED, None) is not None
        elif all_well and self.state.trouble:
            logger.info("the bucket takes uploads again")
            self._note(Recovered(ts=self._clock()))

    def _begin(self, why: str) -> None:
        logger.info(why)
        self._say(EventType.UPLOAD_START, self._clock(), args(EventType.UPLOAD_START, Status=0))
        self._task_file.allow()

    def _failed(self, lane: Lane, job: Job, error: StoreError) -> None:
        level = logging.ERROR if isinstance(error, UploadFailed) else logging.WARNING
        what = (job.name or f"the {job.kind}") + (" (backup)" if lane.backup else "")
        logger.log(level, "%s failed: %s", what, error, extra={"reason": error.reason})
        if isinstance(error, FileGone) and lane.backup:
            return  # the bucket has it by now, or finds out for itself
        if isinstance(error, FileGone):
            self._let_go(job.name, error.message)
            return
        lane.retry.failed(job, self._monotonic())
        if lane.backup:
            self._backup_failed(job, error)
            return
        if self.state.trouble is None or self.state.trouble.reason != error.reason:
            self._note(Trouble(ts=self._clock(), reason=error.reason, code=error.code, message=error.message[:MESSAGE]))
        if job.kind == "check" and isinstance(error, BucketRefused):
            self._say_what_is_due()
            self._say(EventType.UPLOAD_START, self._clock(), args(EventType.UPLOAD_START, Status=1))
            return
        if self._backup_checked and not self.state.in_use and self._bucket_fails(job):
            self._switch(error)
        self._late(job, error)

    def _backup_failed(self, job: Job, error: StoreError) -> None:
        if job.kind == "check":
            self._backup_checked = isinstance(error, BucketRefused)  # by then keys may be mended
            self.state.notices[Reason.BACKUP_FAILED] = f"the backup store: {error}"[:MESSAGE]
            self._changed = True
        elif job.kind != "segment" and self._past(self._give_up_seconds):
            self._note(GivenUp(ts=self._clock(), file=self._file(job), message=str(error)[:MESSAGE]))

    def _switch(self, error: StoreError) -> None:
        logger.warning("files go to the backup store from now on")
        message = f"files go to the backup store, because the bucket does not take them: {error}"
        self._note(Switched(ts=self._clock(), code=Reason.BACKUP_IN_USE, message=message[:MESSAGE]))
        if not self.state.started:
            self._say_what_is_due()
            self._begin("the backup store passed its write check and the bucket is away")

    # --- when a store has to do without ---

    def _past(self, seconds: float) -> bool:
        since = self.state.end.ts if self.state.end else self._left_at
        return since is not None and self._clock() > since + seconds * 1000

    def _late(self, failed: Job, error: StoreError) -> None:
        """One more failure after the end: what is in the backup store stays there soon, all else is given up late."""
        if self.state.end is None and self._left_at is None:
            return
        waiting = yielding.waiting(self.state, failed.kind)
        for name in waiting:
            job = Job(failed.kind, name)
            if job in self._bucket.running and job != failed:
                continue
            if yielding.in_backup(self.state, failed.kind, name) and self._past(self._backup_seconds):
                self._leave_in_backup(self._file(job))
            elif self._past(self._give_up_seconds):
                logger.error("%s is given up: %s", self._file(job), error)
                self._note(GivenUp(ts=self._clock(), file=self._file(job), message=str(error)[:MESSAGE]))

    def _file(self, job: Job) -> str:
        return manifest_name(self._task_file.task.index) if job.kind == "manifest" else job.name

    def _let_go(self, name: str, message: str) -> None:
        """Of a segment whose local file is gone, or has to go."""
        if name in self.state.backed:
            self._leave_in_backup(name)
        elif name in self.state.pending:
            self._note(GivenUp(ts=self._clock(), file=name, message=message[:MESSAGE]))

    def _leave_in_backup(self, name: str) -> None:
        self._note(BackupOnly(ts=self._clock(), file=name))
        if name.endswith(SEGMENT):
            (self._media / name).unlink(missing_ok=True)

    def _relieve(self) -> None:
        """Above high water, empty the spool rather than have the Pod evicted."""
        now = self._monotonic()
        if self._high_water is None or now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        used, sizes = measure(self._spool)
        full = used > self._high_water
        if used <= self._high_water * CLEAR:
            self._changed |= self.state.notices.pop(Reason.SPOOL_FULL, None) is not None
        elif full and Reason.SPOOL_FULL not in self.state.notices:
            logger.warning("the spool is above its high water: %d bytes", used)
            message = f"more than {self._high_water} bytes wait for the bucket: the oldest segments give way"
            self.state.notices[Reason.SPOOL_FULL] = message
            self._changed = True
        if full and self.state.end is None:
            busy = {job.name for lane in self._lanes() for job in lane.running}
            for name in yielding.to_drop(self.state, sizes, used - self._high_water, busy):
                logger.warning("%s gives way: the spool is full", name)
                self._let_go(name, "SpoolFull: it gave way to newer ones while the bucket took nothing")
                (self._media / name).unlink(missing_ok=True)

    # --- a recorder that died ---

    async def _bury(self, salvage: Callable[[], Awaitable[bool]]) -> None:
        """Have its journal ended. If that fails, end the recording with what is closed, and say what is missing."""
        try:
            if not await salvage():
                logger.warning("told to go while the recorder lives: what is closed is uploaded")
        except SalvageFailed as error:
            self._read()
            while self._behind:
                self._read()
            if self.state.end is not None:
                return
            logger.error("the open segments cannot be salvaged: %s", error)
            message = f"its open segments could not be salvaged: {error}"
            known = {segment.name for track in self.state.tracks.values() for segment in track.segments}
            for path in sorted(self._media.glob(f"*{SEGMENT}")) if self._media.is_dir() else []:
                if path.name not in known:
                    self._note(GivenUp(ts=self._clock(), file=path.name, message=message[:MESSAGE]))
            end = EndRecord(ts=self._clock(), failed=True, reason=Reason.RECORDER_DIED, message=message)
            self.state.take(end)
            self._changed = True

    # --- the log ---

    def _say_what_is_due(self) -> None:
        for fact in list(self.state.due(self._clock())):
            self._say(fact.type, fact.ts, fact.args)

    def _say(self, event: EventType, ts: int, arguments: dict[str, Any]) -> None:
        self._note(Said(ts=ts, seq=self.state.next_seq, event=event, args=arguments))

    def _note(self, record: LogRecord) -> None:
        self._log.append(record)
        self.state.take_own(record)
        self._changed = True
        if isinstance(record, GivenUp | BackupOnly):
            for kind in yielding.KINDS:
                self._bucket.retry.forget(Job(kind, "" if kind == "manifest" else record.file))
