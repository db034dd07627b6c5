"""VOD out of a bucket: files are played from where it is to be had by everybody, or by signed addresses."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from cloudrec_contract.finish import VodStore
from cloudrec_contract.resources import Vod
from cloudrec_recorder.uploader.large import told, upload_file
from cloudrec_recorder.uploader.s3 import PLAYLIST_TYPE, SEGMENT_TYPE, S3Store
from cloudrec_recorder.vod import lifecycle
from cloudrec_recorder.vod.context import context, file_id
from cloudrec_recorder.vod.faults import of_stores
from cloudrec_recorder.vod.interface import Committed, Media
from cloudrec_recorder.vod.segments import each_segment, with_addresses

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TYPES: Final = {
    "aac": "audio/aac",
    "json": "application/json",
    "m3u8": PLAYLIST_TYPE,
    "mp4": "video/mp4",
    "ts": SEGMENT_TYPE,
}


class _Shelf(S3Store):
    def client(self) -> S3Client:
        """With the Secret's present keys."""
        return self._client()


class BucketBackend:
    """The same file by the same name always: a commit that is repeated changes nothing, so `begun` is never called."""

    def __init__(self, where: VodStore, options: Vod, task_id: str, credentials: Path) -> None:
        self._where = where
        self._store = where.store
        self._options = options
        self._task_id = task_id
        self._shelf = _Shelf(where.store, credentials)
        self._expires = not where.expire_days

    def commit(self, media: Media, resume: str, begun: Callable[[str], None]) -> Committed:
        del resume, begun
        with of_stores():
            client = self._shelf.client()
            note = self._see_to_expiry(client)
        each_segment(media, lambda name, path: self._put(client, name, path, "ts"))
        with of_stores(), told():
            self._put_file(client, media)
            return Committed(file_id(self._task_id, media.name), self._address(client, media.name), note)

    def _put_file(self, client: S3Client, media: Media) -> None:
        metadata, beside = context(self._options, self._task_id, media.name)
        with tempfile.TemporaryDirectory(prefix="vod-", dir=media.path.parent) as folder:
            path = media.path
            if beside is not None:
                described = Path(folder, "beside.json")
                described.write_bytes(beside)
                self._put(client, f"{media.name}.json", described, "json")
            if media.kind == "m3u8" and self._where.public_url is None:
                path = Path(folder, "signed.m3u8")
                path.write_text(with_addresses(media.path.read_text(), lambda name: self._address(client, name)))
            self._put(client, media.name, path, media.kind, metadata)

    def _put(self, client: S3Client, name: str, path: Path, kind: str, metadata: dict[str, str] | None = None) -> None:
        with of_stores():
            upload_file(client, self._store.bucket, self._store.key_prefix + name, path, TYPES[kind], metadata)

    def _address(self, client: S3Client, name: str) -> str:
        key = self._store.key_prefix + name
        if self._where.public_url is not None:
            return public_address(self._where.public_url, key)
        return client.generate_presigned_url(
            "get_object", Params={"Bucket": self._store.bucket, "Key": key}, ExpiresIn=self._where.presign_seconds
        )

    def _see_to_expiry(self, client: S3Client) -> str:
        if self._expires:
            return ""
        note = lifecycle.ensure(client, self._store.bucket, self._where.expiring, self._where.expire_days)
        self._expires = not note
        return note


def public_address(base: str, key: str) -> str:
    return f"{base.rstrip('/')}/{quote(key, safe='/')}"
