"""Which object store a recording's bucket means. Pure."""

from __future__ import annotations

from cloudrec_contract.naming import key_prefix
from cloudrec_contract.resources import (
    AppStorage,
    BackupBucket,
    Bucket,
    CloudRecordingSpec,
    RecordingAppSpec,
    Vendor,
    VodBucket,
    VodSpool,
)
from cloudrec_contract.spool import ObjectStore


def _public(vendor: Vendor | None, region: str) -> str | None:
    match vendor:
        case Vendor.AWS:
            return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")
        case Vendor.TENCENT_COS:
            return f"https://cos.{region}.myqcloud.com"
        case _:
            return None


def bucket_of(spec: CloudRecordingSpec, app: RecordingAppSpec) -> Bucket | VodSpool:
    """Where a recording's segments go. Raises ValueError when it is for VOD and the app has none."""
    if spec.storage.bucket is not None:
        return spec.storage.bucket
    if app.vod is None:
        raise ValueError("storage.vod is given, and the RecordingApp has no spec.vod: add one, or give storage.bucket")
    return app.vod.spool


def object_store(bucket: Bucket | BackupBucket | VodBucket, app: AppStorage, task_id: str) -> ObjectStore:
    """Resolve the endpoint: the bucket's own, then the app's for vendor and region, then the vendor's.

    Raises ValueError with what to add where when there is none.
    """
    mapped = [e.endpoint for e in app.endpoints if (e.vendor, e.region) == (bucket.vendor, bucket.region)]
    own = bucket.endpoint or (mapped[0] if mapped else None)
    endpoint = own or _public(bucket.vendor, bucket.region)
    if endpoint is None:
        raise ValueError(
            f"no endpoint is known for vendor {bucket.vendor} in region {bucket.region}: add one to the "
            "RecordingApp's spec.storage.endpoints, or give the bucket an endpoint of its own instead of a vendor"
        )
    return ObjectStore(
        endpoint=endpoint,
        region=bucket.region,
        bucket=bucket.bucket,
        key_prefix=key_prefix(bucket.prefix, task_id),
        path_style=own is not None,
    )
