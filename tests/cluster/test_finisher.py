"""The finisher and two real buckets: what an uploader left in them while one failed, brought together."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.manifest import MANIFEST, parse_manifest
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import Report, ReportState
from cloudrec_local.stack import Stack
from cloudrec_local.verify import DAMAGED, Kind, verify
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.finisher.drain import Away, Drain, Outcome, Stopped
from cloudrec_recorder.finisher.drainwork import DrainWork
from cloudrec_recorder.uploader.store import BucketRefused
from tests.cluster.faulty_front import front
from tests.cluster.test_uploader_bucket import Bucket
from tests.cluster.test_uploader_faults import Sidecar, objects, recording, running
from tests.unit.uploader.helpers import BEGIN, until

pytestmark = pytest.mark.cluster


def denied(*_: object) -> NoReturn:
    raise BucketRefused("AccessDenied", "these keys may write, and do no more")


class Pair:
    """The bucket and the backup store of one task; `bodies` are the segments as recorded."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.bucket = Bucket(stack, folder.name, folder / "credentials")
        self.backup = Bucket(stack, f"{folder.name}-backup", folder / "backup")
        self.scratch = folder / "scratch"
        self.scratch.mkdir()
        self.stop = threading.Event()
        self.bodies: dict[str, bytes] = {}
        self.track = ""

    def depots(self, kind: type[Depot] = Depot) -> tuple[Depot, Depot]:
        return kind(self.bucket.where, self.bucket.credentials), kind(self.backup.where, self.backup.credentials)

    def drain(self, kind: type[Depot] = Depot, *, readable: bool = True) -> Drain:
        return self.drain_of(*self.depots(kind), readable=readable)

    def drain_of(self, bucket: Depot, backup: Depot, *, readable: bool = True) -> Drain:
        if not readable:
            for name in ("entries", "read"):
                setattr(bucket, name, denied)
        return Drain(bucket, backup, self.scratch, self.stop, lambda: BEGIN + 500_000)

    def state(self) -> list[dict[str, bytes]]:
        return [{name: side.get(name) or b"" for name in side.names()} for side in (self.bucket, self.backup)]

    def restore(self, state: list[dict[str, bytes]]) -> None:
        for side, wanted in zip((self.bucket, self.backup), state, strict=True):
            for name in side.names() - set(wanted):
                side.client.delete_object(Bucket=side.name, Key=side.where.key_prefix + name)
            for name, body in wanted.items():
                side.client.put_object(Bucket=side.name, Key=side.where.key_prefix + name, Body=body)

    def whole(self) -> None:
        """The bucket is as if it had never failed, and the backup store is empty."""
        verdict = verify(objects(self.bucket))
        assert verdict.findings == []
        assert verdict.segments == len(self.bodies)
        assert self.bucket.segments(self.track) == list(self.bodies)
        playlist = parse((self.bucket.get(self.track) or b"").decode())
        assert playlist.ended
        assert not any(segment.discontinuity for segment in playlist.segments)
        for name, body in self.bodies.items():
            assert self.bucket.get(name) == body
        listed = parse_manifest(self.bucket.get(MANIFEST) or b"")
        assert (listed.complete, listed.missing, listed.backup) == (True, 0, 0)
        assert {segment.store for segment in listed.tracks[0].segments} == {"bucket"}
        assert self.backup.names() == set()
        assert list(self.scratch.iterdir()) == []


@pytest.fixture
def pair(bucket_stack: Stack, tmp_path: Path) -> Pair:
    return Pair(bucket_stack, tmp_path)


async def away_at_the_end(pair: Pair, spool: Path, segments: int = 3) -> None:
    """A recording whose bucket went away after its first segment and was away at its end."""
    spool.mkdir()
    ended = 0
    async with front(pair.bucket.where.endpoint) as way:
        sidecar = Sidecar(spool, pair.bucket, way, backup=pair.backup, clock=lambda: BEGIN + 1000 + ended)
        async with running(sidecar):
            recorder, track = await recording(spool)
            recorder.segment(track)
            await until(lambda: len(pair.bucket.segments(track)) == 1)
            way.fault = "away"
            for _ in range(segments - 1):
                recorder.segment(track)
            recorder.end()
            await until(lambda: parse((pair.backup.get(track) or b"#EXTM3U").decode()).ended, 60)
            ended = 60_000
            await asyncio.wait_for(sidecar.engine.finished.wait(), 60)
            assert (sidecar.report.missing, sidecar.report.backup) == (0, segments + 1)
    pair.bodies, pair.track = recorder.contents, track


