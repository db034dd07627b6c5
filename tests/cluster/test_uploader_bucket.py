"""The uploader and a real S3 store (SeaweedFS): order, confirmation, refusals, outages, and being killed."""

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import boto3
import botocore
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from cloudrec_contract.conditions import Reason
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import Report
from cloudrec_contract.spool import ALIVE, DRAINED, JOURNAL, ObjectStore
from cloudrec_local.stack import Stack
from cloudrec_local.verify import Kind, folder_objects, verify
from cloudrec_recorder.uploader.engine import Engine
from cloudrec_recorder.uploader.s3 import CHECK_OBJECT, S3Store
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, FileGone, UploadFailed
from cloudrec_recorder.uploader.taskfile import TaskFile
from cloudrec_recorder.uploader.uploadlog import UPLOADS
from tests.analysis.ffprobe import ffprobe_warnings
from tests.unit.salvage.killed import Spool as Killed
from tests.unit.uploader.helpers import TASK, Recorder, until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


DENIED: Any = {
    "Error": {"Code": "AccessDenied", "Message": "scripted"},
    "ResponseMetadata": {"HTTPStatusCode": 403},
}


class Bucket:
    """The session's bucket, seen from outside, with a folder for one test."""

    def __init__(self, stack: Stack, folder: str, credentials: Path) -> None:
        found = stack.status().bucket
        assert found is not None
        self.name = found.bucket
        self.credentials = credentials
        self.keys = (found.access_key, found.secret_key)
        self.where = ObjectStore(
            endpoint=found.endpoint, region="us-east-1", bucket=found.bucket, key_prefix=f"tests/{folder}/"
        )
        self.write_keys(*self.keys)
        self.client: S3Client = boto3.client(
            "s3",
            endpoint_url=found.endpoint,
            region_name="us-east-1",
            aws_access_key_id=found.access_key,
            aws_secret_access_key=found.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2),
        )

    def write_keys(self, access: str, secret: str) -> None:
        self.credentials.mkdir(exist_ok=True)
        (self.credentials / "accessKey").write_text(access)
        (self.credentials / "secretKey").write_text(secret + "\n")

    def store(self, **other: Any) -> S3Store:
        return S3Store(self.where.model_copy(update=other), self.credentials)

    def get(self, name: str) -> bytes | None:
        try:
            return self.client.get_object(Bucket=self.name, Key=self.where.key_prefix + name)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise

    def names(self) -> set[str]:
        found = self.client.list_objects_v2(Bucket=self.name, Prefix=self.where.key_prefix).get("Contents", [])
        return {entry["Key"].removeprefix(self.where.key_prefix) for entry in found}

    def segments(self, track: str) -> list[str]:
        text = self.get(track)
        return [] if text is None else [s.name for s in parse(text.decode()).segments]


@pytest.fixture
def bucket(bucket_stack: Stack, tmp_path: Path) -> Bucket:
    return Bucket(bucket_stack, tmp_path.name, tmp_path / "credentials")


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    folder = tmp_path / "spool"
    folder.mkdir()
    return folder


# --- the store ---


def test_objects_as_a_player_needs_them(bucket: Bucket, tmp_path: Path) -> None:
    store = bucket.store()
    body = b"0123456789abcdef" * 400_000
    (tmp_path / "a+b..ts").write_bytes(body)
    stored = store.put_segment("a+b..ts", tmp_path / "a+b..ts")
    assert stored.bytes == len(body)
    store.put_playlist("a.m3u8", b"#EXTM3U\n")
    store.put_playlist("a.m3u8", b"#EXTM3U\n#EXT-X-ENDLIST\n")
    assert bucket.get("a+b..ts") == body
    assert bucket.get("a.m3u8") == b"#EXTM3U\n#EXT-X-ENDLIST\n"
    head = bucket.client.head_object(Bucket=bucket.name, Key=bucket.where.key_prefix + "a+b..ts")
    assert head["ContentType"] == "video/mp2t"
    head = bucket.client.head_object(Bucket=bucket.name, Key=bucket.where.key_prefix + "a.m3u8")
    assert (head["ContentType"], head["CacheControl"]) == ("application/vnd.apple.mpegurl", "no-cache")


def test_the_write_check_leaves_nothing_behind(bucket: Bucket) -> None:
    bucket.store().check()
    assert bucket.names() == set()
    assert CHECK_OBJECT == ".cloudrec-write-check"


