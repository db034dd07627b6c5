"""One Pod on this node: volumes, init containers and sidecars in order, main containers, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..kubeapi import STRATEGIC, UNREACHABLE, ApiError, KubeApi, Object
from ..state import Image
from .container import Container
from .downward import HOST_IP
from .events import Events
from .launch import Surroundings
from .references import Kind, References
from .status import Facts, Role, pod_status, timestamp
from .volumes import MountError, Volumes, data_of

log = logging.getLogger(__name__)
MOUNT_RETRY = 2.0
PUSH_GAP = 0.05
LAST_WORD = 2.0  # what a sidecar gets when its Pod's grace is over, as kubelet gives
RETRY_FIRST, RETRY_LAST = 0.2, 5.0


@dataclass(frozen=True)
class Node:
    """What all Pods of a node share."""

    name: str
    api: KubeApi
    folder: Path
    images: Mapping[str, Image]
    references: References
    events: Events
    base_env: Mapping[str, str]
    mark: str


def roles(spec: Object) -> list[tuple[Object, Role, str]]:
    """Each container with its role and restart policy, in the order they start in."""
    pod_policy = spec.get("restartPolicy", "Always")
    found: list[tuple[Object, Role, str]] = []
    for container in spec.get("initContainers", []):
        if container.get("restartPolicy") == "Always":
            found.append((container, "sidecar", "Always"))
        else:
            found.append((container, "init", "OnFailure" if pod_policy == "Always" else pod_policy))
    found += [(container, "main", pod_policy) for container in spec["containers"]]
    return found


class Pod:
    """One Pod's worker. `run` in a task; `stop` when it is deleted; `forget` when it is gone from the API."""

    def __init__(self, pod: Object, node: Node, ip: str) -> None:
        meta = pod["metadata"]
        self.namespace, self.name, self.uid = meta["namespace"], meta["name"], meta["uid"]
        self.ip = ip
        self._node = node
        self._pod = pod
        self.folder = node.folder / "pods" / self.uid
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
        self._volumes = Volumes(pod, self.folder / "volumes", node.api, node.references, ip)
        around = Surroundings(
            pod=pod,
            folder=self.folder,
            ip=ip,
            mark=node.mark,
            volumes=lambda: self._volumes.paths,
            images=node.images,
            base_env=node.base_env,
            lookup=self._lookup,
            changed=self._changed,
            event=self._event,
        )
        self.containers = [Container(spec, role, policy, around) for spec, role, policy in roles(pod["spec"])]
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._mounted = False
        self._over = False
        self._start_time = pod.get("status", {}).get("startTime") or timestamp()
        self._known = {c["type"]: c for c in pod.get("status", {}).get("conditions", [])}
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._gone = False
        self._grace_over: asyncio.TimerHandle | None = None
        self._keeper: list[asyncio.Task[None]] = []  # at most one: renews the volumes until the very end

    # --- for the agent -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first volume to the last status; returns when the API knows how the Pod ended (or it is gone)."""
        pusher = asyncio.create_task(self._push_changes())
        life = asyncio.create_task(self._live())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            self._dirty.set()
            await asyncio.wait({life, stopped}, return_when=asyncio.FIRST_COMPLETED)
            life.cancel()
            (failure,) = await asyncio.gather(life, return_exceptions=True)
            if isinstance(failure, Exception):  # a bug, but the containers are still to be ended and reported
                log.error("Pod %s", self.name, exc_info=failure)
            if not self._stop.is_set():
                self._limit(self._pod["spec"].get("terminationGracePeriodSeconds", 30))
            await self._end_all()
            for container in self.containers:
                container.settle()
            self._over = True
        finally:
            helpers = [pusher, stopped, *self._keeper]
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            self._volumes.close()
            if self._grace_over is not None:
                self._grace_over.cancel()
        await self._push()

    def stop(self, grace: float) -> None:
        """End the Pod within `grace` seconds; a later call may shorten what an earlier one gave."""
        self._stop.set()
        self._limit(grace)

    def vanish(self) -> None:
        """The Pod is gone from the API: end it and report nothing more."""
        self._gone = True
        self.stop(LAST_WORD)

    @property
    def over(self) -> bool:
        return self._over

    async def remove(self) -> None:
        """Confirm a deletion: the object goes, if it still is this Pod's. Retried until the API server answers."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}
        await self._until_answered("DELETE", self._path, body)

    def erase(self) -> None:
        """Remove the Pod's folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- the course of its life --------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Start everything in order; returns when all main containers have ended for good."""
        await self._mount()
        self._keeper.append(asyncio.create_task(self._volumes.keep()))
        for container in self.containers:
            if container.role == "init" and container.facts.exit_code != 0:
                await asyncio.shield(self._launch(container))
                if container.facts.exit_code != 0:
                    return
            elif container.role == "sidecar":
                self._launch(container)
                await container.up.wait()
        mains = [self._launch(container) for container in self.containers if container.role == "main"]
        await asyncio.wait(mains)

    def _launch(self, container: Container) -> asyncio.Task[None]:
        task = asyncio.create_task(container.run(), name=f"{self.name}/{container.name}")
        self._tasks[container.name] = task
        return task

    async def _mount(self) -> None:
        pause = RETRY_FIRST
        while True:
            try:
                await self._volumes.mount()
                break
            except MountError as error:
                self._event("Warning", "FailedMount", str(error))
                await self._volumes.changed(MOUNT_RETRY)
            except (ApiError, *UNREACHABLE) as error:
                # 403 at first: the authorizer learns of a Pod a moment after the node does
                log.info("Pod %s: volumes wait: %s", self.name, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_LAST)
        self._mounted = True
        self._dirty.set()

    async def _end_all(self) -> None:
        """End main and init containers together, then the sidecars one after the other in reverse order."""
        await self._end([c for c in self.containers if c.role != "sidecar"])
        for sidecar in reversed([c for c in self.containers if c.role == "sidecar"]):
            await self._end([sidecar])

    async def _end(self, containers: list[Container]) -> None:
        tasks = [self._tasks[c.name] for c in containers if c.name in self._tasks]
        await asyncio.gather(*(c.terminate() for c in containers if c.name in self._tasks))
        if tasks:
            await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                log.error("%s", task.get_name(), exc_info=error)

    def _limit(self, grace: float) -> None:
        loop = asyncio.get_running_loop()
        when = loop.time() + grace
        if self._grace_over is not None:
            when = min(when, self._grace_over.when())
            self._grace_over.cancel()
        self._grace_over = loop.call_at(when, self._grace_is_over)

    def _grace_is_over(self) -> None:
        for container in self.containers:
            if container.role != "sidecar":
                container.kill()
        loop = asyncio.get_running_loop()
        self._grace_over = loop.call_later(LAST_WORD, self._kill_all)

    def _kill_all(self) -> None:
        for container in self.containers:
            container.kill()

    # --- status ------------------------------------------------------------------------------------------------------

    def status(self) -> Object:
        """The status as it is now; remembers its conditions for the next."""
        current = pod_status(
            self._facts(),
            ip=self.ip,
            host_ip=HOST_IP,
            start_time=self._start_time,
            mounted=self._mounted,
            over=self._over,
            before=self._known,
            generation=self._pod["metadata"].get("generation", 1),
        )
        self._known = {c["type"]: c for c in current["conditions"]}
        return current

    def _facts(self) -> list[Facts]:
        facts = [c.facts for c in self.containers]
        initializing = any(
            (f.role == "init" and f.exit_code != 0) or (f.role == "sidecar" and not f.once) for f in facts
        )
        creating = {"waiting": {"reason": "PodInitializing" if initializing else "ContainerCreating"}}
        untouched = ("PodInitializing", "ContainerCreating")
        for f in facts:
            if f.role == "main" and f.state.get("waiting", {}).get("reason") in untouched:
                f.state = creating
        return facts

    def _changed(self) -> None:
        self._dirty.set()

    async def _push_changes(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._push()
            await asyncio.sleep(PUSH_GAP)

    async def _push(self) -> None:
        body = {"metadata": {"uid": self.uid}, "status": self.status()}
        await self._until_answered("PATCH", self._path + "/status", body)

    async def _until_answered(self, method: str, path: str, body: Object) -> None:
        """A call that must arrive: retried until it is answered, or the Pod is gone."""
        pause = RETRY_FIRST
        while not self._gone:
            try:
                content = STRATEGIC if method == "PATCH" else "application/json"
                await self._node.api.request(method, path, body, content_type=content)
                return
            except ApiError as error:
                if error.code == 404 or (error.code == 409 and "UID" in str(error)):
                    return  # gone, or another Pod has its name by now
                log.warning("%s %s: %s", method, path, error)
                if error.code in (400, 422):  # it will not be taken the next time either
                    return
            except UNREACHABLE as error:
                log.warning("%s %s: %s", method, path, error or type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_LAST)

    # --- helpers of the containers -----------------------------------------------------------------------------------

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._node.events.emit(self._pod, kind, reason, message)

    async def _lookup(self, kind: str, name: str) -> dict[str, bytes] | None:
        chosen: Kind = "secrets" if kind == "secrets" else "configmaps"
        pause = RETRY_FIRST
        while True:
            try:
                found = await self._node.api.get_or_none(f"/api/v1/namespaces/{self.namespace}/{kind}/{name}")
                return None if found is None else data_of(chosen, found)
            except ApiError as error:
                if error.code != 403 or pause > RETRY_LAST:
                    raise
            await asyncio.sleep(pause)
            pause *= 2
