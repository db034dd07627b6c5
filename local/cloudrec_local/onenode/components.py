"""The node's processes: containerd, kubelet and kube-proxy."""

from __future__ import annotations

from pathlib import Path

from ..components import Component
from ..components.checks import accepts, http_ok
from ..home import Home
from ..state import StackState
from . import configuration
from .configuration import ADDRESS, Layout

KUBELET_HEALTH, PROXY_HEALTH = 10248, 10256  # on the enclosure's own loopback


def containerd(layout: Layout, cni_plugins: Path) -> Component:
    file = layout.containerd / "config.toml"
    network = layout.cni / "10-cloudrec.conflist"
    return Component(
        "containerd",
        "node",
        ("containerd", "--config", str(file)),
        layout.socket.exists,
        files={file: configuration.containerd(layout, cni_plugins), network: configuration.network()},
    )


def kubelet(state: StackState, home: Home, layout: Layout, program: Path) -> Component:
    file = layout.kubelet / "config.yaml"
    argv = (
        *(str(program), "kubelet", f"--config={file}", f"--kubeconfig={home.pki / 'node.kubeconfig'}"),
        *(f"--hostname-override={state.node}", f"--node-ip={ADDRESS}", f"--root-dir={layout.kubelet}"),
        *(f"--cert-dir={layout.kubelet / 'pki'}", "--v=2"),
    )
    return Component(
        "kubelet",
        "node",
        argv,
        http_ok(KUBELET_HEALTH, "/healthz"),
        after=("kube-apiserver",),
        files={file: configuration.kubelet(layout, home.pki, state.ports["kubelet"])},
    )


def kube_proxy(state: StackState, home: Home, layout: Layout, program: Path) -> Component:
    file = layout.root / "kube-proxy" / "config.yaml"
    return Component(
        "kube-proxy",
        "node",
        (str(program), "kube-proxy", f"--config={file}"),
        accepts(PROXY_HEALTH),
        after=("kube-apiserver",),
        files={file: configuration.kube_proxy(home.pki / "kube-proxy.kubeconfig", state.node)},
    )
