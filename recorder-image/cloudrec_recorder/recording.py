"""The time in the room: what is subscribed to, what state that is, and what makes it end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import LeaveCode
from cloudrec_contract.naming import NAME_BYTES
from cloudrec_contract.resources import DesiredState, Mode, ReportState
from cloudrec_contract.spool import ALIVE, MEDIA, ClockRecord, JoinedRecord, LeftRecord, StateRecord, Task
from cloudrec_recorder.capture.output import HOLD_SECONDS
from cloudrec_recorder.journal import Conditions, Journal
from cloudrec_recorder.media import MediaSink, TrackKey
from cloudrec_recorder.mix.writer import MixedWriter
from cloudrec_recorder.rooms import Changed, Joined, Left, Published, Room, Size, Unreachable
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.files import STAGGER, Output, SegmentSettings
from cloudrec_recorder.single import SingleWriter
from cloudrec_recorder.subscription import MAX_STREAMS, Choice, Stream, choose
from cloudrec_recorder.tasks import TaskFile
from cloudrec_recorder.writing import Writer, some

logger = logging.getLogger(__name__)

RoomFactory = Callable[[Task, MediaSink], Room]
"""A connector for the task's room that delivers media to the sink."""

LEAVE_SECONDS: Final = 10.0
OVERLAP_SECONDS: Final = 5.0
"""How long a superseded recorder stays: its successor is in the room, but has yet to get everybody's first keyframe,
which LiveKit asks publishers for once a second at most."""
SETTLE_SECONDS: Final = 10.0
"""How long to wait at the end for what is still being transcoded."""
LIVE_HOLD_SECONDS: Final = 0.1
_ALIVE_SECONDS: Final = 2.0
_REMEMBERED: Final = 64  # users that were left out, to be told at the end
_SHOWN: Final = 32  # characters of a very long user id in it


@dataclass(frozen=True, slots=True)
class Clock:
    """`now`: monotonic seconds. `wall_ms`: ms since the Unix epoch, for the journal's `ts` only."""

    now: Callable[[], float]
    wall_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the attempt ended. `leave_code` as in event 302.

    None when the robot never got in or none of the codes is true: the operator then tells of the end in its own words.
    """

    failed: bool
    reason: str
    message: str = ""
    leave_code: int | None = None


def handed_over(message: str) -> Outcome:
    """The attempt ends and the task goes on in another: no LeaveCode, so that nobody takes it for the task's end."""
    return Outcome(False, Reason.HANDED_OVER, message)


_SUPERSEDED: Final = handed_over("a later attempt is in the room")


def _stopped(task: Task) -> Outcome:
    if task.replaced:
        message = "another task with the same app, room and robot began"
        return Outcome(False, Reason.REPEATED_ENTRY, message, LeaveCode.REPEATED_ENTRY)
    return Outcome(False, Reason.STOPPED, "stopped by the task", LeaveCode.NORMAL)


def hold_seconds(task: Task) -> float:
    """How long a new track may be held back until its clock is known: what is composed live cannot wait."""
    return LIVE_HOLD_SECONDS if task.mode is Mode.MIXED else HOLD_SECONDS


class Ending:
    """Somebody wants the recording to end; the first one's outcome counts."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.wanted = asyncio.Event()

    def want(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
        self.wanted.set()


class Spool:
    """The spool's writing side: one disk thread, the journal on it, the sign of life. Raises OSError if unusable."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.media = folder / MEDIA
        self.media.mkdir(parents=True, exist_ok=True)
        self.disk = Disk()
        self.journal = Journal(folder, self.disk, clock.wall_ms)
        self._now = clock.now
        self._alive_at = float("-inf")

    def alive(self) -> None:
        """Every now and then, show that the loop turns and the disk takes writes: a probe looks at the file's time."""
        now = self._now()
        if now - self._alive_at >= _ALIVE_SECONDS:
            self._alive_at = now
            self.disk.submit((self.folder / ALIVE).touch)


