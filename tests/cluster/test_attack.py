"""Somebody has got hold of the token of a sidecar or of a finisher: what he can reach, on a real API server."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloudrec_local.kubeapi import APPLY, JSON, MERGE, ApiError, Object
from tests.cluster.attacking import CORE, left_alone, refused, rules, with_finisher
from tests.cluster.operating import APPS, FILE, RECORDINGS, Sidecar, World, client, eventually, recording

pytestmark = pytest.mark.cluster

KINDS = ("sidecar", "finisher")


@asynccontextmanager
async def captured(world: World, kind: str) -> AsyncIterator[tuple[Sidecar, dict[str, Object]]]:
    """The token of the sidecar, or of the finisher, of `mine`; and the Pods of `mine` and of `other`."""
    async with left_alone(world, "mine", "other") as pods:
        pod = pods["mine"] if kind == "sidecar" else await with_finisher(world, "mine")
        async with world.sidecar(pod) as sidecar:
            yield sidecar, pods


async def unchanged(world: World, *names: str) -> dict[str, str]:
    """What must not change of these recordings, to be compared."""
    found = {}
    for name in names:
        whole = copy.deepcopy(await world.get(name))
        assert whole is not None
        for key in ("managedFields", "resourceVersion"):
            whole["metadata"].pop(key)
        found[name] = json.dumps(whole, sort_keys=True)
    return found


@pytest.mark.parametrize("kind", KINDS)
async def test_the_token_may_watch_recordings_and_patch_their_status(world: World, kind: str) -> None:
    """By RBAC alone; what of the status is the admission policy's."""
    async with captured(world, kind) as (sidecar, _):
        assert await rules(sidecar.api, world.namespace) == {
            ("cloudrec.dev", "cloudrecordings", "list", ""),
            ("cloudrec.dev", "cloudrecordings", "watch", ""),
            ("cloudrec.dev", "cloudrecordings/status", "patch", ""),
        }
        assert await rules(sidecar.api, "default") == set()


async def test_it_reads_no_secret_and_nothing_else_of_the_cluster(world: World) -> None:
    async with captured(world, "sidecar") as (sidecar, pods):
        core = CORE.format(world.namespace)
        room_token = f"{pods['mine']['metadata']['name']}-room"
        assert await world.admin.get(f"{core}/secrets/{room_token}")
        secrets = ("livekit-keys", "bucket-keys", room_token, f"{pods['other']['metadata']['name']}-room", "")
        for path in (
            *(f"{core}/secrets/{name}".rstrip("/") for name in secrets),
            "/api/v1/secrets",
            f"{core}/pods",
            f"{core}/pods/{pods['mine']['metadata']['name']}",
            f"{core}/pods/{pods['mine']['metadata']['name']}/log",
            f"{core}/configmaps",
            f"{core}/configmaps/kube-root-ca.crt",
            f"{core}/events",
            f"/api/v1/namespaces/{world.namespace}",
            "/api/v1/namespaces",
            "/api/v1/nodes",
            f"{APPS.format(world.namespace)}/demo",
            f"{RECORDINGS.format(world.namespace)}/mine",
            RECORDINGS.format("default"),
            "/apis/cloudrec.dev/v1alpha1/cloudrecordings",
            "/apis/coordination.k8s.io/v1/namespaces/cloudrec-system/leases/cloudrec-operator",
        ):
            await refused(sidecar.api.get(path))
            await refused(sidecar.api.get(path, watch="true"))


