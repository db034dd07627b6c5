"""Failover and hand-over with nobody's part played: operator, node agent, recorder and uploader as they are.

The room is empty, so that no media is needed: a robot that is in its room is Idle.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from cloudrec_local.home import tool
from cloudrec_local.kubeapi import MERGE, KubeApi, Object
from cloudrec_local.processes import MARK, marked
from cloudrec_local.stack import Stack
from tests.cluster.operating import condition, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.media]

RECORDINGS = "/apis/cloudrec.dev/v1alpha1/namespaces/default/cloudrecordings"
PODS = "/api/v1/namespaces/default/pods"


class Task:
    """One recording of an empty room on a whole stack."""

    def __init__(self, stack: Stack, api: KubeApi, name: str) -> None:
        self._stack = stack
        self.api = api
        self.name = name
        self.path = f"{RECORDINGS}/{name}"

    async def create(self) -> None:
        bucket = {
            "vendor": "S3",
            "region": "local",
            "bucket": "recordings",
            "credentialsSecretRef": {"name": "bucket"},
        }
        body: Object = {
            "apiVersion": "cloudrec.dev/v1alpha1",
            "kind": "CloudRecording",
            "metadata": {"name": self.name},
            "spec": {
                "appRef": {"name": "demo"},
                "room": {"id": self.name, "type": "String"},
                "maxIdleSeconds": 600,
                "storage": {"bucket": bucket},
            },
        }
        await self.api.request("POST", RECORDINGS, body)

    async def until(self, test: Callable[[Object], Any], what: str, seconds: float = 60) -> Object:
        found: Object = {}

        async def look() -> bool:
            nonlocal found
            found = await self.api.get(self.path)
            return bool(test(found))

        try:
            await eventually(look, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{found.get('status')}") from None
        return found

    async def ready(self, index: int, seconds: float = 60) -> Object:
        """The attempt, once its robot is in the room."""

        def there(found: Object) -> bool:
            return any(a["index"] == index and a.get("report", {}).get("ready") for a in attempts(found))

        return attempts(await self.until(there, f"attempt {index} in the room", seconds))[index]

    async def phase(self, phase: str) -> Object:
        return await self.until(lambda found: found.get("status", {}).get("phase") == phase, phase)

    async def stop(self) -> Object:
        body: Object = {"spec": {"desiredState": "Stopped"}}
        await self.api.request("PATCH", self.path, body, content_type=MERGE)
        return await self.until(lambda found: found["status"]["phase"] in ("Completed", "Failed"), "the end")

    async def pod_gone(self, pod: str) -> None:
        async def look() -> bool:
            return await self.api.get_or_none(f"{PODS}/{pod}") is None

        await eventually(look, f"Pod {pod} gone", 60)

    async def events(self) -> list[str]:
        selector = f"involvedObject.name={self.name}"
        listing = await self.api.get("/api/v1/namespaces/default/events", fieldSelector=selector)
        return [event["reason"] for event in listing["items"]]

    def process(self, attempt: Object, container: str) -> int:
        """The number of a container's process."""
        mark = f"{self._stack.home.root}#{attempt['podUID']}/{container}"
        (found,) = [record.pid for record in marked(lambda env: env.get(MARK, "") == mark)]
        return found


def attempts(found: Object) -> list[Object]:
    return list(found.get("status", {}).get("attempts", []))


def told(found: Object) -> list[tuple[int, Any]]:
    return [(event["type"], event["args"]) for event in found["status"].get("operatorEvents", [])]


@pytest.fixture
async def make(stack: Stack) -> AsyncIterator[Callable[[str], Task]]:
    async with KubeApi.from_kubeconfig(stack.home.kubeconfig) as api:
        yield lambda name: Task(stack, api, name)


async def test_a_killed_recorder_is_followed_and_its_sidecar_ends_in_order(make: Callable[[str], Task]) -> None:
    task = make("killed")
    await task.create()
    first = await task.ready(0)
    os.kill(task.process(first, "recorder"), signal.SIGKILL)
    began = time.monotonic()
    second = await task.ready(1)
    print(f"SIGKILL to the successor in the room: {time.monotonic() - began:.1f} s")
    await task.pod_gone(first["pod"])
    done = await task.stop()
    assert done["status"]["phase"] == "Completed"
    one, two = attempts(done)
    assert (one["failed"], one["exit"]["code"], one["report"]["uploaded"]) == (True, 137, True)
    assert (two["pod"], two["failed"], two["exit"]["code"], two["report"]["leaveCode"]) == (second["pod"], False, 0, 0)
    assert told(done) == [(306, {"Status": 0}), (305, {"Status": 0})]
    assert condition(done, "Uploaded")[:2] == ("True", "Uploaded")


async def test_a_drain_hands_over_before_the_old_recorder_leaves(stack: Stack, make: Callable[[str], Task]) -> None:
    task = make("drained")
    await task.create()
    await task.ready(0)
    await task.phase("Idle")
    (node,) = (await task.api.get("/api/v1/nodes"))["items"]
    name = node["metadata"]["name"]
    kubectl = [str(tool("kubectl")), "--kubeconfig", str(stack.home.kubeconfig)]
    chosen = ["--pod-selector=cloudrec.dev/recording=drained", "--delete-emptydir-data", "--timeout=90s"]
    drain = await asyncio.create_subprocess_exec(*kubectl, "drain", name, *chosen, stdout=PIPE, stderr=STDOUT)
    try:
        await task.until(lambda found: len(attempts(found)) == 2, "a successor declared")
        # There is no other node for it here.
        await task.api.request("PATCH", f"/api/v1/nodes/{name}", {"spec": {"unschedulable": None}}, content_type=MERGE)
        began = time.monotonic()
        await task.ready(1)
        print(f"a node to run on to the successor in the room: {time.monotonic() - began:.1f} s")
        said, _ = await asyncio.wait_for(drain.communicate(), 90)
        assert drain.returncode == 0, said.decode()
    finally:
        if drain.returncode is None:
            drain.kill()
            await drain.wait()
    done = await task.stop()
    assert done["status"]["phase"] == "Completed"
    one, two = attempts(done)
    assert (one["reason"], one["failed"]) == ("HandedOver", False)
    assert (one["exit"]["code"], one["exit"]["reason"]) == (0, "HandedOver")
    assert "leaveCode" not in one["report"]
    assert one["report"]["uploaded"] is True
    assert (two["exit"]["code"], two["report"]["leaveCode"]) == (0, 0)
    assert told(done) == [(305, {"Status": 0})]
    reasons = await task.events()
    assert reasons.count("Idle") == 1, "it never left the room"
    assert reasons.count("HandedOver") == 1


async def test_a_deleted_recording_hands_nothing_over(make: Callable[[str], Task]) -> None:
    task = make("deleted")
    await task.create()
    first = await task.ready(0)
    await task.api.request("DELETE", task.path, {"propagationPolicy": "Foreground"})

    async def gone() -> bool:
        found = await task.api.get_or_none(task.path)
        assert found is None or len(attempts(found)) == 1
        return found is None

    await eventually(gone, "the recording gone", 30)
    await task.pod_gone(first["pod"])
