"""How a recording is seen: a table that lives on a terminal, a line now and then everywhere else, a summary."""

from __future__ import annotations

import logging
import shlex
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cloudrec_contract.resources import ReportState
from cloudrec_contract.spool import Task
from cloudrec_recorder.standalone.board import Row, Snapshot

LOG_LINES: Final = 6
LINE_SECONDS: Final = 10.0
"""Between two lines where there is no terminal."""
_OTHER_COLUMNS: Final = 67  # width of all but the user's
_AROUND: Final = 8  # lines of a frame that are neither tracks, conditions nor log


class View(Protocol):
    """A context manager around the recording; `show` is called now and then, from one thread."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, now: Snapshot) -> None: ...


class LogLines(logging.Handler):
    """Keeps the last lines, for a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(log_format())
        self._lines: deque[str] = deque(maxlen=LOG_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record).splitlines()[0])

    def lines(self) -> list[str]:
        return list(self._lines)


def log_format() -> logging.Formatter:
    return logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


def log_to_stderr() -> logging.Handler:
    """Log lines for people, where there is no frame to put them into."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(log_format())
    return handler


class LiveView:
    """A frame that is drawn again in place."""

    def __init__(self, task: Task, console: Console, log: LogLines) -> None:
        self._task, self._console, self._log = task, console, log
        self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, now: Snapshot) -> None:
        self._live.update(frame(self._task, now, self._log.lines(), self._console.size), refresh=True)


class PlainView:
    """A line for each new track and state, and one every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Snapshot | None = None
        self._said_at = 0.0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, now: Snapshot) -> None:
        before, self._last = self._last, now
        known = {row.playlist for row in before.rows} if before else set()
        for row in now.rows:
            if row.playlist not in known:
                self._say(now, f"{row.user} {row.media} {row.kind}: {row.codec} {row.detail}")
        if before is None or before.state is not now.state or now.elapsed - self._said_at >= LINE_SECONDS:
            self._said_at = now.elapsed
            rate = sum(row.rate for row in now.rows)
            lost = sum(row.lost for row in now.rows)
            told = f"{now.state}, {len(now.rows)} playlists, {_size(now.bytes)}, {_rate(rate)}"
            self._say(now, told + (f", {lost:.1f} s lost" if lost else ""))

    def _say(self, now: Snapshot, text: str) -> None:
        self._console.print(f"{_clock(now.elapsed)} {text}", highlight=False, markup=False, soft_wrap=True)


def frame(task: Task, now: Snapshot, log: Sequence[str], size: tuple[int, int]) -> RenderableType:
    """One frame for a terminal of so many columns and lines."""
    width, height = size
    title = Text.assemble(
        ("● " if now.state is ReportState.RECORDING else "○ ", "red"),
        (now.state.value, "bold"),
        f"  room {task.room.id}  {_clock(now.elapsed)}  {_size(now.bytes)}",
        ("  Ctrl-C ends it", "dim"),
    )
    conditions = [
        Text(f"! {reason}: {message}", "yellow", overflow="ellipsis", no_wrap=True)
        for reason, message in now.conditions.items()
    ]
    most = max(3, height - _AROUND - len(conditions) - LOG_LINES)
    parts: list[RenderableType] = [title, _table(now.rows[:most], now.state, width)]
    if len(now.rows) > most:
        parts.append(Text(f"and {len(now.rows) - most} more", "dim"))
    parts += conditions
    parts += [Text(line, "dim", overflow="ellipsis", no_wrap=True) for line in log]
    return Group(*parts)


def _table(rows: Sequence[Row], state: ReportState, width: int) -> RenderableType:
    if not rows:
        return Text("nothing was recorded" if state is ReportState.ENDED else "nothing is being recorded yet", "dim")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    longest = max(8, width - _OTHER_COLUMNS)
    table.add_column("user", header_style="dim", overflow="ellipsis", no_wrap=True, max_width=longest)
    for heading, width in (("stream", 10), ("what", 12)):
        table.add_column(heading, header_style="dim", min_width=width, no_wrap=True)
    for heading, width in (("time", 5), ("files", 5), ("size", 7), ("rate", 8), ("lost", 5)):
        table.add_column(heading, header_style="dim", min_width=width, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            Text(row.user),
            f"{row.media} {'both' if row.kind == 'audio_video' else row.kind}",
            f"{row.codec} {row.detail}",
            _clock(row.seconds),
            str(row.segments),
            _size(row.bytes),
            _rate(row.rate) if row.rate else "",
            Text(f"{row.lost:.1f} s", "yellow") if row.lost >= 0.05 else "",
        )
    return table


def summary(console: Console, end: Snapshot, out: Path) -> None:
    """What there is, where it is, and how to play it."""
    console.print(_table([_without_rate(row) for row in end.rows], end.state, console.width))
    for reason, message in end.conditions.items():
        console.print(Text(f"! {reason}: {message}", "yellow"))
    if not end.rows:
        return
    console.print(f"\nplaylists in {out}:", highlight=False, soft_wrap=True, markup=False)
    for row in end.rows:
        console.print(f"  {row.playlist}", highlight=False, soft_wrap=True, markup=False)
    first = next((row for row in end.rows if row.kind != "audio"), end.rows[0])
    play = shlex.quote(str(out / first.playlist))
    console.print(f"play one       ffplay {play}", highlight=False, soft_wrap=True, markup=False)
    if all(row.kind != "audio_video" for row in end.rows):
        console.print("one playlist for sound and picture: mergeAudioVideo: true in the task file", highlight=False)


def _without_rate(row: Row) -> Row:
    return replace(row, rate=0.0)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.2f} GB"


def _rate(bits: float) -> str:
    return f"{bits / 1e6:.1f} Mb/s" if bits >= 1e6 else f"{bits / 1000:.0f} kb/s"
