"""One store's uploads: which are on their way, and what is tried when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cloudrec_recorder.uploader.retry import Retry
from cloudrec_recorder.uploader.store import Store

PARALLEL = 4
BACKUP_PARALLEL = 2


@dataclass(frozen=True, slots=True)
class Job:
    """One upload: `name` of a segment's file or of a playlist; empty for the write check and the manifest."""

    kind: Literal["check", "segment", "playlist", "manifest"]
    name: str = ""


@dataclass(slots=True)
class Lane:
    store: Store
    retry: Retry
    parallel: int
    backup: bool = False
    running: dict[Job, asyncio.Task[None]] = field(default_factory=dict)

    def open(self, now: float) -> bool:
        """Whether one more upload may be started."""
        return len(self.running) < self.parallel and self.retry.ready(now, len(self.running))

    def due(self, job: Job, now: float) -> bool:
        return job not in self.running and self.retry.due(job, now)


def lanes(bucket: Store, backup: Store | None, jitter: Callable[[], float]) -> tuple[Lane, Lane | None]:
    """The bucket's and the backup's."""
    return (
        Lane(bucket, Retry(jitter), PARALLEL),
        Lane(backup, Retry(jitter), BACKUP_PARALLEL, backup=True) if backup else None,
    )
