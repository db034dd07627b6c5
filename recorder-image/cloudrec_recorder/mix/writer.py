"""Mixed mode's `Writer`: feeds the composer's process, keeps it alive, and writes what it makes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Final

from cloudrec_contract.conditions import Reason
from cloudrec_contract.mix import Mix
from cloudrec_contract.spool import ImageRecord, Task
from cloudrec_recorder.media import AccessUnit, Held, NotKept, TrackKey
from cloudrec_recorder.mix import arranging, wire
from cloudrec_recorder.mix.files import MixedFiles
from cloudrec_recorder.mix.process import ComposerProcess
from cloudrec_recorder.rooms import Published, Size
from cloudrec_recorder.segments.files import Output
from cloudrec_recorder.segments.segmenter import BACKLOG_MAX
from cloudrec_recorder.writing import codecs, some

if TYPE_CHECKING:
    from cloudrec_recorder.mix.fetching import Images

logger = logging.getLogger(__name__)

TURN_SECONDS: Final = 0.03
"""How often the composer is sent what came, and the time. With its own delay, capture's and the files' this is what a
killed recorder loses: see `segments.segmenter.FLUSH_SECONDS`."""
HUNG_SECONDS: Final = 5.0
"""A composer that has said nothing for so long is killed."""
DEATHS_MAX: Final = 10
DEATHS_SECONDS: Final = 120.0
"""After so many deaths in so long a time the recorder gives up: another one, on another node perhaps, may do better."""
CATCH_UP_SECONDS: Final = 3.0
"""A new composer begins where the last one ended, but no longer ago than this."""
OUTBOX_MAX: Final = 16 << 20
_BACKOFF: Final = (0.0, 0.2, 0.5, 1.0, 2.0)
_REMEMBERED_SECONDS: Final = 4.0  # of sound, for the composer's successor
_SHOWN_SECONDS: Final = 60.0  # how long a death is a condition
_STEPS: Final = {
    1: "smaller layers are received",
    2: "pictures are encoded with a faster preset",
    3: "pictures are decoded without the loop filter",
    4: "every other frame is left out",
}

Start = Callable[[], Awaitable[ComposerProcess]]


class MixedWriter:
    """One picture and one sound of the whole room. `now` in monotonic seconds, `wall_ms` since the Unix epoch."""

    def __init__(
        self,
        output: Output,
        task: Task,
        now: Callable[[], float],
        wall_ms: Callable[[], int],
        start: Start = ComposerProcess.start,
    ) -> None:
        self._output = output
        self._now = now
        self._wall_ms = wall_ms
        self._zero = wall_ms() / 1000 - task.epoch / 1000 - now()
        self._epoch = task.epoch
        self._kind = task.streams.kind
        self._mix = task.mix or Mix()
        self._files = MixedFiles(output, self._kind, self._mix.video, self._mix.audio)
        self._start_process = start
        self._process: ComposerProcess | None = None
        self._set_up = False
        self._heard_at = 0.0
        self._done = asyncio.Event()
        self._closed = False
        self._start: float | None = None  # of the recording, in task time
        self._made = False
        self._numbers: dict[TrackKey, int] = {}
        self._keys: list[TrackKey] = []
        self._tracks: Sequence[Published] = ()
        self._windows = arranging.windows(self._mix, ())
        self._scene = wire.Scene()
        self._private_images = task.private_images
        self._images: Images | None = None
        self._images_due: deque[str] = deque()
        self._outbox: list[bytes] = []
        self._waiting = 0  # bytes in it
        self._await_keyframe: set[TrackKey] = set()
        self._recent: deque[tuple[float, bytes]] = deque()
        self._deaths: deque[float] = deque()
        self._death = ""
        self._died_times = 0
        self._status = wire.Status()
        self._bad_images: dict[str, str] = {}
        self._unsupported: dict[TrackKey, str] = {}
        self._undecodable: set[TrackKey] = set()
        self._overloaded = False
        self.units = 0
        self.lost_seconds: dict[TrackKey, float] = {}
        self.fault = ""

    # --- capture --------------------------------------------------------------------------------------------------

    def hold(self, key: TrackKey, codec: str, clock_rate: int) -> Held:
        """What is composed live cannot be composed later."""
        return NotKept()

    def lost(self, key: TrackKey, seconds: float) -> None:
        self.lost_seconds[key] = self.lost_seconds.get(key, 0.0) + seconds

    def media(self, unit: AccessUnit) -> None:
        key = unit.key
        if self._closed:
            return
        if unit.codec not in wire.CODECS:
            self._unsupported[key] = unit.codec
            return
        self._unsupported.pop(key, None)
        if key in self._await_keyframe and not unit.keyframe:
            return
        self._await_keyframe.discard(key)
        self.units += 1
        if self._start is None:
            self._start = max(unit.time, self._time() - CATCH_UP_SECONDS)
        message = wire.encode(
            wire.Unit(self._number(key), unit.source, unit.time, unit.keyframe, unit.codec, unit.data)
        )
        if key.kind == "audio":
            self._recent.append((unit.time, message))
            while self._recent[0][0] < unit.time - _REMEMBERED_SECONDS:
                self._recent.popleft()
            if self._made and not self._set_up:
                return  # it comes with all that is remembered
        self._put(message)

    def _number(self, key: TrackKey) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._keys)
            self._keys.append(key)
            self._put(wire.encode(self._stream(number)))
            self._show()
        return number

    def _stream(self, number: int) -> wire.Stream:
        key = self._keys[number]
        return wire.Stream(number=number, user_id=key.user_id, media=key.media, kind=key.kind)

    def _put(self, message: bytes) -> None:
        if self._waiting + len(message) > OUTBOX_MAX:
            self._drop()
        self._outbox.append(message)
        self._waiting += len(message)

    def _drop(self) -> None:
        """The composer does not keep up at all: pictures begin anew with a keyframe, everything else is said again."""
        logger.warning("%d bytes for the composer are left out: it is behind", self._waiting)
        self._outbox = self._introduction()
        self._waiting = sum(map(len, self._outbox))
        self._want_keyframes()

    def _want_keyframes(self) -> None:
        self._await_keyframe = {key for key in self._keys if key.kind == "video"}
        for key in self._await_keyframe:
            self._output.request_keyframe(key)

    # --- the room and the task ------------------------------------------------------------------------------------

    def sizes(self) -> Mapping[TrackKey, Size]:
        """How large the pictures are needed: those without a window not at all."""
        return arranging.sizes(self._windows, smaller=self._status.step > 0)

    def arrange(self, tracks: Sequence[Published], task: Task) -> None:
        self._tracks = tracks
        self._mix = task.mix or self._mix
        self._windows = arranging.windows(self._mix, tracks)
        self._show()

    def _show(self) -> None:
        scene = arranging.scene(self._mix, self._windows, self._numbers)
        if scene != self._scene:
            self._scene = scene
            self._put(wire.encode(scene))
            self._fetch(arranging.images(scene))

    def _fetch(self, urls: Set[str]) -> None:
        if self._images is None and urls:
            from cloudrec_recorder.mix.fetching import Images  # few want it, and it takes memory

            self._images = Images(self._image_there, self._image_failed, allow_private=self._private_images)
        if self._images is not None:
            self._images.want(urls)

    def _image_there(self, url: str, data: bytes) -> None:
        self._images_due.append(url)

    # --- the composer ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                turns = group.create_task(self._turns())
                while not self._done.is_set() and not self.fault:
                    await self._life()
                turns.cancel()
        except* Exception as errors:  # a task's root: the recording ends with it, and a successor begins
            logger.exception("composing broke off")
            error = errors.exceptions[0]
            self.fault = f"{type(error).__name__}: {error}"
        finally:
            self._done.set()
            if self._images is not None:
                await self._images.close()

    async def _life(self) -> None:
        """One process, from its start to its end."""
        self._heard_at = self._now()
        try:
            process = self._process = await self._start_process()
        except OSError as error:
            self._process = None
            await self._died(f"it cannot be started: {error.strerror}")
            return
        if self._done.is_set():
            process.hang_up()
        why = ""
        try:
            async for message in process.messages():
                self._heard_at = self._now()
                self._take(message)
        except ValueError as error:
            why = f"it said what makes no sense: {error}"
            process.kill()
        except asyncio.CancelledError:
            process.kill()
            raise
        finally:
            self._process = None
            self._set_up = False
            code = await asyncio.shield(process.ended())
        if not self._done.is_set():
            await self._died(why or (f"signal {-code}" if code < 0 else f"exit code {code}"))

    async def _died(self, why: str) -> None:
        logger.error("the composer died: %s", why)
        now = self._now()
        self._death = why
        self._died_times += 1
        self._deaths.append(now)
        while self._deaths[0] < now - DEATHS_SECONDS:
            self._deaths.popleft()
        if self._closed:
            self._done.set()
            return
        if len(self._deaths) >= DEATHS_MAX:
            self.fault = f"the composer died {len(self._deaths)} times in {DEATHS_SECONDS:.0f} s, of {why} at last"
            return
        self._files.interrupt()
        self._outbox.clear()
        self._waiting = 0
        self._want_keyframes()
        await asyncio.sleep(_BACKOFF[min(len(self._deaths), len(_BACKOFF)) - 1])

    async def _turns(self) -> None:
        while True:
            self._turn()
            await asyncio.sleep(TURN_SECONDS)

    def _turn(self) -> None:
        """Send what came, and the time."""
        process = self._process
        if process is None or self._start is None:
            return
        if not self._set_up:
            self._begin(process)
        if self._now() - self._heard_at > HUNG_SECONDS:
            logger.error("the composer has said nothing for %.0f s: it is killed", HUNG_SECONDS)
            self._heard_at = self._now()
            process.kill()
        if process.takes:
            self._outbox.append(wire.encode(wire.Tick(self._time())))
            process.send(b"".join(self._outbox))
            self._outbox.clear()
            self._waiting = 0
        if self._images_due and self._images is not None and process.takes:  # after the scene that names it
            url = self._images_due.popleft()
            if data := self._images.kept(url):
                process.send(wire.encode(wire.Image(url, data)))

    def _begin(self, process: ComposerProcess) -> None:
        """A new process is told everything from the beginning, and the sound that its predecessor may not have made."""
        assert self._start is not None
        start = max(self._files.end, self._time() - CATCH_UP_SECONDS) if self._made else self._start
        setup = wire.Setup(
            video=self._mix.video,
            audio=self._mix.audio,
            kind=self._kind,
            fill=self._mix.fill,
            epoch=self._epoch,
            start=start,
            segment_seconds=self._output.settings.target,
        )
        process.send(wire.encode(setup) + b"".join(self._introduction()))
        if self._made:
            process.send(b"".join(message for time, message in self._recent if time > start - 1.0))
        self._images_due = deque(sorted(arranging.images(self._scene)))
        self._set_up = True
        self._heard_at = self._now()

    def _introduction(self) -> list[bytes]:
        """Streams and the scene."""
        return [*(wire.encode(self._stream(number)) for number in range(len(self._keys))), wire.encode(self._scene)]

    def _take(self, message: wire.FromComposer) -> None:
        match message:
            case wire.Picture():
                if self._disk_has_room(keyframe=message.keyframe):
                    self._made = True
                    self._files.picture(message)
            case wire.Sound():
                if self._disk_has_room(keyframe=False):
                    self._made = True
                    self._files.sound(message)
            case wire.Status():
                self._on_status(message)
            case wire.Done():
                self._done.set()

    def _on_status(self, status: wire.Status) -> None:
        self._status = status
        for number in status.keyframes_wanted:
            if number < len(self._keys):
                self._output.request_keyframe(self._keys[number])
        self._undecodable = {self._keys[number] for number in status.undecodable if number < len(self._keys)}
        for url in status.bad_images:
            self._image_failed(url, "it is no image that can be used")

    def _image_failed(self, url: str, why: str) -> None:
        if url not in self._bad_images:
            self._bad_images[url] = why
            logger.warning("an image is left out: %s", why)
            self._output.journal.append(ImageRecord(ts=self._wall_ms(), url=url, message=why))

    def _disk_has_room(self, *, keyframe: bool) -> bool:
        backlog = self._output.disk.backlog
        if not self._overloaded and backlog > BACKLOG_MAX:
            self._overloaded = True
            self._files.interrupt()
        elif self._overloaded and backlog < BACKLOG_MAX // 2 and keyframe:
            self._overloaded = False
        return not self._overloaded

    def _time(self) -> float:
        """Seconds since the task's epoch."""
        return self._now() + self._zero

    # --- what is told, and the end --------------------------------------------------------------------------------

    def tick(self) -> None:
        self._files.flush()

    def conditions(self, published: Set[TrackKey] | None) -> Iterator[tuple[Reason, str]]:
        unsupported = codecs(self._unsupported, published)
        unsupported += sorted(f"pictures or sound of {key.user_id} ({key.media})" for key in self._undecodable)
        yield Reason.CODEC_UNSUPPORTED, f"not recorded: {some(unsupported)}" if unsupported else ""
        yield Reason.MIX_OVERLOAD, self._overload()
        recent = [at for at in self._deaths if self._now() - at < _SHOWN_SECONDS]
        died = f"the composer died and was started again ({self._death})"
        yield Reason.COMPOSER_FAILED, died if recent else ""
        wanted = arranging.images(self._scene)
        bad = [f"{url.partition('?')[0]} ({why})" for url, why in self._bad_images.items() if url in wanted]
        yield Reason.IMAGE_UNUSABLE, f"left out: {some(bad)}" if bad else ""
        slow = "the spool's disk is behind: media is being left out" if self._overloaded else ""
        yield Reason.SLOW_DISK, slow

    def figures(self) -> dict[str, float]:
        return {
            "units": self.units,
            "mix_frames": self._status.frames,
            "mix_dropped_frames": self._status.dropped,
            "mix_overload_step": self._status.step,
            "mix_behind_seconds": self._status.behind,
            "composer_deaths": self._died_times,
        }

    def _overload(self) -> str:
        status = self._status
        steps = [text for step, text in _STEPS.items() if step <= status.step]
        if status.dropped:
            steps.append(f"{status.dropped} frames were left out so far")
        return f"composing takes more time than there is: {'; '.join(steps)}" if steps else ""

    async def drain(self, timeout: float) -> bool:
        self._closed = True
        process = self._process
        if self._start is None:
            self._done.set()
            if process is not None:
                process.hang_up()
        elif process is not None:
            self._turn()
            process.send(wire.encode(wire.End(self._time())))
        try:
            async with asyncio.timeout(timeout):
                await self._done.wait()
            return True
        except TimeoutError:
            return False
        finally:
            self._done.set()

    def finish(self) -> None:
        self._files.interrupt()
