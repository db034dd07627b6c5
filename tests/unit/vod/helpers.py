"""A folder of the session's bucket for one test, media to bring there, and plain HTTP to fetch it with."""

import json
import random
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudrec_contract.spool import ObjectStore
from cloudrec_local.stack import Stack
from cloudrec_recorder.uploader.store import FileGone
from cloudrec_recorder.vod import Media

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAME = "1400000001_7__UserId_s_Yc+z__UserId_e_main.mp4"


class Place:
    def __init__(self, stack: Stack, folder: Path) -> None:
        found = stack.status().bucket
        assert found is not None
        self.bucket, self.endpoint = found.bucket, found.endpoint
        self.prefix = f"vod/{folder.name}/"
        self.keys = (found.access_key, found.secret_key)
        self.credentials = folder / "credentials"
        self.write_keys(accessKey=found.access_key, secretKey=found.secret_key)
        self.store = ObjectStore(
            endpoint=found.endpoint, region="us-east-1", bucket=found.bucket, key_prefix=self.prefix
        )
        self.client: S3Client = boto3.client(
            "s3",
            endpoint_url=found.endpoint,
            region_name="us-east-1",
            aws_access_key_id=found.access_key,
            aws_secret_access_key=found.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2),
        )

    def write_keys(self, **keys: str) -> None:
        self.credentials.mkdir(exist_ok=True)
        for name, value in keys.items():
            (self.credentials / name).write_text(value + "\n")

    def names(self) -> set[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix).get("Contents", [])
        return {entry["Key"].removeprefix(self.prefix) for entry in found}

    def head(self, name: str) -> Any:
        return self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)

    def let_everybody_read(self) -> str:
        """The base of public addresses."""
        allowed = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{self.bucket}/{self.prefix}*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        self.client.put_bucket_policy(Bucket=self.bucket, Policy=policy)
        return f"{self.endpoint}/{self.bucket}"

    def rules(self) -> list[Any]:
        try:
            return list(self.client.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"])
        except ClientError:
            return []


def fetched(url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=20) as answer:
        data: bytes = answer.read()
        return data


def an_mp4(folder: Path, size: int = 300_000, name: str = NAME) -> Media:
    path = folder / "converted.mp4"
    path.write_bytes(random.Random(size).randbytes(size))
    return Media(path, name, "mp4")


def a_playlist(folder: Path, segments: Mapping[str, bytes]) -> Media:
    """As a playlist is written: names percent-encoded."""
    lines = [line for name in segments for line in ("#EXTINF:10.000,", name.replace("+", "%2B"))]
    path = folder / "joined.m3u8"
    path.write_text("\n".join(["#EXTM3U", "#EXT-X-VERSION:3", *lines, "#EXT-X-ENDLIST"]) + "\n")

    def fetch(name: str, to: Path) -> None:
        if name not in segments:
            raise FileGone("NoSuchKey", f"there is no {name}")
        to.write_bytes(segments[name])

    return Media(path, "1400000001_7.m3u8", "m3u8", tuple(segments), fetch)


def never(token: str) -> None:
    raise AssertionError(f"begun with {token}")
