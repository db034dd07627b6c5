"""The node itself: registers, sends heartbeats, and gives each Pod that is bound to it a worker."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import logging
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from ..kubeapi import MERGE, STRATEGIC, UNREACHABLE, ApiError, KubeApi, Object
from ..processes import MARK, sweep
from ..state import Image
from .downward import HOST_IP
from .events import Events
from .pod import Node, Pod
from .references import References
from .status import timestamp

log = logging.getLogger(__name__)
MAX_PODS = 110
LEASE_SECONDS, HEARTBEAT = 40, 10.0
STATUS_EVERY = 30  # heartbeats
RETRY = 1.0
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def capacity(folder: Path) -> Object:
    """What the machine has, in Kubernetes quantities."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory // 1024}Ki",
        "pods": str(MAX_PODS),
        "ephemeral-storage": f"{shutil.disk_usage(folder).free // 1024}Ki",
    }


def node_status(port: int, resources: Object, name: str) -> Object:
    """The Node's status, with a fresh heartbeat."""
    now = timestamp()

    def condition(kind: str, status: str, reason: str, message: str) -> Object:
        return {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }

    uname = platform.uname()
    return {
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            {"type": "InternalIP", "address": HOST_IP},
            {"type": "Hostname", "address": name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "conditions": [
            condition("Ready", "True", "KubeletReady", "containers run as processes of this machine"),
            condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "memory is not watched"),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "the disk is not watched"),
            condition("PIDPressure", "False", "KubeletHasSufficientPID", "processes are not counted"),
        ],
        "nodeInfo": {
            "architecture": ARCHITECTURES.get(uname.machine, uname.machine),
            "operatingSystem": "linux",
            "kernelVersion": uname.release,
            "osImage": "this machine",
            "containerRuntimeVersion": "process://1",
            "kubeletVersion": "v1.37.2",
            "kubeProxyVersion": "",
            "machineID": name,
            "systemUUID": name,
            "bootID": (Path("/proc/sys/kernel/random/boot_id")).read_text().strip(),
        },
    }


class Addresses:
    """Addresses in 127.0.0.0/8, one per Pod; the node's port chooses the /24, so stacks do not share any."""

    def __init__(self, port: int) -> None:
        self._network = ipaddress.ip_network(f"127.{port >> 8}.{port & 255}.0/24")
        self._taken: dict[str, str] = {}

    def give(self, uid: str, wanted: str = "") -> str:
        """The address of a Pod; `wanted` is what it had before this agent started. Raises LookupError when full."""
        taken = set(self._taken.values())
        hosts = (str(host) for host in self._network.hosts())
        address = wanted if wanted and wanted not in taken else next(h for h in hosts if h not in taken)
        self._taken[uid] = address
        return address

    def free(self, uid: str) -> None:
        self._taken.pop(uid, None)


