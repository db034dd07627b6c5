"""A room on a whole stack: who publishes in it, the recordings of it, and what is done to their Pods.

All recordings of a scene are of one room, each by a robot of its own: many faults are measured for one set of users.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from cloudrec_contract.events import EventType
from cloudrec_contract.naming import robot_identity
from cloudrec_contract.resources import API_VERSION, Attempt, CloudRecordingStatus, DesiredState, EventFact, Phase
from cloudrec_contract.secret import Secret
from cloudrec_local.fetch import Objects, download, objects_of
from cloudrec_local.kubeapi import MERGE, UNREACHABLE, ApiError, KubeApi, Object
from cloudrec_local.processes import MARK, ProcessRecord, marked
from cloudrec_local.receiver.log import read
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.plan import Plan, standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.server import Server
from cloudrec_local.synthetic.truth import Truth
from cloudrec_local.verify import Kind, Verdict, verify
from tests.analysis.ffprobe import ffprobe_warnings
from tests.analysis.files import read_folder
from tests.chaos.measure import KINDS, Coverage
from tests.chaos.table import Row
from tests.e2e.task import NAMESPACE, recording, with_delivered

RECORDINGS = f"/apis/cloudrec.dev/v1alpha1/namespaces/{NAMESPACE}/cloudrecordings"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEADLINE = 90.0
END = "#EXT-X-ENDLIST"
SMALL = standard_plan(2, width=320, height=180, fps=15)


def container(uid: str, name: str) -> ProcessRecord:
    """The process of a container of the Pod, on whatever node of this machine; not its children."""
    found = list(marked(lambda env: env.get(MARK, "").endswith(f"#{uid}/{name}")))
    if not found:
        raise ProcessLookupError(f"{uid}/{name}")
    return min(found, key=lambda record: (record.started, record.pid))


@dataclass
class Task:
    """One recording. Moments are in seconds since the Unix epoch."""

    api: KubeApi
    name: str
    arrivals: Path
    objects: Objects | None = None
    stopped: float = 0.0

    @property
    def path(self) -> str:
        return f"{RECORDINGS}/{self.name}"

    async def status(self) -> CloudRecordingStatus:
        found = await self.api.get(self.path)
        return CloudRecordingStatus.model_validate(found.get("status", {}))

    async def until(
        self, good: Callable[[CloudRecordingStatus], Any], what: str, seconds: float = DEADLINE
    ) -> CloudRecordingStatus:
        """Poll until the status is as wanted; an API server that is away meanwhile is waited for."""
        deadline = time.monotonic() + seconds
        status = CloudRecordingStatus()
        while True:
            with contextlib.suppress(ApiError, *UNREACHABLE):
                status = await self.status()
                if good(status):
                    return status
            if time.monotonic() > deadline:
                text = status.model_dump_json(indent=1, exclude_none=True)
                raise AssertionError(f"{self.name}: {what} not after {seconds:.0f} s: {text}")
            await asyncio.sleep(0.1)

    async def attempt(self, index: int, seconds: float = DEADLINE) -> Attempt:
        """The attempt, once its Pod is made."""
        status = await self.until(
            lambda s: any(a.index == index and a.pod_uid for a in s.attempts), f"attempt {index}", seconds
        )
        return next(attempt for attempt in status.attempts if attempt.index == index)

    async def recording(self, index: int = 0, *, tracks: int = 4, seconds: float = DEADLINE) -> None:
        """Until the attempt has begun so many playlists."""

        def begun(status: CloudRecordingStatus) -> bool:
            reports = [a.report for a in status.attempts if a.index == index]
            return any(report is not None and len(report.files) >= tracks for report in reports)

        await self.until(begun, f"media of attempt {index}", seconds)

    async def kill(self, name: str, index: int = 0) -> float:
        """SIGKILL to a container's process; when that was."""
        attempt = await self.attempt(index)
        assert attempt.pod_uid is not None
        process = await asyncio.to_thread(container, attempt.pod_uid, name)
        at = time.time()
        os.kill(process.pid, signal.SIGKILL)
        return at

    async def evict(self, index: int = 0) -> float:
        """By the eviction API, as `kubectl drain` does."""
        pod = (await self.attempt(index)).pod
        body: Object = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
        at = time.time()
        await self.api.request("POST", f"{PODS}/{pod}/eviction", body)
        return at

    async def stop(self) -> None:
        """Ask for the end; `ended` waits for it."""
        self.stopped = time.time()
        body: Object = {"spec": {"desiredState": DesiredState.STOPPED}}
        await self.api.request("PATCH", self.path, body, content_type=MERGE)

    async def ended(self, seconds: float = DEADLINE) -> CloudRecordingStatus:
        """The status at the end, with all events: those that were delivered come from the receiver."""
        status = await self.until(lambda s: s.phase is not None and s.phase.terminal, "the end", seconds)
        return with_delivered(status, await asyncio.to_thread(read, self.arrivals))

    async def result(self, truth: Truth, folder: Path, status: CloudRecordingStatus) -> Result:
        """Everything in the bucket, decoded."""
        assert self.objects is not None
        return await asyncio.to_thread(_result, self.name, self.objects, truth, folder / self.name, status)


