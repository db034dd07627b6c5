"""Driving an operator against a real API server: a namespace of its own, and kubelet's and sidecar's part by hand."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from cloudrec_local.kubeapi import APPLY, MERGE, STRATEGIC, ApiError, KubeApi, Object
from cloudrec_operator.running import operate
from cloudrec_operator.settings import Settings

DEADLINE = 15.0
RECORDINGS = "/apis/cloudrec.dev/v1alpha1/namespaces/{}/cloudrecordings"
APPS = "/apis/cloudrec.dev/v1alpha1/namespaces/{}/recordingapps"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/cloudrec-system/leases/cloudrec-operator"
FILE = {"userId": "alice", "media": "main", "kind": "audio", "beginTimeStamp": 1_700_000_000_000}
JOINED = {"seq": 1, "type": 301, "ts": 1_700_000_000_000, "args": {"Status": 0}}


def recording(name: str, **spec: Any) -> Object:
    """A CloudRecording that is good in a `World`."""
    return {
        "apiVersion": "cloudrec.dev/v1alpha1",
        "kind": "CloudRecording",
        "metadata": {"name": name},
        "spec": {
            "appRef": {"name": "demo"},
            "room": {"id": "12345"},
            "storage": {
                "bucket": {
                    "endpoint": "http://127.0.0.1:1",
                    "bucket": "recordings",
                    "credentialsSecretRef": {"name": "bucket-keys"},
                }
            },
            **spec,
        },
    }


def app(name: str = "demo") -> Object:
    livekit = {"url": "ws://127.0.0.1:1", "apiKeySecretRef": {"name": "livekit-keys"}}
    return {
        "apiVersion": "cloudrec.dev/v1alpha1",
        "kind": "RecordingApp",
        "metadata": {"name": name},
        "spec": {"sdkAppId": 1400000001, "room": {"livekit": livekit}},
    }


def secret(name: str, **values: str) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


LIVEKIT_KEYS = secret("livekit-keys", apiKey="devkey", apiSecret="s" * 40)
BUCKET_KEYS = secret("bucket-keys", accessKey="AK", secretKey="SK")


async def eventually(look: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """The first true result of `look` (a coroutine function); fails after `seconds`."""
    last: Any = None
    try:
        async with asyncio.timeout(seconds):
            while not (last := await look()):
                await asyncio.sleep(0.05)
            return last
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds} s (last: {last!r})") from None


@dataclass
class World:
    """A namespace, and what stands in it."""

    admin: KubeApi
    namespace: str
    kubeconfig: Path

    async def create(self) -> None:
        await self.admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}, "test")
        await eventually(self._served, "recordings served")

    async def _served(self) -> bool:
        """A CRD of a moment ago has no storage yet."""
        try:
            await self.admin.get(RECORDINGS.format(self.namespace))
        except ApiError as error:
            if error.code != 429:
                raise
            return False
        return True

    async def remove(self) -> None:
        """Let go of what a test left (its operator is gone), and delete the namespace without waiting for its end."""
        for left in (await self.admin.get(RECORDINGS.format(self.namespace)))["items"]:
            if left["metadata"].get("finalizers"):
                body: Object = {"metadata": {"finalizers": []}}
                await self.admin.request("PATCH", self.path(left["metadata"]["name"]), body, content_type=MERGE)
        await self.admin.request("DELETE", f"/api/v1/namespaces/{self.namespace}")

    # --- objects ----------------------------------------------------------------------------------------------------

    async def apply(self, body: Object) -> Object:
        body = {**body, "metadata": {**body["metadata"], "namespace": self.namespace}}
        return await self.admin.apply(body, "test")

    async def furnish(self) -> None:
        """Both Secrets and the app."""
        for body in (LIVEKIT_KEYS, BUCKET_KEYS, app()):
            await self.apply(body)

    def path(self, name: str) -> str:
        return f"{RECORDINGS.format(self.namespace)}/{name}"

    def pods(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods"

    async def get(self, name: str) -> Object | None:
        return await self.admin.get_or_none(self.path(name))

    async def patch(self, name: str, spec: Mapping[str, Any]) -> Object:
        return await self.admin.request("PATCH", self.path(name), {"spec": dict(spec)}, content_type=MERGE)

    async def delete(self, name: str) -> None:
        await self.admin.request("DELETE", self.path(name))

    async def until(self, name: str, test: Callable[[Object], Any], what: str, seconds: float = DEADLINE) -> Object:
        """The recording, once `test` holds of it; the message of a failure shows its status."""
        last: Object | None = None

        async def look() -> Object | None:
            nonlocal last
            last = await self.get(name)
            return last if last is not None and test(last) else None

        try:
            found: Object = await eventually(look, what, seconds)
        except AssertionError as error:
            status = last and {**last.get("status", {}), "metadata": last["metadata"].get("finalizers")}
            raise AssertionError(f"{error}\n{json.dumps(status, indent=1)}") from None
        return found

    async def phase(self, name: str, phase: str, seconds: float = DEADLINE) -> Object:
        return await self.until(name, lambda o: o.get("status", {}).get("phase") == phase, phase, seconds)

    async def condition(self, name: str, kind: str, status: str, reason: str) -> Object:
        return await self.until(
            name, lambda o: (status, reason) == condition(o, kind)[:2], f"{kind}={status} ({reason})"
        )

    async def gone(self, name: str, seconds: float = DEADLINE) -> None:
        async def look() -> bool:
            return await self.get(name) is None

        await eventually(look, f"{name} gone", seconds)

    async def pod(self, name: str) -> Object:
        """The Pod of the newest attempt, once its uid is in status."""
        found = await self.until(
            name, lambda o: o.get("status", {}).get("attempts", [{}])[-1].get("podUID"), "podUID in status"
        )
        return await self.admin.get(f"{self.pods()}/{found['status']['attempts'][-1]['pod']}")

    async def successor(self, name: str, index: int, seconds: float = DEADLINE) -> Object:
        """The Pod of attempt `index`, once its uid is in status."""

        def made(found: Object) -> bool:
            attempts = found.get("status", {}).get("attempts", [])
            return any(a["index"] == index and "podUID" in a for a in attempts)

        found = await self.until(name, made, f"attempt {index} with its Pod", seconds)
        pod = next(a["pod"] for a in found["status"]["attempts"] if a["index"] == index)
        return await self.admin.get(f"{self.pods()}/{pod}")

    async def pod_gone(self, name: str) -> None:
        async def look() -> bool:
            return await self.admin.get_or_none(f"{self.pods()}/{name}") is None

        await eventually(look, f"Pod {name} gone")

    async def events(self, name: str) -> list[Object]:
        found = await self.admin.get(
            f"/api/v1/namespaces/{self.namespace}/events", fieldSelector=f"involvedObject.name={name}"
        )
        return list(found["items"])

    async def told(self, name: str, reason: str) -> None:
        """Wait for a Kubernetes Event of the recording."""

        async def look() -> bool:
            return reason in [event["reason"] for event in await self.events(name)]

        await eventually(look, f"event {reason}")

    # --- kubelet's and sidecar's part -------------------------------------------------------------------------------

    async def pod_status(self, pod: str, recorder: Mapping[str, Any], uploader: Mapping[str, Any], phase: str) -> None:
        """What a kubelet would say of the two containers' `state`."""

        def container(name: str, state: Mapping[str, Any]) -> Object:
            return {
                "name": name,
                "image": "cloudrec/recorder:0.1.0",
                "imageID": "",
                "ready": "running" in state,
                "restartCount": 0,
                "state": dict(state),
            }

        status = {
            "phase": phase,
            "containerStatuses": [container("recorder", recorder)],
            "initContainerStatuses": [container("uploader", uploader)],
        }
        await self.admin.request("PATCH", f"{self.pods()}/{pod}/status", {"status": status}, content_type=STRATEGIC)

    async def run_pod(self, pod: str) -> None:
        await self.pod_status(pod, RUNNING, RUNNING, "Running")

    async def place(self, pod: str, node: str) -> None:
        """Bind a Pod to a node as the scheduler does, and run it there as its kubelet does."""
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        await self.admin.request("POST", f"{self.pods()}/{pod}/binding", {"metadata": {"name": pod}, "target": target})
        await self.run_pod(pod)

    async def end_recorder(self, pod: str, code: int = 0, message: str = "", phase: str = "Running") -> None:
        await self.pod_status(pod, ended(code, message), RUNNING, phase)

    @asynccontextmanager
    async def sidecar(self, pod: Object) -> AsyncIterator[Sidecar]:
        """A sidecar's client, with a token bound to its Pod."""
        token = await self.token("cloudrec-recorder", self.namespace, pod)
        async with client(self.kubeconfig, token) as api:
            yield Sidecar(api, self.namespace, pod["metadata"]["name"])

    async def token(self, account: str, namespace: str, pod: Object | None = None) -> str:
        spec: Object = {"expirationSeconds": 3600}
        if pod is not None:
            meta = pod["metadata"]
            spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        made = await self.admin.request(
            "POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", {"spec": spec}
        )
        return str(made["status"]["token"])

    # --- the operator -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def operator(self, **settings: Any) -> AsyncIterator[asyncio.Task[None]]:
        """An operator with its real service account, watching this namespace only."""
        folder = await self.service_account()
        chosen = Settings(
            **{
                "serviceaccount": str(folder),
                "namespace": self.namespace,
                "health_port": 0,
                "lease_seconds": 3,
                "retry_seconds": 0.5,
                "identity": "op",
                **settings,
            }
        )
        stop = asyncio.Event()
        task = asyncio.create_task(operate(chosen, stop))
        try:
            yield task
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)

    async def service_account(self) -> Path:
        """The folder that a Pod of the operator would have mounted."""
        folder = self.kubeconfig.parent / f"serviceaccount-{self.namespace}"
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text(await self.token("cloudrec-operator", "cloudrec-system"))
        (folder / "namespace").write_text("cloudrec-system")
        (folder / "ca.crt").write_text(authority(self.kubeconfig))
        return folder


RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def ended(code: int, message: str = "") -> Object:
    return {
        "terminated": {
            "exitCode": code,
            "reason": "Error" if code else "Completed",
            "message": message,
            "startedAt": "2026-01-01T00:00:00Z",
            "finishedAt": "2026-01-01T00:01:00Z",
        }
    }


def condition(recording: Object, kind: str) -> tuple[str, str, str]:
    """(status, reason, message) of a condition; empty when there is none."""
    for found in recording.get("status", {}).get("conditions", ()):
        if found["type"] == kind:
            return found["status"], found["reason"], found.get("message", "")
    return "", "", ""


@dataclass
class Sidecar:
    """Reports as the uploader does: server-side apply of its own attempt's `report`."""

    api: KubeApi
    namespace: str
    pod: str

    async def report(self, name: str, **report: Any) -> Object:
        return await self.write(name, {"attempts": [{"pod": self.pod, "report": report}]})

    async def write(self, name: str, status: Mapping[str, Any]) -> Object:
        body = {
            "apiVersion": "cloudrec.dev/v1alpha1",
            "kind": "CloudRecording",
            "metadata": {"name": name, "namespace": self.namespace},
            "status": dict(status),
        }
        path = f"{RECORDINGS.format(self.namespace)}/{name}/status"
        params = {"fieldManager": f"cloudrec-uploader-{self.pod}", "force": "true"}
        return await self.api.request("PATCH", path, body, content_type=APPLY, params=params)


