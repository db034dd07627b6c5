"""What a new stack gets once its servers answer: the bucket, the CRDs, the operator and a first RecordingApp."""

from __future__ import annotations

import asyncio
import copy
import string
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .errors import StackError
from .home import Home, crds, manifests
from .kubeapi import MERGE, UNREACHABLE, ApiError, KubeApi, Object
from .state import LOOPBACK, SDK_APP_ID, Part, StackState

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CORSConfigurationTypeDef

DEADLINE = 60.0
RUNNING = ("Deployment", "Service")
"""Kinds of what runs, to be applied when all that it needs is there."""
TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
VOD_BUCKET = "vod"
CORS: CORSConfigurationTypeDef = {
    "CORSRules": [
        {
            "AllowedOrigins": ["*"],
            "AllowedMethods": ["GET", "HEAD"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag", "Content-Length", "Content-Range"],
            "MaxAgeSeconds": 3600,
        }
    ]
}


def version() -> str:
    """The version of this distribution; the project's images carry it as their tag."""
    return metadata.version("cloudrec")


def buckets(state: StackState) -> None:
    """Make the stack's buckets, of recordings and of VOD, readable across origins. Idempotent."""
    if "bucket" not in state.parts:
        return
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=state.s3_url,
        region_name="us-east-1",
        aws_access_key_id=state.s3_access_key,
        aws_secret_access_key=state.s3_secret_key.get_secret_value(),
        config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=5, proxies={}),
    )
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            for name in (state.bucket, VOD_BUCKET):
                try:
                    client.create_bucket(Bucket=name)
                except ClientError as error:
                    if error.response["Error"]["Code"] not in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                        raise
                client.put_bucket_cors(Bucket=name, CORSConfiguration=CORS)
            return
        except (ClientError, BotoCoreError) as error:  # its volume servers take a moment longer than its port
            if time.monotonic() > deadline:
                raise StackError(f"the buckets could not be made: {error}") from error
            time.sleep(0.1)
        finally:
            client.close()


def values(state: StackState) -> dict[str, str]:
    """What the templates in `manifests/` may name."""
    return {
        "version": state.version,
        "livekit_url": state.livekit_url,
        "livekit_key": state.livekit_key,
        "livekit_secret": state.livekit_secret.get_secret_value(),
        "s3_endpoint": state.s3_url,
        "s3_bucket": state.bucket,
        "vod_bucket": VOD_BUCKET,
        "s3_access_key": state.s3_access_key,
        "s3_secret_key": state.s3_secret_key.get_secret_value(),
        "gateway_secret_id": state.gateway_secret_id,
        "gateway_secret_key": state.gateway_secret_key.get_secret_value(),
        "sdk_app_id": str(SDK_APP_ID),
        "callback_url": state.callback_url or "",
        "callback_key": state.callback_key.get_secret_value(),
    }


def render(template: str, known: dict[str, str]) -> list[Object]:
    """Fill `${name}` in a manifest's text; the documents in it. Raises KeyError on an unknown name."""
    return documents(string.Template(template).substitute(known))


