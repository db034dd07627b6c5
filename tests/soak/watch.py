"""What processes hold on to, sampled; and whether it grows. Linux."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

WARM_UP = 0.2
"""The part of all samples that does not count: caches fill, allocators find their size."""
GROWTH_MAX = 0.05
_COMPARED = 0.25  # of what counts: its first part with its last
_COUNT_SLACK = 3  # file descriptors and threads come and go with users


@dataclass(frozen=True, slots=True)
class Sample:
    """`pss` and `rss` in KiB: memory with shared pages counted by share, and resident."""

    pss: int
    rss: int
    fds: int
    threads: int


@dataclass(slots=True)
class Watched:
    """One process and its samples. `ended` when it was not there any more."""

    pid: int
    started: str
    samples: list[Sample] = field(default_factory=list)
    ended: bool = False

    @classmethod
    def of(cls, pid: int) -> Watched:
        """Raises OSError when there is no such process."""
        return cls(pid, _started(pid))

    def sample(self) -> None:
        try:
            if _started(self.pid) != self.started:
                raise ProcessLookupError
            self.samples.append(_sample(self.pid))
        except OSError:
            self.ended = True


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians at the beginning (after the warm-up) and at the end."""

    pss_mb: tuple[float, float]
    rss_mb: tuple[float, float]
    fds: tuple[float, float]
    threads: tuple[float, float]
    peak_rss_mb: float

    @property
    def memory(self) -> float:
        """Of PSS: 0.05 is five percent more."""
        return self.pss_mb[1] / self.pss_mb[0] - 1

    def faults(self, name: str) -> list[str]:
        """What grows too much, in words."""
        found = []
        if self.memory > GROWTH_MAX:
            found.append(f"{name}: memory grew by {self.memory:.1%}")
        for what, (first, last) in (("file descriptors", self.fds), ("threads", self.threads)):
            if last > first * (1 + GROWTH_MAX) + _COUNT_SLACK:
                found.append(f"{name}: {what} grew from {first:.0f} to {last:.0f}")
        return found

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "growth": round(self.memory, 4)}


def growth(samples: list[Sample]) -> Growth:
    """Compare the first and the last quarter of what follows the warm-up. Raises ValueError with too few samples."""
    counted = samples[int(len(samples) * WARM_UP) :]
    part = int(len(counted) * _COMPARED)
    if part < 2:
        raise ValueError(f"{len(samples)} samples tell nothing")
    first, last = counted[:part], counted[-part:]

    def both(name: str, unit: float) -> tuple[float, float]:
        values = [median(getattr(sample, name) for sample in some) / unit for some in (first, last)]
        return round(values[0], 2), round(values[1], 2)

    return Growth(
        both("pss", 1024),
        both("rss", 1024),
        both("fds", 1),
        both("threads", 1),
        round(max(sample.rss for sample in samples) / 1024, 2),
    )


def find(mark: str, deadline: float = 10.0) -> int:
    """The oldest process whose environment has this text. Raises ProcessLookupError when there is none in time."""
    until = time.monotonic() + deadline
    while True:
        found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if mark.encode() in _environment(path)]
        if found:
            return min(found, key=lambda pid: (int(_started(pid)), pid))
        if time.monotonic() >= until:
            raise ProcessLookupError(mark)
        time.sleep(0.2)


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes() + b"\0"
    except OSError:
        return b""


def _started(pid: int) -> str:
    """When it started, in ticks since boot: tells a pid that was given again."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _sample(pid: int) -> Sample:
    folder = Path(f"/proc/{pid}")
    rollup = dict(line.split(":", 1) for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
    return Sample(
        pss=int(rollup["Pss"].split()[0]),
        rss=int(rollup["Rss"].split()[0]),
        fds=sum(1 for _ in (folder / "fd").iterdir()),
        threads=sum(1 for _ in (folder / "task").iterdir()),
    )
