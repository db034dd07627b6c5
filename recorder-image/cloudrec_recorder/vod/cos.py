"""The bucket that VOD names for an upload: Tencent Cloud COS, which speaks S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import botocore.session
from botocore.config import Config

from cloudrec_contract.secret import Secret
from cloudrec_recorder.uploader.s3 import CONNECT_SECONDS, READ_SECONDS, TRIES
from cloudrec_recorder.vod.interface import VodRefused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def client(endpoint: str | None, region: str, access: Secret, secret: Secret, token: Secret) -> S3Client:
    """`endpoint`: instead of the region's own, and with the bucket in the path. `token` is empty for lasting keys.

    Raises VodRefused when the endpoint is none.
    """
    try:
        made: S3Client = botocore.session.Session().create_client(
            "s3",
            endpoint_url=endpoint or f"https://cos.{region}.myqcloud.com",
            region_name=region,
            aws_access_key_id=access.reveal(),
            aws_secret_access_key=secret.reveal(),
            aws_session_token=token.reveal() or None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path" if endpoint else "virtual"},
                retries={"total_max_attempts": TRIES, "mode": "standard"},
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                max_pool_connections=8,
                tcp_keepalive=True,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )  # type: ignore[assignment]
    except ValueError as error:
        raise VodRefused("InvalidEndpoint", str(error)) from error
    return made
