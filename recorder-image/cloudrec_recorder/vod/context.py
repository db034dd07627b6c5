"""What a recording's `storage.vod` says for VOD, kept with an object of a bucket. Pure.

S3 takes 2 KB of metadata (https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html), in headers. So
values are percent-encoded UTF-8, and what is too long goes into a JSON object beside the file.
"""

from __future__ import annotations

import hashlib
import json
import string
from typing import Final, NamedTuple
from urllib.parse import quote

from cloudrec_contract.resources import Vod

METADATA_MAX: Final = 2048
"""Bytes of names and values."""

_PLAIN: Final = string.punctuation.replace("%", "")


def file_id(task_id: str, name: str) -> str:
    """32 hexadecimal digits; the same for the same file, so that a repeated commit tells the same."""
    return hashlib.sha256(f"{task_id}/{name}".encode()).hexdigest()[:32]


class Context(NamedTuple):
    """`beside`: the content of the object `<name>.json`, None when the metadata have everything."""

    metadata: dict[str, str]
    beside: bytes | None


def context(options: Vod, task_id: str, name: str) -> Context:
    asked = {
        "procedure": options.procedure,
        "storage-region": options.storage_region,
        "class-id": str(options.class_id) if options.class_id else None,
        "sub-app-id": str(options.sub_app_id) if options.sub_app_id else None,
        "session-context": options.session_context,
        "source-context": options.source_context,
    }
    given = {field: value for field, value in asked.items() if value}
    own = {"task-id": task_id, "file-id": file_id(task_id, name)}
    metadata = _headers(own | given)
    if sum(len(f"x-amz-meta-{field}{value}") for field, value in metadata.items()) <= METADATA_MAX:
        return Context(metadata, None)
    return Context(_headers(own | {"context": f"{name}.json"}), json.dumps(given, ensure_ascii=False).encode())


def _headers(fields: dict[str, str]) -> dict[str, str]:
    return {f"cloudrec-{field}": quote(value, safe=_PLAIN) for field, value in fields.items()}
