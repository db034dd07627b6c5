"""The uploader and a real bucket that goes away, answers wrongly, breaks off, forgets keys; with a backup or none."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.manifest import MANIFEST, parse_manifest
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import Report
from cloudrec_local.fetch import Objects
from cloudrec_local.stack import Stack
from cloudrec_local.verify import verify
from cloudrec_recorder.uploader.engine import Engine
from cloudrec_recorder.uploader.taskfile import TaskFile
from tests.cluster.faulty_front import Fault, Front, front
from tests.cluster.test_uploader_bucket import Bucket
from tests.unit.uploader.helpers import BEGIN, TASK, Recorder, until

pytestmark = pytest.mark.cluster

SIZE = 1_250_000
"""Of a segment: ten seconds of 1 Mbit/s."""


@pytest.fixture
def bucket(bucket_stack: Stack, tmp_path: Path) -> Bucket:
    return Bucket(bucket_stack, tmp_path.name, tmp_path / "credentials")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


class Sidecar:
    """An engine behind a front. `pace`: how many seconds of back-off go by in one."""

    def __init__(
        self,
        spool: Path,
        bucket: Bucket,
        front: Front,
        *,
        backup: Bucket | None = None,
        give_up_seconds: float = 3000,
        pace: float = 10,
        clock: Callable[[], int] = lambda: BEGIN + 1000,
    ) -> None:
        self.report = Report()
        self.front = front
        self.engine = Engine(
            spool,
            bucket.store(endpoint=front.endpoint),
            TaskFile(spool / "task.json", TASK),
            self._tell,
            give_up_seconds=give_up_seconds,
            backup=backup.store() if backup else None,
            clock=clock,
            monotonic=lambda: time.monotonic() * pace,
        )

    def _tell(self, report: Report) -> None:
        self.report = report

    @property
    def reasons(self) -> set[str]:
        return {condition.reason for condition in self.report.conditions}


@contextlib.asynccontextmanager
async def running(sidecar: Sidecar) -> AsyncIterator[Sidecar]:
    task = asyncio.create_task(sidecar.engine.run())
    try:
        yield sidecar
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def objects(bucket: Bucket) -> Objects:
    def get(name: str) -> bytes:
        body = bucket.get(name)
        assert body is not None
        return body

    return Objects(lambda: sorted(bucket.names()), get, "the bucket")


async def recording(spool: Path) -> tuple[Recorder, str]:
    await until(lambda: (spool / "task.json").exists())
    recorder = Recorder(spool)
    recorder.join()
    return recorder, recorder.track()


async def whole(bucket: Bucket, recorder: Recorder, sidecar: Sidecar) -> None:
    """All of it is in the bucket, as written, listed and ended."""
    await asyncio.wait_for(sidecar.engine.finished.wait(), 90)
    assert (sidecar.report.missing, sidecar.report.backup) == (0, 0)
    verdict = await asyncio.to_thread(verify, objects(bucket))
    assert verdict.findings == []
    for name, body in recorder.contents.items():
        assert bucket.get(name) == body


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("away", Reason.BUCKET_UNREACHABLE),
        ("503", Reason.BUCKET_UNREACHABLE),
        ("500", Reason.BUCKET_UNREACHABLE),
        ("slow down", Reason.BUCKET_UNREACHABLE),
        ("reset", Reason.BUCKET_UNREACHABLE),
        ("lost answer", Reason.BUCKET_UNREACHABLE),
    ],
)
async def test_a_fault_in_the_middle_loses_nothing(bucket: Bucket, spool: Path, fault: Fault, reason: Reason) -> None:
    async with front(bucket.where.endpoint) as way, running(Sidecar(spool, bucket, way)) as sidecar:
        recorder, track = await recording(spool)
        recorder.segment(track, SIZE)
        await until(lambda: len(bucket.segments(track)) == 1)
        way.fault = fault
        for _ in range(3):
            recorder.segment(track, SIZE)
        await until(lambda: reason in sidecar.reasons, 60)
        connections = way.connections
        await until(lambda: way.connections > connections)  # it is knocked at
        recorder.segment(track, SIZE)
        assert all((spool / "media" / name).exists() for name in recorder.segments[track][1:])
        way.fault = "none"
        await until(lambda: not sidecar.report.conditions, 60)
        recorder.segment(track, SIZE)
        recorder.end()
        await whole(bucket, recorder, sidecar)
        assert [event.type for event in sidecar.report.events].count(308) == 1


async def test_a_slow_bucket_is_no_trouble(bucket: Bucket, spool: Path) -> None:
    async with front(bucket.where.endpoint) as way:
        way.fault = "slow"
        async with running(Sidecar(spool, bucket, way)) as sidecar:
            recorder, track = await recording(spool)
            for _ in range(4):
                recorder.segment(track, SIZE)
            recorder.end()
            await whole(bucket, recorder, sidecar)
            assert 308 not in [event.type for event in sidecar.report.events]


async def test_keys_that_change_in_the_middle(bucket: Bucket, spool: Path) -> None:
    async with front(bucket.where.endpoint) as way, running(Sidecar(spool, bucket, way)) as sidecar:
        recorder, track = await recording(spool)
        recorder.segment(track)
        await until(lambda: len(bucket.segments(track)) == 1)
        bucket.write_keys(bucket.keys[0], "of yesterday")
        recorder.segment(track)
        await until(lambda: Reason.BUCKET_REFUSED in sidecar.reasons)
        assert sidecar.report.ready
        recorder.segment(track)
        bucket.write_keys(*bucket.keys)
        await until(lambda: not sidecar.report.conditions, 60)
        recorder.end()
        await whole(bucket, recorder, sidecar)


async def test_ten_minutes_away_and_the_end_meanwhile(bucket: Bucket, spool: Path) -> None:
    """Sixty seconds of back-off go by in one: the bucket is away for ten minutes of them, and the recording ends."""
    async with front(bucket.where.endpoint) as way, running(Sidecar(spool, bucket, way, pace=60)) as sidecar:
        recorder, track = await recording(spool)
        recorder.segment(track)
        await until(lambda: len(bucket.segments(track)) == 1)
        way.fault = "away"
        begun = time.monotonic()
        for _ in range(60):
            recorder.segment(track)
        recorder.end()
        await until(lambda: time.monotonic() - begun > 10)
        assert not sidecar.engine.finished.is_set()
        assert sidecar.report.missing == 0
        way.fault = "none"
        await whole(bucket, recorder, sidecar)


async def test_a_bucket_that_never_comes_back_is_told_of(bucket: Bucket, spool: Path) -> None:
    hours = itertools.count()
    ended = False

    def clock() -> int:
        return BEGIN + 1000 + (next(hours) * 60_000 if ended else 0)

    async with front(bucket.where.endpoint) as way, running(Sidecar(spool, bucket, way, clock=clock)) as sidecar:
        recorder, track = await recording(spool)
        recorder.segment(track)
        await until(lambda: len(bucket.segments(track)) == 1)
        way.fault = "away"
        lost = [recorder.segment(track) for _ in range(3)]
        recorder.end()
        ended = True
        await asyncio.wait_for(sidecar.engine.finished.wait(), 60)
        # Three segments, the playlist's end and the manifest.
        assert (sidecar.report.missing, sidecar.report.uploaded) == (5, True)
        assert sorted(path.name for path in (spool / "media").iterdir()) == sorted(lost)


async def test_a_backup_takes_over_and_the_bucket_gets_it_all_in_the_end(
    bucket: Bucket, bucket_stack: Stack, spool: Path, tmp_path: Path
) -> None:
    backup = Bucket(bucket_stack, f"{tmp_path.name}-backup", tmp_path / "backup")
    async with front(bucket.where.endpoint) as way:
        async with running(Sidecar(spool, bucket, way, backup=backup)) as sidecar:
            recorder, track = await recording(spool)
            recorder.segment(track, SIZE)
            await until(lambda: len(bucket.segments(track)) == 1)
            way.fault = "503"
            recorder.segment(track, SIZE)
            await until(lambda: Reason.BACKUP_IN_USE in sidecar.reasons, 60)
            recorder.segment(track, SIZE)
            await until(lambda: len(backup.segments(track)) == 3, 60)
        # The sidecar dies here; its successor goes on where it was.
        async with running(Sidecar(spool, bucket, way, backup=backup)) as again:
            way.fault = "none"
            await until(lambda: len(bucket.segments(track)) == 3, 60)
            recorder.end()
            await whole(bucket, recorder, again)


async def test_a_bucket_that_is_away_at_the_end_has_all_of_it_in_the_backup(
    bucket: Bucket, bucket_stack: Stack, spool: Path, tmp_path: Path
) -> None:
    backup = Bucket(bucket_stack, f"{tmp_path.name}-backup", tmp_path / "backup")
    ended = 0

    def clock() -> int:
        return BEGIN + 1000 + ended

    async with front(bucket.where.endpoint) as way:
        async with running(Sidecar(spool, bucket, way, backup=backup, clock=clock)) as sidecar:
            recorder, track = await recording(spool)
            recorder.segment(track, SIZE)
            await until(lambda: len(bucket.segments(track)) == 1)
            way.fault = "away"
            recorder.segment(track, SIZE)
            recorder.end()
            await until(lambda: parse((backup.get(track) or b"#EXTM3U").decode()).ended, 60)
            ended = 60_000
            await asyncio.wait_for(sidecar.engine.finished.wait(), 60)
            assert (sidecar.report.missing, sidecar.report.backup, sidecar.report.uploaded) == (0, 3, True)
        listed = parse_manifest(backup.get(MANIFEST) or b"")
        assert [segment.store for segment in listed.tracks[0].segments] == ["bucket", "backup"]
        assert backup.segments(track) == recorder.segments[track]
        assert backup.get(recorder.segments[track][1]) == recorder.contents[recorder.segments[track][1]]
