"""What a sidecar's token can do, and above all what it cannot: RBAC and admission policy, with real bound tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloudrec_local.kubeapi import MERGE, ApiError, Object
from tests.cluster.operating import FILE, RECORDINGS, Sidecar, World, client, eventually, recording

pytestmark = pytest.mark.cluster


@asynccontextmanager
async def two_recordings(world: World) -> AsyncIterator[tuple[Object, Object]]:
    """Two recordings' Pods, with the operator gone again so that only the test writes."""
    async with world.operator():
        await world.apply(recording("mine"))
        await world.apply(recording("other", robot={"userId": "other"}))
        mine, other = await world.pod("mine"), await world.pod("other")
        for name in ("mine", "other"):
            await world.condition(name, "RecorderReady", "False", "Unschedulable")
    await enforced(world)
    yield mine, other


async def enforced(world: World) -> None:
    """An API server enforces policies a second or more after they were made: wait until one refuses something."""
    token = await world.token("cloudrec-recorder", world.namespace)
    async with client(world.kubeconfig, token) as api:

        async def look() -> bool:
            body: Object = {"status": {"phase": "Completed"}}
            path, params = world.path("mine") + "/status", {"dryRun": "All"}
            try:
                await api.request("PATCH", path, body, content_type=MERGE, params=params)
            except ApiError as error:
                return error.code == 403
            return False

        await eventually(look, "admission policies in force")


async def refused(work: Any, *told: str) -> None:
    with pytest.raises(ApiError) as error:
        await work
    assert error.value.code == 403, error.value
    for part in told:
        assert part in str(error.value)


async def test_a_sidecar_writes_the_report_of_its_own_attempt_and_nothing_else(world: World) -> None:
    async with two_recordings(world) as (mine, other), world.sidecar(mine) as sidecar:
        pod, uid = mine["metadata"]["name"], mine["metadata"]["uid"]
        await sidecar.report("mine", state="Idle", ready=True)
        written = await sidecar.report("mine", state="Recording", ready=True, files=[FILE])
        assert written["status"]["attempts"][0]["report"]["files"] == [FILE]
        assert written["status"]["attempts"][0]["podUID"] == uid

        own = "recorders may only change the report of their own attempt"
        field = "recorders may only change status.attempts"
        await refused(sidecar.write("other", {"attempts": [{"pod": other["metadata"]["name"], "report": {}}]}), pod)
        entry = {"pod": pod, "index": 0, "report": {"state": "Idle"}}
        await refused(sidecar.write("other", {"attempts": [entry]}), "no attempt")
        await refused(sidecar.write("mine", {"phase": "Completed"}), field)
        await refused(sidecar.write("mine", {"operatorEvents": []}), field)
        for key, value in {"podUID": "x", "index": 3, "acked": 9, "reason": "x", "exit": {"code": 0}}.items():
            await refused(sidecar.write("mine", {"attempts": [{"pod": pod, key: value}]}), own)
        await refused(sidecar.write("mine", {"attempts": [{"pod": "new", "index": 1, "report": {}}]}), own)
        removed: Object = {"status": {"attempts": []}}
        await refused(patch(sidecar, world.path("mine") + "/status", removed), own)
        await refused(patch(sidecar, world.path("mine") + "/status", {"status": None}), "status")


async def test_a_sidecar_reaches_nothing_but_its_namespaces_recordings(world: World) -> None:
    async with two_recordings(world) as (mine, _), world.sidecar(mine) as sidecar:
        api, namespace = sidecar.api, world.namespace
        assert len((await api.get(RECORDINGS.format(namespace)))["items"]) == 2
        stopped = {"spec": {"desiredState": "Stopped"}}
        await refused(patch(sidecar, world.path("mine"), stopped))
        await refused(api.request("DELETE", world.path("mine")))
        await refused(api.request("POST", RECORDINGS.format(namespace), recording("third")))
        for path in (
            f"/api/v1/namespaces/{namespace}/secrets/bucket-keys",
            f"/api/v1/namespaces/{namespace}/secrets",
            f"/api/v1/namespaces/{namespace}/pods",
            RECORDINGS.format("default"),
            f"/apis/cloudrec.dev/v1alpha1/namespaces/{namespace}/recordingapps",
            "/apis/cloudrec.dev/v1alpha1/cloudrecordings",
        ):
            await refused(api.get(path))


