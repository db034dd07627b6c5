"""A bucket's rule that deletes what has expired, kept beside the rules of others."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from cloudrec_recorder.uploader.large import told
from cloudrec_recorder.uploader.s3 import classify
from cloudrec_recorder.uploader.store import BucketUnreachable, StoreError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

_PUT: Final = "PutBucketLifecycleConfiguration"
_UNSUPPORTED: Final = frozenset({"NotImplemented", "MethodNotAllowed", "501"})


def with_rule(rules: Sequence[dict[str, Any]], prefix: str, days: int) -> list[dict[str, Any]] | None:
    """The rules and one more that deletes objects under `prefix` after `days`; None when there is such a rule."""
    if any(_is_ours(rule, prefix, days) for rule in rules):
        return None
    taken = {rule.get("ID") for rule in rules}
    name = f"cloudrec-expire-{days}d"
    if name in taken:  # of another prefix, or changed by its owner
        name += "-" + hashlib.sha256(prefix.encode()).hexdigest()[:8]
    # A bucket's rules have their prefixes in the old place or in the new one; AWS refuses a mixture.
    old = any("Prefix" in rule for rule in rules)
    place: dict[str, Any] = {"Prefix": prefix} if old else {"Filter": {"Prefix": prefix}}
    ours = {"ID": name, **place, "Status": "Enabled", "Expiration": {"Days": days}}
    return [*(rule for rule in rules if rule.get("ID") != name), ours]


def _is_ours(rule: dict[str, Any], prefix: str, days: int) -> bool:
    where = rule.get("Filter", {}).get("Prefix", rule.get("Prefix"))
    return where == prefix and rule.get("Status") == "Enabled" and rule.get("Expiration", {}).get("Days") == days


def ensure(client: S3Client, bucket: str, prefix: str, days: int) -> str:
    """See to it that the rule is there; why it could not be had, empty when it is.

    Raises StoreError when the store does not answer.
    """
    try:
        with told():
            rules, other = _get(client, bucket)
            wanted = with_rule(rules, prefix, days)
            if wanted is not None:
                _put(client, bucket, wanted, other)
                rules, _ = _get(client, bucket)
                if with_rule(rules, prefix, days) is not None:
                    return f"nothing is deleted after {days} d: the bucket has not kept the lifecycle rule"
                logger.info("the bucket %s has a new lifecycle rule: %s* goes after %d d", bucket, prefix, days)
    except StoreError as error:
        if isinstance(error, BucketUnreachable) and error.code not in _UNSUPPORTED:
            raise
        return f"nothing is deleted after {days} d: the bucket's lifecycle rules could not be read or written: {error}"
    return ""


def _get(client: S3Client, bucket: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rules, and what else the configuration has to be written back with."""
    try:
        answer: dict[str, Any] = dict(client.get_bucket_lifecycle_configuration(Bucket=bucket))
    except ClientError as error:
        if classify(error).code.startswith("NoSuchLifecycle"):
            return [], {}
        raise
    least = "TransitionDefaultMinimumObjectSize"
    return list(answer.get("Rules", [])), {least: answer[least]} if answer.get(least) else {}


def _put(client: S3Client, bucket: str, rules: list[dict[str, Any]], other: dict[str, Any]) -> None:
    client.meta.events.register(f"before-call.s3.{_PUT}", _add_md5, unique_id="cloudrec-md5")
    configuration: Any = {"Rules": rules}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=configuration, **other)


def _add_md5(params: dict[str, Any], **_: object) -> None:
    """This call wants a checksum, and stores other than AWS take no other than this one."""
    digest = hashlib.md5(params["body"], usedforsecurity=False).digest()
    params["headers"]["Content-MD5"] = base64.b64encode(digest).decode()
