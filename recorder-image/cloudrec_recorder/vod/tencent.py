"""Tencent Cloud VOD: apply for an upload, put the file into the bucket that is named, commit.

Sources: https://cloud.tencent.com/document/api/266/31767 (ApplyUpload), 266/31766 (CommitUpload), and Tencent's
published upload SDKs, which put a playlist's segments beside the playlist.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

from cloudrec_contract.finish import VodAccount
from cloudrec_contract.resources import Vod
from cloudrec_contract.secret import Secret
from cloudrec_recorder.uploader.large import upload_file
from cloudrec_recorder.uploader.store import BucketRefused, StoreError
from cloudrec_recorder.vod import cos
from cloudrec_recorder.vod.api import Api, Ticket
from cloudrec_recorder.vod.bucket import TYPES
from cloudrec_recorder.vod.faults import of_store
from cloudrec_recorder.vod.interface import Committed, Media, VodRefused, VodUnreachable
from cloudrec_recorder.vod.segments import each_segment

logger = logging.getLogger(__name__)

APPLICATIONS: Final = 3
"""Uploads begun in one commit: temporary keys may end in the middle of one."""
_EXPIRED: Final = frozenset({"ExpiredToken", "InvalidToken", "TokenExpired"})
_EARLY_SECONDS: Final = 30
"""The clocks of the two sides differ."""

# A key of an earlier try that is refused with these is of no use, and a new upload is.
_STALE: Final = ("FailedOperation", "InvalidParameter", "ResourceNotFound")
_SESSION: Final = "VodSessionKey"


class _Expired(Exception):
    pass


class AccountBackend:
    """`now`: seconds since the Unix epoch."""

    def __init__(
        self, account: VodAccount, options: Vod, credentials: Path, now: Callable[[], float] = time.time
    ) -> None:
        self._account = account
        self._options = options
        self._folder = credentials
        self._now = now

    def commit(self, media: Media, resume: str, begun: Callable[[str], None]) -> Committed:
        keys = _keys(self._folder)
        with closing(Api(self._account, keys, self._options.sub_app_id or self._account.sub_app_id or None)) as api:
            if resume:
                try:
                    return api.commit(resume)
                except VodRefused as error:
                    if not error.code.startswith(_STALE):
                        raise
                    logger.info("the upload that was begun earlier is void, %s is uploaded anew: %s", media.name, error)
            for _ in range(APPLICATIONS):
                ticket = api.apply(parameters(media, self._options, self._now()))
                try:
                    self._upload(ticket, media, keys)
                    begun(ticket.vod_session_key)
                    return api.commit(ticket.vod_session_key)
                except _Expired:
                    logger.warning("the keys for the upload of %s have expired before its end", media.name)
                except VodRefused as error:
                    if _SESSION not in error.code:
                        raise
                    logger.warning("the upload of %s has become void before its end: %s", media.name, error)
        raise VodUnreachable("UploadExpired", f"{APPLICATIONS} times an upload had expired before it was complete")

    def _upload(self, ticket: Ticket, media: Media, keys: tuple[Secret, Secret]) -> None:
        """Raises _Expired, VodError, and what `fetch` raises."""
        temporary = ticket.temp_certificate
        used = temporary.keys if temporary else (*keys, Secret(""))
        main = PurePosixPath(ticket.media_storage_path.lstrip("/"))
        with closing(cos.client(self._account.upload_endpoint, ticket.storage_region, *used)) as client:

            def put(key: PurePosixPath, path: Path, kind: str) -> None:
                try:
                    upload_file(client, ticket.storage_bucket, str(key), path, TYPES[kind])
                except StoreError as error:
                    late = temporary and 0 < temporary.expired_time <= self._now() + _EARLY_SECONDS
                    if isinstance(error, BucketRefused) and (late or error.code in _EXPIRED):
                        raise _Expired from error
                    raise of_store(error, used) from error

            each_segment(media, lambda name, path: put(main.with_name(name), path, "ts"))
            put(main, media.path, media.kind)


def parameters(media: Media, options: Vod, now: float) -> dict[str, Any]:
    """Of ApplyUpload. `now`: seconds since the Unix epoch."""
    ends = datetime.fromtimestamp(now + options.expire_seconds, UTC) if options.expire_seconds else None
    asked = {
        "MediaType": media.kind,
        "MediaName": media.name,
        "Procedure": options.procedure,
        "ExpireTime": ends.strftime("%Y-%m-%dT%H:%M:%SZ") if ends else None,
        "StorageRegion": options.storage_region,
        "ClassId": options.class_id,
        "SourceContext": options.source_context,
        "SessionContext": options.session_context,
    }
    return {name: value for name, value in asked.items() if value}


def _keys(folder: Path) -> tuple[Secret, Secret]:
    try:
        secret_id, secret_key = ((folder / name).read_text().strip() for name in ("secretId", "secretKey"))
    except FileNotFoundError as error:
        raise VodRefused("NoCredentials", f"the Secret has no {Path(error.filename).name}") from error
    return Secret(secret_id), Secret(secret_key)
