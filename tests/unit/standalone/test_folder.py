import errno
import hashlib
from pathlib import Path

import pytest

from cloudrec_recorder.standalone.folder import FolderStore
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, FileGone, Stored


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / ".spool"
    folder.mkdir()
    return folder


def test_a_segment_is_moved(tmp_path: Path, spool: Path) -> None:
    (spool / "a.ts").write_bytes(b"media")
    stored = FolderStore(tmp_path).put_segment("a.ts", spool / "a.ts")
    assert stored == Stored(5, hashlib.sha256(b"media").hexdigest())
    assert (tmp_path / "a.ts").read_bytes() == b"media"
    assert not list(spool.iterdir())


def test_nothing_is_overwritten(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "a.ts").write_bytes(b"old")
    (spool / "a.ts").write_bytes(b"new")
    with pytest.raises(BucketRefused, match="there already"):
        FolderStore(tmp_path).put_segment("a.ts", spool / "a.ts")
    assert (tmp_path / "a.ts").read_bytes() == b"old"
    assert (spool / "a.ts").read_bytes() == b"new"


def test_a_playlist_is_replaced_whole(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_playlist("a.m3u8", b"1")
    store.put_playlist("a.m3u8", b"12")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.m3u8", b"12")]


def test_the_write_check_leaves_nothing(tmp_path: Path) -> None:
    FolderStore(tmp_path).check()
    assert not list(tmp_path.iterdir())
    with pytest.raises(BucketRefused, match="ENOENT"):
        FolderStore(tmp_path / "none").check()


def test_a_segment_that_is_gone(tmp_path: Path, spool: Path) -> None:
    with pytest.raises(FileGone):
        FolderStore(tmp_path).put_segment("a.ts", spool / "a.ts")


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, BucketUnreachable), (errno.EACCES, BucketRefused)])
def test_a_full_disk_passes(
    tmp_path: Path, spool: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    (spool / "a.ts").write_bytes(b"media")

    def rename(path: Path, target: Path) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(kind, match=errno.errorcode[number]):
        FolderStore(tmp_path).put_segment("a.ts", spool / "a.ts")
