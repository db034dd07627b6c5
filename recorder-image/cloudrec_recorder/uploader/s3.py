"""A bucket of any S3-compatible store, through botocore.

An object counts as stored when the store returned the MD5 of what was sent as its ETag, or, where ETags are no MD5 (KMS
encryption, some gateways), when a HEAD shows its size. Each PUT carries Content-MD5, so a store refuses a body that was
damaged on its way. Checksums beyond that are sent only where an operation requires them: not every store knows them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ParamValidationError
from botocore.exceptions import ConnectionError as NotConnected
from botocore.parsers import ResponseParserError

from cloudrec_contract.secret import Secret
from cloudrec_contract.spool import ObjectStore
from cloudrec_recorder.uploader.store import (
    BucketRefused,
    BucketUnreachable,
    FileGone,
    Stored,
    StoreError,
    UploadFailed,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

SEGMENT_TYPE = "video/mp2t"
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
MANIFEST_TYPE = "application/json"
CHECK_OBJECT = ".cloudrec-write-check"

CONNECT_SECONDS = 5
READ_SECONDS = 30
TRIES = 2
"""Tries inside one call, for what passes in a second; the engine retries for long."""

_BLOCK = 1 << 20

# Answered with a status that would tell otherwise.
_OURS = frozenset({"RequestTimeTooSkewed", "BadDigest", "InvalidDigest", "IncompleteBody", "EntityTooLarge"})
_PASSING = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests"})
_REFUSALS = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "IllegalLocationConstraintException",
        "InvalidAccessKeyId",
        "InvalidBucketName",
        "InvalidToken",
        "QuotaExceeded",
        "XAmzContentSHA256Mismatch",
    }
)


def classify(error: Exception) -> StoreError:
    """Whose fault it is that a call failed. Anything but botocore's and OS errors is not ours to judge: TypeError."""
    match error:
        case StoreError():
            return error
        case ClientError():
            return _answered(error)
        case ParamValidationError():
            return BucketRefused("InvalidArgument", str(error))
        case NotConnected() | HTTPClientError() | ResponseParserError():
            return BucketUnreachable(type(error).__name__, str(error))
        case BotoCoreError():
            return UploadFailed(type(error).__name__, str(error))
        case FileNotFoundError():
            return FileGone("NoSuchFile", f"{error.filename} is gone from the spool")
        case OSError():
            return UploadFailed(type(error).__name__, str(error))
    raise TypeError(f"no error of a store: {type(error).__name__}") from error


def _answered(error: ClientError) -> StoreError:
    details = error.response.get("Error", {})
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = str(details.get("Code") or status)
    message = str(details.get("Message") or f"HTTP status {status}")
    if code in _OURS:
        return UploadFailed(code, message)
    if code in _PASSING or status >= 500 or status in (0, 408, 429):
        return BucketUnreachable(code, message)
    if code in _REFUSALS or status in (301, 307, 308, 401, 402, 403, 404, 405):
        return BucketRefused(code, message)
    return UploadFailed(code, message)