async def test_what_the_backup_has_is_brought_and_its_copies_go(pair: Pair, tmp_path: Path) -> None:
    await away_at_the_end(pair, tmp_path / "spool")
    drain = pair.drain()
    assert drain.run() == Outcome()
    assert (drain.copied, drain.left) == (2, 0)
    pair.whole()
    before = pair.state()
    assert pair.drain().run() == Outcome()
    assert pair.state() == before


class Killed(BaseException):
    pass


class Life:
    """Depots that die at a change beyond `steps`; `done` counts those made."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begin(0)

    def begin(self, steps: int) -> None:
        self.steps, self.done = steps, 0

    def step(self) -> None:
        with self._lock:
            if self.done >= self.steps:
                raise Killed
            self.done += 1


def mortal(life: Life) -> type[Depot]:
    class Mortal(Depot):
        def put_segment(self, *arguments: Any) -> Any:
            life.step()
            return super().put_segment(*arguments)

        def put_playlist(self, *arguments: Any) -> None:
            life.step()
            super().put_playlist(*arguments)

        def remove(self, name: str) -> None:
            life.step()
            super().remove(name)

    return Mortal


@pytest.mark.parametrize("readable", [True, False], ids=["readable", "write-only"])
async def test_a_kill_between_any_two_steps_does_no_harm(pair: Pair, tmp_path: Path, readable: bool) -> None:
    await away_at_the_end(pair, tmp_path / "spool")
    scene = pair.state()
    life = Life()
    depots, others = pair.depots(mortal(life)), pair.depots()
    for steps in range(50):
        pair.restore(scene)
        life.begin(steps)
        try:
            pair.drain_of(*depots, readable=readable).run()
            break
        except Killed:
            assert set(pair.bucket.segments(pair.track)) <= pair.bucket.names()
            assert pair.bucket.names() | pair.backup.names() >= {*pair.bodies, pair.track, MANIFEST}
            assert pair.drain_of(*others, readable=readable).run() == Outcome()
            pair.whole()
    # Segments, the playlist, the manifest (to the backup store too, for those who cannot read), copies removed.
    assert steps == life.done == 2 + 1 + (1 if readable else 2) + 4
    pair.whole()


async def test_the_bucket_came_back_before_the_end_and_newer_lists_stay(pair: Pair, tmp_path: Path) -> None:
    """The backup store's playlist is older than the bucket's, and what it names is in both."""
    spool = tmp_path / "spool"
    spool.mkdir()
    async with (
        front(pair.bucket.where.endpoint) as way,
        running(Sidecar(spool, pair.bucket, way, backup=pair.backup)) as sidecar,
    ):
        recorder, pair.track = await recording(spool)
        recorder.segment(pair.track)
        way.fault = "503"
        recorder.segment(pair.track)
        await until(lambda: len(pair.backup.segments(pair.track)) == 2, 60)
        way.fault = "none"
        recorder.segment(pair.track)
        recorder.end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 60)
    pair.bodies = recorder.contents
    before = pair.bucket.get(pair.track)
    assert pair.drain().run() == Outcome()
    assert pair.bucket.get(pair.track) == before
    pair.whole()


async def test_a_recorder_that_was_lost_with_its_sidecar(pair: Pair, tmp_path: Path) -> None:
    """No playlist is ended and no manifest complete; all that is in either store is in the bucket, and is shown."""
    spool = tmp_path / "spool"
    spool.mkdir()
    async with (
        front(pair.bucket.where.endpoint) as way,
        running(Sidecar(spool, pair.bucket, way, backup=pair.backup)),
    ):
        recorder, track = await recording(spool)
        recorder.segment(track)
        await until(lambda: len(pair.bucket.segments(track)) == 1)
        way.fault = "away"
        recorder.segment(track)
        recorder.segment(track)
        await until(lambda: len(pair.backup.segments(track)) == 3, 60)
    assert pair.drain().run() == Outcome()
    assert pair.bucket.segments(track) == recorder.segments[track]
    assert not parse((pair.bucket.get(track) or b"").decode()).ended
    assert pair.backup.names() == set()
    found = verify(objects(pair.bucket))
    assert found.code != DAMAGED


async def test_without_reading_a_list_that_may_be_older_than_the_buckets_is_left_alone(
    pair: Pair, tmp_path: Path
) -> None:
    """A recorder that was lost with its sidecar: no manifest is complete, and the bucket may know more."""
    spool = tmp_path / "spool"
    spool.mkdir()
    async with (
        front(pair.bucket.where.endpoint) as way,
        running(Sidecar(spool, pair.bucket, way, backup=pair.backup)),
    ):
        recorder, track = await recording(spool)
        recorder.segment(track)
        await until(lambda: len(pair.bucket.segments(track)) == 1)
        way.fault = "away"
        recorder.segment(track)
        await until(lambda: len(pair.backup.segments(track)) == 2, 60)
    before = pair.bucket.get(track)
    drain = pair.drain(readable=False)
    assert track in drain.run().faults
    assert drain.left
    assert pair.bucket.get(track) == before
    assert set(recorder.contents) <= pair.bucket.names()
    assert track in pair.backup.names()
    assert not set(recorder.contents) & pair.backup.names()


async def test_a_damaged_copy_stays_where_it_is_and_the_others_go_on(pair: Pair, tmp_path: Path) -> None:
    await away_at_the_end(pair, tmp_path / "spool")
    first, bad, last = pair.bodies
    key = pair.backup.where.key_prefix + bad
    pair.backup.client.put_object(Bucket=pair.backup.name, Key=key, Body=b"x" * len(pair.bodies[bad]))
    drain = pair.drain()
    outcome = drain.run()
    assert list(outcome.faults) == [bad]
    assert drain.left == 1
    assert pair.bucket.segments(pair.track) == [first, last]
    assert pair.backup.names() == {bad, pair.track, MANIFEST}
    assert [finding.kind for finding in verify(objects(pair.bucket)).findings] == [Kind.BACKUP]
    # Somebody has a copy of it.
    pair.backup.client.put_object(Bucket=pair.backup.name, Key=key, Body=pair.bodies[bad])
    assert pair.drain().run() == Outcome()
    pair.whole()


async def test_what_has_gone_from_the_backup_is_told_of_and_is_told_again(pair: Pair, tmp_path: Path) -> None:
    await away_at_the_end(pair, tmp_path / "spool")
    gone = list(pair.bodies)[1]
    pair.backup.client.delete_object(Bucket=pair.backup.name, Key=pair.backup.where.key_prefix + gone)
    for _ in range(2):
        assert pair.drain().run() == Outcome(missing=1)
        assert [finding.kind for finding in verify(objects(pair.bucket)).findings] == [Kind.LOST]
    first, second = parse((pair.bucket.get(pair.track) or b"").decode()).segments
    assert (first.discontinuity, second.discontinuity) == (False, True)


async def test_without_rights_to_delete_the_copies_stay(pair: Pair, tmp_path: Path) -> None:
    class Frozen(Depot):
        def remove(self, name: str) -> None:
            raise BucketRefused("AccessDenied", "no")

    await away_at_the_end(pair, tmp_path / "spool")
    before = pair.backup.names()
    drain = pair.drain(Frozen)
    assert drain.run() == Outcome(kept="AccessDenied: no")
    assert drain.left == 0
    assert pair.backup.names() == before
    assert pair.drain().run() == Outcome()
    pair.whole()


async def test_a_bucket_that_is_still_away_is_waited_for(pair: Pair, tmp_path: Path) -> None:
    await away_at_the_end(pair, tmp_path / "spool")
    said: list[Report] = []
    async with front(pair.bucket.where.endpoint) as way:
        bucket = Depot(pair.bucket.where.model_copy(update={"endpoint": way.endpoint}), pair.bucket.credentials)
        backup = pair.depots()[1]
        drain = Drain(bucket, backup, pair.scratch, pair.stop, lambda: BEGIN)
        way.fault = "away"
        finisher = DrainWork(drain, said.append, pair.stop, seconds=60, place="there", pause=lambda _: time.sleep(0.05))
        task = asyncio.create_task(finisher.run())
        await until(lambda: said)
        assert said[0].conditions[0].reason == Reason.BUCKET_UNREACHABLE
        connections = way.connections
        await until(lambda: way.connections > connections)
        way.fault = "none"
        assert await asyncio.wait_for(task, 60) == ""
    assert (said[-1].state, said[-1].uploaded, said[-1].backup) == (ReportState.ENDED, True, 0)
    assert said[-1].conditions == []
    assert len(said) == 2
    pair.whole()


async def test_wrong_keys_of_the_backup_and_an_end_in_the_middle(pair: Pair, tmp_path: Path) -> None:
    await away_at_the_end(pair, tmp_path / "spool")
    pair.backup.write_keys(pair.backup.keys[0], "of yesterday")
    with pytest.raises(Away) as away:
        pair.drain().run()
    assert away.value.reason == Reason.BACKUP_FAILED
    assert "SignatureDoesNotMatch" in away.value.message
    pair.backup.write_keys(*pair.backup.keys)
    pair.stop.set()
    with pytest.raises(Stopped):
        pair.drain().run()
