"""The whole Pod: the recorder's process and the uploader's, with a real S3 store (SeaweedFS).

The uploader is the real program, as in a Pod. Only its API server is a small one of this process's: it has the one
CloudRecording, a watch in which nothing happens, and takes every report. A steady recording asks no more of it.
"""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from aiohttp import web

from cloudrec_contract.naming import FileNames
from cloudrec_contract.resources import API_VERSION, Room, RoomType
from cloudrec_contract.spool import JOURNAL, LiveKitRoomTask, ObjectStore, SegmentRecord, Task, decode_record
from cloudrec_local.pki import Authority
from cloudrec_local.stack import Stack
from cloudrec_recorder.uploader.uploadlog import UPLOADS, Published
from cloudrec_recorder.uploader.uploadlog import decode as decode_upload

NAMES: Final = FileNames(1400000001, "benchmark", RoomType.STRING)
"""Of everything that the benchmark records."""
_UID: Final = "0b000000-0000-4000-8000-000000000001"
_POD: Final = "benchmark-0"
_END_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """A store that runs. `keys`: folder with the files accessKey and secretKey."""

    endpoint: str
    name: str
    keys: Path


@contextmanager
def bucket() -> Iterator[Bucket]:
    """SeaweedFS in a stack of its own, gone with the block."""
    with TemporaryDirectory(prefix="cloudrec-bench-bucket-") as name:
        stack = Stack("benchmark", home=Path(name) / "home", components=("bucket",))
        found = stack.up().bucket
        try:
            assert found is not None
            keys = Path(name) / "keys"
            keys.mkdir()
            (keys / "accessKey").write_text(found.access_key)
            (keys / "secretKey").write_text(found.secret_key)
            yield Bucket(found.endpoint, found.bucket, keys)
        finally:
            stack.down()


@dataclass(frozen=True, slots=True)
class Uploader:
    """One that runs, on the spool `folder`."""

    pid: int
    folder: Path


@contextmanager
def uploader(store: Bucket, prefix: str, task: Task | None = None) -> Iterator[Uploader]:
    """The uploader's process with an empty spool. It has to end by itself after the recording's `end`."""
    with TemporaryDirectory(prefix="cloudrec-bench-pod-") as name, api_server(Path(name)) as port:
        spool = Path(name) / "spool"
        spool.mkdir()
        with (Path(name) / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cloudrec_recorder.uploader.main"],
                env=uploader_environment(Path(name), spool, port, store, prefix, task),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield Uploader(process.pid, spool)
            process.terminate()
            if code := process.wait(_END_SECONDS):
                raise RuntimeError(f"the uploader ended with {code}:\n{(Path(name) / 'log').read_text()[-4000:]}")
        finally:
            process.kill()
            process.wait()


def uploader_environment(
    account: Path, spool: Path, port: int, store: Bucket, prefix: str, task: Task | None = None
) -> dict[str, str]:
    """All that the operator would set. `account`: folder of the service account's files; `port`: the API server's."""
    where = ObjectStore(endpoint=store.endpoint, region="us-east-1", bucket=store.name, key_prefix=prefix)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "CLOUDREC_NAMESPACE": "default",
        "CLOUDREC_RECORDING": "benchmark",
        "CLOUDREC_POD": _POD,
        "CLOUDREC_POD_UID": _UID,
        "CLOUDREC_TASK": (task or _task()).model_dump_json(by_alias=True),
        "CLOUDREC_STORE": where.model_dump_json(by_alias=True),
        "CLOUDREC_SPOOL": str(spool),
        "CLOUDREC_BUCKET_CREDENTIALS": str(store.keys),
        "CLOUDREC_SERVICEACCOUNT": str(account),
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(port),
    }


def _task() -> Task:
    return Task(
        task_id=_UID,
        sdk_app_id=1400000001,
        epoch=0,
        room=Room(id="benchmark", type=RoomType.STRING),
        livekit=LiveKitRoomTask(url="ws://127.0.0.1", room_name="benchmark"),
        robot_user_id="cloudrec",
    )


@contextmanager
def api_server(folder: Path) -> Iterator[int]:
    """Its port; `folder` gets the service account's files. It lives on a thread of its own."""
    authority = Authority.create(folder, "ca", "127.0.0.1")
    authority.issue("server", "benchmark", server=True)
    (folder / "token").write_text("benchmark")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    loop = asyncio.new_event_loop()
    runner = web.AppRunner(_application(), access_log=None, shutdown_timeout=1)

    async def begin() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        return int(runner.addresses[0][1])

    async def end() -> None:
        await runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:  # watches
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    thread = threading.Thread(target=loop.run_forever, name="api", daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(begin(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _application() -> web.Application:
    recording = {
        "apiVersion": API_VERSION,
        "kind": "CloudRecording",
        "metadata": {"name": "benchmark", "namespace": "default", "uid": _UID, "resourceVersion": "1"},
        "spec": {},
        "status": {"attempts": [{"index": 0, "pod": _POD, "podUID": _UID}]},
    }

    async def listed(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [recording]})
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(float(request.query.get("timeoutSeconds", "60")))
        return response

    async def patched(_: web.Request) -> web.Response:
        return web.json_response(recording)

    application = web.Application()
    where = f"/apis/{API_VERSION}/namespaces/default/cloudrecordings"
    application.add_routes([web.get(where, listed), web.patch(where + "/benchmark/status", patched)])
    return application


def publishing_times(journal: Iterable[bytes], uploads: Iterable[bytes], until_ms: int) -> list[int]:
    """Ms from a segment's end, as the journal has it, to the bucket's word for the playlist that names it.

    Of the segments that ended up to `until_ms` (Unix epoch), with the journal's and the upload log's lines. Raises
    ValueError when one was never published.
    """
    published = [record for record in map(decode_upload, uploads) if isinstance(record, Published)]
    counts: dict[str, int] = {}
    found = []
    for record in map(decode_record, journal):
        if not isinstance(record, SegmentRecord):
            continue
        number = counts[record.track] = counts.get(record.track, 0) + 1
        if record.ts > until_ms:
            continue
        told = [p.ts for p in published if p.track == record.track and p.segments >= number]
        if not told:
            raise ValueError(f"{record.file} was never published")
        found.append(min(told) - record.ts)
    return found


def read_publishing_times(spool: Path, until_ms: int) -> list[int]:
    """`publishing_times` of a spool."""
    journal, uploads = (spool / name for name in (JOURNAL, UPLOADS))
    return publishing_times(journal.read_bytes().splitlines(), uploads.read_bytes().splitlines(), until_ms)


def percentile(values: Iterable[float], share: float) -> float:
    """The least value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def processor_time_of(pid: int) -> float:
    """CPU seconds of a process so far, all threads, in steps of a scheduler's tick."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> dict[str, int]:
    """Bytes that a process holds now: `pss`, its share of what is mapped; `anonymous`, what is its own alone."""
    names = {"Pss:": "pss", "Pss_Anon:": "anonymous"}
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    fields = (line.split() for line in rollup.splitlines())
    return {names[field[0]]: int(field[1]) * 1024 for field in fields if field[0] in names}
