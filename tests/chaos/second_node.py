"""A second node agent for a stack, so that there is somewhere to go when a node is drained or lost."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cloudrec_local import processes
from cloudrec_local.kubeapi import MERGE, UNREACHABLE, ApiError, KubeApi, Object
from cloudrec_local.processes import MARK, ProcessRecord
from cloudrec_local.stack import Stack, base_environment
from cloudrec_local.state import free_ports

DEADLINE = 60.0


def _ready(node: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node.get("status", {}).get("conditions", []))


@dataclass
class SecondNode:
    """Its processes bear a mark of their own: the stack's first agent ends those that it does not know."""

    stack: Stack
    api: KubeApi
    name: str
    folder: Path
    agent: ProcessRecord | None = None
    port: int = 0

    @property
    def path(self) -> str:
        return f"/api/v1/nodes/{self.name}"

    @property
    def mark(self) -> str:
        return str(self.folder)

    async def start(self) -> None:
        """Until Pods may be placed on it."""
        home = self.stack.home
        self.port = self.port or free_ports(["kubelet"])["kubelet"]
        argv = (
            *(sys.executable, "-m", "cloudrec_local.node", f"--name={self.name}", f"--home={self.folder}"),
            *(f"--kubeconfig={home.kubeconfig}", f"--images={home.node / 'images.json'}"),
            *(f"--port={self.port}", f"--pki={home.pki}", f"--mark={self.mark}"),
        )
        self.agent = await asyncio.to_thread(
            processes.start,
            argv,
            log=self.folder.with_suffix(".log"),
            cwd=self.folder,
            env={**base_environment(), "HOME": str(self.folder)},
        )
        async with asyncio.timeout(DEADLINE):
            while True:
                node = await self.api.get_or_none(self.path) or {}
                if _ready(node) and not node["spec"].get("taints"):
                    return
                await asyncio.sleep(0.2)

    async def alone(self, yes: bool) -> None:
        """Whether new Pods go here and nowhere else."""
        others = [n["metadata"]["name"] for n in (await self.api.get("/api/v1/nodes"))["items"]]
        for name in others:
            if name != self.name:
                body: Object = {"spec": {"unschedulable": True if yes else None}}
                await self.api.request("PATCH", f"/api/v1/nodes/{name}", body, content_type=MERGE)

    def lose(self) -> None:
        """SIGKILL to the agent alone: what runs in its Pods lives on."""
        assert self.agent is not None
        processes.stop([self.agent], 0)

    def die(self) -> None:
        """SIGKILL to everything that runs here, as when the power fails."""
        self.lose()
        processes.sweep(self._ours)

    def _ours(self, environ: Mapping[str, str]) -> bool:
        return environ.get(MARK, "").partition("#")[0] == self.mark


@asynccontextmanager
async def second_node(stack: Stack, api: KubeApi, folder: Path, name: str) -> AsyncIterator[SecondNode]:
    """A node that is ready; it is no more afterwards, and Pods go to the first again."""
    node = SecondNode(stack, api, name, folder / name)
    try:
        await node.start()
        yield node
    finally:
        await asyncio.to_thread(node.die)
        await node.alone(False)
        await _forget(node)


async def _forget(node: SecondNode) -> None:
    """Its Node, and its Pods, which nobody else would confirm as gone."""
    with contextlib.suppress(ApiError, *UNREACHABLE):
        pods = await node.api.get("/api/v1/pods", fieldSelector=f"spec.nodeName={node.name}")
        for pod in pods["items"]:
            meta = pod["metadata"]
            path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
            await node.api.request("DELETE", path, {"gracePeriodSeconds": 0})
        await node.api.request("DELETE", node.path)
