"""The backend `bucket` and a real S3 store (SeaweedFS): what was brought there is fetched by plain HTTP."""

import socket
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from botocore.stub import Stubber

from cloudrec_contract.finish import VodStore, VodTask
from cloudrec_contract.resources import Vod
from cloudrec_recorder.uploader.large import upload_file
from cloudrec_recorder.uploader.store import BucketUnreachable, FileGone
from cloudrec_recorder.vod import Backend, Media, VodRefused, VodUnreachable, backend
from cloudrec_recorder.vod.lifecycle import ensure
from tests.unit.vod.helpers import NAME, Place, a_playlist, an_mp4, fetched, never

SEGMENTS = {f"ha1_7__UserId_s_Yc+z__UserId_e_main_{n}.ts": bytes([n]) * 200_000 for n in range(9)}


def the_backend(place: Place, options: Vod | None = None, **where: Any) -> Backend:
    store = VodStore(store=where.pop("store", place.store), **where)
    return backend(VodTask(options=options or Vod(), store=store), "task-1", place.credentials)


def test_an_mp4_is_played_from_its_public_address(place: Place, tmp_path: Path) -> None:
    public = place.let_everybody_read()
    media = an_mp4(tmp_path)
    done = the_backend(place, public_url=public).commit(media, "", never)
    assert done.url == f"{public}/{place.prefix}{NAME.replace('+', '%2B')}"
    assert fetched(done.url) == media.path.read_bytes()
    assert done.note == ""
    assert place.head(NAME)["ContentType"] == "video/mp4"
    assert place.names() == {NAME}


def test_a_repeated_commit_tells_the_same(place: Place, tmp_path: Path) -> None:
    media = an_mp4(tmp_path)
    public = "https://cdn.example"
    first = the_backend(place, public_url=public).commit(media, "", never)
    assert the_backend(place, public_url=public).commit(media, first.file_id, never) == first


