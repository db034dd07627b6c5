"""What the finisher and the backends of VOD agree on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol


class VodError(Exception):
    """`code` and `message` are the backend's own where it answered; neither has a secret in it."""

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
    """One file of a recording under its final name, in a folder that more can be written to.

    m3u8: `path` is the playlist's file, `segments` are the bare names that it lists (percent-encoded in the playlist),
    and `fetch(name, to)` writes one into a file; it is called from several threads.
    """

    path: Path
    name: str
    kind: Literal["mp4", "aac", "m3u8"]
    segments: tuple[str, ...] = ()
    fetch: Callable[[str, Path], None] | None = None


class Committed(NamedTuple):
    """`note`: what was asked for and could not be had, e.g. expiry, and why; empty when all was."""

    file_id: str
    url: str
    note: str = ""


class Backend(Protocol):
    def commit(self, media: Media, resume: str, begun: Callable[[str], None]) -> Committed:
        """Bring a file to VOD. Blocking; each request has a time-out.

        `begun(token)` is called when everything is uploaded, right before the step that makes it a file of VOD, by
        backends where that step must not be repeated with another upload; the caller keeps the token until the commit
        is over. `resume`: the token of an earlier try that is not known to have ended; empty when there is none.
        Raises VodError, what `fetch` and `begun` raise, and OSError when the folder cannot be written to.
        """
