"""A store whose objects are not only put, but listed, read and removed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError
from botocore.parsers import ResponseParserError

from cloudrec_recorder.uploader import large
from cloudrec_recorder.uploader.s3 import S3Store, classify
from cloudrec_recorder.uploader.store import BucketUnreachable, FileGone, StoreError, UploadFailed

_BLOCK: Final = 1 << 20
_READ_MAX: Final = 256 << 20
"""Bytes of a playlist or a manifest; nothing that we write comes near."""
_MD5: Final = re.compile(r"[0-9a-f]{32}")


class Entry(NamedTuple):
    """An object as the store lists it. `etag` is an MD5 of its content in many stores, and only there comparable."""

    bytes: int
    etag: str

    def same(self, other: Entry | None) -> bool:
        """Whether the two have the same content, as far as listings tell: by size, since segments have names of their
        own and never change, and by MD5 where both stores tell it."""
        if other is None or self.bytes != other.bytes:
            return False
        comparable = _MD5.fullmatch(self.etag) and _MD5.fullmatch(other.etag)
        return not comparable or self.etag == other.etag


class Depot(S3Store):
    """Blocking; called from several threads. Names are relative to the task's folder. All raise StoreError."""

    @property
    def where(self) -> str:
        return f"{self._where.bucket}/{self._where.key_prefix} at {self._where.endpoint}"

    def entries(self) -> dict[str, Entry]:
        """All objects of the task."""
        prefix = self._where.key_prefix
        with _told(""):
            pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=self._where.bucket, Prefix=prefix)
            return {
                item["Key"].removeprefix(prefix): Entry(item["Size"], item.get("ETag", "").strip('"'))
                for page in pages
                for item in page.get("Contents", [])
            }

    def fetch(self, name: str, to: Path) -> str:
        """Write an object to a file; its SHA-256 in hex. FileGone when there is none."""
        sha256 = hashlib.sha256()
        with _told(name), to.open("wb") as file:
            body = self._client().get_object(Bucket=self._where.bucket, Key=self._where.key_prefix + name)["Body"]
            with body:
                for block in body.iter_chunks(_BLOCK):
                    sha256.update(block)
                    file.write(block)
        return sha256.hexdigest()

    def read(self, name: str) -> bytes:
        """A playlist or a manifest. FileGone when there is none."""
        with _told(name):
            answer = self._client().get_object(Bucket=self._where.bucket, Key=self._where.key_prefix + name)
            with answer["Body"] as body:
                if answer["ContentLength"] > _READ_MAX:
                    raise UploadFailed("TooLarge", f"{name} has {answer['ContentLength']} bytes")
                data: bytes = body.read()
                return data

    def put_file(self, name: str, path: Path, kind: str, heed: Callable[[], None]) -> None:
        """A file of any size; `kind` is its content type. `heed` is called between its parts, and may raise."""
        with _told(name):
            key = self._where.key_prefix + name
            large.upload_file(self._client(), self._where.bucket, key, path, kind, heed=heed)

    def remove(self, name: str) -> None:
        """Harmless when it is not there."""
        with _told(name):
            self._client().delete_object(Bucket=self._where.bucket, Key=self._where.key_prefix + name)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors as StoreError."""
    try:
        yield
    except StoreError:
        raise
    except IncompleteReadError as error:
        raise BucketUnreachable("IncompleteBody", str(error)) from error
    except (BotoCoreError, ClientError, ResponseParserError, OSError) as error:
        if isinstance(error, ClientError) and error.response.get("Error", {}).get("Code") == "NoSuchKey":
            raise FileGone("NoSuchKey", f"there is no {name}") from error
        raise classify(error) from error
