"""The finisher as a process, against the real API server and a real bucket: killed at many moments, followed by others,
with the files, the ledger and the events of one that was left alone."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.finish import LEDGER, Ledger
from cloudrec_contract.resources import OutputFormat
from cloudrec_local.kubeapi import Object
from cloudrec_local.stack import Stack
from tests.cluster.faulty_front import front
from tests.cluster.test_uploader import Attempt, attempt
from tests.cluster.test_uploader_bucket import Bucket
from tests.unit.convert.recordings import Recorded, look
from tests.unit.finisher.desk import AAC, HLS, MP4, Desk, FolderDepot, task
from tests.unit.segments.pictures import FPS
from tests.unit.uploader.helpers import until

__all__ = ["attempt"]

pytestmark = pytest.mark.cluster


class Finisher:
    """The attempt's Pod as a finisher's; each `start` is another process in it."""

    def __init__(self, attempt: Attempt, bucket: Bucket, folder: Path, formats: list[OutputFormat]) -> None:
        self.attempt = attempt
        self.bucket = bucket
        self.folder = folder
        self.endpoint = bucket.where.endpoint
        self.task = task(*formats)
        self.more: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        theirs = self.attempt.environment
        kept = {name: theirs[name] for name in theirs if name not in ("CLOUDREC_TASK", "CLOUDREC_SPOOL")}
        return {
            **kept,
            "CLOUDREC_TASK_ID": json.loads(theirs["CLOUDREC_TASK"])["taskId"],
            "CLOUDREC_STORE": self.bucket.where.model_copy(update={"endpoint": self.endpoint}).model_dump_json(
                by_alias=True
            ),
            "CLOUDREC_BUCKET_CREDENTIALS": str(self.bucket.credentials),
            "CLOUDREC_CONVERT": self.task.model_dump_json(by_alias=True, exclude_none=True),
            "CLOUDREC_TERMINATION_LOG": str(self.folder / "last-words"),
            "TMPDIR": str(self.folder),
            **self.more,
        }

    def start(self) -> subprocess.Popen[bytes]:
        with self.attempt.log.open("ab") as log:
            command = [sys.executable, "-m", "cloudrec_recorder.finisher"]
            self.attempt.process = subprocess.Popen(command, env=self.environment, stderr=log)
        return self.attempt.process

    async def declare(self, acked: int = 0) -> None:
        mine = {"pod": self.attempt.pod, "podUID": self.attempt.uid, "index": 0, "role": "Finish", "acked": acked}
        await self.attempt.write({"attempts": [mine], "phase": "Finalizing"})

    async def ended(self) -> Object:
        return await self.attempt.report(state="Ended")

    @property
    def ledger(self) -> Ledger | None:
        body = self.bucket.get(LEDGER)
        return Ledger.model_validate_json(body) if body is not None else None


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """Three users: one with a failover, an overlap and a gap; one with a screen; one with sound alone."""
    folder = tmp_path / "recorded"
    folder.mkdir()
    made = Recorded(folder)
    made.video("alice", (1, 7))
    made.audio("alice", (1, 7))
    made.video("alice", (5, 9), attempt=1)
    made.audio("alice", (5, 9), attempt=1)
    made.video("alice", (12, 14), attempt=2)
    made.video("bob", (1, 3), media="aux")
    made.video("bob", (1, 3))
    made.video("bob", (3, 5), size=(640, 360), attempt=1)
    made.audio("carol", (1.5, 4))
    return made


@pytest.fixture
def finisher(attempt: Attempt, bucket_stack: Stack, recorded: Recorded, tmp_path: Path) -> Finisher:
    bucket = Bucket(bucket_stack, f"{tmp_path.name}-finisher", tmp_path / "bucket")
    for path in recorded.folder.iterdir():
        bucket.client.put_object(Bucket=bucket.name, Key=bucket.where.key_prefix + path.name, Body=path.read_bytes())
    folder = tmp_path / "scratch"
    folder.mkdir()
    return Finisher(attempt, bucket, folder, [MP4, AAC])


def stored(bucket: Bucket) -> dict[str, str]:
    """Every file but HLS and the ledger, with when it was written."""
    found = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=bucket.where.key_prefix).get("Contents", [])
    names = {entry["Key"].removeprefix(bucket.where.key_prefix): str(entry["LastModified"]) for entry in found}
    return {name: at for name, at in names.items() if name.endswith((".mp4", ".aac"))}


def alone(recorded: Recorded, folder: Path, finisher: Finisher) -> dict[str, bytes]:
    """What one makes that is left alone."""
    shutil.copytree(recorded.folder, folder / "alone")
    desk = Desk(FolderDepot(folder / "alone"), folder / "alone-scratch")
    desk.run(finisher.task)
    return {path.name: path.read_bytes() for path in (folder / "alone").iterdir() if path.name != LEDGER}


async def test_killed_again_and_again_it_makes_the_same_files_once(
    finisher: Finisher, recorded: Recorded, tmp_path: Path
) -> None:
    expected = await asyncio.to_thread(alone, recorded, tmp_path, finisher)
    bucket = finisher.bucket
    playlists = len(list(recorded.folder.glob("*.m3u8")))
    segments = len(list(recorded.folder.glob("*.ts")))

    def outputs(count: int) -> Callable[[], Any]:
        return lambda: (ledger := finisher.ledger) is not None and len(ledger.outputs) >= count

    moments: list[Callable[[], Any]] = [
        *(outputs(count) for count in range(1, 7)),
        lambda: bucket.get(LEDGER) and sum(name.endswith(".ts") for name in bucket.names()) < segments,
        lambda: sum(name.endswith(".m3u8") for name in bucket.names()) < playlists,
    ]
    await finisher.declare()
    before: dict[str, str] = {}
    killed = 0
    for moment in moments:
        process = finisher.start()
        await until(lambda: moment() or process.poll() is not None, 60)  # noqa: B023
        killed += process.poll() is None
        process.kill()
        await asyncio.to_thread(process.wait, 10)
        ledger = finisher.ledger
        assert ledger is not None
        whole = {file.name for output in ledger.outputs for file in output.files}
        now = stored(bucket)
        assert whole <= set(now)
        assert {name: now[name] for name in before} == before
        before = {name: now[name] for name in whole}
    assert killed >= 5
    assert await asyncio.to_thread(finisher.start().wait, 60) == 0
    now = stored(bucket)
    assert {name: now[name] for name in before} == before
    assert bucket.names() == {*expected, LEDGER}
    for name, body in expected.items():
        assert bucket.get(name) == body
    prefix = bucket.where.key_prefix
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=prefix).get("Uploads")

    report = await finisher.ended()
    assert [(event["seq"], event["type"], event["args"]["Status"]) for event in report["events"]] == [(1, 310, 0)]
    assert sorted(report["events"][0]["args"]["FileList"]) == sorted(expected)
    assert report["uploaded"]
    assert report["conversion"]["reason"] == Reason.REENCODED
    assert (report["conversion"]["files"], report["conversion"]["done"]) == (6, True)
    seen = {name: look(tmp_path / "alone" / name) for name in expected if name.endswith(".mp4")}
    (alice,) = (file for name, file in seen.items() if "YWxpY2U" in name)
    assert alice.numbers == [*range(FPS, 9 * FPS), *range(12 * FPS, 14 * FPS)]

    await finisher.declare(acked=1)
    assert await asyncio.to_thread(finisher.start().wait, 60) == 0
    assert (await finisher.ended()).get("events", []) == []
    assert stored(bucket) == now
    assert bucket.keys[1] not in finisher.attempt.log.read_text()


async def test_told_to_end_it_ends_at_once_and_another_goes_on(finisher: Finisher, recorded: Recorded) -> None:
    await finisher.declare()
    async with front(finisher.endpoint) as way:
        way.fault = "slow"
        finisher.endpoint = way.endpoint
        process = finisher.start()
        await until(lambda: finisher.ledger is not None, 60)
        process.terminate()
        begun = time.monotonic()
        assert await asyncio.to_thread(process.wait, 30) == 0
        assert time.monotonic() - begun < 5
        assert list(finisher.folder.iterdir()) == []
    found = await finisher.attempt.report(uploaded=True)
    assert found["state"] == "Starting"
    assert not found["conversion"]["done"]
    finisher.endpoint = finisher.bucket.where.endpoint
    assert await asyncio.to_thread(finisher.start().wait, 60) == 0
    assert (await finisher.ended())["conversion"]["files"] == 6


async def test_a_bucket_that_is_away_for_a_while(finisher: Finisher) -> None:
    finisher.task = task(HLS, MP4)
    await finisher.declare()
    async with front(finisher.endpoint) as way:
        way.fault = "503"
        finisher.endpoint = way.endpoint
        process = finisher.start()
        found = await finisher.attempt.report(uploaded=True)
        while not found.get("conditions"):
            await asyncio.sleep(0.1)
            found = await finisher.attempt.report(uploaded=True)
        assert found["conditions"][0]["reason"] == Reason.BUCKET_UNREACHABLE
        way.fault = "none"
        assert await asyncio.to_thread(process.wait, 60) == 0
    found = await finisher.ended()
    assert "conditions" not in found or found["conditions"] == []
    assert found["conversion"]["files"] == 4
    assert any(name.endswith(".ts") for name in finisher.bucket.names())


async def test_what_the_backup_store_has_is_in_the_file(
    finisher: Finisher, recorded: Recorded, bucket_stack: Stack, tmp_path: Path
) -> None:
    """Both stages in one process: segments that only the backup store has, with the playlist, come first."""
    backup = Bucket(bucket_stack, f"{tmp_path.name}-backup", tmp_path / "backup")
    bucket = finisher.bucket
    _, *others = recorded.files("1400000001_12345__UserId_s_YWxpY2U.__UserId_e_main_video")
    text = recorded.folder / "1400000001_12345__UserId_s_YWxpY2U.__UserId_e_main_video.m3u8"
    for path in (others[0], others[1], text):
        backup.client.put_object(Bucket=backup.name, Key=backup.where.key_prefix + path.name, Body=path.read_bytes())
        bucket.client.delete_object(Bucket=bucket.name, Key=bucket.where.key_prefix + path.name)
    finisher.more = {
        "CLOUDREC_BACKUP_STORE": backup.where.model_dump_json(by_alias=True),
        "CLOUDREC_BACKUP_CREDENTIALS": str(backup.credentials),
    }
    await finisher.declare()
    assert await asyncio.to_thread(finisher.start().wait, 60) == 0
    report = await finisher.ended()
    assert (report["uploaded"], report["backup"], report["missing"]) == (True, 0, 0)
    assert report["conversion"]["reason"] == Reason.REENCODED
    assert backup.names() == set()
    assert not any(name.endswith(".ts") for name in bucket.names())
    (name,) = (name for name in bucket.names() if "YWxpY2U" in name and name.endswith(".mp4"))
    (tmp_path / "seen.mp4").write_bytes(bucket.get(name) or b"")
    assert look(tmp_path / "seen.mp4").numbers == [*range(FPS, 9 * FPS), *range(12 * FPS, 14 * FPS)]
