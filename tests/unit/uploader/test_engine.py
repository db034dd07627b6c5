"""The engine at work on a spool, against a store in memory."""

import asyncio
import contextlib
import errno
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.manifest import MANIFEST, parse_manifest
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import DesiredState, Report, ReportState
from cloudrec_contract.spool import MEDIA, EndRecord, Record, parse_task
from cloudrec_recorder.uploader import taskfile
from cloudrec_recorder.uploader.engine import Engine
from cloudrec_recorder.uploader.lane import PARALLEL
from cloudrec_recorder.uploader.salvaging import SalvageFailed
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, UploadFailed
from cloudrec_recorder.uploader.taskfile import TaskFile
from cloudrec_recorder.uploader.uploadlog import UploadLog
from tests.unit.uploader.helpers import BEGIN, TASK, MemoryStore, Recorder, until


class Sidecar:
    """An engine with a clock that can be set ahead, and what it told."""

    def __init__(
        self,
        spool: Path,
        store: MemoryStore,
        give_up_seconds: float = 3000,
        *,
        backup: MemoryStore | None = None,
        high_water: int | None = None,
        salvage: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        self.now = BEGIN + 20_000
        self.spool = spool
        self.reports: list[Report] = []
        self.task_file = TaskFile(spool / "task.json", TASK)
        self.engine = Engine(
            spool,
            store,
            self.task_file,
            self.reports.append,
            give_up_seconds=give_up_seconds,
            backup=backup,
            high_water=high_water,
            salvage=salvage,
            clock=lambda: self.now,
            monotonic=lambda: time.monotonic() * 10,  # backoff is ten times as quick
        )

    async def recorder(self) -> Recorder:
        """One that has got its task and joined."""
        await until((self.spool / "task.json").exists)
        recorder = Recorder(self.spool)
        recorder.join()
        return recorder

    @property
    def report(self) -> Report:
        return self.reports[-1] if self.reports else Report()

    @property
    def events(self) -> list[int]:
        return [event.type for event in self.report.events]

    @property
    def reasons(self) -> list[str]:
        return [condition.reason for condition in self.report.conditions]


@contextlib.asynccontextmanager
async def running(sidecar: Sidecar) -> AsyncIterator[Sidecar]:
    task = asyncio.create_task(sidecar.engine.run())
    try:
        yield sidecar
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


async def test_a_recording_from_start_to_end(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store)) as sidecar:
        recorder = await sidecar.recorder()
        await until(lambda: sidecar.report.ready)
        track = recorder.track()
        for number in range(1, 4):
            segment = recorder.segment(track)
            await until(lambda: len(parse(store.objects.get(track, b"#EXTM3U").decode()).segments) == number)  # noqa: B023
            assert [name for name in store.puts if name != MANIFEST][-2:] == [segment, track]
            assert store.objects[segment] == recorder.contents[segment]
        assert sidecar.report.state is ReportState.RECORDING
        recorder.end(leave_code=99)
        await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
        playlist = parse(store.objects[track].decode())
        assert playlist.ended
        assert [s.name for s in playlist.segments] == recorder.segments[track]
        assert sidecar.events == [303, 301, 307, 304, 302]
        report = sidecar.report
        assert (report.state, report.uploaded, report.missing, report.leave_code) == (ReportState.ENDED, True, 0, 99)
        assert report.files[0].begin_time_stamp == playlist.begin_ms == report.events[2].args["BeginTimeStamp"]
        assert list((tmp_path / MEDIA).iterdir()) == []


async def test_nothing_begins_before_the_write_check(tmp_path: Path, store: MemoryStore) -> None:
    store.fault = lambda name: BucketUnreachable("ConnectTimeoutError", "no answer")
    async with running(Sidecar(tmp_path, store)) as sidecar:
        await until(lambda: store.checks >= 2)
        assert not (tmp_path / "task.json").exists()
        assert sidecar.reasons == [Reason.BUCKET_UNREACHABLE]
        assert sidecar.events == [308]
        store.fault = lambda name: None
        await until(lambda: (tmp_path / "task.json").exists() and not sidecar.reasons)
        assert sidecar.events == [308, 303]


