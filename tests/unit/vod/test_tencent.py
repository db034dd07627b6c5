"""The backend `tencent`: Tencent's SDK against a local server that checks its signatures, and a real bucket as COS."""

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from cloudrec_contract.finish import VodAccount, VodTask
from cloudrec_contract.resources import Vod
from cloudrec_contract.secret import Secret
from cloudrec_recorder.uploader.store import FileGone
from cloudrec_recorder.vod import Backend, Committed, Media, VodRefused, VodUnreachable, backend
from cloudrec_recorder.vod.cos import client as cos_client
from cloudrec_recorder.vod.tencent import APPLICATIONS
from tests.unit.vod.helpers import NAME, Place, a_playlist, an_mp4, fetched, never
from tests.unit.vod.temporary import BUCKET, Temporary
from tests.unit.vod.vod_server import SECRET_ID, SECRET_KEY, Fault, VodServer

# The SDK calls datetime.utcfromtimestamp, which newer Pythons advise against.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning")

SEGMENTS = {f"ha1_7__UserId_s_Yc+z__UserId_e_main_{n}.ts": bytes([n]) * 100_000 for n in range(9)}


def certificate(place: Place, ends: float, secret: str = "") -> dict[str, Any]:
    key, known = place.keys
    return {"SecretId": key, "SecretKey": secret or known, "Token": "", "ExpiredTime": int(ends)}


@pytest.fixture
def vod(place: Place) -> Iterator[VodServer]:
    place.write_keys(secretId=SECRET_ID, secretKey=SECRET_KEY)
    given = certificate(place, time.time() + 3600)
    with VodServer(place.client, place.bucket, place.prefix.rstrip("/"), given) as server:
        yield server


def task(vod: VodServer, place: Place, options: Vod | None = None, **account: Any) -> VodTask:
    where = {"region": "ap-guangzhou", "endpoint": vod.endpoint, "upload_endpoint": place.endpoint} | account
    return VodTask(options=options or Vod(), account=VodAccount.model_validate(where))


def the_backend(vod: VodServer, place: Place, options: Vod | None = None, **account: Any) -> Backend:
    return backend(task(vod, place, options, **account), "task-1", place.credentials)


class Tokens(list[str]):
    def __call__(self, token: str) -> None:
        self.append(token)


def test_an_mp4(vod: VodServer, place: Place, tmp_path: Path) -> None:
    options = Vod(
        procedure="流程",
        expire_seconds=86400,
        storage_region="ap-chongqing",
        class_id=3,
        session_context='{"s": 1}',
        source_context="q",
    )
    media, begun = an_mp4(tmp_path), Tokens()
    done = the_backend(vod, place, options, sub_app_id=1500000001).commit(media, "", begun)
    assert fetched(done.url) == media.path.read_bytes()
    assert done.file_id == vod.committed[begun[0]]
    assert done.note == ""
    asked = vod.of("ApplyUpload")[0]
    ends = datetime.fromisoformat(asked.pop("ExpireTime"))
    assert abs(ends.timestamp() - time.time() - 86400) < 30
    assert asked == {
        "MediaType": "mp4",
        "MediaName": NAME,
        "Procedure": "流程",
        "StorageRegion": "ap-chongqing",
        "ClassId": 3,
        "SessionContext": '{"s": 1}',
        "SourceContext": "q",
        "SubAppId": 1500000001,
    }
    assert vod.of("CommitUpload") == [{"VodSessionKey": begun[0], "SubAppId": 1500000001}]


def test_a_recordings_own_application_wins(vod: VodServer, place: Place, tmp_path: Path) -> None:
    the_backend(vod, place, Vod(sub_app_id=7), sub_app_id=8).commit(an_mp4(tmp_path), "", Tokens())
    assert [call["SubAppId"] for _, call in vod.calls] == [7, 7]


def test_a_playlist_with_its_segments_beside_it(vod: VodServer, place: Place, tmp_path: Path) -> None:
    media = a_playlist(tmp_path, SEGMENTS)
    done = the_backend(vod, place).commit(media, "", Tokens())
    assert fetched(done.url) == media.path.read_bytes()
    assert vod.of("ApplyUpload")[0]["MediaType"] == "m3u8"
    assert place.names() == {"1/f0.m3u8", *(f"1/{name}" for name in SEGMENTS)}
    for name, content in SEGMENTS.items():
        assert place.client.get_object(Bucket=place.bucket, Key=f"{place.prefix}1/{name}")["Body"].read() == content


def test_a_segment_that_cannot_be_fetched(vod: VodServer, place: Place, tmp_path: Path) -> None:
    media = a_playlist(tmp_path, SEGMENTS)
    broken = Media(media.path, media.name, "m3u8", ("gone.ts",), media.fetch)
    with pytest.raises(FileGone):
        the_backend(vod, place).commit(broken, "", never)


def test_a_large_file_goes_in_parts(vod: VodServer, place: Place, tmp_path: Path) -> None:
    media = an_mp4(tmp_path, size=70 << 20)
    done = the_backend(vod, place).commit(media, "", Tokens())
    assert place.head("1/f0.mp4")["ETag"].endswith('-5"')
    assert fetched(done.url) == media.path.read_bytes()


