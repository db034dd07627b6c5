"""The gateway's own manifests: what it may do, and its Deployment on a node."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from cloudrec_local import install
from cloudrec_local.home import manifests
from cloudrec_local.kubeapi import KubeApi, Object
from cloudrec_local.stack import Stack
from cloudrec_local.state import free_ports
from tests.cluster.operating import World, client, eventually

pytestmark = pytest.mark.cluster


async def test_the_gateway_has_no_more_than_it_needs(world: World) -> None:
    token = await world.token("cloudrec-gateway", "cloudrec-system")
    reading = ("get", "list", "watch")
    allowed = [
        *((verb, "cloudrec.dev", "recordingapps", "") for verb in ("list", "watch")),
        *((verb, "cloudrec.dev", "cloudrecordings", "") for verb in (*reading, "create", "patch", "delete")),
        *((verb, "", "secrets", "") for verb in ("get", "create", "delete")),
    ]
    denied = [
        *(("patch", "cloudrec.dev", name, sub) for name, sub in (("cloudrecordings", "status"), ("recordingapps", ""))),
        *((verb, "", "secrets", "") for verb in ("list", "watch", "patch", "update", "deletecollection")),
        ("get", "cloudrec.dev", "recordingapps", ""),
        ("deletecollection", "cloudrec.dev", "cloudrecordings", ""),
        ("list", "", "pods", ""),
        ("create", "", "pods", ""),
        ("create", "", "serviceaccounts", "token"),
        ("list", "discovery.k8s.io", "endpointslices", ""),
        ("create", "", "events", ""),
    ]
    async with client(world.kubeconfig, token) as api:

        async def may(verb: str, group: str, resource: str, subresource: str) -> bool:
            attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
            review: Object = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {**attributes, "namespace": world.namespace}},
            }
            answer = await api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
            return bool(answer["status"]["allowed"])

        for asked in allowed:
            assert await may(*asked), asked
        for asked in denied:
            assert not await may(*asked), asked


async def test_its_deployment_becomes_available(node_stack: Stack) -> None:
    (deployment,) = (
        document
        for path in manifests()
        for document in install.documents(path.read_text())
        if (document["kind"], document["metadata"]["name"]) == ("Deployment", "cloudrec-gateway")
    )
    port = free_ports(["gateway"])["gateway"]
    path = "/apis/apps/v1/namespaces/cloudrec-system/deployments/cloudrec-gateway"
    async with KubeApi.from_kubeconfig(node_stack.home.kubeconfig) as api, aiohttp.ClientSession() as session:

        async def ready() -> bool:
            conditions = (await api.get(path)).get("status", {}).get("conditions", ())
            return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)

        async def gone() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{port}/healthz"):
                    return False
            except aiohttp.ClientError:
                return True

        await api.apply(install.on_this_host(deployment, port))
        try:
            await eventually(ready, "available", 60)
            async with session.get(f"http://127.0.0.1:{port}/openapi.json") as answer:
                assert answer.status == 200
        finally:
            await api.request("DELETE", path, {"propagationPolicy": "Background"})
        await asyncio.wait_for(eventually(gone, "ended", 30), 40)
