"""What a stack is made of and what a client needs to use it: written once at `up`, read by everything else."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer

from .errors import StackError
from .pki import write_private

Part = Literal["api", "node", "livekit", "bucket", "receiver", "operator", "gateway"]
PARTS: tuple[Part, ...] = ("api", "livekit", "bucket", "receiver", "node", "operator", "gateway")
_OPERATOR: tuple[Part, ...] = ("api", "node", "livekit", "bucket")
NEEDS: dict[Part, tuple[Part, ...]] = {
    "node": ("api",),
    "operator": _OPERATOR,
    "gateway": (*_OPERATOR, "operator"),
}
PORTS: dict[Part, tuple[str, ...]] = {
    "api": ("etcd", "etcd-peer", "api"),
    "node": ("kubelet",),
    "livekit": ("livekit", "livekit-tcp", "livekit-udp"),
    "bucket": ("s3", "weed-master", "weed-volume", "weed-filer"),
    "receiver": ("receiver",),
    "operator": ("operator-health",),
    "gateway": ("gateway",),
}
# weed derives gRPC ports from these by adding 10000 unless told otherwise: each has one of its own here
PORTS["bucket"] += tuple(f"{name}-grpc" for name in PORTS["bucket"])
BUCKET = "recordings"
SDK_APP_ID = 1400000001
"""Of the first application."""
LOOPBACK = "127.0.0.1"
CALLBACK_PATH = "/callbacks"


class StackState(BaseModel):
    """The ports, credentials and choices of one stack. The file it is kept in is readable by its owner only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    parts: tuple[Part, ...]
    node: str
    address: str = LOOPBACK  # where every server listens and is reached
    ports: dict[str, int]
    images: dict[str, Image] = Field(default_factory=dict)
    livekit_key: str
    livekit_secret: SecretStr
    s3_access_key: str
    s3_secret_key: SecretStr
    bucket: str = BUCKET
    gateway_secret_id: str
    gateway_secret_key: SecretStr
    callback_key: SecretStr

    @field_serializer("livekit_secret", "s3_secret_key", "gateway_secret_key", "callback_key", when_used="json")
    def _reveal(self, value: SecretStr) -> str:
        return value.get_secret_value()

    @property
    def api_url(self) -> str:
        return f"https://{self.address}:{self.ports['api']}"

    @property
    def livekit_url(self) -> str:
        return f"ws://{self.address}:{self.ports['livekit']}"

    @property
    def s3_url(self) -> str:
        return f"http://{self.address}:{self.ports['s3']}"

    @property
    def gateway_endpoint(self) -> str:
        """As Tencent Cloud's SDKs want it: without a scheme."""
        return f"{self.address}:{self.ports['gateway']}"

    @property
    def callback_url(self) -> str | None:
        """Where the first application's callbacks go; None without a receiver."""
        if "receiver" not in self.parts:
            return None
        return f"http://{self.address}:{self.ports['receiver']}{CALLBACK_PATH}"

    def save(self, path: Path) -> None:
        write_private(path, self.model_dump_json(indent=2).encode())

    @classmethod
    def load(cls, path: Path) -> StackState | None:
        """The state kept in `path`, or None when there is none.

        Raises:
            StackError: another version of the program wrote it.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StackError(
                f"{path} was written by another version of cloudrec", "end that stack first: cloudrec down"
            ) from error


class Image(BaseModel):
    """What an image reference stands for on the node agent: a process's surroundings instead of a file system."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entrypoint: tuple[str, ...] = ()
    path: tuple[str, ...] = ()  # folders before the agent's own PATH
    env: dict[str, str] = Field(default_factory=dict)


def with_needs(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The chosen parts with everything that they need, in the order they start in."""
    chosen = set(parts)
    for part in list(chosen):
        chosen.update(NEEDS.get(part, ()))
    if unknown := chosen - set(PARTS):
        raise StackError(f"unknown parts: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in chosen)


def free_ports(names: Iterable[str], address: str = LOOPBACK) -> dict[str, int]:
    """A port free for TCP and UDP on the address for each name; all are held until all are found."""
    ports: dict[str, int] = {}
    with ExitStack() as held:
        for name in names:
            for _ in range(50):
                tcp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                udp = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                tcp.bind((address, 0))
                port = tcp.getsockname()[1]
                try:
                    udp.bind((address, port))
                except OSError:
                    continue
                ports[name] = port
                break
            else:
                raise StackError(f"found no free port on {address}")
    return ports


def new_state(
    name: str, version: str, parts: Iterable[Part], images: dict[str, Image], address: str = LOOPBACK
) -> StackState:
    """Fresh credentials and free ports for a stack of `parts` (and what these need)."""
    chosen = with_needs(parts)
    return StackState(
        name=name,
        version=version,
        parts=chosen,
        node=f"cloudrec-{name}",
        address=address,
        ports=free_ports((port for part in chosen for port in PORTS[part]), address),
        images=images,
        livekit_key="API" + secrets.token_hex(6),
        livekit_secret=SecretStr(secrets.token_urlsafe(32)),
        s3_access_key="AK" + secrets.token_hex(8).upper(),
        s3_secret_key=SecretStr(secrets.token_urlsafe(30)),
        gateway_secret_id="AKID" + secrets.token_hex(16),
        gateway_secret_key=SecretStr(secrets.token_hex(16)),
        callback_key=SecretStr(secrets.token_hex(16)),
    )


StackState.model_rebuild()
