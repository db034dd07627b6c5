"""Recordings on a whole stack, driven as a user drives them: with kubectl, and read back from the bucket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudrec_contract.resources import API_VERSION, Attempt, CloudRecordingStatus, EventFact, Phase
from cloudrec_contract.secret import Secret
from cloudrec_local.demo import Kubectl
from cloudrec_local.fetch import Objects, objects_of
from cloudrec_local.receiver.arrivals import Arrival, accepted
from cloudrec_local.receiver.log import read
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.server import Server

NAMESPACE = "default"


@dataclass(frozen=True)
class Cluster:
    """A running stack as its users see it."""

    kubectl: Kubectl
    server: Server
    kubeconfig: Path
    arrivals: Path

    @classmethod
    def of(cls, stack: Stack) -> Cluster:
        status = stack.status()
        assert status.kubernetes is not None
        assert status.livekit is not None
        return cls(
            Kubectl(status.kubernetes.kubectl, status.kubernetes.kubeconfig),
            Server(status.livekit.url, status.livekit.api_key, Secret(status.livekit.api_secret)),
            status.kubernetes.kubeconfig,
            stack.home.arrivals,
        )

    async def run(self, *arguments: str) -> str:
        return await asyncio.to_thread(self.kubectl, *arguments)

    async def apply(self, folder: Path, manifest: dict[str, Any]) -> None:
        path = folder / f"{manifest['metadata']['name']}.yaml"
        path.write_text(yaml.safe_dump(manifest))
        await self.run("apply", "-f", str(path))

    async def status(self, name: str) -> CloudRecordingStatus:
        found = await asyncio.to_thread(self.kubectl.recording, name)
        assert found is not None, f"there is no recording {name}"
        status = CloudRecordingStatus.model_validate(found.get("status", {}))
        return with_delivered(status, await asyncio.to_thread(read, self.arrivals))

    async def callbacks(self, name: str, seconds: float = 30) -> list[Arrival]:
        """What the stack's receiver took of an ended recording, once nothing more is to come."""
        deadline = time.monotonic() + seconds
        while (status := await self.status(name)).callbacks is None or status.callbacks.settled_at is None:
            assert time.monotonic() < deadline, f"not settled after {seconds} s: {status.callbacks}"
            await asyncio.sleep(0.2)
        assert status.task_id is not None
        arrived = await asyncio.to_thread(read, self.arrivals)
        assert not [one for one in arrived if one.task == status.task_id and one.fault]
        return accepted(arrived, status.task_id)

    async def until(
        self, name: str, good: Callable[[CloudRecordingStatus], bool], seconds: float = 60
    ) -> CloudRecordingStatus:
        """Poll until the status is as wanted; fails with what it is, and when it has ended otherwise."""
        deadline = time.monotonic() + seconds
        while True:
            status = await self.status(name)
            if good(status):
                return status
            text = status.model_dump_json(indent=1, exclude_none=True)
            assert time.monotonic() < deadline, f"{name} is not as wanted after {seconds} s: {text}"
            assert status.phase is None or not status.phase.terminal, f"{name} ended: {text}"
            await asyncio.sleep(0.2)

    async def phase(self, name: str, *phases: Phase, seconds: float = 60) -> CloudRecordingStatus:
        return await self.until(name, lambda status: status.phase in phases, seconds)

    async def stop(self, name: str) -> CloudRecordingStatus:
        """Stop and wait for the end."""
        await self.run("patch", "crec", name, "--type", "merge", "-p", '{"spec":{"desiredState":"Stopped"}}')
        return await self.phase(name, Phase.COMPLETED, Phase.FAILED)

    async def objects(self, name: str) -> Objects:
        return await asyncio.to_thread(objects_of, self.kubeconfig, NAMESPACE, name)

    async def without_pods(self, name: str, seconds: float = 30) -> None:
        """Until the recording has no Pod any more."""
        deadline = time.monotonic() + seconds
        while pods := await self.pods(name):
            assert time.monotonic() < deadline, f"still there after {seconds} s: {pods}"
            await asyncio.sleep(0.2)

    async def pods(self, name: str) -> list[dict[str, Any]]:
        text = await self.run("get", "pods", "-l", f"cloudrec.dev/recording={name}", "-o", "json")
        items: list[dict[str, Any]] = json.loads(text)["items"]
        return items


def with_delivered(status: CloudRecordingStatus, arrivals: Iterable[Arrival]) -> CloudRecordingStatus:
    """The status with the events that its sidecars report no more, because the receiver acknowledged them."""
    told: dict[str, dict[int, EventFact]] = {}
    for one in accepted(arrivals, status.task_id or ""):
        _, source, seq = one.key.rsplit("-", 2)
        fact = EventFact(seq=int(seq), type=one.type, ts=one.info["EventMsTs"], args=one.payload)
        told.setdefault(source, {})[fact.seq] = fact
    attempts: list[Attempt] = []
    for attempt in status.attempts:
        source = "f" if attempt.role == "Finish" else str(attempt.index)  # finishers share one journal
        report = attempt.report
        if report is not None:
            every = {**told.get(source, {}), **{fact.seq: fact for fact in report.events}}
            report = report.model_copy(update={"events": [every[seq] for seq in sorted(every)]})
        attempts.append(attempt.model_copy(update={"report": report}))
    return status.model_copy(update={"attempts": attempts})


def recording(name: str, room: str, **spec: Any) -> dict[str, Any]:
    """A CloudRecording of a String room into the stack's bucket."""
    return {
        "apiVersion": API_VERSION,
        "kind": "CloudRecording",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "appRef": {"name": "demo"},
            "room": {"id": room, "type": "String"},
            "storage": {
                "bucket": {
                    "vendor": "S3",
                    "region": "local",
                    "bucket": "recordings",
                    "prefix": ["tests"],
                    "credentialsSecretRef": {"name": "bucket"},
                }
            },
            **spec,
        },
    }


async def named(cluster: Cluster, task: str) -> str:
    """The resource that is the task."""
    path = "{range .items[*]}{.metadata.uid} {.metadata.name}{'\\n'}{end}"
    lines = (await cluster.run("get", "crec", "-n", NAMESPACE, "-o", f"jsonpath={path}")).splitlines()
    return dict(line.split() for line in lines)[task]
