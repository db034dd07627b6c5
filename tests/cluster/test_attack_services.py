"""Somebody has got hold of the operator's or the gateway's token: RBAC has no verb too many, policies hold the rest."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from cloudrec_local.kubeapi import APPLY, MERGE, KubeApi, Object
from tests.cluster.attacking import CORE, account, policed, refused, rules
from tests.cluster.gatewaying import OTHER_APP_ID, OTHER_ID, OTHER_KEY, SDK_APP_ID, furnish, gateway
from tests.cluster.operating import RECORDINGS, World, recording, secret
from tests.cluster.test_gateway import refused as told

pytestmark = pytest.mark.cluster

CLOUDREC, RBAC = "cloudrec.dev", "rbac.authorization.k8s.io"
CAN = {
    # finalizer and time to live; each status, with owner references that block deletion
    *((CLOUDREC, "cloudrecordings", verb, "") for verb in ("get", "list", "watch", "patch", "delete")),
    (CLOUDREC, "cloudrecordings/status", "patch", ""),
    (CLOUDREC, "cloudrecordings/finalizers", "update", ""),
    *((CLOUDREC, "recordingapps", verb, "") for verb in ("get", "list", "watch")),
    *(("", "pods", verb, "") for verb in ("get", "list", "watch", "create", "delete")),
    # is a Pod's node lost, is its namespace being deleted
    *(("", "nodes", verb, "") for verb in ("get", "list", "watch")),
    ("", "namespaces", "get", ""),
    # keys of apps and buckets are read; room tokens are applied, which is a patch, and a create for a new one
    *(("", "secrets", verb, "") for verb in ("get", "create", "patch")),
    # access for recorders, in each namespace
    ("", "serviceaccounts", "create", ""),
    (RBAC, "rolebindings", "create", ""),
    (RBAC, "clusterroles", "bind", "cloudrec-recorder"),
    ("policy", "poddisruptionbudgets", "create", ""),
    ("", "events", "create", ""),
}
LEADS = {
    ("coordination.k8s.io", "leases", "create", ""),
    *(("coordination.k8s.io", "leases", verb, "cloudrec-operator") for verb in ("get", "update")),
}
SERVES = {
    *((CLOUDREC, "cloudrecordings", verb, "") for verb in ("get", "list", "watch", "create", "patch", "delete")),
    *((CLOUDREC, "recordingapps", verb, "") for verb in ("list", "watch")),
    *(("", "secrets", verb, "") for verb in ("get", "create", "delete")),
}
REPLICAS = {("discovery.k8s.io", "endpointslices", verb, "") for verb in ("list", "watch")}

TOKEN: Object = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "grab", "annotations": {"kubernetes.io/service-account.name": "default"}},
    "type": "kubernetes.io/service-account-token",
}
"""A Secret that the controller manager fills with a token of any service account."""


async def test_operator_and_gateway_may_what_they_do(world: World) -> None:
    async with account(world, "cloudrec-operator") as operator, account(world, "cloudrec-gateway") as gateway:
        assert await rules(operator, world.namespace) == CAN
        assert await rules(operator, "cloudrec-system") == CAN | LEADS
        assert await rules(gateway, world.namespace) == SERVES
        assert await rules(gateway, "cloudrec-system") == SERVES | REPLICAS


async def ready(world: World, api: KubeApi) -> Object:
    """A recording to own things, once the policy for this token is in force; as an owner reference."""
    made = await world.apply({**recording("mine"), "metadata": {"name": "mine", "labels": {"a": "b"}}})
    await policed(api, "POST", f"{CORE.format(world.namespace)}/secrets", secret("x"))
    return {"apiVersion": made["apiVersion"], "kind": made["kind"], "name": "mine", "uid": made["metadata"]["uid"]}


def owned(body: Object, owner: Object) -> Object:
    return {**body, "metadata": {**body["metadata"], "ownerReferences": [owner]}}


async def test_the_operators_token_makes_no_other_token(world: World) -> None:
    async with account(world, "cloudrec-operator") as api:
        owner = await ready(world, api)
        secrets = f"{CORE.format(world.namespace)}/secrets"
        await refused(api.request("POST", secrets, TOKEN), "belong to a CloudRecording")
        await refused(api.request("POST", secrets, owned(TOKEN, owner)), "type Opaque")
        applied = {"fieldManager": "cloudrec-operator", "force": "true"}
        await refused(
            api.request("PATCH", f"{secrets}/grab", owned(TOKEN, owner), content_type=APPLY, params=applied), "Opaque"
        )
        await refused(
            api.request(
                "POST", f"{CORE.format('cloudrec-system')}/serviceaccounts/cloudrec-operator/token", {"spec": {}}
            )
        )
        # what others made is not changed, not even by claiming it
        mine = owned(secret("bucket-keys", accessKey="x"), owner)
        await refused(
            api.request("PATCH", f"{secrets}/bucket-keys", mine, content_type=APPLY, params=applied),
            "belong to a CloudRecording",
        )
        await api.request("POST", secrets, owned(secret("room", token="x"), owner))


def pod(owner: Object) -> Object:
    """As harmless as the operator's own."""
    return owned(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {
                "serviceAccountName": "cloudrec-recorder",
                "securityContext": {"runAsNonRoot": True},
                "containers": [{"name": "c", "image": "x", "securityContext": {"allowPrivilegeEscalation": False}}],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            },
        },
        owner,
    )


