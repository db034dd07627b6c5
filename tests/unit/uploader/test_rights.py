"""The write check with keys that may not do all of it, on a real S3 store (SeaweedFS)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudrec_contract.spool import ObjectStore
from cloudrec_recorder.uploader.s3 import S3Store
from cloudrec_recorder.uploader.store import BucketRefused
from tests.unit.vod.temporary import BUCKET, Temporary, running

KEYS = {
    "writes-only": ["Write"],
    "writes-and-lists": ["Write", "List"],
    "writes-and-reads": ["Write", "Read"],
    "has-all": ["Write", "List", "Read"],
    "reads-only": ["Read", "List"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporary]:
    with running(tmp_path_factory.mktemp("rights"), KEYS) as server:
        yield server


def store(server: Temporary, keys: str, folder: Path, *, reads: bool) -> S3Store:
    for file in ("accessKey", "secretKey"):
        (folder / file).write_text(keys)
    where = ObjectStore(
        endpoint=server.endpoint, region="us-east-1", bucket=BUCKET, key_prefix="task/", path_style=True
    )
    return S3Store(where, folder, reads=reads)


@pytest.mark.parametrize("keys", ["writes-only", "writes-and-lists", "writes-and-reads", "has-all"])
def test_hls_needs_rights_to_write_only(server: Temporary, tmp_path: Path, keys: str) -> None:
    store(server, keys, tmp_path, reads=False).check()


def test_mp4_needs_rights_to_list_and_to_read(server: Temporary, tmp_path: Path) -> None:
    store(server, "has-all", tmp_path, reads=True).check()


@pytest.mark.parametrize(
    ("keys", "lacking"),
    [("writes-and-lists", "s3:GetObject"), ("writes-and-reads", "s3:ListBucket"), ("writes-only", "s3:ListBucket")],
)
def test_a_lacking_right_is_named_when_the_task_starts(
    server: Temporary, tmp_path: Path, keys: str, lacking: str
) -> None:
    with pytest.raises(BucketRefused, match=lacking):
        store(server, keys, tmp_path, reads=True).check()


def test_nothing_is_recorded_with_keys_that_may_not_write(server: Temporary, tmp_path: Path) -> None:
    with pytest.raises(BucketRefused):
        store(server, "reads-only", tmp_path, reads=True).check()