async def test_a_stop_reaches_a_recorder_that_waits_for_the_bucket(tmp_path: Path, store: MemoryStore) -> None:
    store.fault = lambda name: BucketUnreachable("ConnectTimeoutError", "no answer")
    async with running(Sidecar(tmp_path, store)) as sidecar:
        await until(lambda: store.checks)
        sidecar.task_file.change(DesiredState.STOPPED, None)
        Recorder(tmp_path).end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
        assert sidecar.report.uploaded


async def test_a_refusal_is_final_and_says_why(tmp_path: Path, store: MemoryStore) -> None:
    store.fault = lambda name: BucketRefused("InvalidAccessKeyId", "no such key")
    async with running(Sidecar(tmp_path, store)) as sidecar:
        await until(lambda: len(sidecar.events) == 2)
        assert [(e.type, e.args) for e in sidecar.report.events] == [
            (308, {"Code": "InvalidAccessKeyId", "Message": "no such key"}),
            (303, {"Status": 1}),
        ]
        condition = sidecar.report.conditions[0]
        assert (condition.reason, condition.message) == (Reason.BUCKET_REFUSED, "InvalidAccessKeyId: no such key")
    store.fault = lambda name: None
    async with running(Sidecar(tmp_path, store)) as again:
        await until(lambda: again.reports)
        again.engine.leave()
        assert again.reasons == [Reason.BUCKET_REFUSED]
        assert store.checks == 1
        assert not (tmp_path / "task.json").exists()


async def test_a_bucket_that_goes_away_loses_nothing_and_is_told_once(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store)) as sidecar:
        recorder = await sidecar.recorder()
        track = recorder.track()
        recorder.segment(track)
        await until(lambda: 304 in sidecar.events)
        store.fault = lambda name: BucketUnreachable("ServiceUnavailable", "come back later")
        names = [recorder.segment(track) for _ in range(6)]
        await until(lambda: sidecar.reasons == [Reason.BUCKET_UNREACHABLE])
        assert all((tmp_path / MEDIA / name).exists() for name in names)
        store.fault = lambda name: None
        recorder.end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 30)
        assert sidecar.reasons == []
        assert sidecar.events == [303, 301, 307, 304, 308, 302]
        assert sidecar.report.missing == 0
        assert [s.name for s in parse(store.objects[track].decode()).segments] == recorder.segments[track]


