"""The delivery itself: tasks side by side, a task's letters one after the other, each until it is settled.

Nothing is stored here. What is settled goes into the status by the reconciler, and until it is there a task is at most
AHEAD letters further: so many are sent once more, with the same keys, by an operator that follows a killed one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol
from weakref import WeakValueDictionary

from cloudrec_contract.events import TaskFacts
from cloudrec_contract.resources import Callback
from cloudrec_operator.callbacks import order, render, schedule
from cloudrec_operator.callbacks.metrics import Deliveries
from cloudrec_operator.callbacks.order import Letter, Progress, Settled
from cloudrec_operator.callbacks.receivers import Receiver, Undelivered
from cloudrec_operator.callbacks.transport import Transport
from cloudrec_operator.observed import Recording
from cloudrec_operator.store import Key

log = logging.getLogger(__name__)

AHEAD = 16
APP_PARALLEL = 16
"""Tries of one app at the same time: a receiver that hangs holds up nobody else's."""
HURRY = 15
"""So many letters ahead of the status are written at once."""
CONFIRM_SECONDS = 1.0
"""How long after the last letter what is settled is written."""
BUSY_SECONDS = 5.0
"""The same after the first of them, while more is being sent: a write costs as much as ten letters."""
REPAIR_SECONDS = 30.0
ERROR_LIMIT = 256


class Clock(Protocol):
    def now_ms(self) -> int:
        """Since the Unix epoch."""
        ...

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Until the event is set, or so long."""
        ...


@dataclass(eq=False, slots=True)
class _Line:
    """One task's letters."""

    key: Key
    uid: str
    app: Key
    task: TaskFacts
    gate: asyncio.Semaphore
    callback: Callback
    letters: list[Letter] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    error: str = ""
    first: int = 0
    last: int = 0
    """When the first and the last of `settled` were, ms since the Unix epoch."""
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the status has caught up."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the callback was changed: no pause is kept then."""
    job: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    """Until what is settled is to be written."""

    def progress(self, due: bool = True) -> Progress:
        return Progress(tuple(self.settled), self.error, due)

    def settle(self, one: Settled, now: int) -> None:
        self.first = self.first if self.settled else now
        self.last = now
        self.settled.append(one)
        self.letters = [letter for letter in self.letters if letter.key != one.letter.key]