@asynccontextmanager
async def fake_node(admin: KubeApi, name: str) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """A Node that no kubelet stands behind; yields what sets its condition Ready to "True", "False" or "Unknown"."""
    await admin.request("POST", "/api/v1/nodes", {"metadata": {"name": name}, "spec": {"unschedulable": True}})

    async def ready(status: str) -> None:
        condition = {"type": "Ready", "status": status, "reason": "Test", "message": "the kubelet said no word"}
        body: Object = {"status": {"conditions": [condition]}}
        await admin.request("PATCH", f"/api/v1/nodes/{name}/status", body, content_type=STRATEGIC)

    await ready("True")
    try:
        yield ready
    finally:
        if await admin.get_or_none(f"/api/v1/nodes/{name}") is not None:
            await admin.request("DELETE", f"/api/v1/nodes/{name}")


def authority(kubeconfig: Path) -> str:
    config = yaml.safe_load(kubeconfig.read_text())
    return base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()


def server(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"])


class TokenApi(KubeApi):
    """A client that shows a bearer token instead of a certificate."""

    def __init__(self, server: str, context: ssl.SSLContext, token: str) -> None:
        super().__init__(server, context)
        self._token = token

    async def __aenter__(self) -> KubeApi:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._context),
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=30),
        )
        return self


def client(kubeconfig: Path, token: str) -> KubeApi:
    return TokenApi(server(kubeconfig), ssl.create_default_context(cadata=authority(kubeconfig)), token)
