"""Large files into a real bucket: whole or not at all, whatever happens to the process or the network."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cloudrec_local.stack import Stack
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.uploader.store import BucketUnreachable
from tests.cluster.faulty_front import front
from tests.cluster.test_uploader_bucket import Bucket
from tests.unit.uploader.helpers import until

pytestmark = pytest.mark.cluster

NAME = "1400000001_12345__UserId_s_YWxp+Y2U.__UserId_e_main.mp4"
SIZE = (40 << 20) + 12345

CHILD = """
import sys
from pathlib import Path
from cloudrec_contract.spool import ObjectStore
from cloudrec_recorder.finisher.depot import Depot
where, keys, name, path = sys.argv[1:]
Depot(ObjectStore.model_validate_json(where), Path(keys)).put_file(name, Path(path), "video/mp4", lambda: None)
"""


@pytest.fixture
def bucket(bucket_stack: Stack, tmp_path: Path) -> Bucket:
    return Bucket(bucket_stack, tmp_path.name, tmp_path / "credentials")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "output.mp4"
    path.write_bytes(os.urandom(SIZE))
    return path


def depot(bucket: Bucket, **other: str) -> Depot:
    return Depot(bucket.where.model_copy(update=other), bucket.credentials)


def begun(bucket: Bucket) -> int:
    """Uploads in parts that were not ended."""
    prefix = bucket.where.key_prefix
    found = bucket.client.list_multipart_uploads(Bucket=bucket.name, Prefix=prefix).get("Uploads", [])
    return sum(upload["Key"].startswith(prefix) for upload in found)


def test_it_arrives_whole_and_with_its_type(bucket: Bucket, file: Path) -> None:
    heeds: list[None] = []
    depot(bucket).put_file(NAME, file, "video/mp4", lambda: heeds.append(None))
    assert bucket.get(NAME) == file.read_bytes()
    head = bucket.client.head_object(Bucket=bucket.name, Key=bucket.where.key_prefix + NAME)
    assert head["ContentType"] == "video/mp4"
    assert len(heeds) == 4
    assert begun(bucket) == 0
    small = file.with_name("small.aac")
    small.write_bytes(b"x" * 100)
    depot(bucket).put_file("small.aac", small, "audio/aac", lambda: None)
    assert bucket.get("small.aac") == b"x" * 100
    head = bucket.client.head_object(Bucket=bucket.name, Key=bucket.where.key_prefix + "small.aac")
    assert head["ContentType"] == "audio/aac"


def test_told_to_end_between_parts_nothing_stays(bucket: Bucket, file: Path) -> None:
    heeds: list[None] = []

    def heed() -> None:
        heeds.append(None)
        if len(heeds) == 3:
            raise InterruptedError

    with pytest.raises(Exception, match="InterruptedError"):
        depot(bucket).put_file(NAME, file, "video/mp4", heed)
    assert bucket.names() == set()
    assert begun(bucket) == 0


async def test_a_bucket_that_goes_away_in_the_middle(bucket: Bucket, file: Path) -> None:
    async with front(bucket.where.endpoint) as way:
        store = depot(bucket, endpoint=way.endpoint)
        parts = threading.Event()

        def heed() -> None:
            if parts.is_set():
                way.fault = "away"
            parts.set()

        with pytest.raises(BucketUnreachable):
            await asyncio.to_thread(store.put_file, NAME, file, "video/mp4", heed)
        assert bucket.names() == set()
        way.fault = "none"
        await asyncio.to_thread(store.put_file, NAME, file, "video/mp4", lambda: None)
    assert bucket.get(NAME) == file.read_bytes()
    assert begun(bucket) == 0


async def test_a_killed_process_leaves_no_file_and_its_parts_go_with_the_next(bucket: Bucket, file: Path) -> None:
    async with front(bucket.where.endpoint) as way:
        way.fault = "slow"
        where = bucket.where.model_copy(update={"endpoint": way.endpoint}).model_dump_json(by_alias=True)
        process = subprocess.Popen([sys.executable, "-c", CHILD, where, str(bucket.credentials), NAME, str(file)])
        try:
            await until(lambda: begun(bucket) and way.connections >= 2, 30)
        finally:
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait, 10)
    assert bucket.names() == set()
    assert begun(bucket) == 1
    await asyncio.to_thread(depot(bucket).put_file, NAME, file, "video/mp4", lambda: None)
    assert bucket.get(NAME) == file.read_bytes()
    assert begun(bucket) == 0


def test_memory_is_bounded_by_the_parts(bucket: Bucket, tmp_path: Path) -> None:
    """160 MB through 2 parts of 16 MB each."""
    path = tmp_path / "large.mp4"
    with path.open("wb") as out:
        out.truncate(160 << 20)
    where = bucket.where.model_dump_json(by_alias=True)
    child = CHILD + "\nprint(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
    done = subprocess.run(
        [sys.executable, "-c", child, where, str(bucket.credentials), NAME, str(path)],
        capture_output=True,
        check=True,
        timeout=120,
    )
    assert int(done.stdout) >> 10 < 200
