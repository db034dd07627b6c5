"""The thread on which all tracks' sound is transcoded, and what keeps its results in order.

Opus to AAC costs ten times what capture and pictures do: on the event loop's thread, packets would be lost on a busy
machine. libav works without the interpreter's lock, so the loop goes on meanwhile. Work is handed over twenty times a
second, not packet by packet, because waking a thread costs as much as a packet. What comes of it are calls of the
tracks' writers; they are made on the loop's thread again, where all files belong.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from cloudrec_recorder.media import AccessUnit
from cloudrec_recorder.segments.audio import AacFrame
from cloudrec_recorder.segments.audio_track import AudioTrack
from cloudrec_recorder.segments.files import SegmentSettings
from cloudrec_recorder.segments.writers import AudioWriter

logger = logging.getLogger(__name__)

BATCH_SECONDS: Final = 0.05
"""How long packets wait to be handed over together. With the time between two flushes, and what capture and the AAC
encoder hold, it has to stay below the half second that a killed process may lose."""
WAITING_MAX: Final = 20_000
"""Jobs that may wait for the thread: 25 users' packets of 16 s, or of 10 s with their pictures, as capture may hold and
let out at once 5 s of each. Beyond it sound is left out until half of them are done, and merged pictures with it."""

Call = Callable[[], None]


class AudioWorker:
    """Does jobs in order on a thread of its own, begun by the first. All methods are for the event loop's thread.

    None waits but `close`. A job tells what is to be done on the loop's thread by `call`; `take` does it.
    """

    def __init__(self) -> None:
        self._collected: list[Call] = []
        self._batches: queue.SimpleQueue[list[Call] | None] = queue.SimpleQueue()
        self._calls: deque[Call] = deque()
        self._handed_at = float("-inf")
        self._submitted = self._handed = 0
        self._done = 0  # written by the thread alone
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="audio", daemon=True)
        self.overloaded = False
        """Too much waits: sound is being left out."""
        self.left_out = 0
        """Packets, and merged pictures, left out for that."""

    @property
    def waiting(self) -> int:
        """Jobs that were handed over and are not done yet."""
        return self._handed - self._done

    @property
    def ended(self) -> bool:
        """After `close`: everything that was submitted is done, and the thread is gone."""
        return self._closed and not self._thread.is_alive()

    def room(self) -> bool:
        """Whether one more unit of media may be submitted; False counts it as left out."""
        self._weigh()
        self.left_out += self.overloaded
        return not self.overloaded

    def submit(self, job: Call) -> None:
        """Have `job` run on the thread, after all that was submitted before."""
        self._submitted += 1
        self._collected.append(job)

    def turn(self, now: float) -> None:
        """Called often, at monotonic seconds: hands over what was collected for long enough, and takes what is done."""
        if now - self._handed_at >= BATCH_SECONDS:
            self._handed_at = now
            self._weigh()
            self.take()
            self._hand_over()

    def call(self, call: Call) -> None:
        """For jobs: have `call` made on the event loop's thread, after all others before."""
        self._calls.append(call)

    def take(self) -> None:
        """Make the calls that the jobs done so far have left."""
        while self._calls:
            self._calls.popleft()()

    def close(self, timeout: float) -> bool:
        """Finish what was submitted; False when that takes longer than `timeout` seconds. Nothing may follow."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._batches.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _weigh(self) -> None:
        waiting = self._submitted - self._done
        if waiting > WAITING_MAX:
            self.overloaded = True
        elif waiting <= WAITING_MAX // 2:
            self.overloaded = False

    def _hand_over(self) -> None:
        if not self._collected:
            return
        if self._thread.ident is None:
            self._thread.start()
        batch, self._collected = self._collected, []
        self._handed += len(batch)
        self._batches.put(batch)

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            for job in batch:
                job()
                self._done += 1


class AudioInput:
    """One track's sound: its packets go to the worker, its AAC frames come back to `writer`."""

    def __init__(self, settings: SegmentSettings, writer: AudioWriter, worker: AudioWorker) -> None:
        self._writer = writer
        self._worker = worker
        self._track = AudioTrack(settings, _Later(writer, worker))
        self.active = False
        """Packets came since the last interruption."""

    def media(self, unit: AccessUnit) -> None:
        if self._worker.room():
            self.active = True
            self._worker.submit(partial(self._work, unit))

    def interrupt(self) -> None:
        """End the segment after what was taken so far."""
        self.active = False
        self._worker.submit(self._interrupt)

    def finish(self) -> None:
        """After the worker was closed and taken from: end the segment here and now."""
        self.active = False
        if self._worker.ended:
            self._track.interrupt()
            self._worker.take()
        else:
            self._writer.broken()  # what the thread is stuck with is lost

    def flush(self) -> None:
        self._writer.flush()

    def _work(self, unit: AccessUnit) -> None:
        try:
            self._track.media(unit)
        except Exception:
            logger.exception("transcoding broke off", extra={"user": unit.key.user_id})
            self._track.abandon()

    def _interrupt(self) -> None:
        try:
            self._track.interrupt()
        except Exception:
            logger.exception("transcoding broke off at the end of a segment")
            self._track.abandon()


class _Later:
    """An `AudioWriter` for the worker's thread: the real one is called when the loop takes the calls."""

    def __init__(self, writer: AudioWriter, worker: AudioWorker) -> None:
        self._writer = writer
        self._call = worker.call

    def begins(self, start: float) -> None:
        self._call(partial(self._writer.begins, start))

    def write(self, frame: AacFrame, channels: int) -> None:
        self._call(partial(self._writer.write, frame, channels))

    def broken(self) -> None:
        self._call(self._writer.broken)

    def flush(self) -> None:
        self._call(self._writer.flush)
