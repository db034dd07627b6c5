"""The status of a stack as people and scripts see it; the JSON of `cloudrec status --json` is this model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from .home import Home, tool
from .state import LOOPBACK, SDK_APP_ID, StackState


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


class GatewayStatus(_Shape):
    """How to call the TRTC recording API with Tencent Cloud's SDKs: over plain HTTP."""

    endpoint: str
    secret_id: str
    secret_key: str
    sdk_app_id: int


class ReceiverStatus(_Shape):
    """Where the sample app's callbacks go, the key they are signed with, and the file that has what arrived."""

    url: str
    key: str
    arrivals: Path


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
    gateway: GatewayStatus | None = None
    receiver: ReceiverStatus | None = None


def environment(status: StackStatus) -> dict[str, str]:
    """The variables by which `examples/sdk_python.py` finds the gateway and the bucket."""
    found: dict[str, str] = {}
    if gateway := status.gateway:
        found["CLOUDREC_ENDPOINT"] = gateway.endpoint
        found["CLOUDREC_SECRET_ID"] = gateway.secret_id
        found["CLOUDREC_SECRET_KEY"] = gateway.secret_key
        found["CLOUDREC_SDK_APP_ID"] = str(gateway.sdk_app_id)
    if bucket := status.bucket:
        found["CLOUDREC_REGION"] = bucket.region
        found["CLOUDREC_BUCKET"] = bucket.bucket
        found["CLOUDREC_ACCESS_KEY"] = bucket.access_key
        found["CLOUDREC_ACCESS_SECRET"] = bucket.secret_key
    return found


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
        gateway=GatewayStatus(
            endpoint=state.gateway_endpoint,
            secret_id=state.gateway_secret_id,
            secret_key=state.gateway_secret_key.get_secret_value(),
            sdk_app_id=SDK_APP_ID,
        )
        if "gateway" in state.parts and state.address == LOOPBACK
        else None,
        receiver=ReceiverStatus(
            url=state.callback_url, key=state.callback_key.get_secret_value(), arrivals=home.arrivals
        )
        if state.callback_url is not None
        else None,
    )
