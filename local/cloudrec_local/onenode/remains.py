"""What a cluster leaves on the machine once its enclosure is gone, and how that goes too: a folder, cgroups, sockets.

A run that was killed cannot clean up; the next one does it. Who still lives holds a lock on its folder.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from ..components.bucket import leftovers
from ..errors import StackError
from ..state import StackState
from . import cgroups
from .configuration import Layout

PREFIX = "cloudrec-onenode-"
LOCK = "lock"


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder for a new cluster, locked as long as the block lasts. The caller removes it."""
    folder = Path(mkdtemp(prefix=PREFIX))
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def of_the_dead(parent: Path | None = None) -> list[Path]:
    """Folders whose makers are gone."""
    return [path for path in (parent or Path(gettempdir())).glob(f"{PREFIX}*") if _abandoned(path)]


def _abandoned(folder: Path) -> bool:
    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:  # locked, just made, or another user's
        return False


def remove(layout: Layout) -> list[Path]:
    """Remove everything of a cluster whose enclosure has ended; what could not be removed."""
    for path in _sockets(layout):
        path.unlink(missing_ok=True)
    left = cgroups.remove(layout.cgroup, cgroups.current())
    shutil.rmtree(layout.root, ignore_errors=True)
    return [*left, *([layout.root] if layout.root.exists() else [])]


def _sockets(layout: Layout) -> list[Path]:
    try:
        state = StackState.load(layout.root / "stack" / "stack.json")
    except StackError:  # another version's
        return []
    return leftovers(state) if state else []
