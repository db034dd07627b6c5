"""Video on demand: where files go that are to be played from an address of their own.

VodError
├── VodUnreachable   no answer, or one that passes: to be tried again
└── VodRefused       it said no, and would again
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from cloudrec_contract.finish import VodTask


class VodError(Exception):
    """`code` and `message` are VOD's own where it answered."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class VodUnreachable(VodError):
    pass


class VodRefused(VodError):
    pass


@dataclass(frozen=True, slots=True)
class Media:
    """One file. Of a playlist, `segments` are the bare names that it lists, and `fetch` gets one of them into a
    file."""

    path: Path
    name: str
    kind: Literal["mp4", "aac", "m3u8"]
    segments: tuple[str, ...] = ()
    fetch: Callable[[str, Path], None] | None = None


class Committed(NamedTuple):
    """`note`: what did not go as wished, such as an expiry that was refused."""

    file_id: str
    url: str
    note: str = ""


class Backend(Protocol):
    """Blocking. Raises VodError, and what `fetch` raises."""

    def commit(self, media: Media, resume: str, begun: Callable[[str], None]) -> Committed:
        """`resume`: the token of an earlier try, empty when there was none. `begun` is called with this try's token
        right before its last step, so that it can be kept."""
        ...


def backend(task: VodTask, task_id: str, credentials: Path) -> Backend:
    """That of the task. Raises VodRefused when there is none."""
    raise VodRefused("NoBackend", f"there is no backend for task {task_id}")
