"""What an attacker has in hand: a service account's token, and the API server's address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloudrec_local.kubeapi import JSON, MERGE, ApiError, KubeApi, Object
from tests.cluster.operating import RECORDINGS, World, client, eventually, recording

CORE = "/api/v1/namespaces/{}"
PUBLIC = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews", "clustertrustbundles"}
"""What Kubernetes lets every service account: ask what it may, and read certificates of authorities."""

Rules = set[tuple[str, str, str, str]]
"""(API group, resource, verb, resource's name or "")."""


async def refused(work: Any, *told: str, code: int = 403) -> None:
    with pytest.raises(ApiError) as error:
        await work
    assert error.value.code == code, error.value
    for part in told:
        assert part in str(error.value)


@asynccontextmanager
async def account(world: World, name: str, namespace: str = "cloudrec-system") -> AsyncIterator[KubeApi]:
    """A client with a token of this service account that is bound to no Pod."""
    async with client(world.kubeconfig, await world.token(name, namespace)) as api:
        yield api


async def rules(api: KubeApi, namespace: str) -> Rules:
    """All that the token may do with resources there, by RBAC (`kubectl auth can-i --list`)."""
    body: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = await api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body)
    return {
        (group, resource, verb, name)
        for rule in answer["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or [""]
        if resource not in PUBLIC
    }


async def policed(api: KubeApi, method: str, path: str, body: Object | None = None, content_type: str = JSON) -> None:
    """An API server enforces a policy a second or more after it was made: wait until it refuses this dry run."""

    async def look() -> bool:
        try:
            await api.request(method, path, body, content_type=content_type, params={"dryRun": "All"})
        except ApiError as error:
            return error.code == 403 and "ValidatingAdmissionPolicy" in str(error)
        return False

    await eventually(look, "admission policies in force")


@asynccontextmanager
async def left_alone(world: World, *names: str) -> AsyncIterator[dict[str, Object]]:
    """The first attempts' Pods of these recordings, with the operator gone again so that only the test writes."""
    async with world.operator():
        for name in names:
            await world.apply(recording(name, robot={"userId": name}))
        pods = {name: await world.pod(name) for name in names}
        for name in names:
            await world.condition(name, "RecorderReady", "False", "Unschedulable")
    async with account(world, "cloudrec-recorder", world.namespace) as api:
        path = f"{RECORDINGS.format(world.namespace)}/{names[0]}/status"
        await policed(api, "PATCH", path, {"status": {"phase": "Completed"}}, MERGE)
    yield pods


async def with_finisher(world: World, name: str) -> Object:
    """The Pod of a finisher of this recording, as the operator would have made it."""
    found = await world.get(name)
    assert found is not None
    owner = {"apiVersion": found["apiVersion"], "kind": found["kind"], "name": name, "uid": found["metadata"]["uid"]}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-f0", "ownerReferences": [owner]},
        "spec": {"serviceAccountName": "cloudrec-recorder", "containers": [{"name": "finisher", "image": "x"}]},
    }
    pod = await world.admin.request("POST", world.pods(), body)
    finisher = {"pod": f"{name}-f0", "podUID": pod["metadata"]["uid"], "index": 0, "role": "Finish"}
    attempts = [*found["status"]["attempts"], finisher]
    await world.admin.request(
        "PATCH", f"{world.path(name)}/status", {"status": {"attempts": attempts}}, content_type=MERGE
    )
    return pod
