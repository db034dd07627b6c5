"""How a build is seen: bars with real progress on a terminal, a line now and then everywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY = 15.0  # seconds between two lines where there is no terminal


class Step(Protocol):
    """One program's progress."""

    def phase(self, name: str, total: int) -> None:
        """A new count of `total` steps begins."""

    def advance(self) -> None:
        """One more step is done."""

    def done(self) -> None:
        """The program is there."""


class BuildDisplay:
    """All programs that are being built. A context manager; `console` is stderr's unless another is given."""

    def __init__(
        self,
        titles: Iterable[str],
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock
        self._progress = Progress(
            TextColumn("{task.description:<18}"),
            TextColumn("{task.fields[phase]:<11}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks = {
            title: self._progress.add_task(title, total=None, start=False, phase="waiting") for title in titles
        }

    def __enter__(self) -> BuildDisplay:
        self.say("building the stack's servers, once: 3 minutes on a fast machine, 10 on two cores")
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line beside the bars."""
        self._progress.console.print(text, highlight=False)

    def step(self, title: str) -> Step:
        """The progress of one of the programs."""
        if self._console.is_terminal:
            return _Bar(self._progress, self._tasks[title])
        return _Lines(title, self.say, self._clock)


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def phase(self, name: str, total: int) -> None:
        self._progress.reset(self._task, total=total, phase=name)

    def advance(self) -> None:
        self._progress.advance(self._task)

    def done(self) -> None:
        total = self._progress.tasks[self._task].total
        self._progress.update(self._task, completed=total, phase="built")
        self._progress.stop_task(self._task)


class _Lines:
    def __init__(self, title: str, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._title = title
        self._say = say
        self._clock = clock
        self._began = self._last = clock()
        self._name, self._count, self._total = "", 0, 0

    def phase(self, name: str, total: int) -> None:
        self._name, self._count, self._total = name, 0, total
        self._last = self._clock()
        self._say(f"{self._title}: {name}")

    def advance(self) -> None:
        self._count += 1
        if self._clock() - self._last >= LINE_EVERY:
            self._last = self._clock()
            self._say(f"{self._title}: {self._name} {self._count} of {self._total}")

    def done(self) -> None:
        self._say(f"{self._title}: built in {self._clock() - self._began:.0f} s")
