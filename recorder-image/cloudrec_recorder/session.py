"""A recorder's life: read the task, record, say how it ended, and wait until all is uploaded.

Everything that the outside must know goes through the journal; the process's exit code and termination message only
say whether this attempt failed. A failed attempt does not wait: its successor is wanted at once, and the uploader
stays behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import LeaveCode
from cloudrec_contract.resources import DesiredState
from cloudrec_contract.spool import DRAINED, EndRecord, Task
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.recording import Clock, Ending, Outcome, Recording, RoomFactory, Spool, handed_over
from cloudrec_recorder.segments.segmenter import FLUSH_SECONDS
from cloudrec_recorder.tasks import TaskFile, TaskMissing

logger = logging.getLogger(__name__)

_DISK_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: to wait for the task, for the uploader at the end, for a successor; and between two ticks."""

    task: float = 900.0
    drain: float = 3000.0
    hand_over: float = 60.0
    tick: float = FLUSH_SECONDS


class Session:
    """One attempt, from the task to the end. `run` is called once; `stop` and `go_away` at any time.

    `on_task` hears of the first task, for the logs. Raises OSError when the spool cannot be used.
    """

    def __init__(
        self,
        spool: Path,
        tasks: TaskFile,
        make_room: RoomFactory,
        clock: Clock,
        limits: Limits,
        on_task: Callable[[Task], None] = lambda task: None,
    ) -> None:
        self._spool = Spool(spool, clock)
        self._tasks = tasks
        self._make_room = make_room
        self._clock = clock
        self._limits = limits
        self._on_task = on_task
        self._ending = Ending()
        self._recording: Recording | None = None

    @property
    def lost_seconds(self) -> Mapping[TrackKey, float]:
        """Media that did not arrive and was given up on, by track."""
        return self._recording.lost_seconds if self._recording is not None else {}

    def figures(self) -> dict[str, float]:
        """For metrics; read on another thread."""
        return self._recording.figures() if self._recording is not None else {}

    def stop(self, message: str) -> None:
        """End the recording in good order."""
        self._ending.want(Outcome(False, Reason.STOPPED, message, LeaveCode.NORMAL))

    def go_away(self, message: str) -> None:
        """The Pod has to go, and the task may go on in another: record on until that one is in the room.

        Without anything to hand over, or when told a second time, the attempt ends in good order at once.
        """
        if self._ending.outcome is not None:
            return
        if self._recording is not None and self._recording.hand_over(self._limits.hand_over):
            logger.info("%s: a successor is waited for, %.0f s at most", message, self._limits.hand_over)
        else:
            self._ending.want(handed_over(message))

    async def run(self) -> Outcome:
        """Record until the end; returns when the uploader has everything, or is not waited for any longer."""
        try:
            outcome = await self._attempt()
        except Exception as error:
            logger.exception("the recording broke off")
            outcome = Outcome(True, Reason.RECORDER_FAILED, f"{type(error).__name__}: {error}")
        spool = self._spool
        spool.journal.append(
            EndRecord(ts=self._clock.wall_ms(), failed=outcome.failed, reason=outcome.reason, message=outcome.message)
        )
        logger.info("ended: %s", outcome.reason, extra={"failed": outcome.failed, "detail": outcome.message})
        if not outcome.failed:
            await self._drained()
        if not await asyncio.to_thread(spool.disk.close, _DISK_SECONDS):
            return Outcome(True, Reason.SPOOL_FAILED, "the disk did not take the last files", outcome.leave_code)
        spool.journal.close()
        if spool.disk.error is not None and not outcome.failed:
            return Outcome(True, Reason.SPOOL_FAILED, str(spool.disk.error), outcome.leave_code)
        return outcome

    async def _attempt(self) -> Outcome:
        try:
            task = await self._first_task()
        except TaskMissing as error:
            return Outcome(True, Reason.TASK_MISSING, str(error))
        if self._ending.outcome is not None:
            return self._ending.outcome
        assert task is not None
        self._on_task(task)
        if task.superseded:
            return handed_over("a later attempt was in the room before it began")
        if task.desired_state is DesiredState.STOPPED:
            return Outcome(False, Reason.STOPPED, "stopped before it began")
        self._recording = Recording(
            task, self._tasks, self._spool, self._make_room, self._clock, self._ending, self._limits.tick
        )
        return await self._recording.run()

    async def _first_task(self) -> Task | None:
        """The task, or None when the end is wanted first. Raises TaskMissing."""
        first = asyncio.create_task(self._tasks.first(self._limits.task, self._clock.now))
        wanted = asyncio.create_task(self._ending.wanted.wait())
        try:
            while not first.done() and not wanted.done():
                self._spool.alive()
                await asyncio.wait({first, wanted}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
            return await first if first.done() else None
        finally:
            first.cancel()
            wanted.cancel()

    async def _drained(self) -> None:
        """Wait until the uploader says that everything is in the bucket."""
        deadline = self._clock.now() + self._limits.drain
        marker = self._spool.folder / DRAINED
        while not marker.exists():
            if self._clock.now() >= deadline:
                logger.warning("not everything was uploaded in %.0f s; the uploader goes on", self._limits.drain)
                return
            self._spool.alive()
            await asyncio.sleep(self._limits.tick)
