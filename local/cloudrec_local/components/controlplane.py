"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler, all out of one binary.

Only the API server listens on the stack's address; everything else stays on loopback.
"""

from __future__ import annotations

from pathlib import Path

from ..home import Home
from ..state import LOOPBACK, StackState
from . import Component
from .checks import https_ok


def control_plane(state: StackState, home: Home, kube: Path) -> list[Component]:
    """The four processes; etcd speaks TLS too, so other users of the machine cannot read the stack's Secrets."""
    return [_etcd(state, home, kube), _apiserver(state, home, kube), *_controllers(state, home, kube)]


def _etcd(state: StackState, home: Home, kube: Path) -> Component:
    client = f"https://127.0.0.1:{state.ports['etcd']}"
    peer = f"https://127.0.0.1:{state.ports['etcd-peer']}"
    pki = home.pki
    argv = (
        *(str(kube), "etcd", "--name=cloudrec", f"--data-dir={home.data / 'etcd'}"),
        *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
        f"--initial-cluster=cloudrec={peer}",
        *(f"--cert-file={pki / 'etcd.crt'}", f"--key-file={pki / 'etcd.key'}"),
        *("--client-cert-auth", f"--trusted-ca-file={pki / 'etcd-ca.crt'}"),
        *(f"--peer-cert-file={pki / 'etcd.crt'}", f"--peer-key-file={pki / 'etcd.key'}"),
        *("--peer-client-cert-auth", f"--peer-trusted-ca-file={pki / 'etcd-ca.crt'}"),
        "--unsafe-no-fsync",  # a development stack does not survive a power cut, and need not
        *("--auto-compaction-mode=periodic", "--auto-compaction-retention=5m"),
        "--log-level=warn",
    )
    ready = https_ok(
        state.ports["etcd"], "/health", pki / "etcd-ca.crt", pki / "etcd-client.crt", pki / "etcd-client.key"
    )
    return Component("etcd", "api", argv, ready)


def _apiserver(state: StackState, home: Home, kube: Path) -> Component:
    pki = home.pki
    argv = (
        *(str(kube), "kube-apiserver", f"--etcd-servers=https://127.0.0.1:{state.ports['etcd']}"),
        *(f"--etcd-cafile={pki / 'etcd-ca.crt'}", f"--etcd-certfile={pki / 'etcd-client.crt'}"),
        f"--etcd-keyfile={pki / 'etcd-client.key'}",
        *(f"--bind-address={state.address}", f"--secure-port={state.ports['api']}"),
        *_advertised(state.address),
        *(f"--tls-cert-file={pki / 'apiserver.crt'}", f"--tls-private-key-file={pki / 'apiserver.key'}"),
        *(f"--client-ca-file={pki / 'ca.crt'}", "--anonymous-auth=false"),
        *(f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",),
        f"--kubelet-client-key={pki / 'kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction"),
        "--service-cluster-ip-range=10.96.0.0/24",
        "--profiling=false",
        "--v=1",
    )
    ready = https_ok(state.ports["api"], "/readyz", pki / "ca.crt", pki / "admin.crt", pki / "admin.key", state.address)
    return Component("kube-apiserver", "api", argv, ready)


def _advertised(address: str) -> tuple[str, ...]:
    if address == LOOPBACK:  # which endpoints must not be
        return (f"--advertise-address={address}", "--endpoint-reconciler-type=none")
    return (f"--advertise-address={address}",)


def _controllers(state: StackState, home: Home, kube: Path) -> list[Component]:
    pki = home.pki
    common = ("--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0", "--profiling=false")
    managed = home.pki / "controller-manager.kubeconfig"
    scheduled = home.pki / "scheduler.kubeconfig"
    return [
        Component(
            "kube-controller-manager",
            "api",
            (
                *(str(kube), "kube-controller-manager", f"--kubeconfig={managed}", *common),
                "--use-service-account-credentials=true",
                f"--service-account-private-key-file={pki / 'service-account.key'}",
                f"--root-ca-file={pki / 'ca.crt'}",
            ),
            ready=lambda: True,  # seen by its work: the default service account appears
            after=("kube-apiserver",),
        ),
        Component(
            "kube-scheduler",
            "api",
            (str(kube), "kube-scheduler", f"--kubeconfig={scheduled}", *common),
            ready=lambda: True,
            after=("kube-apiserver",),
        ),
    ]
