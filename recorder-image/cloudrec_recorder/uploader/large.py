"""Files of gigabytes into a bucket: in parts, several at once, with memory that does not grow with the file."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from s3transfer.manager import TransferConfig, TransferManager

from cloudrec_recorder.uploader.s3 import classify
from cloudrec_recorder.uploader.store import StoreError, UploadFailed

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

WHOLE_MAX: Final = 64 << 20
"""Bytes; what is larger goes in parts."""
PART: Final = 16 << 20
AT_ONCE: Final = 3

_BLOCK: Final = 1 << 20


def upload_file(
    client: S3Client, bucket: str, key: str, path: Path, content_type: str, metadata: Mapping[str, str] | None = None
) -> int:
    """Put a file; its size in bytes. A return means that the store has confirmed the whole object.

    A store refuses a body or a part that was damaged on its way: by its MD5, or the SHA-256 that is signed. Parts of an
    upload of the same key that was killed are given up first, where the keys may do that: they are not to be seen in a
    bucket, and cost. Raises StoreError.
    """
    with told():
        size = path.stat().st_size
        if size > WHOLE_MAX:
            _give_up_older(client, bucket, key)
            config = TransferConfig(WHOLE_MAX, PART, max_request_concurrency=AT_ONCE, max_submission_concurrency=1)
            extra = {"ContentType": content_type, "Metadata": dict(metadata or {})}
            with TransferManager(client, config) as manager:
                manager.upload(str(path), bucket, key, extra).result()
            _check_size(client, bucket, key, size)
            return size
        with path.open("rb") as body:
            md5 = _md5(body)
            answer = client.put_object(
                Bucket=bucket,
                Key=key,
                Body=body,
                ContentLength=size,
                ContentMD5=base64.b64encode(md5).decode(),
                ContentType=content_type,
                Metadata=dict(metadata or {}),
            )
        if answer.get("ETag", "").strip('"') != md5.hex():
            _check_size(client, bucket, key, size)
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


def _check_size(client: S3Client, bucket: str, key: str, size: int) -> None:
    try:
        found = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403:
            return  # keys that may only write: the store has taken each part by its hash
        raise
    if found != size:
        raise UploadFailed("SizeMismatch", f"{key} has {found} bytes in the bucket, {size} were sent")


def _give_up_older(client: S3Client, bucket: str, key: str) -> None:
    try:
        for upload in client.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", []):
            if upload["Key"] == key:
                client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload["UploadId"])
    except ClientError as error:
        logger.info("parts of an earlier upload of %s may stay in the bucket: %s", key, classify(error))


def _md5(body: IO[bytes]) -> bytes:
    """With the body back at its start. S3's own check, no matter of security."""
    md5 = hashlib.md5(usedforsecurity=False)
    while block := body.read(_BLOCK):
        md5.update(block)
    body.seek(0)
    return md5.digest()