def _result(name: str, objects: Objects, truth: Truth, folder: Path, status: CloudRecordingStatus) -> Result:
    download(objects, folder, players=False)
    return Result(name, folder, status, Coverage(truth, read_folder(folder)), verify(objects))


@dataclass(frozen=True)
class Result:
    """What a task left."""

    name: str
    folder: Path
    status: CloudRecordingStatus
    coverage: Coverage
    verdict: Verdict

    @property
    def events(self) -> list[EventFact]:
        """Those of the operator, then those of each attempt."""
        reports = [attempt.report for attempt in self.status.attempts]
        return [*self.status.operator_events, *(e for report in reports if report for e in report.events)]

    def args(self, kind: int) -> list[dict[str, Any]]:
        return [event.args for event in self.events if event.type == kind]

    def faults(self) -> list[str]:
        """All that can be said against any file. That an attempt failed is no fault of its files."""
        found = [f"{whose}: {fault}" for whose, file in self.coverage.files.items() for fault in file.faults]
        found += [f"{whose}: no end" for whose, file in self.coverage.files.items() if not file.playlist.ended]
        for path in sorted(self.folder.glob("*.m3u8")):
            if not path.read_text().rstrip().endswith(END):
                continue  # FFprobe would wait for the rest
            found += [f"{path.name}: {line}" for line in ffprobe_warnings(path)]
        found += [
            f"{finding.kind}: {finding.file}: {finding.detail}"
            for finding in self.verdict.findings
            if not (finding.kind is Kind.INCOMPLETE and finding.detail.startswith("it failed"))
        ]
        return found

    def row(self, fault: str, *, until: float, before: float | None = None, back: float | None = None) -> Row:
        """`until`: to when all of it had to be recorded; `before`, `back`: seconds, as measured."""
        lost = self.coverage.lost(until)
        attempts = sum(attempt.role == "Record" for attempt in self.status.attempts)
        return Row(fault, lost, before, back, attempts, not self.faults())


def together(*results: Result, witness: Coverage | None = None) -> list[Result]:
    """Results of recordings of one room, each beside the others."""
    coverages = [result.coverage for result in results]

    def beside(own: Coverage) -> Coverage:
        others = tuple(other for other in coverages if other is not own)
        return replace(own, others=others, witness=None if own is witness else witness)

    return [replace(result, coverage=beside(result.coverage)) for result in results]


def failover(result: Result, killed: float, index: int = 1) -> str:
    """Where the time went from a kill to the attempt's first media, in words; seconds since the kill."""
    one, two = result.status.attempts[index - 1 : index + 1]
    joined = [
        e.ts / 1000 - killed for e in (two.report.events if two.report else []) if e.type == EventType.RECORDER_START
    ]
    ended = datetime.fromisoformat(one.ended_at or "").timestamp() - killed
    exited = datetime.fromisoformat(one.exit.finished_at or "").timestamp() - killed if one.exit else 0.0
    begun = {
        f"{user} {kind}": round(result.coverage.content(user, kind, [index])[0][0] - killed, 2)
        for user in result.coverage.users
        for kind in KINDS
    }
    return (
        f"{result.name}: exit seen {exited:.0f}, next declared {ended:.1f}, in the room {joined}, first media {begun}"
    )


