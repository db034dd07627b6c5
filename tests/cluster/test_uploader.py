"""The uploader as a process, with a token bound to its Pod, against the real API server and a real bucket."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cloudrec_contract.resources import DesiredState, UserList
from cloudrec_contract.spool import DRAINED, TASK, LiveKitRoomTask, ObjectStore, Task, parse_task
from cloudrec_local.kubeapi import MERGE, Object
from cloudrec_local.stack import Stack
from tests.cluster.operating import World, authority, recording, server
from tests.unit.uploader.helpers import BEGIN, Recorder, until

pytestmark = pytest.mark.cluster

NAME = "lesson"
FILE = {"userId": "alice", "media": "main", "kind": "video", "beginTimeStamp": BEGIN, "transcoded": False}


class Attempt:
    """One Pod of the recording, without a kubelet: its folders, its token, and the sidecar's process."""

    def __init__(self, world: World, resource: Object, pod: Object, folder: Path, store: ObjectStore) -> None:
        self.world = world
        self.pod = pod["metadata"]["name"]
        self.uid = pod["metadata"]["uid"]
        self.spool = folder / "spool"
        self.spool.mkdir()
        self.log = folder / "log"
        task = Task(
            task_id=resource["metadata"]["uid"],
            sdk_app_id=1400123456,
            epoch=BEGIN - 1000,
            room={"id": "12345"},
            livekit=LiveKitRoomTask(url="ws://127.0.0.1:1", room_name="12345"),
            robot_user_id="cloudrec",
        )
        address = urlsplit(server(world.kubeconfig))
        self.environment = {
            "CLOUDREC_NAMESPACE": world.namespace,
            "CLOUDREC_RECORDING": NAME,
            "CLOUDREC_POD": self.pod,
            "CLOUDREC_POD_UID": self.uid,
            "CLOUDREC_TASK": task.model_dump_json(by_alias=True),
            "CLOUDREC_STORE": store.model_dump_json(by_alias=True),
            "CLOUDREC_SPOOL": str(self.spool),
            "CLOUDREC_BUCKET_CREDENTIALS": str(folder / "bucket"),
            "CLOUDREC_SERVICEACCOUNT": str(folder / "serviceaccount"),
            "CLOUDREC_REPORT_SECONDS": "20",
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
            "HOME": str(folder),
        }
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """As a kubelet would start it; returns when the write check has passed."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cloudrec_recorder.uploader.main"], env=self.environment, stderr=log
            )
        await until((self.spool / TASK).exists, 30)

    async def end(self, number: signal.Signals, seconds: float = 30) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, seconds)

    def task(self) -> Task:
        return parse_task((self.spool / TASK).read_bytes())

    async def declare(self, *others: Object) -> None:
        """The operator's part of the status."""
        mine = {"pod": self.pod, "podUID": self.uid, "index": 0, "role": "Record", "reason": "Start"}
        await self.write({"attempts": [*others, mine], "phase": "Starting"})

    async def write(self, status: Object) -> None:
        path = f"{self.world.path(NAME)}/status"
        await self.world.admin.request("PATCH", path, {"status": status}, content_type=MERGE)

    async def report(self, **wanted: Any) -> Object:
        """The report in the status once it holds these values."""
        found: Object = {}

        def mine(resource: Object) -> Object | None:
            nonlocal found
            attempts = resource.get("status", {}).get("attempts", [])
            found = next((a.get("report", {}) for a in attempts if a["pod"] == self.pod), {})
            return found if found and all(found.get(key) == value for key, value in wanted.items()) else None

        await self.world.until(NAME, mine, f"a report with {wanted}", 20)
        return found


