"""What the node's programs are told: each file of configuration as a pure function."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

ADDRESS = "10.88.255.1"
"""The node's, and that of every server; Pods are elsewhere."""
PODS = "10.88.0.0/24"
SANDBOX_IMAGE = "cloudrec.local/busybox:1"
"""Holds a Pod's namespaces; its command waits to be ended."""


@dataclass(frozen=True)
class Layout:
    """Where a one-node cluster's files lie. All of it is below `root`, but sockets, whose names must be short."""

    root: Path
    cgroup: str  # the name of its group in every cgroup hierarchy

    @property
    def containerd(self) -> Path:
        return self.root / "containerd"

    @property
    def kubelet(self) -> Path:
        return self.root / "kubelet"

    @property
    def pod_logs(self) -> Path:
        return self.root / "pod-logs"

    @property
    def cni(self) -> Path:
        return self.root / "cni"

    @property
    def run(self) -> Path:
        """Inside the enclosure /run is its own."""
        return Path("/run/cloudrec-containerd")

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"


def containerd(layout: Layout, cni_plugins: Path) -> str:
    """containerd's configuration, version 2, which 1.6 and 2.x both read.

    Cgroups are set by file, as there may be no systemd, and OOM scores as far as a root without CAP_SYS_RESOURCE may.
    """
    return f"""\
version = 2
root = "{layout.containerd / "root"}"
state = "{layout.run}"

[grpc]
address = "{layout.socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{layout.containerd / "opt"}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX_IMAGE}"
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_plugins}"
conf_dir = "{layout.cni}"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def network() -> str:
    """CNI: a veth pair per Pod, routed."""
    return json.dumps(
        {
            "cniVersion": "0.4.0",
            "name": "cloudrec",
            "plugins": [
                {
                    "type": "ptp",
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": PODS}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": "/run/cloudrec-cni",
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
        indent=2,
    )


def kubelet(layout: Layout, pki: Path, port: int) -> str:
    """KubeletConfiguration. Evictions by the node's pressure come late: the disk and memory are the machine's."""
    return yaml.safe_dump(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "port": port,
            "healthzBindAddress": "127.0.0.1",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(pki / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(pki / "kubelet.crt"),
            "tlsPrivateKeyFile": str(pki / "kubelet.key"),
            "containerRuntimeEndpoint": f"unix://{layout.socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{layout.cgroup}",
            "enforceNodeAllocatable": [],
            "failCgroupV1": False,
            "failSwapOn": False,
            "resolvConf": "",
            "podLogsDir": str(layout.pod_logs),
            "volumePluginDir": str(layout.kubelet / "plugins-of-volumes"),
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
            },
            "nodeStatusUpdateFrequency": "5s",
        },
        sort_keys=False,
    )


def kube_proxy(kubeconfig: Path, node: str) -> str:
    """KubeProxyConfiguration: Services by nftables; nothing of the machine's connection tracking is touched."""
    return yaml.safe_dump(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            "hostnameOverride": node,
            "bindAddress": ADDRESS,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "clusterCIDR": PODS,
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        },
        sort_keys=False,
    )
