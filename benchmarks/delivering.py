"""An operator that delivers callbacks: the real program in a process of its own, before the real API server.

Kubelet's and sidecars' part is done by hand: recordings that wait in their rooms and report events.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import yaml

from benchmarks.hook import KEY
from cloudrec_contract.resources import API_VERSION
from cloudrec_local.kubeapi import APPLY, STRATEGIC, KubeApi, Object
from cloudrec_local.stack import Stack

NAMESPACE: Final = "benchmark"
RECORDINGS: Final = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/cloudrecordings"
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
SECRETS: Final = {
    "livekit": {"apiKey": "devkey", "apiSecret": "s" * 40},
    "bucket": {"accessKey": "AK", "secretKey": "SK"},
    "hook": {"key": KEY},
}
AT_A_TIME: Final = 16
TOGETHER: Final = 100
"""Recordings that are made one after the other and then waited for."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_RUNNING: Final = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
_QUIET_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Operator:
    pid: int

    def processor_time(self) -> float:
        """CPU seconds so far, user and system, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Its share of memory (PSS), in bytes."""
        lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

    async def quiet(self, seconds: float, share: float = 0.05) -> None:
        """Wait until it uses less than `share` of a CPU for a second. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            used = _QUIET_SECONDS
            while used >= share * _QUIET_SECONDS:
                before = self.processor_time()
                await asyncio.sleep(_QUIET_SECONDS)
                used = self.processor_time() - before


@dataclass(slots=True)
class Task:
    """A recording in its room, and the seq of the last event that it reported."""

    name: str
    pod: str
    last: int = 0


@dataclass(slots=True)
class Desk:
    """The namespace as its administrator sees it."""

    admin: KubeApi
    kubeconfig: Path
    tasks: list[Task] = field(default_factory=list)

    async def apply(self, kind: str, name: str, content: Object, api: str = API_VERSION) -> Object:
        meta = {"name": name} if kind == "Namespace" else {"name": name, "namespace": NAMESPACE}
        return await self.admin.apply({"apiVersion": api, "kind": kind, "metadata": meta, **content}, "benchmark")

    async def furnish(self, url: str) -> None:
        await self.apply("Namespace", NAMESPACE, {}, "v1")
        for name, values in SECRETS.items():
            await self.apply("Secret", name, {"stringData": values}, "v1")
        livekit = {"url": "ws://127.0.0.1:1", "apiKeySecretRef": {"name": "livekit"}}
        callback = {"url": url, "keySecretRef": {"name": "hook"}, "allowPrivateAddresses": True}
        spec = {
            "sdkAppId": 1400000001,
            "room": {"livekit": livekit},
            "limits": {"maxConcurrentTasks": 100000},
            "callback": callback,
        }
        await self.apply("RecordingApp", "demo", {"spec": spec})

    async def record(self, count: int) -> None:
        """So many more recordings, each in its room."""
        first, last = len(self.tasks), len(self.tasks) + count
        for begin in range(first, last, TOGETHER):
            some = [Task(f"task-{number:04}", "") for number in range(begin, min(begin + TOGETHER, last))]
            self.tasks += some
            await _all([self._begin(task) for task in some])
            await _all([self._enter(task) for task in some])

    async def _begin(self, task: Task) -> None:
        bucket = {"endpoint": "http://127.0.0.1:1", "bucket": "recordings", "credentialsSecretRef": {"name": "bucket"}}
        spec = {"appRef": {"name": "demo"}, "room": {"id": "12345"}, "robot": {"userId": task.name}}
        await self.apply("CloudRecording", task.name, {"spec": {**spec, "storage": {"bucket": bucket}}})

    async def _enter(self, task: Task) -> None:
        async with asyncio.timeout(120):
            while not task.pod:
                found = await self.admin.get(f"{RECORDINGS}/{task.name}")
                made = [a for a in found.get("status", {}).get("attempts", ()) if "podUID" in a]
                if made:
                    task.pod = made[0]["pod"]
                else:
                    await asyncio.sleep(0.2)
        parts = [
            {"name": name, "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": _RUNNING}
            for name in ("recorder", "uploader")
        ]
        status = {"phase": "Running", "containerStatuses": parts[:1], "initContainerStatuses": parts[1:]}
        await self.admin.request("PATCH", f"{PODS}/{task.pod}/status", {"status": status}, content_type=STRATEGIC)
        await self._report(task, [])

    async def happen(self, tasks: Sequence[Task], count: int) -> None:
        """So many more events of each of these tasks."""
        now = time.time_ns() // 1_000_000

        def facts(task: Task) -> list[Object]:
            args = {"FileName": "alice.m3u8", "UserId": "alice", "TrackType": "audio", "BeginTimeStamp": now}
            seqs = range(task.last + 1, task.last + count + 1)
            return [{"seq": seq, "type": 307, "ts": now, "args": args} for seq in seqs]

        await _all([self._report(task, facts(task)) for task in tasks])
        for task in tasks:
            task.last += count

    async def _report(self, task: Task, events: list[Object]) -> None:
        """As its sidecar does."""
        report = {"state": "Idle", "ready": True, "events": events}
        body = {
            "apiVersion": API_VERSION,
            "kind": "CloudRecording",
            "metadata": {"name": task.name, "namespace": NAMESPACE},
            "status": {"attempts": [{"pod": task.pod, "report": report}]},
        }
        params = {"fieldManager": f"cloudrec-uploader-{task.pod}", "force": "true"}
        path = f"{RECORDINGS}/{task.name}/status"
        await self.admin.request("PATCH", path, body, content_type=APPLY, params=params)

    async def confirmed(self, tasks: Sequence[Task]) -> bool:
        """Whether all events of these tasks are settled in their status."""
        wanted = {task.name: task.last for task in tasks}
        for found in (await self.admin.get(RECORDINGS))["items"]:
            if found["status"]["attempts"][0].get("acked", 0) < wanted.get(found["metadata"]["name"], 0):
                return False
        return True

    @asynccontextmanager
    async def operator(self, folder: Path) -> AsyncIterator[Operator]:
        """The program, with its service account."""
        await self._service_account(folder)
        address = urlsplit(self.admin.server)
        settings = {
            "KUBERNETES_SERVICE_HOST": str(address.hostname),
            "KUBERNETES_SERVICE_PORT": str(address.port),
            "CLOUDREC_SERVICEACCOUNT": str(folder),
            "CLOUDREC_HEALTH_PORT": "0",
            "CLOUDREC_METRICS_PORT": "0",
            "CLOUDREC_LOG_LEVEL": "ERROR",
            "CLOUDREC_START_SECONDS": "86400",
        }
        program = str(Path(sys.executable).parent / "cloudrec-operator")
        with subprocess.Popen((program,), env={**os.environ, **settings}) as process:
            try:
                yield Operator(process.pid)
            finally:
                process.terminate()

    async def _service_account(self, folder: Path) -> None:
        path = "/api/v1/namespaces/cloudrec-system/serviceaccounts/cloudrec-operator/token"
        made = await self.admin.request("POST", path, {"spec": {"expirationSeconds": 86400}})
        config = yaml.safe_load(self.kubeconfig.read_text())
        (folder / "token").write_text(made["status"]["token"])
        (folder / "namespace").write_text("cloudrec-system")
        (folder / "ca.crt").write_bytes(
            base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"])
        )


async def _all(calls: Sequence[Coroutine[None, None, None]]) -> None:
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(call: Coroutine[None, None, None]) -> None:
        async with gate:
            await call

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(one(call))


@asynccontextmanager
async def desk(url: str) -> AsyncIterator[tuple[Desk, Operator]]:
    """An API server of its own and an operator before it; all is gone with the block."""
    with TemporaryDirectory(prefix="cloudrec-bench-callbacks-") as name:
        folder = Path(name)
        stack = Stack("benchmark", home=folder / "home", components=("api",))
        kubernetes = (await asyncio.to_thread(stack.up)).kubernetes
        try:
            assert kubernetes is not None
            async with KubeApi.from_kubeconfig(kubernetes.kubeconfig) as admin:
                made = Desk(admin, kubernetes.kubeconfig)
                await made.furnish(url)
                account = folder / "account"
                account.mkdir()
                async with made.operator(account) as operator:
                    yield made, operator
        finally:
            await asyncio.to_thread(stack.down)


class Hook:
    """The receiver's process."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._session = session

    async def mode(self, mode: str) -> None:
        async with self._session.post(f"{self.base}/mode/{mode}"):
            pass

    async def seen(self) -> dict[str, int]:
        async with self._session.get(f"{self.base}/seen") as answer:
            found: dict[str, int] = json.loads(await answer.read())
            return found
