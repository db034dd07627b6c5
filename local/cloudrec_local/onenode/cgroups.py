"""The cluster's own group in each cgroup hierarchy: there before kubelet starts, gone after."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
WEIGHTS = {"cpu.shares": 16 * 1024, "cpu.weight": 16 * 100}
"""Of v1 and v2; a process that is in no group counts as 1024 and 100."""


def hierarchies(mounts: str, root: Path = ROOT) -> list[Path]:
    """The mount points of cgroup hierarchies below `root`, v1's before v2's, from the text of /proc/self/mounts.

    On a hybrid machine that is both: kubelet and runc use v1's, and make empty groups in v2's.
    """
    found: dict[Path, str] = {}
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        if Path(point).is_relative_to(root) and kind in ("cgroup", "cgroup2"):
            found[Path(point)] = kind
    return sorted(found, key=lambda point: found[point])


def current() -> list[Path]:
    """The machine's hierarchies."""
    return hierarchies(Path("/proc/self/mounts").read_text())


def create(name: str, points: Iterable[Path]) -> None:
    """Make the group `name` in each hierarchy, with as much of the CPU as a handful of processes outside have.

    All Pods are in it, and a busy machine would else give them together what it gives to one other process.
    """
    for point in points:
        folder = point / name
        folder.mkdir()
        for file, weight in WEIGHTS.items():
            if (folder / file).exists():
                (folder / file).write_text(f"{weight}\n")


def remove(name: str, points: Iterable[Path], seconds: float = 10) -> list[Path]:
    """Remove the group with all below it, once its processes are gone; what was still busy after `seconds`."""
    deadline = time.monotonic() + seconds
    left = [folder for point in points if (folder := point / name).exists()]
    while left:
        left = [folder for folder in left if not _removed(folder)]
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return left


def _removed(top: Path) -> bool:
    try:
        for folder, _, _ in os.walk(top, topdown=False):
            Path(folder).rmdir()
    except FileNotFoundError:
        return not top.exists()
    except OSError:  # busy: a process is still ending
        return False
    return True
