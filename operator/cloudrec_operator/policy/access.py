"""What a namespace needs before a recorder can run in it: the sidecar's service account, bound to its cluster role."""

from __future__ import annotations

from typing import Any

from cloudrec_operator.policy.podparts import SERVICE_ACCOUNT

CLUSTER_ROLE = "cloudrec-recorder"
LABELS = {"app.kubernetes.io/name": "cloudrec", "app.kubernetes.io/component": "recorder"}


def service_account(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": SERVICE_ACCOUNT, "namespace": namespace, "labels": LABELS},
        "automountServiceAccountToken": False,
    }


def role_binding(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": SERVICE_ACCOUNT, "namespace": namespace, "labels": LABELS},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": CLUSTER_ROLE},
        "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": namespace}],
    }
