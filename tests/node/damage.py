"""What is done to Pods of a real node, and what kubelet says of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudrec_local.onenode.cluster import OneNode
from tests.e2e.task import NAMESPACE, Cluster

Object = dict[str, Any]

EATER = """
import os, sys, time
sys.stdin.read()
held = []
while os.path.exists("/proc/" + sys.argv[1]):
    held.append(bytearray(b"x" * (1 << 22)))
    time.sleep(0.01)
"""


def _memory_cgroup(membership: str) -> Path:
    """Of /proc/PID/cgroup: the memory controller's folder in version 1, else the only one."""
    groups = {controllers: path for _, controllers, path in (line.split(":", 2) for line in membership.splitlines())}
    if "memory" in groups:
        return Path("/sys/fs/cgroup/memory") / groups["memory"].lstrip("/")
    return Path("/sys/fs/cgroup") / groups[""].lstrip("/")


def container_status(pod: Object, container: str) -> Object:
    """What kubelet reports of a container, be it a sidecar."""
    status = pod["status"]
    for kind in ("containerStatuses", "initContainerStatuses"):
        for found in status.get(kind, []):
            if found["name"] == container:
                return dict(found)
    raise KeyError(f"{pod['metadata']['name']} has no status of {container}")


def exit_code(pod: Object, container: str) -> int | None:
    """Of a container that has ended."""
    state = container_status(pod, container)["state"].get("terminated")
    return None if state is None else int(state["exitCode"])


@dataclass(frozen=True)
class Damage:
    """Does the damage; each method returns when it was done (s since the Unix epoch)."""

    node: OneNode
    cluster: Cluster

    async def kill(self, pod: Object, container: str) -> float:
        """SIGKILL to the container's first process, as the kernel does when memory is out."""
        pid = await asyncio.to_thread(self.node.pid, container_status(pod, container)["containerID"])
        at = time.time()
        os.kill(pid, signal.SIGKILL)
        return at

    async def exhaust(self, pod: Object, container: str) -> float:
        """Use up the memory of the container, by another process in its cgroup; the kernel kills the container's."""
        pid = await asyncio.to_thread(self.node.pid, container_status(pod, container)["containerID"])
        group = _memory_cgroup(Path(f"/proc/{pid}/cgroup").read_text())
        eater = await asyncio.create_subprocess_exec(sys.executable, "-c", EATER, str(pid), stdin=PIPE)
        (group / "cgroup.procs").write_text(str(eater.pid))
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
        assert eater.stdin is not None
        eater.stdin.close()
        async with asyncio.timeout(30):
            while await asyncio.to_thread(Path(f"/proc/{pid}").exists):
                await asyncio.sleep(0.01)
        at = time.time()
        async with asyncio.timeout(30):
            await eater.wait()
        return at

    async def evict(self, pod: Object) -> float:
        """By the eviction API, as `kubectl drain` does."""
        name = pod["metadata"]["name"]
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": NAMESPACE}}
        at = time.time()
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/eviction"
        await asyncio.to_thread(self.node.kubectl, "create", "--raw", path, "-f", "-", text=json.dumps(body))
        return at