def test_the_check_for_files_that_are_made_later(bucket: Bucket) -> None:
    S3Store(bucket.where, bucket.credentials, reads=True, removes=True).check()
    assert bucket.names() == set()


@pytest.mark.parametrize(
    ("call", "right"), [("list_objects_v2", "list (s3:ListBucket)"), ("get_object", "read (s3:GetObject)")]
)
def test_without_rights_to_read_nothing_can_be_made(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, call: str, right: str
) -> None:
    store = S3Store(bucket.where, bucket.credentials, reads=True)

    def denied(**_: Any) -> NoReturn:
        raise ClientError(DENIED, call)

    monkeypatch.setattr(store._client(), call, denied)
    with pytest.raises(BucketRefused) as refused:
        store.check()
    assert refused.value.code == "AccessDenied"
    assert refused.value.message == f"the keys may not {right}, which MP4, AAC and VOD need: scripted"
    bucket.store().check()  # writing is enough without


def test_without_rights_to_delete_it_is_said_that_hls_stays(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = S3Store(bucket.where, bucket.credentials, reads=True, removes=True)

    def denied(**_: Any) -> NoReturn:
        raise ClientError(DENIED, "DeleteObject")

    monkeypatch.setattr(store._client(), "delete_object", denied)
    store.check()
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "playlists and segments will stay" in warning


@pytest.mark.parametrize(
    ("keys", "code"), [((None, "wrong"), "SignatureDoesNotMatch"), (("nobody", "wrong"), "InvalidAccessKeyId")]
)
def test_wrong_keys_are_refused_and_right_ones_taken_without_a_restart(
    bucket: Bucket, keys: tuple[str | None, str], code: str
) -> None:
    bucket.write_keys(keys[0] or bucket.keys[0], keys[1])
    store = bucket.store()
    with pytest.raises(BucketRefused) as refused:
        store.check()
    assert refused.value.code == code
    assert bucket.keys[1] not in str(refused.value)
    bucket.write_keys(*bucket.keys)
    store.check()


def test_other_refusals(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(BucketRefused) as refused:
        bucket.store(bucket="there-is-no-such-bucket").check()
    assert refused.value.code == "NoSuchBucket"
    with pytest.raises(BucketRefused, match="NoCredentials"):
        S3Store(bucket.where, tmp_path / "nowhere").check()
    with pytest.raises(BucketRefused, match="InvalidEndpoint"):
        bucket.store(endpoint="nonsense").check()


def test_nobody_answers(bucket: Bucket, unused_tcp_port: int) -> None:
    with pytest.raises(BucketUnreachable, match="EndpointConnectionError"):
        bucket.store(endpoint=f"http://127.0.0.1:{unused_tcp_port}").check()


def test_only_plain_files_of_the_spool_leave_it(bucket: Bucket, tmp_path: Path) -> None:
    store, media = bucket.store(), tmp_path / "media"
    media.mkdir()
    (media / "link.ts").symlink_to(bucket.credentials / "secretKey")
    (media / "folder.ts").mkdir()
    (tmp_path / "linked").symlink_to(bucket.credentials)
    for path in (media / "link.ts", media / "folder.ts", tmp_path / "linked" / "secretKey"):
        with pytest.raises(UploadFailed):
            store.put_segment("x.ts", path)
    with pytest.raises(FileGone):
        store.put_segment("x.ts", media / "gone.ts")
    assert bucket.names() == set()


# --- the engine ---


class Sidecar:
    def __init__(self, spool: Path, bucket: Bucket) -> None:
        self.report = Report()
        self.engine = Engine(
            spool, bucket.store(), TaskFile(spool / "task.json", TASK), self._tell, give_up_seconds=3000
        )

    def _tell(self, report: Report) -> None:
        self.report = report

    @property
    def events(self) -> list[int]:
        return [event.type for event in self.report.events]


@contextlib.asynccontextmanager
async def running(sidecar: Sidecar) -> AsyncIterator[Sidecar]:
    task = asyncio.create_task(sidecar.engine.run())
    try:
        yield sidecar
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def player(bucket: Bucket, tracks: list[str]) -> AsyncIterator[list[int]]:
    """Reads the playlists all the time and fetches what they name; counts what is not there, and playlists read."""
    counts = [0, 0]
    done = asyncio.Event()

    async def play() -> None:
        known: set[str] = set()
        while not done.is_set():
            for track in tracks:
                named = await asyncio.to_thread(bucket.segments, track)
                counts[1] += bool(named)
                for name in set(named) - known:
                    known.add(name)
                    counts[0] += await asyncio.to_thread(bucket.get, name) is None

    task = asyncio.create_task(play())
    try:
        yield counts
    finally:
        done.set()
        await task


async def test_a_playlist_never_names_what_is_not_there(bucket: Bucket, spool: Path) -> None:
    async with running(Sidecar(spool, bucket)) as sidecar:
        await until(lambda: (spool / "task.json").exists())
        recorder = Recorder(spool)
        recorder.join()
        tracks = [recorder.track(f"user{n}") for n in range(3)]
        async with player(bucket, tracks) as counts:
            for _ in range(8):
                for track in tracks:
                    recorder.segment(track, size=400_000)
            recorder.end()
            await asyncio.wait_for(sidecar.engine.finished.wait(), 60)
        missing, read = counts
        assert missing == 0
        assert read > 3
    for track in tracks:
        assert bucket.segments(track) == recorder.segments[track]
    assert bucket.names() == {*tracks, *recorder.contents, "manifest.json"}


async def test_a_closed_segment_is_playable_within_half_a_second(bucket: Bucket, spool: Path) -> None:
    """Median of eight, each 1.25 MB (ten seconds of 1 Mbit/s), from the journal's line to the playlist's in the log."""
    async with running(Sidecar(spool, bucket)) as sidecar:
        await until(lambda: (spool / "task.json").exists())
        recorder = Recorder(spool)
        recorder.join()
        track = recorder.track()
        took = []
        for number in range(1, 9):
            recorder.segment(track, size=1_250_000)
            begin = time.monotonic()
            found = sidecar.engine.state.tracks
            await until(
                lambda: track in found and (done := found[track].bucket.published) and done.segments == number  # noqa: B023
            )
            took.append(time.monotonic() - begin)
        assert len(bucket.segments(track)) == 8
    assert sorted(took)[4] < 0.5, took


async def test_a_store_that_is_away_for_a_while(bucket: Bucket, bucket_stack: Stack, spool: Path) -> None:
    async with running(Sidecar(spool, bucket)) as sidecar:
        await until(lambda: (spool / "task.json").exists())
        recorder = Recorder(spool)
        recorder.join()
        track = recorder.track()
        recorder.segment(track)
        await until(lambda: 304 in sidecar.events)
        await asyncio.to_thread(bucket_stack.stop, "seaweedfs", 3)
        try:
            for _ in range(4):
                recorder.segment(track)
            await until(lambda: [c.reason for c in sidecar.report.conditions] == [Reason.BUCKET_UNREACHABLE])
        finally:
            await asyncio.to_thread(bucket_stack.start, "seaweedfs")
        recorder.segment(track)
        recorder.end()
        await asyncio.wait_for(sidecar.engine.finished.wait(), 60)
        assert sidecar.report.missing == 0
        assert sidecar.report.conditions == []
        assert sidecar.events == [303, 301, 307, 304, 308, 302]
    assert bucket.segments(track) == recorder.segments[track]
    assert all(bucket.get(name) == body for name, body in recorder.contents.items())


# --- the process ---


@pytest.fixture
def start(bucket: Bucket, spool: Path, tmp_path: Path, unused_tcp_port: int) -> Iterator[Callable[[], Any]]:
    """Starts `cloudrec-uploader` with an API server that is away."""
    account = tmp_path / "serviceaccount"
    account.mkdir()
    (account / "token").write_text("canary-of-the-token")
    (account / "ca.crt").write_bytes((Path(botocore.__file__).parent / "cacert.pem").read_bytes())
    environment = {
        "CLOUDREC_NAMESPACE": "tenant",
        "CLOUDREC_RECORDING": "lesson",
        "CLOUDREC_POD": "lesson-7b1c0-0",
        "CLOUDREC_POD_UID": "u-1",
        "CLOUDREC_TASK": TASK.model_dump_json(by_alias=True),
        "CLOUDREC_STORE": bucket.where.model_dump_json(by_alias=True),
        "CLOUDREC_SPOOL": str(spool),
        "CLOUDREC_BUCKET_CREDENTIALS": str(bucket.credentials),
        "CLOUDREC_SERVICEACCOUNT": str(account),
        "CLOUDREC_REPORT_SECONDS": "1",
        "CLOUDREC_GIVE_UP_SECONDS": "3",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(unused_tcp_port),
        "HOME": str(tmp_path),
    }
    processes: list[subprocess.Popen[bytes]] = []

    def launch() -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cloudrec_recorder.uploader.main"], env=environment, stderr=log
            )
        processes.append(process)
        return process

    yield launch
    for process in processes:
        process.kill()
        process.wait(10)


async def test_killed_in_the_middle_nothing_is_lost_or_said_twice(
    bucket: Bucket, spool: Path, tmp_path: Path, start: Callable[[], Any]
) -> None:
    process = start()
    await until(lambda: (spool / "task.json").exists())
    recorder = Recorder(spool)
    recorder.join()
    tracks = [recorder.track(f"user{n}") for n in range(2)]
    async with player(bucket, tracks) as counts:
        for kill in range(3):
            for _ in range(6):
                for track in tracks:
                    recorder.segment(track, size=400_000)
            await until(lambda: _confirmed(spool) > 12 * kill + 4)  # noqa: B023
            process.kill()
            assert process.wait(10) == -signal.SIGKILL
            process = start()
        recorder.end()
        await until((spool / DRAINED).exists, 60)
    process.terminate()
    assert await asyncio.to_thread(process.wait, 30) == 0
    assert counts[0] == 0
    for track in tracks:
        assert bucket.segments(track) == recorder.segments[track]
        text = bucket.get(track)
        assert text is not None
        assert parse(text.decode()).ended
    assert all(bucket.get(name) == body for name, body in recorder.contents.items())

    said = [r for r in _log(spool) if r["type"] == "event"]
    assert [r["seq"] for r in said] == list(range(1, len(said) + 1))
    once = [(r["event"], r["args"].get("FileName"), r["args"].get("FileList")) for r in said]
    assert len(once) == len(set(once))
    assert sorted(r["event"] for r in said) == [301, 302, 303, 304, 304, 307, 307]

    printed = (tmp_path / "log").read_text()
    assert all(json.loads(line)["task"] == TASK.task_id for line in printed.splitlines())
    assert bucket.keys[1] not in printed
    assert "canary-of-the-token" not in printed


async def test_sigterm_while_the_recorder_lives_drains_and_goes(
    bucket: Bucket, spool: Path, start: Callable[[], Any]
) -> None:
    process = start()
    await until(lambda: (spool / "task.json").exists())
    recorder = Recorder(spool)
    recorder.join()
    track = recorder.track()
    for _ in range(5):
        recorder.segment(track)
    (spool / ALIVE).touch()
    process.terminate()
    gone = asyncio.create_task(asyncio.to_thread(process.wait, 30))
    while not gone.done():
        (spool / ALIVE).touch()
        await asyncio.wait({gone}, timeout=0.5)
    assert gone.result() == 0
    assert bucket.segments(track) == recorder.segments[track]
    text = bucket.get(track)
    assert text is not None
    assert not parse(text.decode()).ended
    assert not (spool / DRAINED).exists()


async def test_a_dead_recorders_open_segment_is_salvaged(
    bucket: Bucket, spool: Path, tmp_path: Path, start: Callable[[], Any]
) -> None:
    made = Killed(tmp_path, "audio_video")
    process = start()
    await until(lambda: (spool / "task.json").exists())
    shutil.copytree(tmp_path / "media", spool / "media")
    (spool / "media" / made.open.name).write_bytes(made.bytes[:-100])
    shutil.copy(tmp_path / JOURNAL, spool / JOURNAL)
    (spool / ALIVE).touch()
    begun = time.monotonic()
    process.terminate()
    assert await asyncio.to_thread(process.wait, 60) == 0
    assert time.monotonic() - begun < 30
    [track] = (name for name in bucket.names() if name.endswith(".m3u8"))
    assert bucket.segments(track) == [made.closed.file, made.open.name]
    text = bucket.get(track)
    assert text is not None
    assert parse(text.decode()).ended
    for name in bucket.names():
        (tmp_path / "fetched").mkdir(exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(bucket.get(name) or b"")
    assert ffprobe_warnings(tmp_path / "fetched" / track) == []
    verdict = verify(folder_objects(tmp_path / "fetched"))
    assert [(f.kind, f.detail) for f in verdict.findings] == [(Kind.INCOMPLETE, "it failed: RecorderDied")]


def _log(spool: Path) -> list[dict[str, Any]]:
    *lines, _ = (spool / UPLOADS).read_text().split("\n")
    return [json.loads(line) for line in lines if line]


def _confirmed(spool: Path) -> int:
    return sum(record["type"] == "uploaded" for record in _log(spool))