@pytest.mark.parametrize("size", [100_000, 70 << 20])
def test_temporary_keys_with_a_token_that_may_only_put(
    temporary_keys: Temporary, place: Place, tmp_path: Path, size: int
) -> None:
    place.write_keys(secretId=SECRET_ID, secretKey=SECRET_KEY)
    folder = f"{tmp_path.name}-{size}"
    with VodServer(temporary_keys.client, BUCKET, folder, None) as vod:
        vod.certificate = temporary_keys.certificate
        there = the_backend(vod, place, upload_endpoint=temporary_keys.endpoint)
        media, playlist = an_mp4(tmp_path, size), a_playlist(tmp_path, SEGMENTS)
        assert fetched(there.commit(media, "", Tokens()).url) == media.path.read_bytes()
        assert fetched(there.commit(playlist, "", Tokens()).url) == playlist.path.read_bytes()
        damaged = temporary_keys.certificate()
        vod.certificate = lambda: damaged | {"Token": damaged["Token"] + "x"}
        with pytest.raises(VodRefused, match="InvalidAccessKeyId"):
            there.commit(media, "", never)


@pytest.mark.parametrize("action", ["ApplyUpload", "CommitUpload"])
@pytest.mark.parametrize(
    ("fault", "code", "kind"),
    [
        ((503, "<html>busy</html>"), "ServerNetworkError", VodUnreachable),
        ((200, "no JSON"), "BadAnswer", VodUnreachable),
        ((200, '{"Response": {"RequestId": "r"}}'), "BadAnswer", VodUnreachable),
        (("RequestLimitExceeded", "slowly"), "RequestLimitExceeded", VodUnreachable),
        (("InternalError.DBError", "broken"), "InternalError.DBError", VodUnreachable),
        (("AuthFailure.SecretIdNotFound", "who"), "AuthFailure.SecretIdNotFound", VodRefused),
        (("UnauthorizedOperation", "no rights"), "UnauthorizedOperation", VodRefused),
        (("InvalidParameterValue.ClassId", "no class"), "InvalidParameterValue.ClassId", VodRefused),
        (("FailedOperation.InvalidVodUser", "not on"), "FailedOperation.InvalidVodUser", VodRefused),
    ],
)
def test_faults(
    vod: VodServer, place: Place, tmp_path: Path, action: str, fault: Fault, code: str, kind: type[Exception]
) -> None:
    vod.faults[action].append(fault)
    media, begun = an_mp4(tmp_path), Tokens()
    with pytest.raises((VodRefused, VodUnreachable)) as caught:
        the_backend(vod, place).commit(media, "", begun)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert len(begun) == (action == "CommitUpload")
    done = the_backend(vod, place).commit(media, begun[0] if begun else "", Tokens())
    assert fetched(done.url) == media.path.read_bytes()
    assert len(vod.paths) == 1


def test_an_error_of_another_content_type_is_an_error(vod: VodServer, place: Place, tmp_path: Path) -> None:
    vod.content_type = "application/json; charset=utf-8"
    vod.faults["ApplyUpload"].append(("AuthFailure", "no"))
    with pytest.raises(VodRefused, match="AuthFailure"):
        the_backend(vod, place).commit(an_mp4(tmp_path), "", never)


def test_no_server(vod: VodServer, place: Place, tmp_path: Path) -> None:
    away = the_backend(vod, place, endpoint="http://127.0.0.1:1")
    with pytest.raises(VodUnreachable, match="ClientNetworkError"):
        away.commit(an_mp4(tmp_path), "", never)


def test_wrong_keys_are_refused_and_never_told(vod: VodServer, place: Place, tmp_path: Path) -> None:
    place.write_keys(secretKey="another-canary")
    with pytest.raises(VodRefused, match=r"AuthFailure\.SignatureFailure") as caught:
        the_backend(vod, place).commit(an_mp4(tmp_path), "", never)
    assert "canary" not in str(caught.value)
    place.write_keys(secretKey="")
    with pytest.raises(VodRefused, match="InvalidCredential"):
        the_backend(vod, place).commit(an_mp4(tmp_path), "", never)
    (place.credentials / "secretId").unlink()
    with pytest.raises(VodRefused, match="the Secret has no secretId"):
        the_backend(vod, place).commit(an_mp4(tmp_path), "", never)


KILLED = """
import json, os, signal, sys
from pathlib import Path
from cloudrec_contract.finish import VodTask
from cloudrec_recorder.vod import Media, backend

task, credentials, path, name, token = json.loads(sys.argv[1])

def begun(key):
    Path(token).write_text(key)
    os.kill(os.getpid(), signal.SIGKILL)

backend(VodTask.model_validate(task), "task-1", Path(credentials)).commit(Media(Path(path), name, "mp4"), "", begun)
"""