def test_an_aac_is_played_from_a_signed_address(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xff\xf1" * 999)
    done = the_backend(place, presign_seconds=3600).commit(Media(path, "a+b.aac", "aac"), "", never)
    assert "X-Amz-Expires=3600" in done.url
    assert "a%2Bb.aac" in done.url
    assert fetched(done.url) == path.read_bytes()
    assert place.head("a+b.aac")["ContentType"] == "audio/aac"


def test_a_playlist_and_its_segments_at_a_public_address(place: Place, tmp_path: Path) -> None:
    public = place.let_everybody_read()
    media = a_playlist(tmp_path, SEGMENTS)
    done = the_backend(place, public_url=public).commit(media, "", never)
    text = fetched(done.url)
    assert text == media.path.read_bytes()
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    base = done.url.rpartition("/")[0]
    assert [fetched(f"{base}/{line}") for line in lines] == list(SEGMENTS.values())
    assert place.head(next(iter(SEGMENTS)))["ContentType"] == "video/mp2t"
    assert {path.name for path in tmp_path.iterdir()} == {"joined.m3u8", "credentials"}


def test_a_signed_playlist_has_signed_segments(place: Place, tmp_path: Path) -> None:
    done = the_backend(place).commit(a_playlist(tmp_path, SEGMENTS), "", never)
    lines = [line for line in fetched(done.url).decode().splitlines() if not line.startswith("#")]
    assert [fetched(line) for line in lines] == list(SEGMENTS.values())


def test_what_fetching_raises_passes_through_and_no_playlist_is_put(place: Place, tmp_path: Path) -> None:
    media = a_playlist(tmp_path, SEGMENTS)
    broken = Media(media.path, media.name, "m3u8", (*media.segments, "gone.ts"), media.fetch)
    with pytest.raises(FileGone):
        the_backend(place).commit(broken, "", never)
    assert media.name not in place.names()


def test_a_large_file_goes_in_parts(place: Place, tmp_path: Path) -> None:
    left = place.client.create_multipart_upload(Bucket=place.bucket, Key=place.prefix + NAME)
    media = an_mp4(tmp_path, size=70 << 20)
    done = the_backend(place).commit(media, "", never)
    head = place.head(NAME)
    assert head["ContentLength"] == 70 << 20
    assert head["ETag"].endswith('-5"')
    assert head["ContentType"] == "video/mp4"
    assert head["Metadata"]["cloudrec-file-id"] == done.file_id
    assert fetched(done.url) == media.path.read_bytes()
    open_uploads = place.client.list_multipart_uploads(Bucket=place.bucket, Prefix=place.prefix).get("Uploads", [])
    assert left["UploadId"] not in {upload["UploadId"] for upload in open_uploads}


def test_pass_through_fields_are_kept_with_the_object(place: Place, tmp_path: Path) -> None:
    options = Vod(
        procedure="Löwe 100%",
        class_id=5,
        storage_region="ap-x",
        session_context='{"k": "v, w"}',
        source_context=" 录制\n",
    )
    the_backend(place, options).commit(an_mp4(tmp_path), "", never)
    kept = {name: unquote(value) for name, value in place.head(NAME)["Metadata"].items()}
    assert kept.pop("cloudrec-file-id")
    assert kept == {
        "cloudrec-task-id": "task-1",
        "cloudrec-procedure": "Löwe 100%",
        "cloudrec-class-id": "5",
        "cloudrec-storage-region": "ap-x",
        "cloudrec-session-context": '{"k": "v, w"}',
        "cloudrec-source-context": " 录制\n",
    }


def test_long_fields_are_kept_beside_it(place: Place, tmp_path: Path) -> None:
    the_backend(place, Vod(session_context="会" * 1000)).commit(an_mp4(tmp_path), "", never)
    assert place.names() == {NAME, f"{NAME}.json"}
    key = place.prefix + unquote(place.head(NAME)["Metadata"]["cloudrec-context"])
    assert "会" * 1000 in place.client.get_object(Bucket=place.bucket, Key=key)["Body"].read().decode()


def test_expiry_is_a_rule_beside_the_others(place: Place, tmp_path: Path) -> None:
    foreign = [
        {"ID": "logs", "Filter": {"Prefix": "logs/"}, "Status": "Enabled", "Expiration": {"Days": 3}},
        {
            "ID": "tagged",
            "Filter": {"And": {"Prefix": "x/", "Tags": [{"Key": "k", "Value": "v"}]}},
            "Status": "Disabled",
            "Expiration": {"Days": 4},
        },
    ]
    configuration: Any = {"Rules": foreign}
    place.client.put_bucket_lifecycle_configuration(Bucket=place.bucket, LifecycleConfiguration=configuration)
    try:
        committing = the_backend(place, expiring=place.prefix, expire_days=7)
        for _ in range(2):
            assert committing.commit(an_mp4(tmp_path), "", never).note == ""
        assert the_backend(place, expiring=place.prefix, expire_days=7).commit(an_mp4(tmp_path), "", never).note == ""
        ours = {"Filter": {"Prefix": place.prefix}, "Status": "Enabled", "Expiration": {"Days": 7}}
        assert place.rules() == [*foreign, {"ID": "cloudrec-expire-7d", **ours}]
    finally:
        place.client.delete_bucket_lifecycle(Bucket=place.bucket)


@pytest.mark.parametrize(
    ("code", "status", "passing"),
    [
        ("AccessDenied", 403, False),
        ("NotImplemented", 501, False),
        ("MethodNotAllowed", 405, False),
        ("InternalError", 500, True),
        ("SlowDown", 503, True),
    ],
)
def test_expiry_that_is_refused_is_told(code: str, status: int, passing: bool) -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stub:
        stub.add_client_error("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration", "none", 404)
        stub.add_client_error("put_bucket_lifecycle_configuration", code, "no", status)
        if passing:
            with pytest.raises(BucketUnreachable):
                ensure(client, "b", "v/expire-7d/", 7)
        else:
            assert code in ensure(client, "b", "v/expire-7d/", 7)
    client.close()


def test_a_store_that_forgets_a_rule_is_told() -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stub:
        stub.add_response("get_bucket_lifecycle_configuration", {"Rules": []})
        stub.add_response("put_bucket_lifecycle_configuration", {})
        stub.add_response("get_bucket_lifecycle_configuration", {"Rules": []})
        assert "has not kept" in ensure(client, "b", "v/expire-7d/", 7)
    client.close()


def test_keys_that_may_only_write_are_enough_for_a_large_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudrec_recorder.uploader.large.WHOLE_MAX", 10)
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    path = tmp_path / "x"
    path.write_bytes(b"x" * 11)
    with Stubber(client) as stub:
        stub.add_client_error("list_multipart_uploads", "AccessDenied", "no", 403)
        stub.add_response("create_multipart_upload", {"UploadId": "u"})
        stub.add_response("upload_part", {"ETag": '"p"'})
        stub.add_response("complete_multipart_upload", {})
        stub.add_client_error("head_object", "403", "Forbidden", 403)
        assert upload_file(client, "bucket", "key", path, "video/mp4") == 11
    client.close()


def test_what_is_wrong_with_keys_and_stores(place: Place, tmp_path: Path) -> None:
    media = an_mp4(tmp_path)
    with pytest.raises(VodRefused, match="NoSuchBucket"):
        the_backend(place, store=place.store.model_copy(update={"bucket": "not-there"})).commit(media, "", never)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = place.store.model_copy(update={"endpoint": f"http://127.0.0.1:{free.getsockname()[1]}"})
        with pytest.raises(VodUnreachable):
            the_backend(place, store=away).commit(media, "", never)
    place.write_keys(secretKey="wrong-canary")
    with pytest.raises(VodRefused) as refused:
        the_backend(place).commit(media, "", never)
    assert "canary" not in str(refused.value)
    (place.credentials / "secretKey").unlink()
    with pytest.raises(VodRefused, match="the Secret has no secretKey"):
        the_backend(place).commit(media, "", never)


def test_a_file_that_is_gone_is_no_matter_for_another_try(place: Place, tmp_path: Path) -> None:
    with pytest.raises(VodRefused, match="NoSuchFile"):
        the_backend(place).commit(Media(tmp_path / "gone", "gone.mp4", "mp4"), "", never)