class Recording:
    """One robot's stay in one room. `run` is called once."""

    def __init__(
        self,
        task: Task,
        tasks: TaskFile,
        spool: Spool,
        make_room: RoomFactory,
        clock: Clock,
        ending: Ending,
        tick_seconds: float,
    ) -> None:
        self._task = task
        self._tasks = tasks
        self._spool = spool
        self._journal = spool.journal
        self._conditions = Conditions(spool.journal)
        self._clock = clock
        self._ending = ending
        self._tick_seconds = tick_seconds
        output = Output(
            names=task.names,
            epoch_ms=task.epoch,
            folder=spool.media,
            disk=spool.disk,
            journal=spool.journal,
            settings=SegmentSettings(target=task.segment_seconds, stagger=STAGGER),
            request_keyframe=self._request_keyframe,
        )
        self._writer: Writer
        if task.mode is Mode.MIXED:
            self._writer = MixedWriter(output, task, clock.now, clock.wall_ms)
        else:
            self._writer = SingleWriter(output, clock.now, merge=task.merge_audio_video)
        self._room = make_room(task, self._writer)
        self._left: Left | None = None
        self._joined = False
        self._unreachable: set[str] = set()
        self._state = ReportState.STARTING
        self._present = Changed(frozenset(), ())
        self._choice = Choice()
        self._pictures: list[Published] = []
        self._preferred: dict[str, Size] = {}
        self._idle_since: float | None = None
        self._successor_by: float | None = None
        self._leave_at: float | None = None
        self._units_when_idle = 0
        self._too_long: dict[str, int] = {}

    @property
    def lost_seconds(self) -> Mapping[TrackKey, float]:
        """Media that did not arrive and was given up on, by track."""
        return self._writer.lost_seconds

    def figures(self) -> dict[str, float]:
        """For metrics; read on another thread."""
        return {**self._writer.figures(), "lost_seconds": sum(list(self._writer.lost_seconds.values()))}

    def hand_over(self, seconds: float) -> bool:
        """Record on until a successor is in the room, for so long at most.

        False when there is nothing to hand over, or it is urgent: the robot is not in the room, or this was called
        before.
        """
        if not self._joined or self._left or self._successor_by is not None or seconds <= 0:
            return False
        self._successor_by = self._clock.now() + seconds
        return True

    async def run(self) -> Outcome:
        """Join, record, leave. When it returns every segment is closed and `left` is in the journal."""
        events = asyncio.create_task(self._events())
        ticks = asyncio.create_task(self._ticks())
        wanted = asyncio.create_task(self._ending.wanted.wait())
        beside = asyncio.create_task(self._writer.run())
        work: list[asyncio.Task[None]] = [events, ticks, beside]
        try:
            await asyncio.wait({events, ticks, wanted}, return_when=asyncio.FIRST_COMPLETED)
            if not events.done():
                self._enter(ReportState.STOPPING)
                await self._leave(events)
            for task in work:
                if task.done():
                    task.result()
        finally:
            wanted.cancel()
            for task in (events, ticks):
                task.cancel()
            await asyncio.gather(events, ticks, return_exceptions=True)
            if not await self._writer.drain(SETTLE_SECONDS):
                logger.warning("transcoding was not done after %.0f s; the rest is left out", SETTLE_SECONDS)
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
            self._writer.finish()
            self._log_losses()
        self._note_clocks()
        # Of those too who have left meanwhile: nothing else tells that their media is missing.
        for reason, message in self._writer.conditions(None):
            if reason is Reason.CODEC_UNSUPPORTED and message:
                self._conditions.set(reason, message)
        self._say_too_long(self._too_long)
        outcome = self._outcome()
        if outcome.leave_code is not None and self._joined:
            self._journal.append(
                LeftRecord(ts=self._clock.wall_ms(), leave_code=outcome.leave_code, message=outcome.message)
            )
        return outcome

    async def _leave(self, events: asyncio.Task[None]) -> None:
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._room.leave()
                await asyncio.wait({events})
        except TimeoutError:
            logger.warning("the room was not left in %.0f s; gone without", LEAVE_SECONDS)

    def _outcome(self) -> Outcome:
        if self._ending.outcome is not None:
            return self._ending.outcome
        left = self._left
        if left is None:
            return Outcome(True, Reason.RECORDER_FAILED, "the room's events ended without a reason", LeaveCode.TIMEOUT)
        if left.code is not None:
            return Outcome(False, left.reason, left.message, left.code)
        self._conditions.set(left.reason, left.message)
        return Outcome(True, left.reason, left.message)

    # --- what the room says ---------------------------------------------------------------------------------------

    async def _events(self) -> None:
        async for event in self._room.events():
            match event:
                case Joined():
                    self._on_joined()
                case Changed():
                    self._on_changed(event)
                case Unreachable():
                    self._unreachable.add(event.reason)
                    self._conditions.set(event.reason, event.message)
                case Left():
                    logger.info("left the room: %s", event.message, extra={"reason": event.reason})
                    self._left = event

    def _on_joined(self) -> None:
        while self._unreachable:
            self._conditions.clear(self._unreachable.pop())
        if self._joined:
            logger.info("in the room again")
            return
        self._joined = True
        if not self._present.anchors:
            self._idle_since = self._clock.now()
        self._journal.append(JoinedRecord(ts=self._clock.wall_ms()))
        self._enter(ReportState.IDLE)

    def _on_changed(self, event: Changed) -> None:
        self._present = event
        if event.anchors:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = self._clock.now()
        self._choose()

    def _choose(self) -> None:
        """Subscribe to what the task and the room say now."""
        present = self._present
        users = present.anchors | {track.key.user_id for track in present.tracks}
        tracks, too_long = [], {}
        for track in present.tracks:
            user, longest = track.key.user_id, self._longest_user_id(track)
            if len(user.encode()) <= longest:
                tracks.append(track)
            else:
                too_long[user] = longest
        self._say_too_long(too_long)
        if len(self._too_long) < _REMEMBERED:
            self._too_long |= too_long
        self._choice = choose(self._task.streams, tracks, users, self._choice)
        self._room.subscribe(self._choice.sids)
        chosen = [track for track in tracks if track.sid in self._choice.sids]
        self._writer.arrange(chosen, self._task)
        self._pictures = [track for track in chosen if track.key.kind == "video"]
        self._prefer()
        if self._choice.waiting:
            self._conditions.set(
                Reason.STREAMS_WAITING,
                f"{MAX_STREAMS} streams are being recorded; waiting for a free slot: {_named(self._choice.waiting)}",
            )
        else:
            self._conditions.clear(Reason.STREAMS_WAITING)

    def _prefer(self) -> None:
        sizes = self._writer.sizes()
        wanted = {} if sizes is None else {track.sid: sizes.get(track.key, (0, 0)) for track in self._pictures}
        if wanted != self._preferred:
            self._preferred = wanted
            self._room.prefer(wanted)

    def _longest_user_id(self, track: Published) -> int:
        if self._task.mode is Mode.MIXED:
            return NAME_BYTES * 4  # no file is named after a user
        kind = "audio_video" if self._task.merge_audio_video else track.key.kind
        return self._task.names.longest_user_id(track.key.media, kind)

    def _say_too_long(self, users: Mapping[str, int]) -> None:
        """Users whose files cannot be named, and the bytes that their ids may have."""
        if users:
            named = [f"{_short(user)} ({len(user.encode())} bytes, {most} can be)" for user, most in users.items()]
            self._conditions.set(Reason.NAME_TOO_LONG, f"not recorded, the user id is too long: {some(named)}")
        else:
            self._conditions.clear(Reason.NAME_TOO_LONG)

    # --- what time and the task say -------------------------------------------------------------------------------

    async def _ticks(self) -> None:
        while True:
            self._tick()
            await asyncio.sleep(self._tick_seconds)

    def _tick(self) -> None:
        self._spool.alive()
        self._writer.tick()
        task = self._tasks.changed()
        if task is not None:
            self._on_task(task)
        self._prefer()  # an overloaded composer wants them smaller
        self._say_state()
        self._say_conditions()
        error = self._spool.disk.error
        if error is not None:
            self._ending.want(Outcome(True, Reason.SPOOL_FAILED, str(error)))
        if self._writer.fault:
            self._ending.want(Outcome(True, Reason.COMPOSER_FAILED, self._writer.fault))
        if self._leave_at is not None:
            if self._clock.now() >= self._leave_at:
                self._ending.want(_SUPERSEDED)
        elif self._successor_by is not None and self._clock.now() >= self._successor_by:
            self._ending.want(handed_over("no successor came into the room in time"))
        limit = self._task.max_idle_seconds
        if self._idle_since is not None and self._clock.now() - self._idle_since >= limit:
            message = f"nobody who may publish for {limit} s"
            self._ending.want(Outcome(False, Reason.NOBODY_IN_ROOM, message, LeaveCode.IDLE))

    def _on_task(self, task: Task) -> None:
        self._task = task
        if task.desired_state is DesiredState.STOPPED:
            self._ending.want(_SUPERSEDED if task.superseded else _stopped(task))
            return
        if task.superseded and self._leave_at is None:
            self._leave_at = self._clock.now() + OVERLAP_SECONDS
        if self._joined:
            self._choose()

    def _say_state(self) -> None:
        if self._state not in (ReportState.IDLE, ReportState.RECORDING):
            return
        if not self._choice.sids:
            self._units_when_idle = self._writer.units
            self._enter(ReportState.IDLE)
        elif self._writer.units > self._units_when_idle:
            self._enter(ReportState.RECORDING)

    def _say_conditions(self) -> None:
        published = {track.key for track in self._present.tracks}
        for reason, message in self._writer.conditions(published):
            if message:
                self._conditions.set(reason, message)
            else:
                self._conditions.clear(reason)
        disk = self._spool.disk
        if disk.lost_files:
            self._conditions.set(Reason.SPOOL_FAILED, f"segments not written: {disk.lost_files} ({disk.lost_why})")

    # --- small things ---------------------------------------------------------------------------------------------

    def _request_keyframe(self, key: TrackKey) -> None:
        self._room.request_keyframe(key)

    def _enter(self, state: ReportState) -> None:
        if state is not self._state:
            self._state = state
            self._journal.append(StateRecord(ts=self._clock.wall_ms(), state=state))

    def _note_clocks(self) -> None:
        """What another attempt's files, of another node's clock, can be aligned by."""
        for user, seconds in self._room.clock_offsets().items():
            offset = round(seconds * 1000, 3)
            logger.info("a publisher's clock is %.3f ms behind", offset, extra={"user": user, "offset_ms": offset})
            self._journal.append(ClockRecord(ts=self._clock.wall_ms(), user_id=user, offset=offset))

    def _log_losses(self) -> None:
        for key, seconds in self._writer.lost_seconds.items():
            logger.warning(
                "%.2f s of media were lost on the way", seconds, extra={"user": key.user_id, "kind": key.kind}
            )


def _named(streams: tuple[Stream, ...]) -> str:
    return some([f"{user} ({media})" for user, media in streams])


def _short(user: str) -> str:
    return user if len(user) <= _SHOWN else f"{user[:_SHOWN]}…"