@pytest.fixture
async def attempt(world: World, bucket_stack: Stack, tmp_path: Path) -> AsyncIterator[Attempt]:
    bucket = bucket_stack.status().bucket
    assert bucket is not None
    await world.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "cloudrec-recorder"}})
    await world.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "cloudrec-recorder"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloudrec-recorder"},
            "subjects": [{"kind": "ServiceAccount", "name": "cloudrec-recorder", "namespace": world.namespace}],
        }
    )
    resource = await world.apply(recording(NAME))
    pod = await world.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"{NAME}-{resource['metadata']['uid'][:5]}-0"},
            "spec": {
                "serviceAccountName": "cloudrec-recorder",
                "automountServiceAccountToken": False,
                "nodeSelector": {"nowhere": "ever"},
                "containers": [{"name": "recorder", "image": "test/tools:1"}],
            },
        }
    )
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text(await world.token("cloudrec-recorder", world.namespace, pod))
    (folder / "ca.crt").write_text(authority(world.kubeconfig))
    keys = tmp_path / "bucket"
    keys.mkdir()
    (keys / "accessKey").write_text(bucket.access_key)
    (keys / "secretKey").write_text(bucket.secret_key)
    store = ObjectStore(
        endpoint=bucket.endpoint, region="us-east-1", bucket=bucket.bucket, key_prefix=f"tests/{world.namespace}/"
    )
    made = Attempt(world, resource, pod, tmp_path, store)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait(10)


async def test_a_recording_is_reported_and_steered(attempt: Attempt) -> None:
    await attempt.start()
    # Before the operator has put the Pod's uid into the status, the admission policy lets no report in.
    resource = await attempt.world.get(NAME)
    assert resource is not None
    assert "status" not in resource
    other = {"pod": f"{NAME}-other-1", "podUID": "u-9", "index": 1, "role": "Record", "reason": "Start"}
    begin = time.monotonic()
    await attempt.declare(other)
    await attempt.report(state="Starting", ready=False)
    assert time.monotonic() - begin < 2

    recorder = Recorder(attempt.spool)
    recorder.join()
    await attempt.report(state="Idle", ready=True)
    track = recorder.track()
    recorder.segment(track)
    report = await attempt.report(state="Recording", files=[FILE])
    assert [(e["seq"], e["type"]) for e in report["events"]] == [(1, 303), (2, 301), (3, 307), (4, 304)]

    # What the operator owns, and other attempts, are untouched by the server-side apply.
    found = await attempt.world.get(NAME)
    assert found is not None
    assert found["status"]["phase"] == "Starting"
    mine = next(a for a in found["status"]["attempts"] if a["pod"] == attempt.pod)
    assert {k: v for k, v in mine.items() if k != "report"} == {
        "pod": attempt.pod,
        "podUID": attempt.uid,
        "index": 0,
        "role": "Record",
        "reason": "Start",
    }
    assert next(a for a in found["status"]["attempts"] if a["pod"] == other["pod"]) == other
    [manager] = [m for m in found["metadata"]["managedFields"] if m["manager"].startswith("cloudrec-uploader")]
    assert manager["manager"] == f"cloudrec-uploader-{attempt.pod}"

    took = {}
    begin = time.monotonic()
    subscribe = {"audio": {"include": ["alice"]}}
    await attempt.world.patch(NAME, {"streams": {"subscribe": subscribe}})
    await until(lambda: attempt.task().streams.subscribe.audio == UserList(include=["alice"]))
    took["subscribe"] = time.monotonic() - begin
    begin = time.monotonic()
    await attempt.world.patch(NAME, {"desiredState": "Stopped"})
    await until(lambda: attempt.task().desired_state is DesiredState.STOPPED)
    took["stop"] = time.monotonic() - begin
    assert max(took.values()) < 1, took

    recorder.segment(track)
    recorder.end()
    await until((attempt.spool / DRAINED).exists)
    report = await attempt.report(state="Ended", uploaded=True, missing=0, leaveCode=0)
    assert [e["type"] for e in report["events"]] == [303, 301, 307, 304, 302]
    # The report comes before the marker: whoever sees the recorder end can rely on it.
    await attempt.write({"phase": "Finalizing"})
    assert await attempt.end(signal.SIGTERM) == 0


