"""Which object store a recording's bucket means. Pure."""

from __future__ import annotations

from cloudrec_contract.naming import key_prefix
from cloudrec_contract.resources import AppStorage, BackupBucket, Bucket, Vendor
from cloudrec_contract.spool import ObjectStore


def _public(vendor: Vendor | None, region: str) -> str | None:
    match vendor:
        case Vendor.AWS:
            return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
        case Vendor.TENCENT_COS:
            return f"https://cos.{region}.myqcloud.com"
        case _:
            return None


def object_store(bucket: Bucket | BackupBucket, app: AppStorage, task_id: str) -> ObjectStore:
    """Resolve the endpoint: the bucket's own, then the app's for vendor and region, then the vendor's.

    Raises ValueError with what to add where when there is none.
    """
    mapped = [e.endpoint for e in app.endpoints if (e.vendor, e.region) == (bucket.vendor, bucket.region)]
    own = bucket.endpoint or (mapped[0] if mapped else None)
    endpoint = own or _public(bucket.vendor, bucket.region)
    if endpoint is None:
        raise ValueError(
            f"no endpoint is known for vendor {bucket.vendor} in region {bucket.region}: add one to the "
            "RecordingApp's spec.storage.endpoints, or give the recording's spec.storage.bucket.endpoint"
        )
    return ObjectStore(
        endpoint=endpoint,
        region=bucket.region,
        bucket=bucket.bucket,
        key_prefix=key_prefix(bucket.prefix, task_id),
        path_style=own is not None,
    )