class Agent:
    """Runs this node until cancelled; the containers outlive it."""

    def __init__(
        self, *, name: str, api: KubeApi, folder: Path, images: Mapping[str, Image], port: int, mark: str
    ) -> None:
        self._name = name
        self._api = api
        self._folder = folder
        self._port = port
        self._mark = mark
        self._addresses = Addresses(port)
        host, _, api_port = api.server.removeprefix("https://").partition(":")
        self._node = Node(
            name=name,
            api=api,
            folder=folder,
            images=images,
            references=References(api),
            events=Events(api, name),
            base_env={
                "PATH": os.environ.get("PATH", os.defpath),
                "KUBERNETES_SERVICE_HOST": host,
                "KUBERNETES_SERVICE_PORT": api_port,
                "KUBERNETES_SERVICE_PORT_HTTPS": api_port,
            },
            mark=mark,
        )
        self._pods: dict[str, tuple[Pod, asyncio.Task[None]]] = {}
        self._deleting: set[str] = set()
        self._confirming: set[asyncio.Task[None]] = set()

    def pod(self, namespace: str, name: str) -> Pod | None:
        """The worker of a Pod by its name, for its logs."""
        found = [p for p, _ in self._pods.values() if (p.namespace, p.name) == (namespace, name)]
        return found[-1] if found else None

    async def run(self) -> None:
        """Register and work until cancelled."""
        while True:
            try:
                await self._register()
                break
            except (ApiError, *UNREACHABLE) as error:
                log.warning("not registered yet: %s", error or type(error).__name__)
                await asyncio.sleep(RETRY)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._node.events.run())
            group.create_task(self._heartbeat())
            group.create_task(self._follow_pods())

    # --- the Node ----------------------------------------------------------------------------------------------------

    async def _register(self) -> None:
        labels = {
            "kubernetes.io/hostname": self._name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": ARCHITECTURES.get(platform.machine(), platform.machine()),
        }
        status = node_status(self._port, capacity(self._folder), self._name)
        body = {"metadata": {"name": self._name, "labels": labels}, "status": status}
        try:
            await self._api.request("POST", "/api/v1/nodes", body)
        except ApiError as error:
            if error.code != 409:
                raise
            await self._patch_status()
        await self._renew()
        log.info("registered as node %s", self._name)

    async def _patch_status(self) -> None:
        status = node_status(self._port, capacity(self._folder), self._name)
        known = await self._api.get(f"/api/v1/nodes/{self._name}")
        before = {c["type"]: c for c in known.get("status", {}).get("conditions", [])}
        for condition in status["conditions"]:
            old = before.get(condition["type"], {})
            if old.get("status") == condition["status"]:
                condition["lastTransitionTime"] = old["lastTransitionTime"]
        path = f"/api/v1/nodes/{self._name}/status"
        await self._api.request("PATCH", path, {"status": status}, content_type=STRATEGIC)

    async def _renew(self) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            await self._api.request("PATCH", f"{leases}/{self._name}", {"spec": spec}, content_type=MERGE)
        except ApiError as error:
            if error.code != 404:
                raise
            node = await self._api.get(f"/api/v1/nodes/{self._name}")
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": node["metadata"]["uid"]}
            meta = {"name": self._name, "ownerReferences": [owner]}
            await self._api.request("POST", leases, {"metadata": meta, "spec": spec})

    async def _heartbeat(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(HEARTBEAT)
            beats += 1
            for pod, _ in self._pods.values():
                for container in pod.containers:
                    container.trim_log()
            try:
                await self._renew()
                if beats % STATUS_EVERY == 0:
                    await self._patch_status()
            except (ApiError, *UNREACHABLE) as error:
                log.warning("heartbeat: %s", error or type(error).__name__)

    # --- Pods --------------------------------------------------------------------------------------------------------

    async def _follow_pods(self) -> None:
        first = True
        while True:
            try:
                selector = f"spec.nodeName={self._name}"
                async for kind, item in self._api.follow("/api/v1/pods", field_selector=selector):
                    if kind == "LIST":
                        if first:
                            self._clear_leftovers(item["items"])
                            first = False
                        self._compare(item["items"])
                    elif kind == "DELETED":
                        self._vanish(item["metadata"]["uid"])
                    else:
                        self._see(item)
            except (ApiError, *UNREACHABLE) as error:
                log.warning("watching Pods: %s", error or type(error).__name__)
            await asyncio.sleep(RETRY)

    def _clear_leftovers(self, pods: list[Object]) -> None:
        """End what an earlier agent left of Pods that the API no longer knows."""
        known = {pod["metadata"]["uid"] for pod in pods}
        prefix = f"{self._mark}#"

        def stray(env: Mapping[str, str]) -> bool:
            mark = env.get(MARK, "")
            return mark.startswith(prefix) and mark.removeprefix(prefix).partition("/")[0] not in known

        sweep(stray)
        for folder in (self._folder / "pods").glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)

    def _compare(self, pods: list[Object]) -> None:
        for uid in set(self._pods) - {pod["metadata"]["uid"] for pod in pods}:
            self._vanish(uid)
        for pod in pods:
            self._see(pod)

    def _see(self, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._pods:
            hosted = pod["spec"].get("hostNetwork")
            ip = HOST_IP if hosted else self._addresses.give(uid, pod.get("status", {}).get("podIP", ""))
            worker = Pod(pod, self._node, ip)
            ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
            task = asyncio.create_task(_nothing() if ended else worker.run(), name=worker.name)
            self._pods[uid] = (worker, task)
            task.add_done_callback(lambda done: self._ended(worker, done))
        if pod["metadata"].get("deletionTimestamp") and uid not in self._deleting:
            self._deleting.add(uid)
            worker, task = self._pods[uid]
            confirming = asyncio.create_task(self._confirm(worker, task))
            self._confirming.add(confirming)
            confirming.add_done_callback(self._confirming.discard)
        if pod["metadata"].get("deletionTimestamp"):
            self._pods[uid][0].stop(pod["metadata"].get("deletionGracePeriodSeconds", 30))

    def _ended(self, worker: Pod, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("the worker of Pod %s failed", worker.name, exc_info=error)

    async def _confirm(self, worker: Pod, task: asyncio.Task[None]) -> None:
        """A deleted Pod: once it has ended and its status is known, let its object go."""
        await asyncio.wait({task})
        await worker.remove()

    def _vanish(self, uid: str) -> None:
        if uid not in self._pods:
            return
        worker, task = self._pods.pop(uid)
        self._deleting.discard(uid)
        worker.vanish()

        def clear(_: asyncio.Task[None]) -> None:
            worker.erase()
            self._addresses.free(uid)

        task.add_done_callback(clear)


async def _nothing() -> None:
    """A Pod that had ended before this agent started needs no work."""
