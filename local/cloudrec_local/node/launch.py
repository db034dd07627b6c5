"""What a container is started with: its image, its environment, its command line, its folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..kubeapi import UNREACHABLE, ApiError, Object
from ..processes import MARK
from ..state import Image
from . import rewrite as paths
from .downward import ConfigError, Lookup, environment
from .probes import Target


class NotYetError(Exception):
    """The container cannot start now: `reason` and message for its waiting state."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Surroundings:
    """What a container gets from its Pod and node."""

    pod: Object
    folder: Path
    ip: str
    mark: str
    volumes: Callable[[], Mapping[str, str]]
    images: Mapping[str, Image]
    base_env: Mapping[str, str]
    lookup: Lookup
    changed: Callable[[], None]
    event: Callable[[str, str, str], None]  # type, reason, message


@dataclass(frozen=True)
class Start:
    """Everything to start a container's process, and to ask it afterwards."""

    argv: list[str]
    env: dict[str, str]
    cwd: str
    target: Target


def termination_log(folder: Path) -> Path:
    """Where a container's last words go, in its own folder."""
    return folder / "termination-log"


async def prepare(spec: Object, around: Surroundings, folder: Path, mark: str) -> Start:
    """Put together what the container needs; `folder` is its own on the host.

    Raises:
        NotYetError: the image is not known, or something that the environment refers to is missing.
    """
    image = _image(spec, around.images)
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    table = paths.mounts(spec, around.volumes(), str(termination_log(folder)))
    for mount in spec.get("volumeMounts", []):
        if mount.get("subPath"):
            Path(table[mount["mountPath"].rstrip("/") or "/"]).parent.mkdir(parents=True, exist_ok=True)
    rewrite = paths.rewriter(table)
    base = {
        **around.base_env,
        "PATH": os.pathsep.join([*image.path, around.base_env["PATH"]]),
        "HOME": str(home),
        "HOSTNAME": around.pod["spec"].get("hostname") or around.pod["metadata"]["name"],
        **image.env,
    }
    try:
        env = await environment(around.pod, spec, base, around.ip, around.lookup, rewrite)
    except ConfigError as error:
        raise NotYetError("CreateContainerConfigError", str(error)) from error
    except (ApiError, *UNREACHABLE) as error:
        raise NotYetError("CreateContainerConfigError", f"the API server did not answer: {error}") from error
    env[MARK] = mark
    working = spec.get("workingDir")
    cwd = rewrite(working) if working else str(home)
    ports = {port["name"]: port["containerPort"] for port in spec.get("ports", []) if "name" in port}
    argv = paths.command(spec, image.entrypoint, env, rewrite)
    return Start(argv, env, cwd, Target(around.ip, ports, env, cwd, rewrite))


def _image(spec: Object, images: Mapping[str, Image]) -> Image:
    name = spec["image"]
    if (image := images.get(name.removeprefix("docker.io/"))) is not None:
        return image
    if spec.get("imagePullPolicy") == "Never":
        message = f'Container image "{name}" is not present with pull policy of Never'
        raise NotYetError("ErrImageNeverPull", message)
    raise NotYetError("ErrImagePull", f'failed to pull image "{name}": this node has no such image')
