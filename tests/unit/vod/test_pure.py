"""What needs no store: ids, addresses, metadata, lifecycle rules, whose fault an error is, the API's parameters."""

import json
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.finish import VodAccount, VodTask
from cloudrec_contract.resources import Vod
from cloudrec_contract.secret import Secret
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, FileGone, StoreError, UploadFailed
from cloudrec_recorder.vod import Media, VodRefused, VodUnreachable, backend
from cloudrec_recorder.vod.bucket import public_address
from cloudrec_recorder.vod.context import METADATA_MAX, context, file_id
from cloudrec_recorder.vod.faults import MESSAGE_MAX, of_api, of_store, scrubbed
from cloudrec_recorder.vod.lifecycle import with_rule
from cloudrec_recorder.vod.segments import each_segment, with_addresses
from cloudrec_recorder.vod.tencent import parameters

FOREIGN = {"ID": "logs", "Filter": {"Prefix": "logs/"}, "Status": "Enabled", "Expiration": {"Days": 3}}


def test_a_files_id_is_of_its_task_and_name() -> None:
    assert file_id("t", "a.mp4") == file_id("t", "a.mp4")
    assert len({file_id(task, name) for task in "tu" for name in ("a", "b", "ab")}) == 6
    assert len(file_id("t", "a")) == 32


def test_a_public_address_has_its_key_percent_encoded() -> None:
    assert public_address("https://cdn.example/x/", "vod/t/a+b c.mp4") == "https://cdn.example/x/vod/t/a%2Bb%20c.mp4"


@given(st.text(max_size=300), st.text(max_size=200), st.text(min_size=1, max_size=100))
def test_any_text_survives_in_metadata_or_beside_them(session: str, source: str, procedure: str) -> None:
    options = Vod(session_context=session, source_context=source, procedure=procedure, class_id=7)
    metadata, beside = context(options, "task", "a+b.mp4")
    assert all(value.isascii() and value.isprintable() and " " not in value for value in metadata.values())
    assert sum(len(f"x-amz-meta-{name}{value}") for name, value in metadata.items()) <= METADATA_MAX
    if beside is None:
        kept = {name.removeprefix("cloudrec-"): unquote(value) for name, value in metadata.items()}
    else:
        assert metadata["cloudrec-context"] == "a+b.mp4.json"
        kept = json.loads(beside)
    assert kept.get("session-context", "") == session
    assert kept.get("source-context", "") == source
    assert kept["procedure"] == procedure
    assert kept["class-id"] == "7"


def test_text_that_is_too_long_for_metadata_goes_beside_the_file() -> None:
    long = Vod(session_context="会" * 1000)
    assert context(long, "task", "a.mp4").beside is not None
    assert context(Vod(session_context="x" * 1000), "task", "a.mp4").beside is None


def test_nothing_asked_is_nothing_said() -> None:
    assert set(context(Vod(), "task", "a.mp4").metadata) == {"cloudrec-task-id", "cloudrec-file-id"}


def test_a_rule_is_added_once_beside_the_others() -> None:
    rules = with_rule([FOREIGN], "vod/expire-7d/", 7)
    assert rules is not None
    assert rules[0] == FOREIGN
    ours = {"Filter": {"Prefix": "vod/expire-7d/"}, "Status": "Enabled", "Expiration": {"Days": 7}}
    assert rules[1:] == [{"ID": "cloudrec-expire-7d", **ours}]
    assert with_rule(rules, "vod/expire-7d/", 7) is None


def test_an_owners_rule_that_does_the_same_is_enough() -> None:
    own = {"ID": "mine", "Prefix": "vod/expire-7d/", "Status": "Enabled", "Expiration": {"Days": 7}}
    assert with_rule([own], "vod/expire-7d/", 7) is None


def test_two_prefixes_of_the_same_days_have_a_rule_each() -> None:
    first = with_rule([], "a/expire-7d/", 7)
    assert first is not None
    both = with_rule(first, "b/expire-7d/", 7)
    assert both is not None
    assert both[0] == first[0]
    assert both[1]["ID"].startswith("cloudrec-expire-7d-")
    assert with_rule(both, "b/expire-7d/", 7) is None
    assert with_rule(both, "a/expire-7d/", 7) is None


def test_a_rule_is_written_as_the_others_are() -> None:
    old = {"ID": "old", "Prefix": "logs/", "Status": "Disabled", "Expiration": {"Days": 1}}
    rules = with_rule([old], "v/expire-1d/", 1)
    assert rules is not None
    assert rules[1]["Prefix"] == "v/expire-1d/"
    assert "Filter" not in rules[1]