async def test_it_creates_changes_and_deletes_nothing(world: World) -> None:
    async with captured(world, "sidecar") as (sidecar, pods):
        before = await unchanged(world, "mine", "other")
        core, pod = CORE.format(world.namespace), pods["other"]["metadata"]["name"]
        made: list[tuple[str, Object]] = [
            (f"{core}/pods", {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}),
            (f"/apis/batch/v1/namespaces/{world.namespace}/jobs", {"metadata": {"name": "x"}}),
            (f"/apis/apps/v1/namespaces/{world.namespace}/deployments", {"metadata": {"name": "x"}}),
            (
                f"/apis/rbac.authorization.k8s.io/v1/namespaces/{world.namespace}/rolebindings",
                {
                    "metadata": {"name": "x"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                },
            ),
            (f"{core}/secrets", {"metadata": {"name": "x"}}),
            (f"{core}/events", {"metadata": {"name": "x"}, "involvedObject": {"namespace": world.namespace}}),
            (f"{core}/serviceaccounts/cloudrec-recorder/token", {"spec": {}}),
            ("/api/v1/namespaces/cloudrec-system/serviceaccounts/cloudrec-operator/token", {"spec": {}}),
            (f"{core}/pods/{pod}/exec?command=sh&stdin=true", {}),
            (f"{core}/pods/{pod}/attach", {}),
            (f"{core}/pods/{pod}/portforward", {}),
            (f"{core}/pods/{pod}/eviction", {"metadata": {"name": pod}}),
            (f"{core}/pods/{pod}/binding", {"metadata": {"name": pod}, "target": {"kind": "Node", "name": "x"}}),
            (RECORDINGS.format(world.namespace), recording("third")),
        ]
        for path, body in made:
            await refused(sidecar.api.request("POST", path, body))
        for path in (f"{core}/pods/{pod}", f"{core}/secrets/bucket-keys", world.path("mine"), world.path("other")):
            await refused(sidecar.api.request("DELETE", path))
            await refused(sidecar.api.request("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE))
        await refused(sidecar.api.request("DELETE", RECORDINGS.format(world.namespace)))
        assert await unchanged(world, "mine", "other") == before


async def test_it_is_nobody_else(world: World) -> None:
    """To impersonate is a verb of its own: ask for it as for anything else."""
    async with captured(world, "sidecar") as (sidecar, _):
        for resource in ("users", "groups", "serviceaccounts"):
            review: Object = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {
                    "resourceAttributes": {
                        "verb": "impersonate",
                        "resource": resource,
                        "namespace": "cloudrec-system" if resource == "serviceaccounts" else "",
                    }
                },
            }
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            assert (await sidecar.api.request("POST", path, review))["status"]["allowed"] is False


@pytest.mark.parametrize("kind", KINDS)
async def test_through_the_status_it_writes_its_own_report_and_nothing_else(world: World, kind: str) -> None:
    async with captured(world, kind) as (sidecar, pods):
        await sidecar.report("mine", state="Idle", ready=True)
        before = await unchanged(world, "mine", "other")
        status, other_pod = f"{world.path('mine')}/status", pods["other"]["metadata"]["name"]
        siblings = [a for a in json.loads(before["mine"])["status"]["attempts"] if a["pod"] != sidecar.pod]
        foreign: list[Object] = [
            {"attempts": [{"pod": pod, "index": 0, "report": {"state": "Ended", "uploaded": True}}]}
            for pod in [*(a["pod"] for a in siblings), other_pod]
        ]
        mine: list[Object] = [
            *foreign,
            {"phase": "Completed"},
            {"taskId": "another"},
            {"replacedBy": "another"},
            {"conditions": []},
            {"callbacks": {"acked": 99}},
            {"attempts": []},
            {"attempts": [{"pod": sidecar.pod, "index": 0, "acked": 99}]},
            {"attempts": [{"pod": sidecar.pod, "index": 0, "podUID": "another"}]},
            {"attempts": [{"pod": sidecar.pod, "index": 0, "failed": True, "reason": "Stopped"}]},
        ]
        for body in mine:
            if all(body.values()):  # applied, an empty list asks for nothing
                await refused(sidecar.write("mine", body))
            await refused(sidecar.api.request("PATCH", status, {"status": body}, content_type=MERGE))
        for body in foreign:
            await refused(sidecar.write("other", body))
        assert await unchanged(world, "mine", "other") == before


async def test_nothing_beside_the_status_changes_with_it(world: World) -> None:
    """Metadata and spec in the body of a status write are passed over by the API server."""
    async with captured(world, "sidecar") as (sidecar, _):
        await sidecar.report("mine", state="Idle", ready=True)
        before = await unchanged(world, "mine")
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "x"}
        body: Object = {
            "metadata": {
                "finalizers": ["x/y"],
                "annotations": {"cloudrec.dev/replay-callbacks": "now"},
                "labels": {"cloudrec.dev/made-by": "gateway"},
                "ownerReferences": [owner],
                "deletionTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"desiredState": "Stopped", "room": {"id": "999"}},
        }
        path = f"{world.path('mine')}/status"
        for given in (body, {"metadata": {"finalizers": None}}):
            await sidecar.api.request("PATCH", path, given, content_type=MERGE)
            assert await unchanged(world, "mine") == before
        removal: Any = [{"op": "remove", "path": "/metadata/finalizers"}]
        await sidecar.api.request("PATCH", path, removal, content_type="application/json-patch+json")
        assert await unchanged(world, "mine") == before


async def test_it_cannot_make_itself_an_owner_of_the_operators_fields(world: World) -> None:
    """What two own, one cannot remove: the operator would try for ever."""
    async with captured(world, "sidecar") as (sidecar, _):
        await sidecar.report("mine", state="Idle", ready=True)
        found = await world.get("mine")
        assert found is not None
        status = found["status"]
        (attempt,) = status["attempts"]
        own = "recorders may only own the report of their own attempt"
        await refused(sidecar.write("mine", {"phase": status["phase"], "attempts": [attempt]}), own)
        await refused(sidecar.write("mine", {"conditions": status["conditions"], "attempts": [attempt]}), own)
        await refused(sidecar.write("mine", {"attempts": [attempt]}), own)
        # nor in the operator's name, which anybody may write into the query
        body: Object = {
            "apiVersion": found["apiVersion"],
            "kind": found["kind"],
            "metadata": {"name": "mine", "namespace": world.namespace},
            "status": {**status, "attempts": [{**attempt, "report": {"state": "Recording"}}]},
        }
        params = {"fieldManager": "cloudrec-operator", "force": "true"}
        await refused(
            sidecar.api.request("PATCH", f"{world.path('mine')}/status", body, content_type=APPLY, params=params), own
        )
        await sidecar.report("mine", state="Recording", ready=True, files=[FILE])


async def test_other_tokens_of_the_same_account_write_nothing(world: World) -> None:
    """One bound to no Pod, to a Pod of no attempt, to one of the right name, and one whose Pod is gone."""
    async with captured(world, "sidecar") as (sidecar, pods):
        await sidecar.report("mine", state="Idle", ready=True)
        before = await unchanged(world, "mine", "other")
        name = pods["mine"]["metadata"]["name"]
        async with client(world.kubeconfig, await world.token("cloudrec-recorder", world.namespace)) as api:
            await refused(Sidecar(api, world.namespace, name).report("mine", state="Ended"), "bound to a Pod")
        foreign = await world.admin.request("POST", world.pods(), double("elsewhere"))
        async with world.sidecar(foreign) as stranger:
            posing = Sidecar(stranger.api, world.namespace, name)
            await refused(posing.report("mine", state="Ended"), "has no attempt")
            entry = {"pod": "elsewhere", "index": 1, "report": {"state": "Ended"}}
            await refused(stranger.write("mine", {"attempts": [entry]}), "has no attempt")
        await world.admin.request("DELETE", f"{world.pods()}/{name}", {"gracePeriodSeconds": 0})
        impostor = await world.admin.request("POST", world.pods(), double(name))
        async with world.sidecar(impostor) as stranger:
            await refused(stranger.report("mine", state="Ended"), "has no attempt")
        # a token that was good has died with its Pod; the API server remembers good tokens for ten seconds
        async with world.sidecar(foreign) as stranger:
            await world.admin.request("DELETE", f"{world.pods()}/elsewhere", {"gracePeriodSeconds": 0})
            await eventually(lambda: nobody(stranger), "the token has died with its Pod")
        assert await unchanged(world, "mine", "other") == before


async def nobody(sidecar: Sidecar) -> bool:
    """Whether its token is not known any more. Until the API server has seen that the Pod is gone it is known, and
    refused all the same: by the schema, since its attempt is not there."""
    with pytest.raises(ApiError) as error:
        await sidecar.report("mine", state="Ended")
    assert error.value.code in (401, 403, 422)
    return error.value.code == 401


def double(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"serviceAccountName": "cloudrec-recorder", "containers": [{"name": "c", "image": "x"}]},
    }


async def test_the_service_account_of_another_namespace_is_a_stranger_here(world: World) -> None:
    """Where somebody may make service accounts and Pods, he may make them under these names."""
    async with captured(world, "sidecar") as (sidecar, pods):
        namespace = f"{world.namespace}-x"
        await world.admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}, "test")
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "cloudrec-recorder"}}
        await world.admin.request("POST", f"{CORE.format(namespace)}/serviceaccounts", account, content_type=JSON)
        pod = await world.admin.request(
            "POST", f"{CORE.format(namespace)}/pods", double(pods["mine"]["metadata"]["name"])
        )
        token = await world.token("cloudrec-recorder", namespace, pod)
        async with client(world.kubeconfig, token) as api:
            await refused(Sidecar(api, world.namespace, sidecar.pod).report("mine", state="Ended"))
        await world.admin.request("DELETE", f"/api/v1/namespaces/{namespace}")
