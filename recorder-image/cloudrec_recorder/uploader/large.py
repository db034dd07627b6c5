"""Files of gigabytes into a bucket: in parts, two at once, with memory that does not grow with the file. An object is
there when it is whole, and never before."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from cloudrec_recorder.uploader.s3 import classify
from cloudrec_recorder.uploader.store import StoreError, UploadFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

logger = logging.getLogger(__name__)

WHOLE_MAX: Final = 16 << 20
"""Bytes; what is larger goes in parts."""
PART: Final = 16 << 20
AT_ONCE: Final = 2
"""Parts in memory, and on their way."""
_PARTS_MAX: Final = 10_000


def upload_file(
    client: S3Client,
    bucket: str,
    key: str,
    path: Path,
    content_type: str,
    metadata: Mapping[str, str] | None = None,
    heed: Callable[[], None] = lambda: None,
) -> int:
    """Put a file; its size in bytes. A return means that the store has confirmed the whole object.

    Each request has its body's MD5, so that a store refuses what was damaged on its way. Parts of an upload of the same
    key that was killed are given up first, where the keys may do that: they are not to be seen in a bucket, and cost.
    Raises StoreError, and what `heed` raises, which is called before each request of data.
    """
    upload = _Upload(client, bucket, key, content_type, dict(metadata or {}), heed)
    with told():
        size = path.stat().st_size
        if size > WHOLE_MAX:
            upload.give_up()
            upload.in_parts(path, max(PART, -(-size // _PARTS_MAX)))
        else:
            upload.whole(path)
        upload.check(size)
    return size


@contextmanager
def told() -> Iterator[None]:
    """Errors of botocore and of files as StoreError."""
    try:
        yield
    except StoreError:
        raise
    except (BotoCoreError, ClientError, ResponseParserError, OSError) as error:
        raise classify(error) from error


@dataclass(frozen=True, slots=True)
class _Upload:
    client: S3Client
    bucket: str
    key: str
    content_type: str
    metadata: Mapping[str, str]
    heed: Callable[[], None]

    def whole(self, path: Path) -> None:
        self.heed()
        data = path.read_bytes()
        self.client.put_object(
            Bucket=self.bucket,
            Key=self.key,
            Body=data,
            ContentMD5=_md5(data),
            ContentType=self.content_type,
            Metadata=self.metadata,
        )

    def in_parts(self, path: Path, part_bytes: int) -> None:
        upload = self.client.create_multipart_upload(
            Bucket=self.bucket, Key=self.key, ContentType=self.content_type, Metadata=self.metadata
        )["UploadId"]
        try:
            sent = self._send(upload, path, part_bytes)
            self.heed()
            self.client.complete_multipart_upload(
                Bucket=self.bucket, Key=self.key, UploadId=upload, MultipartUpload={"Parts": sent}
            )
        except BaseException:
            self.give_up()
            raise

    def _send(self, upload: str, path: Path, part_bytes: int) -> list[CompletedPartTypeDef]:
        def send(number: int, data: bytes) -> CompletedPartTypeDef:
            answer = self.client.upload_part(
                Bucket=self.bucket,
                Key=self.key,
                UploadId=upload,
                PartNumber=number,
                Body=data,
                ContentMD5=_md5(data),
            )
            return {"PartNumber": number, "ETag": answer["ETag"]}

        sent: list[CompletedPartTypeDef] = []
        running: set[Future[CompletedPartTypeDef]] = set()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="part") as pool, path.open("rb") as file:
            number = 0
            while data := file.read(part_bytes):
                self.heed()
                number += 1
                running.add(pool.submit(send, number, data))
                del data
                if len(running) >= AT_ONCE:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    sent += [future.result() for future in done]
            sent += [future.result() for future in running]
        return sorted(sent, key=lambda part: part.get("PartNumber", 0))

    def give_up(self) -> None:
        """Parts of uploads to this key that were never ended, as far as the store lets us."""
        try:
            for upload in self.client.list_multipart_uploads(Bucket=self.bucket, Prefix=self.key).get("Uploads", []):
                if upload["Key"] == self.key:
                    self.client.abort_multipart_upload(Bucket=self.bucket, Key=self.key, UploadId=upload["UploadId"])
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            logger.info("parts of an earlier upload of %s may stay in the bucket: %s", self.key, classify(error))

    def check(self, size: int) -> None:
        try:
            found = self.client.head_object(Bucket=self.bucket, Key=self.key)["ContentLength"]
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403:
                return  # keys that may only write: the store has taken all of it by its MD5
            raise
        if found != size:
            raise UploadFailed("SizeMismatch", f"{self.key} has {found} bytes in the bucket, {size} were sent")


def _md5(data: bytes) -> str:
    """S3's own check, no matter of security."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
