"""Drains, evictions and nodes that go: what is asked of others beforehand, and how a loss of the node is told.

What protects a recording is the hand-over: a Pod that is to go gets a successor at once, and its recorder goes on
until that one is in the room. The annotations only ask those who choose nodes to empty (cluster-autoscaler, Karpenter)
to choose others. There is no PodDisruptionBudget on purpose: a recording has one Pod, so a budget could only say
"never" - and then a drain waits for the recording's end, while nothing starts the successor that would let it go on.
"""

from __future__ import annotations

from typing import Any

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
