"""The node agent's process."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

from ..home import Home
from ..state import Image, StackState
from . import Component
from .checks import accepts


def image_table(state: StackState) -> dict[str, Image]:
    """Image reference to surroundings: the project's own images are this Python environment's programs."""
    folders = (sysconfig.get_path("scripts"), str(Path(sys.executable).parent))
    ours = Image(path=tuple(dict.fromkeys(folders)), env={"PYTHONUNBUFFERED": "1"})
    names = (f"cloudrec/{name}:{state.version}" for name in ("recorder", "operator", "gateway"))
    return {**dict.fromkeys(names, ours), **state.images}


def node_agent(state: StackState, home: Home) -> Component:
    images = home.node / "images.json"
    table = {name: image.model_dump() for name, image in image_table(state).items()}
    argv = (
        *(sys.executable, "-m", "cloudrec_local.node", f"--name={state.node}", f"--home={home.node}"),
        *(f"--kubeconfig={home.pki / 'node.kubeconfig'}", f"--images={images}"),
        *(f"--port={state.ports['kubelet']}", f"--pki={home.pki}", f"--mark={home.root}"),
    )
    return Component(
        "node-agent",
        "node",
        argv,
        accepts(state.ports["kubelet"]),
        after=("kube-apiserver",),
        files={images: json.dumps(table, indent=2)},
    )