def caused(error: StoreError, cause: Exception) -> StoreError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BucketRefused("AccessDenied", "no"), VodRefused),
        (BucketUnreachable("SlowDown", "later"), VodUnreachable),
        (UploadFailed("BadDigest", "damaged"), VodUnreachable),
        (UploadFailed("RequestTimeTooSkewed", "clock"), VodUnreachable),
        (caused(UploadFailed("OSError", "disk"), OSError("disk")), VodUnreachable),
        (UploadFailed("EntityTooLarge", "large"), VodRefused),
        (UploadFailed("KeyTooLongError", "long"), VodRefused),
        (caused(FileGone("NoSuchFile", "gone"), FileNotFoundError("gone")), VodRefused),
    ],
)
def test_a_stores_errors(error: StoreError, kind: type[Exception]) -> None:
    found = of_store(error)
    assert type(found) is kind
    assert (found.code, found.message) == (error.code, error.message)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AuthFailure.SignatureFailure", VodRefused),
        ("UnauthorizedOperation", VodRefused),
        ("InvalidParameter", VodRefused),
        ("InvalidParameterValue.ExpireTime", VodRefused),
        ("FailedOperation.InvalidVodUser", VodRefused),
        ("FailedOperation.NetWorkError", VodUnreachable),
        ("LimitExceeded.Quota", VodRefused),
        ("RequestLimitExceeded", VodUnreachable),
        ("RequestLimitExceeded.UinLimitExceeded", VodUnreachable),
        ("InternalError", VodUnreachable),
        ("InternalError.DBError", VodUnreachable),
        ("ClientNetworkError", VodUnreachable),
        ("ServerNetworkError", VodUnreachable),
        ("ResourceUnavailable", VodUnreachable),
        ("SomethingNew", VodUnreachable),
    ],
)
def test_the_apis_errors(code: str, kind: type[Exception]) -> None:
    assert type(of_api(code, "why")) is kind


def test_messages_have_no_secrets_and_an_end() -> None:
    assert scrubbed("the key canary is canary", [Secret("canary"), Secret("")]) == "the key *** is ***"
    assert len(scrubbed("x" * 9999, [])) == MESSAGE_MAX


def test_a_playlist_with_addresses_is_else_the_same() -> None:
    text = "#EXTM3U\n\n#EXTINF:9.000,\na%2Bb.ts\n#EXT-X-ENDLIST\n"
    assert with_addresses(text, lambda name: f"https://x/{name}?s") == text.replace("a%2Bb.ts", "https://x/a+b.ts?s")


def test_the_first_error_of_a_segment_ends_it(tmp_path: Path) -> None:
    put: list[str] = []

    def fetch(name: str, to: Path) -> None:
        if name == "3.ts":
            raise FileGone("NoSuchKey", name)
        to.touch()

    media = Media(tmp_path / "a.m3u8", "a.m3u8", "m3u8", tuple(f"{n}.ts" for n in range(500)), fetch)
    with pytest.raises(FileGone):
        each_segment(media, lambda name, path: put.append(name))
    assert len(put) < 500
    assert list(tmp_path.iterdir()) == []


def test_segments_need_a_way_to_fetch_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no way to fetch"):
        each_segment(Media(tmp_path / "a", "a.m3u8", "m3u8", ("a.ts",)), lambda name, path: None)


def test_parameters_of_an_application() -> None:
    media = Media(Path("/scratch/x"), "a+b.aac", "aac")
    assert parameters(media, Vod(), 0) == {"MediaType": "aac", "MediaName": "a+b.aac"}
    options = Vod(
        procedure="LongVideoPreset",
        expire_seconds=86400,
        storage_region="ap-chongqing",
        class_id=9,
        session_context="s",
        source_context="ü",
    )
    assert parameters(media, options, 1_700_000_000.9) == {
        "MediaType": "aac",
        "MediaName": "a+b.aac",
        "Procedure": "LongVideoPreset",
        "ExpireTime": "2023-11-15T22:13:20Z",
        "StorageRegion": "ap-chongqing",
        "ClassId": 9,
        "SourceContext": "ü",
        "SessionContext": "s",
    }
    for_a_century = parameters(media, Vod(expire_seconds=3155760000), 1_700_000_000)
    assert for_a_century["ExpireTime"].startswith("2123-")


def test_a_task_has_one_backend(tmp_path: Path) -> None:
    account = VodAccount(region="ap-guangzhou", endpoint="https://vod.example")
    assert backend(VodTask(options=Vod(), account=account), "t", tmp_path)
    with pytest.raises(ValueError, match="neither"):
        backend(VodTask(options=Vod()), "t", tmp_path)
