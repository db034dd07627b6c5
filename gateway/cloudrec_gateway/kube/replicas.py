"""How many replicas of the gateway are ready, from the EndpointSlices of its Service."""

from __future__ import annotations

from cloudrec_gateway.kube.client import Object

SLICES = "/apis/discovery.k8s.io/v1"
SERVICE_LABEL = "kubernetes.io/service-name"


class Replicas:
    """A Sink of EndpointSlices; `count` is 1 at least, which is this one."""

    def __init__(self) -> None:
        self._ready: dict[str, frozenset[str]] = {}
        self.count = 1

    def replace(self, objects: list[Object]) -> None:
        self._ready = {found["metadata"]["name"]: ready(found) for found in objects}
        self._count()

    def put(self, found: Object) -> None:
        self._ready[found["metadata"]["name"]] = ready(found)
        self._count()

    def drop(self, gone: Object) -> None:
        self._ready.pop(gone["metadata"]["name"], None)
        self._count()

    def _count(self) -> None:
        # An endpoint may be in two slices, while it moves or for two families of addresses.
        self.count = max(1, len(frozenset().union(*self._ready.values())))


def ready(found: Object) -> frozenset[str]:
    """The ready endpoints of an EndpointSlice, each by its Pod's uid or its address."""
    return frozenset(
        str((endpoint.get("targetRef") or {}).get("uid") or endpoint["addresses"][0])
        for endpoint in found.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
    )
