"""The bucket that VOD names for an upload: Tencent Cloud COS, which speaks S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudrec_contract.secret import Secret
from cloudrec_recorder.uploader.s3 import s3_client
from cloudrec_recorder.vod.interface import VodRefused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def client(endpoint: str | None, region: str, access: Secret, secret: Secret, token: Secret) -> S3Client:
    """`endpoint`: instead of the region's own, and with the bucket in the path. `token` is empty for lasting keys.

    Raises VodRefused when the endpoint is none.
    """
    address = endpoint or f"https://cos.{region}.myqcloud.com"
    try:
        return s3_client(address, region, access, secret, token if token.reveal() else None, path_style=bool(endpoint))
    except ValueError as error:
        raise VodRefused("InvalidEndpoint", str(error)) from error
