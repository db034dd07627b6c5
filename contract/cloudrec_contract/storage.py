"""Which object store a recording's bucket means. Pure."""

from __future__ import annotations

from cloudrec_contract.naming import key_prefix
from cloudrec_contract.resources import AppStorage, Bucket, Vendor
from cloudrec_contract.spool import ObjectStore

_PUBLIC = {
    Vendor.AWS: "https://s3.{region}.amazonaws.com",
    Vendor.TENCENT_COS: "https://cos.{region}.myqcloud.com",
}


def object_store(bucket: Bucket, app: AppStorage, task_id: str) -> ObjectStore:
    """Resolve the endpoint: the bucket's own, then the app's for vendor and region, then the vendor's.

    Raises ValueError with what to add where when there is none.
    """
    endpoint = bucket.endpoint
    path_style = True
    if endpoint is None:
        found = [e.endpoint for e in app.endpoints if (e.vendor, e.region) == (bucket.vendor, bucket.region)]
        if found:
            endpoint = found[0]
        elif bucket.vendor in _PUBLIC:
            endpoint = _PUBLIC[bucket.vendor].format(region=bucket.region)
            path_style = False
        else:
            raise ValueError(
                f"no endpoint is known for vendor {bucket.vendor} in region {bucket.region}: add one to the "
                "RecordingApp's spec.storage.endpoints, or give spec.storage.bucket.endpoint"
            )
    return ObjectStore(
        endpoint=endpoint,
        region=bucket.region,
        bucket=bucket.bucket,
        key_prefix=key_prefix(bucket.prefix, task_id),
        path_style=path_style,
    )
