"""Whose fault it is that VOD failed, of the errors of stores and of Tencent Cloud's API. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from cloudrec_contract.secret import Secret
from cloudrec_recorder.uploader.store import BucketUnreachable, FileGone, StoreError, UploadFailed
from cloudrec_recorder.vod.interface import VodError, VodRefused, VodUnreachable

MESSAGE_MAX: Final = 512
"""Characters; some servers answer with a page."""

# Our own, or a body's that was damaged on its way: the next try may do.
_PASSING: Final = frozenset({"RequestTimeTooSkewed", "BadDigest", "InvalidDigest", "IncompleteBody", "SizeMismatch"})

# First parts of codes: https://cloud.tencent.com/document/api/266/31774
_REFUSALS: Final = frozenset(
    {
        "AuthFailure",
        "FailedOperation",
        "InvalidAction",
        "InvalidCredential",
        "InvalidParameter",
        "InvalidParameterValue",
        "InvalidRequest",
        "IpInBlacklist",
        "IpNotInWhitelist",
        "LimitExceeded",
        "MissingParameter",
        "NoSuchProduct",
        "NoSuchVersion",
        "OperationDenied",
        "RequestSizeLimitExceeded",
        "ResourceInsufficient",
        "ResourceNotFound",
        "UnauthorizedOperation",
        "UnknownParameter",
        "UnsupportedOperation",
        "UnsupportedProtocol",
        "UnsupportedRegion",
    }
)
_PASSING_THOUGH: Final = frozenset({"FailedOperation.DBError", "FailedOperation.NetWorkError"})


def of_store(error: StoreError, secrets: Iterable[Secret] = ()) -> VodError:
    message = scrubbed(error.message, secrets)
    passing = isinstance(error, BucketUnreachable) or (
        isinstance(error, UploadFailed)
        and not isinstance(error, FileGone)
        and (error.code in _PASSING or isinstance(error.__cause__, OSError))
    )
    return VodUnreachable(error.code, message) if passing else VodRefused(error.code, message)


def of_api(code: str, message: str, secrets: Iterable[Secret] = ()) -> VodError:
    """What is not known to be a refusal may pass."""
    refused = code.partition(".")[0] in _REFUSALS and code not in _PASSING_THOUGH
    return (VodRefused if refused else VodUnreachable)(code, scrubbed(message, secrets))


def scrubbed(message: str, secrets: Iterable[Secret]) -> str:
    for secret in secrets:
        if secret:
            message = message.replace(secret.reveal(), "***")
    return message[:MESSAGE_MAX]


@contextmanager
def of_stores(secrets: Iterable[Secret] = ()) -> Iterator[None]:
    """Errors of a store as VodError."""
    try:
        yield
    except StoreError as error:
        raise of_store(error, secrets) from error