@dataclass
class Scene:
    """`truth` is known once `over`."""

    stack: Stack
    api: KubeApi
    server: Server
    users: SyntheticUsers
    folder: Path
    room: str
    plan: Plan
    tasks: list[Task] = field(default_factory=list)

    async def record(self, name: str, *, app: str = "demo", **spec: Any) -> Task:
        """Make a recording of the room; named like its robot. It names its users: fewer streams ask for less CPU, and
        all recordings of a scene have to find room on one node, their successors too."""
        users = {"include": [user.identity for user in self.plan.users]}
        streams = {"subscribe": {"audio": users, "video": users}}
        spec = {"appRef": {"name": app}, "robot": {"userId": name}, "streams": streams, **spec}
        await self.api.request("POST", RECORDINGS, recording(name, self.room, **spec))
        task = Task(self.api, name, self.stack.home.arrivals)
        self.tasks.append(task)
        await task.until(lambda s: s.task_id, "accepted")
        task.objects = await asyncio.to_thread(objects_of, self.stack.home.kubeconfig, NAMESPACE, name)
        return task

    async def record_all(self, *names: str) -> list[Task]:
        """Recordings made at the same time, once all of them record everybody."""
        made = [await self.record(name) for name in names]
        await asyncio.gather(*(task.recording() for task in made))
        return made

    async def app(self, name: str, *, url: str | None = None, endpoint: str | None = None) -> None:
        """A RecordingApp whose rooms or whose bucket are somewhere else."""
        state = self.stack.state()
        spec = {
            "sdkAppId": 1400000001,
            "room": {"livekit": {"url": url or state.livekit_url, "apiKeySecretRef": {"name": "livekit"}}},
            "storage": {"endpoints": [{"vendor": "S3", "region": "local", "endpoint": endpoint or state.s3_url}]},
        }
        meta = {"name": name, "namespace": NAMESPACE}
        await self.api.apply({"apiVersion": API_VERSION, "kind": "RecordingApp", "metadata": meta, "spec": spec})

    async def over(self, *tasks: Task, witness: Task | None = None, seconds: float = DEADLINE) -> list[Result]:
        """Stop these recordings together, have the users leave, and look at what is in the bucket.

        `witness`: one of them to which nothing was done (see `Coverage`).
        """
        for task in tasks:
            if not task.stopped and (not (phase := (await task.status()).phase) or not phase.terminal):
                await task.stop()
        ended = await asyncio.gather(*(task.ended(seconds) for task in tasks))
        truth = await self.users.stop()
        looked = [await task.result(truth, self.folder, status) for task, status in zip(tasks, ended, strict=True)]
        saw = next((one.coverage for one in looked if witness is not None and one.name == witness.name), None)
        return together(*looked, witness=saw)

    def identity(self, task: Task, index: int = 0) -> str:
        """Of the robot, in the room."""
        return robot_identity(task.name, index)


@asynccontextmanager
async def scene(stack: Stack, api: KubeApi, folder: Path, room: str, plan: Plan = SMALL) -> AsyncIterator[Scene]:
    """Users who publish; what still records at the end is deleted."""
    state = stack.state()
    server = Server(state.livekit_url, state.livekit_key, Secret(state.livekit_secret.get_secret_value()))
    async with SyntheticUsers(server, room, plan) as users:
        await users.published()
        made = Scene(stack, api, server, users, folder, room, plan)
        try:
            yield made
        finally:
            for task in made.tasks:
                await _delete(task)


async def _delete(task: Task) -> None:
    with contextlib.suppress(ApiError, *UNREACHABLE):
        await task.api.request("DELETE", task.path, {"propagationPolicy": "Background"})


def assert_completed(result: Result, attempts: int = 1) -> None:
    """Ended in good order after so many attempts, all of it in the bucket, and nothing can be said against any file."""
    status = result.status
    assert status.phase is Phase.COMPLETED, status
    assert [attempt.index for attempt in status.attempts] == list(range(attempts))
    assert result.args(302) == [{"LeaveCode": 0}]
    assert result.args(305) == [{"Status": 0}]
    assert result.args(306) == [{"Status": 0}] * sum(attempt.failed for attempt in status.attempts)
    assert result.faults() == []