def test_killed_between_begun_and_commit(vod: VodServer, place: Place, tmp_path: Path) -> None:
    media, token = an_mp4(tmp_path), tmp_path / "token"
    told = task(vod, place).model_dump(mode="json", by_alias=True)
    order = json.dumps([told, str(place.credentials), str(media.path), media.name, str(token)])
    ended = subprocess.run([sys.executable, "-c", KILLED, order], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not vod.committed
    done = the_backend(vod, place).commit(media, token.read_text(), never)
    assert fetched(done.url) == media.path.read_bytes()
    assert len(vod.of("ApplyUpload")) == 1


def test_a_session_key_that_has_expired_means_a_new_upload(vod: VodServer, place: Place, tmp_path: Path) -> None:
    media, begun = an_mp4(tmp_path), Tokens()
    done = the_backend(vod, place).commit(media, "session/0+expired==", begun)
    assert len(begun) == 1
    assert fetched(done.url) == media.path.read_bytes()


def test_a_resumed_commit_that_is_not_answered_is_not_begun_anew(vod: VodServer, place: Place, tmp_path: Path) -> None:
    for fault, kind in (((503, ""), VodUnreachable), (("AuthFailure", "no"), VodRefused)):
        vod.faults["CommitUpload"].append(fault)
        with pytest.raises(kind):
            the_backend(vod, place).commit(an_mp4(tmp_path), "session", never)
    assert not vod.paths


def test_a_session_that_ends_during_the_upload(vod: VodServer, place: Place, tmp_path: Path) -> None:
    vod.faults["CommitUpload"].append(("InvalidParameterValue.VodSessionKey", "expired"))
    begun = Tokens()
    done = the_backend(vod, place).commit(an_mp4(tmp_path), "", begun)
    assert len(begun) == 2
    assert done.file_id == vod.committed[begun[1]]


def test_temporary_keys_that_end_during_the_upload(vod: VodServer, place: Place, tmp_path: Path) -> None:
    good, ended = certificate(place, time.time() + 3600), certificate(place, time.time() - 1, "ended-canary")
    given = [ended, ended, good]
    vod.certificate = lambda: given.pop(0)
    media = an_mp4(tmp_path)
    done = the_backend(vod, place).commit(media, "", Tokens())
    assert fetched(done.url) == media.path.read_bytes()
    vod.certificate = lambda: ended
    with pytest.raises(VodUnreachable, match="UploadExpired"):
        the_backend(vod, place).commit(media, "", never)
    assert len(vod.paths) == 3 + APPLICATIONS


def test_temporary_keys_that_are_refused(
    vod: VodServer, place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bad = certificate(place, time.time() + 3600, "refused-canary")
    vod.certificate = lambda: bad
    with pytest.raises(VodRefused) as caught:
        the_backend(vod, place).commit(an_mp4(tmp_path), "", never)
    assert "canary" not in f"{caught.value}{caplog.text}"
    assert len(vod.paths) == 1


def test_without_temporary_keys_the_accounts_own_are_used(vod: VodServer, place: Place, tmp_path: Path) -> None:
    vod.certificate = lambda: None
    with pytest.raises(VodRefused, match="InvalidAccessKeyId"):  # the bucket knows others
        the_backend(vod, place).commit(an_mp4(tmp_path), "", never)


def test_what_begun_raises_passes_through(vod: VodServer, place: Place, tmp_path: Path) -> None:
    def begun(token: str) -> NoReturn:
        raise RuntimeError(token)

    with pytest.raises(RuntimeError, match="session/1"):
        the_backend(vod, place).commit(an_mp4(tmp_path), "", begun)
    assert not vod.committed


def test_no_address_is_told(vod: VodServer, place: Place, tmp_path: Path) -> None:
    vod.faults["CommitUpload"].append((200, '{"Response": {"FileId": "7", "MediaUrl": null, "RequestId": "r"}}'))
    done = the_backend(vod, place).commit(an_mp4(tmp_path), "", Tokens())
    assert done == Committed("7", "", done.note)
    assert "no address" in done.note


def test_requests_to_cos_have_the_bucket_in_the_host_and_the_token() -> None:
    made = cos_client(None, "ap-chongqing", Secret("id"), Secret("key"), Secret("token"))
    sent: list[Any] = []

    class Unsent(Exception):
        pass

    def instead(request: Any, **_: object) -> NoReturn:
        sent.append(request)
        raise Unsent

    made.meta.events.register("before-send.s3.PutObject", instead)
    with pytest.raises(Unsent):
        made.put_object(Bucket="ab-1250000000", Key="x/f+0.mp4", Body=b"x")
    made.close()
    assert sent[0].url == "https://ab-1250000000.cos.ap-chongqing.myqcloud.com/x/f%2B0.mp4"
    assert sent[0].headers["X-Amz-Security-Token"] == b"token"
    assert b"x-amz-security-token" in sent[0].headers["Authorization"]


def test_an_upload_endpoint_that_is_none() -> None:
    with pytest.raises(VodRefused, match="InvalidEndpoint"):
        cos_client("http://[x", "r", Secret("id"), Secret("key"), Secret(""))