class FullDisk:
    """Lets nobody write while it is full: it has room for so many segments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spool: Path, segments: int) -> None:
        self.media = spool / MEDIA
        self.segments = segments
        append, replace = UploadLog.append, taskfile.replace_file

        def append_if_room(log: UploadLog, record: Record) -> None:
            self.check()
            append(log, record)

        def replace_if_room(path: Path, data: bytes) -> None:
            self.check()
            replace(path, data)

        monkeypatch.setattr(UploadLog, "append", append_if_room)
        monkeypatch.setattr(taskfile, "replace_file", replace_if_room)

    def check(self) -> None:
        if self.media.is_dir() and len(list(self.media.iterdir())) >= self.segments:
            raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_full_disk_is_emptied_when_the_bucket_is_back(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, tmp_path, 4)
    async with running(Sidecar(tmp_path, store)) as sidecar:
        recorder = await sidecar.recorder()
        track = recorder.track()
        store.fault = lambda name: BucketUnreachable("ServiceUnavailable", "come back later")
        for _ in range(6):
            recorder.segment(track)
        await until(lambda: sidecar.reasons == [Reason.BUCKET_UNREACHABLE])
    # a restart on the full disk, and a stop of the task, change nothing
    async with running(Sidecar(tmp_path, store)) as again:
        await until(lambda: again.reasons == [Reason.BUCKET_UNREACHABLE])
        again.task_file.change(DesiredState.STOPPED, None)
        recorder.end()
        store.fault = lambda name: None
        await asyncio.wait_for(again.engine.finished.wait(), 30)
        assert again.report.missing == 0
        assert again.events[:3] == [303, 301, 308]
        assert sorted(again.events[3:]) == [302, 304, 307]
        playlist = parse(store.objects[track].decode())
        assert [s.name for s in playlist.segments] == recorder.segments[track]
        assert playlist.ended
        assert parse_task((tmp_path / "task.json").read_bytes()).desired_state is DesiredState.STOPPED
    async with running(Sidecar(tmp_path, store)) as third:
        await asyncio.wait_for(third.engine.finished.wait(), 20)
        assert third.reports[0] == again.report


async def test_another_failure_of_the_disk_needs_a_new_process(
    tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(log: UploadLog, record: Record) -> None:
        raise OSError(errno.EIO, "Input/output error")

    sidecar = Sidecar(tmp_path, store)
    monkeypatch.setattr(UploadLog, "append", broken)
    with pytest.raises(ExceptionGroup):
        await asyncio.wait_for(sidecar.engine.run(), 20)


async def test_the_playlist_waits_for_the_first_unconfirmed_segment(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store)) as sidecar:
        recorder = await sidecar.recorder()
        track = recorder.track()
        first = f"{track.removesuffix('.m3u8')}_{BEGIN}.ts"
        store.fault = lambda name: UploadFailed("BadDigest", "x") if name == first else None
        recorder.segment(track)
        second = recorder.segment(track)
        await until(lambda: second in store.objects)
        assert track not in store.objects
        store.fault = lambda name: None
        await until(lambda: track in store.objects and len(parse(store.objects[track].decode()).segments) == 2)
        assert sidecar.events.count(308) == 1


async def test_no_more_than_four_at_once(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store)) as sidecar:
        recorder = await sidecar.recorder()
        store.go.clear()
        for user in range(5):
            track = recorder.track(f"user{user}")
            recorder.segment(track)
            recorder.segment(track)
        await until(lambda: store.most == PARALLEL)
        store.go.set()
        await until(lambda: len(store.objects.keys() - {MANIFEST}) == 15)
        assert store.most == PARALLEL


async def test_in_the_end_files_are_given_up_and_kept(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store, give_up_seconds=60)) as sidecar:
        recorder = await sidecar.recorder()
        track = recorder.track()
        kept = recorder.segment(track)
        await until(lambda: 304 in sidecar.events)
        store.fault = lambda name: BucketRefused("AccessDenied", "no more")
        lost = [recorder.segment(track) for _ in range(3)]
        await until(lambda: sidecar.reasons)
        recorder.end()
        await until(lambda: sidecar.report.state is ReportState.ENDED)
        assert not sidecar.report.uploaded
        sidecar.now += 120_000
        await asyncio.wait_for(sidecar.engine.finished.wait(), 30)
        # Three segments, the playlist that should have got its end, and the manifest.
        assert sidecar.report.missing == 5
        assert sorted(path.name for path in (tmp_path / MEDIA).iterdir()) == sorted(lost)
        assert kept in store.objects


async def test_a_file_that_is_gone_is_given_up_at_once(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store)) as sidecar:
        recorder = await sidecar.recorder()
        track = recorder.track()
        store.go.clear()
        for _ in range(PARALLEL):
            recorder.segment(track)
        await until(lambda: store.most == PARALLEL)
        gone = recorder.segment(track)
        (tmp_path / MEDIA / gone).unlink()
        recorder.segment(track)
        recorder.end()
        store.go.set()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
        assert sidecar.report.missing == 1
        segments = parse(store.objects[track].decode()).segments
        assert len(segments) == PARALLEL + 1
        assert segments[-1].discontinuity


async def test_leaving_without_an_end_uploads_all_and_ends_no_playlist(tmp_path: Path, store: MemoryStore) -> None:
    sidecar = Sidecar(tmp_path, store)
    run = asyncio.create_task(sidecar.engine.run())
    recorder = await sidecar.recorder()
    track = recorder.track()
    store.go.clear()
    recorder.segment(track)
    await until(lambda: store.most)
    sidecar.engine.leave()
    recorder.segment(track)
    store.go.set()
    await asyncio.wait_for(run, 20)
    playlist = parse(store.objects[track].decode())
    assert [s.name for s in playlist.segments] == recorder.segments[track]
    assert not playlist.ended
    assert not sidecar.report.uploaded


async def test_an_end_just_before_leaving_is_not_missed(tmp_path: Path, store: MemoryStore) -> None:
    sidecar = Sidecar(tmp_path, store)
    run = asyncio.create_task(sidecar.engine.run())
    recorder = await sidecar.recorder()
    track = recorder.track()
    recorder.segment(track)
    await until(lambda: 304 in sidecar.events)
    recorder.end()
    sidecar.engine.leave()
    await asyncio.wait_for(run, 20)
    assert sidecar.report.uploaded
    assert parse(store.objects[track].decode()).ended


async def test_leaving_while_the_bucket_is_away_from_the_start(tmp_path: Path, store: MemoryStore) -> None:
    store.fault = lambda name: BucketUnreachable("ConnectTimeoutError", "no answer")
    sidecar = Sidecar(tmp_path, store)
    run = asyncio.create_task(sidecar.engine.run())
    await until(lambda: store.checks)
    sidecar.engine.leave()
    await asyncio.wait_for(run, 20)


async def test_a_successor_goes_on_and_repeats_nothing(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store)) as first:
        recorder = await first.recorder()
        track = recorder.track()
        recorder.segment(track)
        await until(lambda: 304 in first.events)
        before = first.report
    leftover = recorder.segments[track][0]
    (tmp_path / MEDIA / leftover).write_bytes(b"killed between the confirmation and the deletion")
    recorder.segment(track)
    async with running(Sidecar(tmp_path, store)) as second:
        await until(lambda: len(store.objects) == 4 and len(parse(store.objects[track].decode()).segments) == 2)
        assert second.reports[0] == before
        recorder.end()
        await asyncio.wait_for(second.engine.finished.wait(), 20)
        assert second.events == [303, 301, 307, 304, 302]
        assert store.checks == 1
        assert store.puts.count(leftover) == 1
        assert not (tmp_path / MEDIA / leftover).exists()
    async with running(Sidecar(tmp_path, store)) as third:
        await asyncio.wait_for(third.engine.finished.wait(), 20)
        assert third.reports[0] == second.report
        puts = [name for name in store.puts if name != MANIFEST]
        assert len(puts) == len(set(puts)) + 2  # the playlist: two segments and the end
        assert parse_manifest(store.objects[MANIFEST]).complete


async def test_events_that_do_not_fit_are_not_left_behind(tmp_path: Path, store: MemoryStore) -> None:
    sidecar = Sidecar(tmp_path, store)
    run = asyncio.create_task(sidecar.engine.run())
    recorder = await sidecar.recorder()
    for user in range(40):
        recorder.segment(recorder.track(f"user{user}"), size=32)
    recorder.end()
    await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
    assert len(sidecar.report.events) == 64
    sidecar.engine.acknowledge(10)
    sidecar.engine.leave()
    await until(lambda: len(sidecar.report.events) == 64 and sidecar.report.events[0].seq == 11)
    assert not run.done()
    sidecar.engine.acknowledge(30)
    await asyncio.wait_for(run, 20)
    assert [event.seq for event in sidecar.report.events] == list(range(31, 84))


async def test_the_end_is_told_although_nobody_acknowledges_and_nobody_is_waited_for(
    tmp_path: Path, store: MemoryStore
) -> None:
    sidecar = Sidecar(tmp_path, store)
    run = asyncio.create_task(sidecar.engine.run())
    recorder = await sidecar.recorder()
    for user in range(40):
        recorder.segment(recorder.track(f"user{user}"), size=32)
    recorder.end()
    await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
    sidecar.engine.leave()
    await asyncio.wait_for(run, 5)  # the sidecar's clock stands still
    told = sidecar.events
    assert len(told) == 64
    assert [kind for kind in told if kind not in (304, 307)] == [303, 301, 302]


async def test_but_not_waited_for_without_end(tmp_path: Path, store: MemoryStore) -> None:
    sidecar = Sidecar(tmp_path, store)
    run = asyncio.create_task(sidecar.engine.run())
    recorder = await sidecar.recorder()
    for user in range(40):
        recorder.segment(recorder.track(f"user{user}"), size=32)
    recorder.end()
    await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
    sidecar.engine.acknowledge(1)
    sidecar.engine.leave()
    sidecar.now += 21_000
    await asyncio.wait_for(run, 20)


async def test_acknowledged_events_leave_the_report(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store)) as sidecar:
        recorder = await sidecar.recorder()
        await until(lambda: sidecar.events == [303, 301])
        sidecar.engine.acknowledge(1)
        await until(lambda: sidecar.events == [301])
        sidecar.engine.acknowledge(0)
        recorder.end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
        assert [event.seq for event in sidecar.report.events] == [2, 3]


# --- the backup store ---


def away(name: str) -> BucketUnreachable:
    return BucketUnreachable("ServiceUnavailable", "come back later")


def names(store: MemoryStore, track: str) -> list[str]:
    return [s.name for s in parse(store.objects.get(track, b"#EXTM3U").decode()).segments]


async def test_a_bucket_that_stays_away_has_its_files_in_the_backup_and_gets_them_back(
    tmp_path: Path, store: MemoryStore
) -> None:
    backup = MemoryStore()
    async with running(Sidecar(tmp_path, store, backup=backup)) as sidecar:
        recorder = await sidecar.recorder()
        await until(lambda: backup.checks)
        track = recorder.track()
        first = recorder.segment(track)
        await until(lambda: names(store, track) == [first])
        store.fault = away
        second = recorder.segment(track)
        await until(lambda: Reason.BACKUP_IN_USE in sidecar.reasons)
        third = recorder.segment(track)
        await until(lambda: names(backup, track) == [first, second, third])
        assert set(backup.objects) >= {second, third, track}
        assert first not in backup.objects
        assert sorted(p.name for p in (tmp_path / MEDIA).iterdir()) == sorted([second, third])
        assert sidecar.report.backup == 0
        store.fault = lambda name: None
        await until(lambda: names(store, track) == [first, second, third])
        assert not list((tmp_path / MEDIA).iterdir())
        await until(lambda: not sidecar.reasons)
        fourth = recorder.segment(track)
        await until(lambda: fourth in store.objects)
        recorder.end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
        assert fourth not in backup.objects
        assert (sidecar.report.backup, sidecar.report.missing) == (0, 0)
        assert sidecar.events.count(308) == 2
        assert parse_manifest(store.objects[MANIFEST]).complete


async def test_a_bucket_that_is_away_to_the_end_leaves_all_in_the_backup(tmp_path: Path, store: MemoryStore) -> None:
    backup = MemoryStore()
    sidecar = Sidecar(tmp_path, store, backup=backup)
    run = asyncio.create_task(sidecar.engine.run())
    recorder = await sidecar.recorder()
    await until(lambda: backup.checks)
    track = recorder.track()
    first = recorder.segment(track)
    await until(lambda: names(store, track) == [first])
    store.fault = away
    recorder.segment(track)
    await until(lambda: Reason.BACKUP_IN_USE in sidecar.reasons)
    recorder.segment(track)
    recorder.end()
    await until(lambda: parse(backup.objects.get(track, b"#EXTM3U").decode()).ended)
    assert not sidecar.report.uploaded
    sidecar.now += 31_000
    await asyncio.wait_for(sidecar.engine.finished.wait(), 30)
    sidecar.engine.leave()
    await asyncio.wait_for(run, 20)
    # Two segments, the playlist and the manifest.
    assert (sidecar.report.backup, sidecar.report.missing, sidecar.report.uploaded) == (4, 0, True)
    assert names(backup, track) == recorder.segments[track]
    assert not list((tmp_path / MEDIA).iterdir())
    listed = parse_manifest(backup.objects[MANIFEST])
    assert listed.complete
    assert [s.store for s in listed.tracks[0].segments] == ["bucket", "backup", "backup"]
    async with running(Sidecar(tmp_path, store, backup=backup)) as again:
        await asyncio.wait_for(again.engine.finished.wait(), 20)
        assert again.reports[0] == sidecar.report


async def test_one_file_that_the_bucket_does_not_take_goes_to_the_backup_alone(
    tmp_path: Path, store: MemoryStore
) -> None:
    backup = MemoryStore()
    async with running(Sidecar(tmp_path, store, backup=backup)) as sidecar:
        recorder = await sidecar.recorder()
        await until(lambda: backup.checks)
        track, other = recorder.track(), recorder.track("bob")
        odd = f"{track.removesuffix('.m3u8')}_{BEGIN}.ts"
        store.fault = lambda name: UploadFailed("BadDigest", "x") if name == odd else None
        recorder.segment(track)
        while odd not in backup.objects:
            plain = recorder.segment(other)
            await until(lambda: plain in store.objects)  # noqa: B023
        assert not {name for name in backup.objects if name.endswith(".ts")} - {odd}


async def test_a_backup_that_is_refused_is_a_warning(tmp_path: Path, store: MemoryStore) -> None:
    backup = MemoryStore()
    backup.fault = lambda name: BucketRefused("InvalidAccessKeyId", "no such key")
    async with running(Sidecar(tmp_path, store, backup=backup)) as sidecar:
        recorder = await sidecar.recorder()
        await until(lambda: sidecar.reasons == [Reason.BACKUP_FAILED] and sidecar.report.ready)
        assert sidecar.events == [303, 301]
        backup.fault = lambda name: None
        track = recorder.track()
        store.fault = away
        recorder.segment(track)
        await until(lambda: len(names(backup, track)) == 1)
        assert Reason.BACKUP_FAILED not in sidecar.reasons


async def test_a_recording_begins_on_the_backup_when_the_bucket_is_away(tmp_path: Path, store: MemoryStore) -> None:
    backup = MemoryStore()
    store.fault = away
    async with running(Sidecar(tmp_path, store, backup=backup)) as sidecar:
        recorder = await sidecar.recorder()
        assert sidecar.events[:3] == [308, 308, 303]
        track = recorder.track()
        recorder.segment(track)
        await until(lambda: len(names(backup, track)) == 1)
        store.fault = lambda name: None
        await until(lambda: len(names(store, track)) == 1)
        recorder.end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 20)
        assert sidecar.report.backup == 0


# --- high water ---


async def test_above_high_water_the_oldest_give_way(tmp_path: Path, store: MemoryStore) -> None:
    async with running(Sidecar(tmp_path, store, high_water=300_000)) as sidecar:
        recorder = await sidecar.recorder()
        track = recorder.track()
        first = recorder.segment(track, size=64_000)
        await until(lambda: names(store, track) == [first])
        store.fault = away
        for _ in range(6):
            recorder.segment(track, size=64_000)
        await until(lambda: Reason.SPOOL_FULL in sidecar.reasons)
        await until(lambda: sidecar.report.missing == 2)
        store.fault = lambda name: None
        recorder.end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 30)
        segments = parse(store.objects[track].decode()).segments
        written = recorder.segments[track]
        assert [s.name for s in segments] == [first, *written[3:]]
        assert [s.discontinuity for s in segments] == [False, True, False, False, False]
        assert sidecar.report.missing == 2
        [found] = parse_manifest(store.objects[MANIFEST]).tracks
        assert [gap.file for gap in found.gaps] == written[1:3]
        assert all(gap.reason.startswith("SpoolFull") for gap in found.gaps)


async def test_above_high_water_what_the_backup_has_gives_way_first(tmp_path: Path, store: MemoryStore) -> None:
    backup = MemoryStore()
    async with running(Sidecar(tmp_path, store, backup=backup, high_water=300_000)) as sidecar:
        recorder = await sidecar.recorder()
        await until(lambda: backup.checks)
        track = recorder.track()
        store.fault = away
        for _ in range(6):
            recorder.segment(track, size=64_000)
            await until(lambda: len(names(backup, track)) == len(recorder.segments[track]))
        await until(lambda: sidecar.report.backup == 2)
        assert sidecar.report.missing == 0
        store.fault = lambda name: None
        recorder.end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 30)
        assert sidecar.report.missing == 0
        assert sidecar.report.backup == 2
        assert names(store, track) == recorder.segments[track][2:]
        whole = parse(backup.objects[track].decode())
        assert whole.ended
        assert [s.name for s in whole.segments] == recorder.segments[track]


# --- a recorder that died ---


async def test_told_to_go_without_an_end_it_has_the_spool_salvaged(tmp_path: Path, store: MemoryStore) -> None:
    recorder = Recorder(tmp_path)

    async def salvage() -> bool:
        recorder.segment(track)
        recorder.append(EndRecord(ts=BEGIN + 9, failed=True, reason=Reason.RECORDER_DIED, message="m"))
        return True

    sidecar = Sidecar(tmp_path, store, salvage=salvage)
    run = asyncio.create_task(sidecar.engine.run())
    await sidecar.recorder()
    track = recorder.track()
    recorder.segment(track)
    await until(lambda: 304 in sidecar.events)
    sidecar.engine.leave()
    await asyncio.wait_for(run, 20)
    assert parse(store.objects[track].decode()).ended
    assert names(store, track) == recorder.segments[track]
    assert sidecar.report.uploaded
    assert sidecar.reasons == [Reason.RECORDER_DIED]
    assert 302 not in sidecar.events


async def test_a_recorder_that_lives_is_not_salvaged(tmp_path: Path, store: MemoryStore) -> None:
    async def lives() -> bool:
        return False

    sidecar = Sidecar(tmp_path, store, salvage=lives)
    run = asyncio.create_task(sidecar.engine.run())
    recorder = await sidecar.recorder()
    track = recorder.track()
    recorder.segment(track)
    sidecar.engine.leave()
    await asyncio.wait_for(run, 20)
    assert names(store, track) == recorder.segments[track]
    assert not parse(store.objects[track].decode()).ended


async def test_a_salvage_that_fails_is_told_and_the_rest_is_uploaded(tmp_path: Path, store: MemoryStore) -> None:
    async def salvage() -> bool:
        raise SalvageFailed("it ended with code 1")

    sidecar = Sidecar(tmp_path, store, salvage=salvage)
    run = asyncio.create_task(sidecar.engine.run())
    recorder = await sidecar.recorder()
    track = recorder.track()
    recorder.segment(track)
    (tmp_path / MEDIA / "open.ts").write_bytes(b"cut off")
    sidecar.engine.leave()
    await asyncio.wait_for(run, 20)
    assert parse(store.objects[track].decode()).ended
    assert (sidecar.report.missing, sidecar.report.uploaded) == (1, True)
    [condition] = sidecar.report.conditions
    assert condition.reason == Reason.RECORDER_DIED
    assert "code 1" in condition.message