def on_loopback(deployment: Object, port: int) -> Object:
    """The operator's Deployment for this machine: its health port on the Pod's own loopback address and a free port.

    Without network namespaces the manifest's port on all addresses would be the whole machine's.
    """
    adapted = copy.deepcopy(deployment)
    for container in adapted["spec"]["template"]["spec"]["containers"]:
        here: dict[str, Object] = {
            "CLOUDREC_HEALTH_HOST": {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            "CLOUDREC_HEALTH_PORT": {"value": str(port)},
        }
        others = [entry for entry in container.get("env", []) if entry["name"] not in here]
        container["env"] = others + [{"name": name, **source} for name, source in here.items()]
        for entry in container.get("ports", []):
            if entry["name"] == "health":
                entry["containerPort"] = port
    return adapted


def on_this_host(deployment: Object, port: int) -> Object:
    """The gateway's Deployment for this machine: one replica, at an address that stays.

    Addresses of Pods are loopback's here, which no EndpointSlice takes, so there is no Service to count replicas by.
    """
    adapted = copy.deepcopy(deployment)
    adapted["spec"].update(replicas=1, strategy={"type": "Recreate"})
    pod = adapted["spec"]["template"]["spec"]
    pod["hostNetwork"] = True
    for container in pod["containers"]:
        here = {"CLOUDREC_PORT": str(port), "CLOUDREC_SERVICE": "", "CLOUDREC_DRAIN_SECONDS": "0"}
        others = [entry for entry in container.get("env", []) if entry["name"] not in here]
        container["env"] = others + [{"name": name, "value": value} for name, value in here.items()]
        for entry in container.get("ports", []):
            if entry["name"] == "http":
                entry["containerPort"] = port
    return adapted


def documents(text: str) -> list[Object]:
    """The non-empty documents of a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document]


def _own(name: str, known: dict[str, str]) -> list[Object]:
    return render(Path(str(files("cloudrec_local"))).joinpath("manifests", name).read_text(), known)


def sample(state: StackState) -> list[Object]:
    """The first application: Secrets and a RecordingApp for this stack's servers, with callbacks to its receiver."""
    found = _own("sample.yaml", values(state))
    if state.callback_url is None:
        for app in (resource for resource in found if resource["kind"] == "RecordingApp"):
            del app["spec"]["callback"]
    return found


def cluster(state: StackState, home: Home, report: Callable[[str], None]) -> None:
    """Apply everything to the API server and wait until it took effect. Idempotent."""
    if "api" in state.parts:
        _run(_cluster(state, home, report))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end: here, where Ctrl-C ends it, or in a thread when the caller is itself inside an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


async def _cluster(state: StackState, home: Home, report: Callable[[str], None]) -> None:
    async with KubeApi.from_kubeconfig(home.kubeconfig) as api:
        definitions = [document for path in crds() for document in documents(path.read_text())]
        # The controller makes these a few seconds later; Pods of the first seconds need not wait for it.
        await _apply(api, _own("namespaces.yaml", {}))
        await _apply(api, definitions)
        services = [d for path in manifests() for d in documents(path.read_text())]
        await _apply(api, [d for d in services if d["kind"] not in RUNNING])
        for definition in definitions:
            await _until(api, definition, _established, "was not established")
        report("resources and access rules are installed")
        if "node" in state.parts:
            await _open_node(api, state.node)
            report("the node is ready")
        if "operator" not in state.parts:
            return
        await _apply(api, sample(state))
        running = [d for d in services if d["kind"] in RUNNING and _part(d) in state.parts]
        if state.address == LOOPBACK:
            running = [here for d in running if (here := _here(d, state)) is not None]
        await _apply(api, running)
        for resource in running:
            if resource["kind"] == "Deployment":
                await _until(api, resource, _available, "did not become available")
                report(f"the {_part(resource)} is ready")


async def _apply(api: KubeApi, resources: Iterable[Object]) -> None:
    deadline = time.monotonic() + DEADLINE
    for resource in resources:
        while True:
            try:
                await api.apply(resource)
                break
            except (ApiError, *UNREACHABLE) as error:
                # kinds just defined and namespaces just made take a moment to be known everywhere
                final = isinstance(error, ApiError) and error.code not in (403, 404, 409, 429, 500, 503)
                if final or time.monotonic() > deadline:
                    name = f"{resource['kind']} {resource['metadata']['name']}"
                    raise StackError(f"{name} could not be applied: {error}") from error
                await asyncio.sleep(0.1)


async def _open_node(api: KubeApi, name: str) -> None:
    """Wait for the node and take its not-ready taint, which the controller would do some seconds later."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    await _until(api, node, lambda found: _condition(found, "Ready"), "was not ready")
    path = f"/api/v1/nodes/{name}"
    taints = (await api.get(path))["spec"].get("taints", [])
    others = [taint for taint in taints if taint["key"] not in TAINTS]
    if others != taints:
        await api.request("PATCH", path, {"spec": {"taints": others}}, content_type=MERGE)


async def _until(api: KubeApi, resource: Object, holds: Callable[[Object], bool], otherwise: str) -> None:
    meta = resource["metadata"]
    path = await api.path(resource["apiVersion"], resource["kind"], meta.get("namespace", "default"))
    deadline = time.monotonic() + DEADLINE
    while True:
        current = await api.get_or_none(f"{path}/{meta['name']}") or {}
        if holds(current):
            return
        if time.monotonic() > deadline:
            conditions = current.get("status", {}).get("conditions", [])
            said = "; ".join(f"{c['type']}={c['status']}: {c.get('message', '')}" for c in conditions)
            raise StackError(f"{resource['kind']} {meta['name']} {otherwise} within {DEADLINE:.0f} s ({said})")
        await asyncio.sleep(0.05)


def _condition(resource: Object, kind: str) -> bool:
    conditions = resource.get("status", {}).get("conditions", [])
    return any(c["type"] == kind and c["status"] == "True" for c in conditions)


def _part(resource: Object) -> Part:
    part: Part = resource["metadata"]["labels"]["app.kubernetes.io/component"]
    return part


def _here(resource: Object, state: StackState) -> Object | None:
    """As it is to be on this machine; None when it cannot be."""
    if resource["kind"] != "Deployment":
        return None
    if _part(resource) == "gateway":
        return on_this_host(resource, state.ports["gateway"])
    return on_loopback(resource, state.ports["operator-health"])


def _established(resource: Object) -> bool:
    return _condition(resource, "Established")


def _available(resource: Object) -> bool:
    generation = resource.get("metadata", {}).get("generation", 0)
    observed = resource.get("status", {}).get("observedGeneration", -1)
    return bool(observed >= generation) and _condition(resource, "Available")
