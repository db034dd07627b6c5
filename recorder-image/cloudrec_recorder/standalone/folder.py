"""A folder as the store of a recording: what would be in the bucket is there, under the same names."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Final

from cloudrec_recorder.uploader.files import replace_file
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, FileGone, Stored, StoreError

SPOOL: Final = ".cloudrec"
"""Folder inside the recording's, for segments that are still open; gone at the end."""
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})


class FolderStore:
    """A `Store`. Segments are moved, not copied: the spool has to be on the same file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> None:
        try:
            replace_file(self._folder / ".cloudrec-check", b"")
            (self._folder / ".cloudrec-check").unlink()
        except OSError as error:
            raise _told(error) from error

    def put_segment(self, name: str, path: Path) -> Stored:
        target = self._folder / name
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                size = os.fstat(file.fileno()).st_size
            if target.exists():
                raise BucketRefused("FileExists", f"{target} is there already")
            path.rename(target)
        except FileNotFoundError as error:
            raise FileGone("FileGone", f"{path} is not there") from error
        except OSError as error:
            raise _told(error) from error
        return Stored(size, digest)

    def put_playlist(self, name: str, text: bytes) -> None:
        try:
            replace_file(self._folder / name, text)
        except OSError as error:
            raise _told(error) from error


def _told(error: OSError) -> StoreError:
    kind = BucketUnreachable if error.errno in _PASSING else BucketRefused
    return kind(errno.errorcode.get(error.errno or 0, "OSError"), str(error))
