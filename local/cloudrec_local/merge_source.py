"""Where `cloudrec merge` reads from, beside folders: buckets. All raise StackError when one cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cloudrec_recorder.convert.source import Missing

from .errors import StackError
from .fetch import Objects, objects_of
from .home import Home, stack_folder
from .stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class PrefixSource:
    """The objects right below a prefix."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def sizes(self) -> Mapping[str, int]:
        with _told(self._prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            items = [item for page in pages for item in page.get("Contents", [])]
        found = {item["Key"].removeprefix(self._prefix): item["Size"] for item in items}
        return {name: size for name, size in found.items() if name and "/" not in name}

    def read(self, name: str) -> bytes:
        with _told(name):
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
        return body

    def head(self, name: str, count: int) -> bytes:
        del count
        return self.read(name)


class ObjectsSource:
    """A CloudRecording's files. How large they are is not known: each counts as one byte."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def sizes(self) -> Mapping[str, int]:
        with _told(self._objects.where):
            return dict.fromkeys((name for name in self._objects.names() if "/" not in name), 1)

    def read(self, name: str) -> bytes:
        with _told(name):
            return self._objects.get(name)

    def head(self, name: str, count: int) -> bytes:
        del count
        return self.read(name)


@contextmanager
def _told(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") == "NoSuchKey":
            raise Missing("missing") from error
        raise StackError(f"cannot read {name} from the bucket: {error}") from error
    except BotoCoreError as error:
        raise StackError(f"cannot read {name} from the bucket: {error}") from error


def prefix_source(url: str, stack_name: str) -> PrefixSource:
    """`s3://bucket/prefix` in the store of a stack."""
    store = Stack(stack_name).status().bucket
    if store is None:
        raise StackError(f"the stack {stack_name!r} has no bucket", "cloudrec up")
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=Config(s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30, retries={"max_attempts": 3}),
    )
    return PrefixSource(client, bucket, prefix.rstrip("/") + "/" if prefix else "")


def task_source(task: str, namespace: str, stack_name: str) -> ObjectsSource:
    """The files of a CloudRecording."""
    kubeconfig = Home(stack_folder(stack_name)).kubeconfig
    if not kubeconfig.exists():
        raise StackError(f"no stack named {stack_name!r} is running", "cloudrec up")
    return ObjectsSource(objects_of(kubeconfig, namespace, task))
