"""Where a bucket is: its own endpoint, the app's, the vendor's."""

from __future__ import annotations

import pytest

from cloudrec_contract.resources import AppStorage, Bucket
from cloudrec_contract.storage import object_store

NOTHING = AppStorage()
MAPPED = AppStorage.model_validate(
    {
        "endpoints": [
            {"vendor": "S3", "region": "local", "endpoint": "http://store:8333"},
            {"vendor": "AWS", "region": "eu-west-1", "endpoint": "http://proxy:9000"},
        ]
    }
)


def bucket(**fields: object) -> Bucket:
    return Bucket.model_validate({"bucket": "abc", "credentialsSecretRef": {"name": "s"}, **fields})


@pytest.mark.parametrize(
    ("vendor", "region", "endpoint"),
    [
        ("AWS", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("AWS", "cn-north-1", "https://s3.cn-north-1.amazonaws.com.cn"),
        ("TencentCOS", "ap-shanghai", "https://cos.ap-shanghai.myqcloud.com"),
    ],
)
def test_a_vendors_endpoint_follows_from_the_region(vendor: str, region: str, endpoint: str) -> None:
    store = object_store(bucket(vendor=vendor, region=region), NOTHING, "t")
    assert (store.endpoint, store.path_style, store.key_prefix) == (endpoint, False, "t/")


@pytest.mark.parametrize(
    ("vendor", "region", "endpoint"),
    [("S3", "local", "http://store:8333"), ("AWS", "eu-west-1", "http://proxy:9000")],
)
def test_the_apps_endpoints_come_before_the_vendors(vendor: str, region: str, endpoint: str) -> None:
    store = object_store(bucket(vendor=vendor, region=region, prefix=["a", "b"]), MAPPED, "t")
    assert (store.endpoint, store.path_style, store.key_prefix) == (endpoint, True, "a/b/t/")


def test_a_buckets_own_endpoint_is_taken_as_it_is() -> None:
    store = object_store(bucket(endpoint="https://minio:9000"), MAPPED, "t")
    assert (store.endpoint, store.path_style) == ("https://minio:9000", True)


def test_an_unknown_region_is_told_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"vendor S3 in region elsewhere.*spec\.storage\.endpoints"):
        object_store(bucket(vendor="S3", region="elsewhere"), MAPPED, "t")