async def test_a_killed_sidecar_says_the_same_again_and_a_steady_one_says_nothing(attempt: Attempt) -> None:
    await attempt.start()
    await attempt.declare()
    recorder = Recorder(attempt.spool)
    recorder.join()
    track = recorder.track()
    recorder.segment(track)
    before = await attempt.report(files=[FILE])
    version = await _version(attempt)
    for _ in range(3):
        recorder.segment(track)
    await until(lambda: not any((attempt.spool / "media").iterdir()))
    assert await attempt.end(signal.SIGKILL) == -signal.SIGKILL
    await attempt.start()
    await until(lambda: attempt.log.read_text().count("task.json is written") >= 1)
    recorder.segment(track)
    await until(lambda: not any((attempt.spool / "media").iterdir()))
    # Segments alone, and a report that equals the one in the status, do not change the resource.
    assert await attempt.report(state="Recording") == before
    assert await _version(attempt) == version

    recorder.end()
    report = await attempt.report(uploaded=True)
    assert [(e["seq"], e["type"]) for e in report["events"]] == [
        (n, kind) for n, kind in enumerate([303, 301, 307, 304, 302], 1)
    ]
    assert report["events"][:4] == before["events"]
    assert await attempt.end(signal.SIGTERM) == 0


async def test_acknowledged_events_are_let_go(attempt: Attempt) -> None:
    await attempt.start()
    await attempt.declare()
    Recorder(attempt.spool).join()
    await attempt.report(ready=True)
    mine = {"pod": attempt.pod, "podUID": attempt.uid, "index": 0, "role": "Record", "reason": "Start", "acked": 1}
    body = {
        "apiVersion": "cloudrec.dev/v1alpha1",
        "kind": "CloudRecording",
        "metadata": {"name": NAME, "namespace": attempt.world.namespace},
        "status": {"attempts": [mine]},
    }
    await attempt.world.admin.request(
        "PATCH",
        f"{attempt.world.path(NAME)}/status",
        body,
        content_type="application/apply-patch+yaml",
        params={"fieldManager": "cloudrec-operator", "force": "true"},
    )

    def only_second(resource: Object) -> bool:
        events = resource["status"]["attempts"][0].get("report", {}).get("events", [])
        return [e["seq"] for e in events] == [2]

    await attempt.world.until(NAME, only_second, "the first event let go")


async def test_a_deleted_recording_stops_and_needs_no_report(attempt: Attempt) -> None:
    await attempt.start()
    await attempt.declare()
    recorder = Recorder(attempt.spool)
    recorder.join()
    await attempt.report(ready=True)
    begin = time.monotonic()
    await attempt.world.delete(NAME)
    await until(lambda: attempt.task().desired_state is DesiredState.STOPPED)
    assert time.monotonic() - begin < 1
    recorder.segment(recorder.track())
    recorder.end()
    await until((attempt.spool / DRAINED).exists)
    assert await attempt.end(signal.SIGTERM, 10) == 0


async def test_wrong_keys_are_told_in_the_status(attempt: Attempt, tmp_path: Path) -> None:
    (tmp_path / "bucket" / "secretKey").write_text("canary-of-a-wrong-key")
    await attempt.declare()
    start = asyncio.create_task(attempt.start())
    report = await attempt.report(ready=False, state="Starting", conditions=[_REFUSED])
    assert [(e["type"], e["args"]) for e in report["events"]][-1] == (303, {"Status": 1})
    assert not (attempt.spool / TASK).exists()
    start.cancel()
    assert "canary" not in attempt.log.read_text()
    assert "canary" not in str(await attempt.world.get(NAME))
    assert await attempt.end(signal.SIGTERM) == 0


_REFUSED = {
    "reason": "BucketRefused",
    "message": "SignatureDoesNotMatch: The request signature we calculated does not match the signature you provided. "
    "Check your key and signing method.",
}


async def test_an_api_server_that_is_away_holds_nothing_up(attempt: Attempt, api_stack: Stack) -> None:
    await attempt.start()
    await attempt.declare()
    recorder = Recorder(attempt.spool)
    recorder.join()
    await attempt.report(ready=True)
    await asyncio.to_thread(api_stack.stop, "kube-apiserver", 5)
    try:
        track = recorder.track()
        for _ in range(3):
            recorder.segment(track)
        await until(lambda: not any((attempt.spool / "media").iterdir()))
    finally:
        await asyncio.to_thread(api_stack.up)
    report = await attempt.report(state="Recording")
    assert [e["type"] for e in report["events"]] == [303, 301, 307, 304]
    await attempt.world.patch(NAME, {"desiredState": "Stopped"})
    await until(lambda: attempt.task().desired_state is DesiredState.STOPPED)


async def _version(attempt: Attempt) -> str:
    found = await attempt.world.get(NAME)
    assert found is not None
    return str(found["metadata"]["resourceVersion"])
