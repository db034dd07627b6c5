"""The status of a stack as people and scripts see it; the JSON of `cloudrec status --json` is this model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from .home import Home, tool
from .state import StackState


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)


class ComponentStatus(_Shape):
    """One process of the stack."""

    running: bool
    pid: int
    log: Path


class KubernetesStatus(_Shape):
    """How to reach the API server: `kubectl --kubeconfig <kubeconfig>`."""

    server: str
    kubeconfig: Path
    kubectl: Path
    node: str


class LiveKitStatus(_Shape):
    """How to reach the media server: `url` for rooms (WebSocket), `http_url` for its API."""

    url: str
    http_url: str
    api_key: str
    api_secret: str


class BucketStatus(_Shape):
    """How to reach the bucket with any S3 client (path style, any region)."""

    endpoint: str
    region: str
    bucket: str
    access_key: str
    secret_key: str


class StackStatus(_Shape):
    """Everything that a client of the stack needs. Holds credentials: they are worth nothing outside this machine."""

    name: str
    version: str
    running: bool
    home: Path
    logs: Path
    components: dict[str, ComponentStatus]
    kubernetes: KubernetesStatus | None = None
    livekit: LiveKitStatus | None = None
    bucket: BucketStatus | None = None


def describe(state: StackState, home: Home, components: Mapping[str, ComponentStatus]) -> StackStatus:
    """Put the stack's state and what was seen of its processes together."""
    return StackStatus(
        name=state.name,
        version=state.version,
        running=bool(components) and all(component.running for component in components.values()),
        home=home.root,
        logs=home.logs,
        components=dict(components),
        kubernetes=KubernetesStatus(
            server=state.api_url, kubeconfig=home.kubeconfig, kubectl=tool("kubectl"), node=state.node
        )
        if "api" in state.parts
        else None,
        livekit=LiveKitStatus(
            url=state.livekit_url,
            http_url=state.livekit_url.replace("ws://", "http://"),
            api_key=state.livekit_key,
            api_secret=state.livekit_secret.get_secret_value(),
        )
        if "livekit" in state.parts
        else None,
        bucket=BucketStatus(
            endpoint=state.s3_url,
            region="local",
            bucket=state.bucket,
            access_key=state.s3_access_key,
            secret_key=state.s3_secret_key.get_secret_value(),
        )
        if "bucket" in state.parts
        else None,
    )
