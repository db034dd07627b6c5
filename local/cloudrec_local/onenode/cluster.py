"""The embedded stack with a real node. Runs inside an enclosure; its end is the enclosure's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .. import build, processes
from ..components import Component
from ..errors import StackError
from ..home import tool
from ..pki import KUBELET_CLIENT
from ..processes import ProcessRecord
from ..stack import Report, Stack
from ..state import Part, StackState
from . import components, requirements
from .configuration import ADDRESS, Layout

SECONDS = 180
VARIABLE = "CLOUDREC_ONENODE"


class OneNode(Stack):
    """One node with containerd and kubelet, images from OCI archives, and everything else as in any stack."""

    users = (*Stack.users, "kube-proxy")

    def __init__(self, layout: Layout, archives: Iterable[Path]) -> None:
        super().__init__("onenode", home=layout.root / "stack", address=ADDRESS, components=("gateway",))
        self.layout = layout
        self._archives = tuple(archives)

    def _programs(self, parts: Iterable[Part]) -> dict[str, Path]:
        return super()._programs(parts) | build.ensure(["node"])

    def _node(self, state: StackState) -> list[Component]:
        plugins = requirements.cni_plugins()
        if plugins is None:
            raise StackError("CNI's plugins are missing", "apt-get install containernetworking-plugins")
        program = build.ensure(["node"])["node"]
        return [
            components.containerd(self.layout, plugins),
            components.kubelet(state, self.home, self.layout, program),
            components.kube_proxy(state, self.home, self.layout, program),
        ]

    def _start_all(self, found: list[Component], report: Report) -> None:
        """containerd first, so that images are unpacked while the rest starts."""
        first = [component for component in found if component.name == "containerd"]
        super()._start_all(first, report)
        with ThreadPoolExecutor(1) as pool:
            imported = pool.submit(self._import, report)
            super()._start_all([component for component in found if component not in first], report)
            imported.result()
        self._allow_kubelet_client()

    def _allow_kubelet_client(self) -> None:
        """Let the API server ask kubelet for logs and the like, which here is decided by RBAC."""
        role = ("--clusterrole=system:kubelet-api-admin", f"--user={KUBELET_CLIENT}", "--dry-run=client", "-o", "yaml")
        binding = self.kubectl("create", "clusterrolebinding", "cloudrec-kubelet-client", *role)
        self.kubectl("apply", "--filename=-", text=binding)

    def _import(self, report: Report) -> None:
        for archive in self._archives:
            self.ctr("images", "import", str(archive))
        report("the images are unpacked")

    def ctr(self, *arguments: str) -> str:
        """Run containerd's client in Kubernetes' namespace; its output. Raises StackError."""
        return _run(["ctr", "--address", str(self.layout.socket), "--namespace", "k8s.io", *arguments])

    def pid(self, container_id: str) -> int:
        """The first process of a running container (`containerd://…`, as in a Pod's status). Raises StackError."""
        wanted = container_id.removeprefix("containerd://")
        for line in self.ctr("tasks", "list").splitlines():
            name, pid, state, *_ = [*line.split(), "", ""]
            if name == wanted and state == "RUNNING":
                return int(pid)
        raise StackError(f"the container {wanted} does not run")

    def kubectl(self, *arguments: str, text: str = "") -> str:
        """Run kubectl as the admin with `text` on its input; its output. Raises StackError."""
        return _run([str(tool("kubectl")), f"--kubeconfig={self.home.kubeconfig}", *arguments], text)

    def _remove(self) -> None:
        """End the programs. Containers and mounts end with the enclosure; the folder is its maker's."""
        records = [ProcessRecord.model_validate_json(path.read_bytes()) for path in self.home.run.glob("*.json")]
        processes.stop(records, 5)


def _run(argv: list[str], text: str = "") -> str:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        raise StackError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def running(environ: Mapping[str, str] = os.environ) -> OneNode:
    """The cluster that this command runs beside. Raises StackError when there is none."""
    root = environ.get(VARIABLE)
    if not root:
        raise StackError(
            "this needs a one-node cluster around it (root)", "python -m cloudrec_local.onenode -- COMMAND"
        )
    return OneNode(Layout(Path(root), Path(root).name), ())


def settings(layout: Layout, environ: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """What a command inside gets to know of the cluster; its `python` is this one."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)]),
        VARIABLE: str(layout.root),
        "KUBECONFIG": str(layout.root / "stack" / "admin.kubeconfig"),
    }