class S3Store:
    """`credentials` is a folder with the files accessKey and secretKey, read again when they change.

    `reads`: the check is for rights to list and to read, too; `removes`: rights to delete are wished for.
    """

    def __init__(self, where: ObjectStore, credentials: Path, *, reads: bool = False, removes: bool = False) -> None:
        self._where = where
        self._folder = credentials
        self._reads = reads
        self._removes = removes
        self._lock = threading.Lock()
        self._made: tuple[tuple[Secret, Secret], S3Client] | None = None

    def check(self) -> None:
        key = self._where.key_prefix + CHECK_OBJECT
        try:
            client = self._client()
            client.put_object(Bucket=self._where.bucket, Key=key, Body=b"")
        except (BotoCoreError, ClientError, ResponseParserError, OSError) as error:
            raise classify(error) from error
        if self._reads:
            bucket, prefix = self._where.bucket, self._where.key_prefix
            with _may("list", "s3:ListBucket"):
                client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
            with _may("read", "s3:GetObject"), client.get_object(Bucket=bucket, Key=key)["Body"] as body:
                body.read()
        try:
            client.delete_object(Bucket=self._where.bucket, Key=key)
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            # Rights to write without rights to delete are a good set-up.
            logger.info("the write check's object stays in the bucket: %s", classify(error))
            if self._removes:
                logger.warning("the keys may not delete: playlists and segments will stay, though no HLS is asked for")

    def put_segment(self, name: str, path: Path) -> Stored:
        try:
            with _open_plainly(path) as body:
                size, md5, sha256 = _digests(body)
                self._put(name, body, size, md5, SEGMENT_TYPE, {})
        except (BotoCoreError, ClientError, ResponseParserError, OSError) as error:
            raise classify(error) from error
        return Stored(size, sha256)

    def put_playlist(self, name: str, text: bytes) -> None:
        body = io.BytesIO(text)
        size, md5, _ = _digests(body)
        try:
            kind = PLAYLIST_TYPE if name.endswith(".m3u8") else MANIFEST_TYPE
            self._put(name, body, size, md5, kind, {"CacheControl": "no-cache"})
        except (BotoCoreError, ClientError, ResponseParserError, OSError) as error:
            raise classify(error) from error

    def _put(self, name: str, body: IO[bytes], size: int, md5: bytes, kind: str, headers: dict[str, str]) -> None:
        client, key = self._client(), self._where.key_prefix + name
        answer = client.put_object(
            Bucket=self._where.bucket,
            Key=key,
            Body=body,
            ContentLength=size,
            ContentMD5=base64.b64encode(md5).decode(),
            ContentType=kind,
            **headers,  # type: ignore[arg-type]
        )
        if answer.get("ETag", "").strip('"') == md5.hex():
            return
        found = client.head_object(Bucket=self._where.bucket, Key=key)["ContentLength"]
        if found != size:
            raise UploadFailed("SizeMismatch", f"{name} has {found} bytes in the bucket, {size} were sent")

    def _client(self) -> S3Client:
        keys = self._keys()
        with self._lock:
            if self._made is None or self._made[0] != keys:
                self._made = (keys, _make(self._where, *keys))
            return self._made[1]

    def _keys(self) -> tuple[Secret, Secret]:
        try:
            access, secret = ((self._folder / name).read_text().strip() for name in ("accessKey", "secretKey"))
        except FileNotFoundError as error:
            raise BucketRefused("NoCredentials", f"the Secret has no {Path(error.filename).name}") from error
        return Secret(access), Secret(secret)


@contextmanager
def _may(what: str, right: str) -> Iterator[None]:
    """A refusal says which right is missing, and what for."""
    try:
        yield
    except (BotoCoreError, ClientError, ResponseParserError, OSError) as error:
        failed = classify(error)
        if isinstance(failed, BucketRefused):
            why = f"the keys may not {what} ({right}), which MP4, AAC and VOD need: {failed.message}"
            raise BucketRefused(failed.code, why) from error
        raise failed from error


def s3_client(
    endpoint: str, region: str, access: Secret, secret: Secret, token: Secret | None = None, *, path_style: bool
) -> S3Client:
    """`token`: of temporary keys. Raises ValueError when the endpoint is none."""
    client: S3Client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access.reveal(),
        aws_secret_access_key=secret.reveal(),
        aws_session_token=token.reveal() if token is not None else None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if path_style else "virtual"},
            retries={"total_max_attempts": TRIES, "mode": "standard"},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=8,
            tcp_keepalive=True,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )  # type: ignore[assignment]
    return client


def _make(where: ObjectStore, access: Secret, secret: Secret) -> S3Client:
    try:
        return s3_client(where.endpoint, where.region, access, secret, path_style=where.path_style)
    except ValueError as error:
        raise BucketRefused("InvalidEndpoint", str(error)) from error


def _open_plainly(path: Path) -> IO[bytes]:
    """The spool is shared with a process that parses strangers' media: no links, no devices. Raises OSError."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fd = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path.name} is no regular file")
    return os.fdopen(fd, "rb")


def _digests(body: IO[bytes]) -> tuple[int, bytes, str]:
    """Size, MD5 and hex SHA-256, with the body back at its start. MD5 is S3's own check, no matter of security."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    while block := body.read(_BLOCK):
        md5.update(block)
        sha256.update(block)
        size += len(block)
    body.seek(0)
    return size, md5.digest(), sha256.hexdigest()
