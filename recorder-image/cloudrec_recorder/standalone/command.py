"""`cloudrec-recorder --task FILE --out DIR`: everything put together, from the task file to the exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop
from rich.console import Console
from rich.text import Text

from cloudrec_contract.conditions import Reason
from cloudrec_contract.spool import DRAINED, JOURNAL, MEDIA, TASK, Task, decode_record
from cloudrec_recorder import logs
from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.media import MediaSink, TrackKey
from cloudrec_recorder.recording import Clock, Outcome, hold_seconds
from cloudrec_recorder.rooms import Room
from cloudrec_recorder.rooms.livekit import LiveKitRoom
from cloudrec_recorder.session import Limits, Session
from cloudrec_recorder.settings import Standalone
from cloudrec_recorder.standalone.board import Board, Snapshot
from cloudrec_recorder.standalone.folder import SPOOL, FolderStore
from cloudrec_recorder.standalone.taskfile import BadTask, read_task
from cloudrec_recorder.standalone.tokens import BadToken, token_source
from cloudrec_recorder.standalone.view import LiveView, LogLines, PlainView, View, log_to_stderr, summary
from cloudrec_recorder.tasks import TaskFile
from cloudrec_recorder.uploader.engine import Engine
from cloudrec_recorder.uploader.store import StoreError
from cloudrec_recorder.uploader.tail import Tail
from cloudrec_recorder.uploader.taskfile import TaskFile as TaskWriter

JOIN_SECONDS: Final = 20.0
"""For how long the first join is tried: somebody waits for it."""
GIVE_UP_SECONDS: Final = 20.0
"""For how long after the end a file that could not be put into the folder is tried again."""
REFRESH_SECONDS: Final = 0.5
BAD_TASK: Final = 2
_SHARE: Final = 20  # a frame of 50 tracks takes 60 ms, which is the recorder's to have
_LAST_SECONDS: Final = 10.0
_KILLED: Final = 130
_WIDE: Final = 120  # where there is no terminal

_HINTS: Final[Mapping[str, str]] = {
    Reason.LIVEKIT_UNREACHABLE: "is the server running, and is its URL right (livekit.url, --url or LIVEKIT_URL)?",
    Reason.MEDIA_UNREACHABLE: "signalling works and media does not: are the server's UDP ports open from here?",
    Reason.TOKEN_REFUSED: "is the API key (or the token) the one of this server?",
}


class _BadFolder(Exception):
    pass


def record(path: Path, settings: Standalone, log_level: str, environment: Mapping[str, str]) -> int:
    """Record as the task file says; returns the exit code."""
    try:
        task = _task(path, settings, environment)
        token = token_source(settings.token, settings.token_file, environment, task, lambda: datetime.now(UTC))
        _make_folder(settings.out)
    except BadTask as error:
        return _refuse(f"{path} is no task that can be recorded:", *map(str, error.args))
    except (BadToken, _BadFolder) as error:
        return _refuse(str(error))
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    log = LogLines() if console.is_terminal else None
    logs.configure(log_level)
    logging.basicConfig(level=log_level, handlers=[log or log_to_stderr()], force=True)
    logging.getLogger("cloudrec_recorder.uploader").setLevel(logging.WARNING)  # there is no bucket to talk of
    view: View = LiveView(task, console, log) if log else PlainView(console)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome, end = runner.run(_Run(task, token, settings).record(view))
    summary(console, end, settings.out)
    return _tell(console, outcome, settings.out)


def _task(path: Path, settings: Standalone, environment: Mapping[str, str]) -> Task:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTask(getattr(error, "strerror", None) or "it is not text") from None
    return read_task(text, _wall_ms(), url=settings.url, url_if_none=environment.get("LIVEKIT_URL"))


def _make_folder(out: Path) -> None:
    """Raises _BadFolder when nothing can be written there, or when there is a recording already."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.glob("*.m3u8")) or (out / SPOOL).exists():
            raise _BadFolder(f"{out} holds a recording already: give another folder")
        FolderStore(out).check()
        (out / SPOOL).mkdir()
    except OSError as error:
        raise _BadFolder(f"{out} cannot be used: {error.strerror}") from None
    except StoreError as error:
        raise _BadFolder(f"{out} cannot be written: {error.message}") from None


def _refuse(message: str, *lines: str) -> int:
    print("\n  ".join((f"cloudrec-recorder: {message}", *lines)), file=sys.stderr)  # noqa: T201
    return BAD_TASK


