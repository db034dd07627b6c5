"""Drains, evictions and nodes that go: what is asked of others beforehand, and how a loss of the node is told.

What protects a recording is the hand-over: a Pod that is to go gets a successor at once, and its recorder goes on
until that one is in the room. The annotations only ask those who choose nodes to empty (cluster-autoscaler, Karpenter)
to choose others. A PodDisruptionBudget is only made where the installation asks for it (`refuse_evictions`): a
recording has one Pod, so a budget can only say "never", and a drain then waits for the end instead of handing over.
"""

from __future__ import annotations

from typing import Any

from cloudrec_operator.policy.access import LABELS

BUDGET = "cloudrec-recorders"
HINTS = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
NODE_GONE_SECONDS = 10
"""How long a Pod stays on a node that is not ready before it is deleted, which is when a successor is made."""

TOLERATIONS: list[dict[str, Any]] = [
    {
        "key": f"node.kubernetes.io/{taint}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": NODE_GONE_SECONDS,
    }
    for taint in ("not-ready", "unreachable")
]


def budget(namespace: str) -> dict[str, Any]:
    """No recorder of the namespace may be evicted. Pods whose owner cannot be scaled are only counted in whole numbers,
    so it asks for more than there can be."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": BUDGET, "namespace": namespace, "labels": LABELS},
        "spec": {"minAvailable": 1_000_000, "selector": {"matchLabels": LABELS}},
    }