PODS: list[tuple[str, dict[str, Any]]] = [
    ("another's account", {"serviceAccountName": "default"}),
    ("the host's network", {"hostNetwork": True}),
    ("the host's processes", {"hostPID": True}),
    ("the host's files", {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
    ("root", {"securityContext": {}}),
    (
        "a capability",
        {
            "containers": [
                {
                    "name": "c",
                    "image": "x",
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"add": ["NET_RAW"]}},
                }
            ]
        },
    ),
    ("a way up", {"containers": [{"name": "c", "image": "x"}]}),
    ("a way up first", {"initContainers": [{"name": "i", "image": "x"}]}),
]


async def test_the_operators_token_runs_recorders_only(world: World) -> None:
    async with account(world, "cloudrec-operator") as api:
        owner = await ready(world, api)
        await world.admin.request(
            "POST", f"{CORE.format(world.namespace)}/serviceaccounts", {"metadata": {"name": "cloudrec-recorder"}}
        )
        good = pod(owner)
        for _, change in PODS:
            bad = copy.deepcopy(good)
            bad["spec"].update(change)
            await refused(api.request("POST", world.pods(), bad), "service account cloudrec-recorder")
        unowned = copy.deepcopy(good)
        unowned["metadata"].pop("ownerReferences")
        await refused(api.request("POST", world.pods(), unowned), "belong to a CloudRecording")
        await world.admin.request("POST", world.pods(), {**unowned, "metadata": {"name": "others"}})
        await refused(api.request("DELETE", f"{world.pods()}/others"), "belong to a CloudRecording")
        await api.request("POST", world.pods(), good)
        await api.request("DELETE", f"{world.pods()}/p")


async def test_the_operators_token_changes_no_spec(world: World) -> None:
    async with account(world, "cloudrec-operator") as api:
        await ready(world, api)
        wish: Object = {"spec": {"desiredState": "Stopped"}}
        await refused(api.request("PATCH", world.path("mine"), wish, content_type=MERGE), "what a recording is to be")
        held: Object = {"metadata": {"finalizers": ["cloudrec.dev/recording"]}}
        await api.request("PATCH", world.path("mine"), held, content_type=MERGE)


async def test_the_gateways_token_makes_and_deletes_its_own_alone(world: World) -> None:
    async with account(world, "cloudrec-gateway") as api:
        owner = await ready(world, api)
        secrets, label = f"{CORE.format(world.namespace)}/secrets", {"cloudrec.dev/made-by": "gateway"}
        labelled = {**TOKEN, "metadata": {**TOKEN["metadata"], "labels": label}}
        await refused(api.request("POST", secrets, owned(labelled, owner)), "type Opaque")
        await refused(api.request("POST", secrets, labelled), "type Opaque")
        for name in ("bucket-keys", "livekit-keys"):
            await refused(api.request("DELETE", f"{secrets}/{name}"), "labelled as made by it")
        mine = world.path("mine")
        await refused(api.request("DELETE", mine), "labelled as made by it")
        for change in (
            {"labels": label},
            {"finalizers": ["x/y"]},
            {"annotations": {"cloudrec.dev/replay-callbacks": "x"}},
        ):
            await refused(api.request("PATCH", mine, {"metadata": change}, content_type=MERGE), "change the spec")
        await refused(api.request("PATCH", f"{mine}/status", {"status": {"phase": "Failed"}}, content_type=MERGE))
        await refused(api.request("POST", RECORDINGS.format(world.namespace), recording("third")), "labelled")
        accepted = {**recording("accepted"), "metadata": {"name": "accepted", "labels": label}}
        await api.request("POST", RECORDINGS.format(world.namespace), accepted)
        status: Object = {"status": {"taskId": "x"}}
        await world.admin.request("PATCH", f"{world.path('accepted')}/status", status, content_type=MERGE)
        await refused(api.request("DELETE", world.path("accepted")), "not accepted")
        # what it does itself
        await api.request("PATCH", mine, {"spec": {"desiredState": "Stopped"}}, content_type=MERGE)
        body = secret("keys", accessKey="x", secretKey="y")
        body["metadata"]["labels"] = label
        await api.request("POST", secrets, owned(body, owner))
        await api.request("DELETE", f"{secrets}/keys")


async def test_a_secret_id_reaches_its_own_app_alone(world: World) -> None:
    """Nor one of the same SdkAppId in another namespace; an app there that claims the SecretId gets nothing."""
    elsewhere = World(world.admin, f"{world.namespace}-x", world.kubeconfig)
    await elsewhere.create()
    await elsewhere.furnish()
    await furnish(world)
    async with world.operator(), gateway(world) as made:
        owner, thief = made.sdk(), made.sdk(OTHER_ID, OTHER_KEY)
        task = await owner.create()
        assert (await owner.describe(task)).TaskId == task
        # by the app's SdkAppId, and by his own
        unknown, none = "InvalidParameter.SdkAppId", "ResourceNotFound"
        assert await told(thief.describe(task)) == unknown
        assert await told(thief.modify(task, SubscribeStreamUserIds={"SubscribeAudioUserIds": ["x"]})) == unknown
        assert await told(thief.delete(task)) == unknown
        assert await told(thief.create(room="1", robot="thief")) == unknown
        assert (await told(thief.describe(task, OTHER_APP_ID))).startswith(none)
        assert (await told(thief.delete(task, OTHER_APP_ID))).startswith(none)
        # a recording of another namespace, of an app of the same name
        await elsewhere.apply(recording("theirs"))
        theirs = await elsewhere.get("theirs")
        assert theirs is not None
        for sdk, app in ((owner, SDK_APP_ID), (thief, OTHER_APP_ID)):
            assert (await told(sdk.describe(theirs["metadata"]["uid"], app))).startswith(none)
            assert (await told(sdk.delete(theirs["metadata"]["uid"], app))).startswith(none)
        assert (await owner.describe(task)).Status == "Idle"
    await elsewhere.remove()