class Sender:
    """`receiver` finds who gets an app's callbacks; `changed` is told of a task whose progress is to be written, and in
    how many seconds; `leads`: nothing is sent while it is False; `told` counts."""

    def __init__(
        self,
        receiver: Callable[[Key], Awaitable[Receiver]],
        transport: Transport,
        changed: Callable[[Key, float], None],
        leads: Callable[[], bool],
        clock: Clock,
        told: Deliveries | None = None,
    ) -> None:
        self._receiver = receiver
        self._transport = transport
        self._changed = changed
        self._leads = leads
        self._clock = clock
        self._told = told or Deliveries()
        self._told.pending = self.pending
        self._lines: dict[Key, _Line] = {}
        self._gates: WeakValueDictionary[Key, asyncio.Semaphore] = WeakValueDictionary()

    def offer(self, key: Key, recording: Recording, callback: Callback | None, silent: Collection[str]) -> Progress:
        """The recording as it is now, and its app's callback; what of it is ahead of its status.

        `silent`: the Pods of attempts that will report no more.
        """
        status, spec = recording.status, recording.spec
        if status.callbacks is None or spec is None or callback is None:
            self.drop(key)
            return Progress()
        line = self._lines.get(key)
        if line is not None and line.uid != recording.uid:
            self.drop(key)
            line = None
        if line is None:
            letters = order.waiting(status, silent)
            if not letters:
                return Progress()
            app = Key(recording.namespace, spec.app_ref.name)
            task = TaskFacts(recording.uid, spec.room.id, spec.robot.user_id)
            gate = self._gates.setdefault(app, asyncio.Semaphore(APP_PARALLEL))
            line = self._lines[key] = _Line(key, recording.uid, app, task, gate, callback)
        known = {letter.key for letter in order.waiting(status, [attempt.pod for attempt in status.attempts])}
        line.settled = [one for one in line.settled if one.letter.key in known]
        ahead = {one.letter.key for one in line.settled}
        waiting = order.waiting(status, silent, line.progress().beyond)
        line.letters = [letter for letter in waiting if letter.key not in ahead]
        if len(line.settled) < AHEAD:
            line.room.set()
        if line.callback != callback:
            line.callback = callback
            line.changed.set()
        if line.letters and line.job is None:
            line.job = asyncio.create_task(self._run(line), name=f"callbacks {key.namespace}/{key.name}")
        if not line.settled:
            self._disarm(line)
            if line.job is None:
                del self._lines[key]
        due = self._confirm_in(line) <= 0 or (line.error or None) != status.callbacks.last_error
        return line.progress(due)

    def _confirm_in(self, line: _Line) -> float:
        """In how many seconds what is settled is to be written; 0 also when there is nothing."""
        if not line.settled or len(line.settled) >= HURRY:
            return 0.0
        at = line.first / 1000 + BUSY_SECONDS if line.letters else line.last / 1000 + CONFIRM_SECONDS
        return max(0.0, at - self._clock.now_ms() / 1000)

    def _arm(self, line: _Line) -> None:
        """See to it that what is settled is written in time."""
        self._disarm(line)
        wait = self._confirm_in(line)
        if wait > 0:
            line.timer = asyncio.get_running_loop().call_later(wait, self._arm, line)
        elif line.settled:
            self._changed(line.key, 0.0)

    def _disarm(self, line: _Line) -> None:
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None

    def pending(self) -> int:
        """How many letters wait."""
        return sum(len(line.letters) for line in self._lines.values())

    def drop(self, key: Key) -> None:
        """The recording is gone, or nothing is to be sent of it any more."""
        line = self._lines.pop(key, None)
        if line is not None:
            self._disarm(line)
            if line.job is not None:
                line.job.cancel()

    def clear(self) -> None:
        """Another operator delivers from now on."""
        for key in list(self._lines):
            self.drop(key)

    async def close(self) -> None:
        jobs = [line.job for line in self._lines.values() if line.job is not None]
        self.clear()
        await asyncio.gather(*jobs, return_exceptions=True)

    # --- one task ---------------------------------------------------------------------------------------------------

    async def _run(self, line: _Line) -> None:
        try:
            while line.letters and self._leads():
                if len(line.settled) >= AHEAD:
                    line.room.clear()
                    await line.room.wait()
                    continue
                one = await self._settle(line, line.letters[0])
                if one is None:
                    break
                line.settle(one, self._clock.now_ms())
                self._arm(line)
        except Exception:  # a task's root: the recording is looked at again in a while
            log.exception("callbacks stopped", extra=_where(line))
            self._changed(line.key, REPAIR_SECONDS)
        finally:
            line.job = None

    async def _settle(self, line: _Line, letter: Letter) -> Settled | None:
        """Try until it is settled; None when this operator leads no more."""
        first = self._clock.now_ms()
        tries = 0
        while self._leads():
            tries += 1
            started = self._clock.now_ms()
            line.changed.clear()  # what changes while this try waits or runs is tried at once after it
            try:
                async with line.gate:
                    if not self._leads():
                        return None
                    await self._try(line, letter, tries)
            except Undelivered as error:
                why = str(error)[:ERROR_LIMIT]
                self._told.failed(error.outcome)
            except ValueError as error:
                why = f"event {letter.type} cannot be told: {error}"[:ERROR_LIMIT]
                log.error("callback given up: %s", why, extra=_where(line))
                self._told.given_up()
                return Settled(letter, why)
            else:
                line.error = ""
                return Settled(letter)
            if why != line.error:
                line.error = why
                log.warning("callback not delivered: %s", why, extra={**_where(line), "event": letter.type})
                self._changed(line.key, CONFIRM_SECONDS)
            failed = self._clock.now_ms()
            again = schedule.again_at(tries, first, started, failed, letter.since)
            if again is None:
                log.error("callback given up: %s", why, extra={**_where(line), "event": letter.type})
                self._told.given_up()
                return Settled(letter, why)
            if again > failed:
                await self._clock.wait(line.changed, (again - failed) / 1000)
        return None

    async def _try(self, line: _Line, letter: Letter, tries: int) -> None:
        """Raises Undelivered; ValueError when it cannot be rendered."""
        receiver = await self._receiver(line.app)
        if receiver.events is not None and letter.type not in receiver.events:
            return
        content = render.body(letter, line.task, self._clock.now_ms())
        headers = render.headers(letter, tries, content, receiver.sdk_app_id, receiver.key)
        await self._transport.post(receiver, headers, content)
        self._told.delivered((self._clock.now_ms() - letter.since) / 1000)


def _where(line: _Line) -> dict[str, str]:
    return {"recording": f"{line.key.namespace}/{line.key.name}", "task": line.uid}