def _tell(console: Console, outcome: Outcome, out: Path) -> int:
    left = sorted(path.name for path in (out / SPOOL / MEDIA).glob("*.ts"))
    if left:
        console.print(Text(f"not in the folder, but still in {out / SPOOL / MEDIA}: {', '.join(left)}", "red"))
    else:
        shutil.rmtree(out / SPOOL, ignore_errors=True)
    if outcome.failed:
        console.print(Text.assemble(("failed", "bold red"), f"  {outcome.reason}: {outcome.message}"))
        if hint := _HINTS.get(outcome.reason):
            console.print(Text(f"        {hint}"))
    else:
        console.print(Text.assemble(("ended", "bold green"), f"  {outcome.message}"))
    return 1 if outcome.failed or left else 0


class _Run:
    """One recording: the recorder, the sidecar's engine, and who looks on."""

    def __init__(self, task: Task, token: Callable[[], str], settings: Standalone) -> None:
        self._token = token
        self._settings = settings
        self._spool = settings.out / SPOOL
        self._stopping = False
        self._board = Board(time.monotonic())
        self._journal = Tail(self._spool / JOURNAL, decode_record)
        # Nobody has to be waited for: the engine lives in this process, and goes on when the recorder has ended.
        (self._spool / DRAINED).touch()
        self._engine = Engine(
            self._spool,
            FolderStore(settings.out),
            TaskWriter(self._spool / TASK, task),
            lambda report: None,
            give_up_seconds=GIVE_UP_SECONDS,
        )
        self._session = Session(
            self._spool,
            TaskFile(self._spool / TASK),
            self._room,
            Clock(now=time.monotonic, wall_ms=_wall_ms),
            Limits(task=GIVE_UP_SECONDS),
        )

    async def record(self, view: View) -> tuple[Outcome, Snapshot]:
        """Until the end; everything is in the folder then, or cannot be brought there."""
        loop = asyncio.get_running_loop()
        for number, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
            loop.add_signal_handler(number, self._told_to_end, name)
        with view:
            engine = asyncio.create_task(self._engine.run())
            engine.add_done_callback(lambda _: self._session.stop("the folder cannot be written any more"))
            watching = asyncio.create_task(self._watch(view))
            outcome = await self._session.run()
            self._engine.leave()
            await asyncio.wait({engine}, timeout=GIVE_UP_SECONDS + _LAST_SECONDS)
            engine.cancel()
            await asyncio.gather(engine, return_exceptions=True)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            end = await asyncio.to_thread(self._look, dict(self._session.lost_seconds))
        self._journal.close()
        return self._with_files(outcome, engine), end

    def _with_files(self, outcome: Outcome, engine: asyncio.Task[None]) -> Outcome:
        """The recorder's outcome, unless what matters more is that files are missing."""
        error = None if engine.cancelled() else engine.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is not None:
            return Outcome(True, Reason.SPOOL_FAILED, f"the folder cannot be written any more: {error}")
        if engine.cancelled() or self._engine.state.missing:
            return Outcome(True, Reason.SPOOL_FAILED, "not everything could be brought into the folder")
        return outcome

    def _room(self, task: Task, sink: MediaSink) -> Room:
        return LiveKitRoom(
            task.livekit.url,
            self._token,
            sink,
            TaskClock(task.epoch),
            join_deadline=JOIN_SECONDS,
            hold=hold_seconds(task),
        )

    def _told_to_end(self, name: str) -> None:
        if self._stopping:
            cursor = "\x1b[?25h\n" if sys.stdout.isatty() else ""  # the live view hides it
            os.write(2, f"{cursor}broken off: what was not closed is in {self._spool / MEDIA}\n".encode())
            os._exit(_KILLED)
        self._stopping = True
        self._session.stop(f"stopped by {name}")

    async def _watch(self, view: View) -> None:
        """Show what is going on, and look at the clock for --stop-after. A terminal that is held up holds up no more
        than its thread."""
        timed = self._settings.stop_after
        while True:
            shown = await asyncio.to_thread(self._look, dict(self._session.lost_seconds))
            if timed is not None and self._board.joined_ms is not None:
                passed = (_wall_ms() - self._board.joined_ms) / 1000
                asyncio.get_running_loop().call_later(
                    max(0.0, timed - passed), self._session.stop, f"stopped after {timed:g} s"
                )
                timed = None
            before = time.monotonic()
            await asyncio.to_thread(view.show, shown)
            spent = time.monotonic() - before
            await asyncio.sleep(min(max(REFRESH_SECONDS, _SHARE * spent), 10 * REFRESH_SECONDS))

    def _look(self, lost: Mapping[TrackKey, float]) -> Snapshot:
        for entry in self._journal.read_all():
            self._board.take(entry)
        return self._board.snapshot(time.monotonic(), _wall_ms(), _sizes(self._spool / MEDIA), lost)


def _sizes(folder: Path) -> dict[str, int]:
    sizes = {}
    for path in folder.glob("*.ts"):
        try:
            sizes[path.name] = path.stat().st_size
        except FileNotFoundError:  # moved meanwhile
            continue
    return sizes


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
