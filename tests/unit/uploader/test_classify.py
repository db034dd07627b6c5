"""Whose fault a failed upload is."""

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from cloudrec_recorder.uploader.s3 import classify
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, FileGone, StoreError, UploadFailed


def answer(code: str, status: int, message: str = "why") -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "PutObject",
    )


@pytest.mark.parametrize(
    ("code", "status", "family"),
    [
        # the destination's owner has to mend it
        ("AccessDenied", 403, BucketRefused),
        ("InvalidAccessKeyId", 403, BucketRefused),
        ("SignatureDoesNotMatch", 403, BucketRefused),
        ("AllAccessDisabled", 403, BucketRefused),
        ("NoSuchBucket", 404, BucketRefused),
        ("PermanentRedirect", 301, BucketRefused),
        ("AuthorizationHeaderMalformed", 400, BucketRefused),
        ("ExpiredToken", 400, BucketRefused),
        ("InvalidBucketName", 400, BucketRefused),
        ("XUnheardOf", 403, BucketRefused),
        # it may pass by itself
        ("InternalError", 500, BucketUnreachable),
        ("ServiceUnavailable", 503, BucketUnreachable),
        ("SlowDown", 503, BucketUnreachable),
        ("SlowDown", 400, BucketUnreachable),
        ("RequestTimeout", 400, BucketUnreachable),
        ("TooManyRequests", 429, BucketUnreachable),
        ("XMinioStorageFull", 507, BucketUnreachable),
        # ours
        ("RequestTimeTooSkewed", 403, UploadFailed),
        ("BadDigest", 400, UploadFailed),
        ("EntityTooLarge", 400, UploadFailed),
        ("InvalidArgument", 400, UploadFailed),
    ],
)
def test_answers(code: str, status: int, family: type[StoreError]) -> None:
    error = classify(answer(code, status))
    assert type(error) is family
    assert (error.code, error.message) == (code, "why")


@pytest.mark.parametrize(
    ("error", "family"),
    [
        (boto.EndpointConnectionError(endpoint_url="http://s3"), BucketUnreachable),
        (boto.ConnectTimeoutError(endpoint_url="http://s3"), BucketUnreachable),
        (boto.ReadTimeoutError(endpoint_url="http://s3"), BucketUnreachable),
        (boto.ConnectionClosedError(endpoint_url="http://s3"), BucketUnreachable),
        (boto.SSLError(endpoint_url="http://s3", error=OSError("x")), BucketUnreachable),
        (boto.ProxyConnectionError(proxy_url="http://p"), BucketUnreachable),
        (ResponseParserError("an HTML page"), BucketUnreachable),
        (boto.ParamValidationError(report="bucket"), BucketRefused),
        (boto.ProfileNotFound(profile="x"), UploadFailed),
        (FileNotFoundError(2, "gone", "x.ts"), FileGone),
        (PermissionError("no"), UploadFailed),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_no_answer(error: Exception, family: type[StoreError]) -> None:
    classified = classify(error)
    assert type(classified) is family
    assert classified.code
    assert classified.message


def test_other_errors_are_not_judged() -> None:
    with pytest.raises(TypeError):
        classify(KeyError("x"))


def test_a_status_without_a_code() -> None:
    error = classify(boto.ClientError({"ResponseMetadata": {"HTTPStatusCode": 503}}, "PutObject"))  # type: ignore[typeddict-item]
    assert type(error) is BucketUnreachable
    assert (error.code, error.message) == ("503", "HTTP status 503")
