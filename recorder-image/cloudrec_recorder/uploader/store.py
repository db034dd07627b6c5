"""Where objects go, and how that fails.

    StoreError
    ├── BucketRefused      the destination said no: keys, permissions, no such bucket, quota     (its owner's to mend)
    ├── BucketUnreachable  no answer, 5xx, throttling                                  (its owner's, and mostly passing)
    └── UploadFailed       our own fault: a damaged body, a clock that is off, an unreadable file
        └── FileGone       there is nothing to upload

The engine catches StoreError; the reason goes into a condition, code and message into event 308.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from cloudrec_contract.conditions import Reason


class StoreError(Exception):
    """`code` and `message` are the store's own where it answered."""

    reason: ClassVar[Reason]

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class BucketRefused(StoreError):
    reason = Reason.BUCKET_REFUSED


class BucketUnreachable(StoreError):
    reason = Reason.BUCKET_UNREACHABLE


class UploadFailed(StoreError):
    reason = Reason.UPLOAD_FAILED


class FileGone(UploadFailed):
    pass


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store confirmed: size in bytes, and SHA-256 in hex."""

    bytes: int
    sha256: str


class Store(Protocol):
    """Blocking; called from several threads. A return means that the store has confirmed the whole object.

    Names are relative to the task's folder; putting the same object again is harmless. All raise StoreError.
    """

    def check(self) -> None:
        """Put and delete a small object, so that a recording is not begun that cannot be stored; and see that it can be
        read, when something is to be made of it."""

    def put_segment(self, name: str, path: Path) -> Stored: ...

    def put_playlist(self, name: str, text: bytes) -> None:
        """A playlist, or the manifest: what is put again and again."""