async def test_a_token_that_is_not_bound_to_the_attempts_pod_is_refused(world: World) -> None:
    async with two_recordings(world) as (mine, _):
        pod = mine["metadata"]["name"]
        unbound = await world.token("cloudrec-recorder", world.namespace)
        async with client(world.kubeconfig, unbound) as api:
            await refused(Sidecar(api, world.namespace, pod).report("mine", state="Idle"), "bound to a Pod")
        # whoever makes a Pod of the attempt's name later gets no further: the uid is another
        await world.admin.request("DELETE", f"{world.pods()}/{pod}", {"gracePeriodSeconds": 0})
        double = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod},
            "spec": {"serviceAccountName": "cloudrec-recorder", "containers": [{"name": "c", "image": "x"}]},
        }
        impostor = await world.admin.request("POST", world.pods(), double)
        async with world.sidecar(impostor) as sidecar:
            await refused(sidecar.report("mine", state="Idle"), "has no attempt")


async def test_nothing_is_written_before_the_pods_uid_is_in_status(world: World) -> None:
    async with two_recordings(world) as (mine, _), world.sidecar(mine) as sidecar:
        body = {"status": {"attempts": [{"pod": mine["metadata"]["name"], "index": 0}]}}
        await world.admin.request("PATCH", world.path("mine") + "/status", body, content_type=MERGE)
        await refused(sidecar.report("mine", state="Idle"), "has no attempt")


async def test_the_operator_has_no_more_than_it_needs(world: World) -> None:
    token = await world.token("cloudrec-operator", "cloudrec-system")
    allowed = [
        ("list", "cloudrec.dev", "cloudrecordings", "", ""),
        ("patch", "cloudrec.dev", "cloudrecordings", "status", ""),
        ("create", "", "pods", "", ""),
        ("get", "", "secrets", "", ""),
        ("bind", "rbac.authorization.k8s.io", "clusterroles", "", "cloudrec-recorder"),
    ]
    denied = [
        ("list", "", "secrets", "", ""),
        ("watch", "", "secrets", "", ""),
        ("delete", "", "secrets", "", ""),
        ("create", "cloudrec.dev", "cloudrecordings", "", ""),
        ("create", "", "pods", "exec", ""),
        ("get", "", "pods", "log", ""),
        ("patch", "", "pods", "", ""),
        ("create", "", "serviceaccounts", "token", ""),
        ("bind", "rbac.authorization.k8s.io", "clusterroles", "", "cluster-admin"),
        ("escalate", "rbac.authorization.k8s.io", "clusterroles", "", ""),
        ("patch", "rbac.authorization.k8s.io", "rolebindings", "", ""),
        ("create", "rbac.authorization.k8s.io", "clusterrolebindings", "", ""),
        ("patch", "", "nodes", "", ""),
        ("list", "", "namespaces", "", ""),
        ("get", "coordination.k8s.io", "leases", "", ""),
    ]
    async with client(world.kubeconfig, token) as api:

        async def may(verb: str, group: str, resource: str, subresource: str, name: str) -> bool:
            attributes = {
                "verb": verb,
                "group": group,
                "resource": resource,
                "subresource": subresource,
                "name": name,
                "namespace": world.namespace,
            }
            review = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            }
            answer = await api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
            return bool(answer["status"]["allowed"])

        assert [rule for rule in allowed if not await may(*rule)] == []
        assert [rule for rule in denied if await may(*rule)] == []
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "grab"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": world.namespace}],
        }
        path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}/rolebindings"
        await refused(api.request("POST", path, binding))


async def patch(sidecar: Sidecar, path: str, body: Object) -> Object:
    return await sidecar.api.request("PATCH", path, body, content_type=MERGE)
