"""A real Kubernetes node for tests: kubelet, containerd, runc, CNI and kube-proxy instead of the node agent. Root only.

    python -m cloudrec_local.onenode -- python -m pytest tests/node      the cluster, for as long as the command runs
    python -m cloudrec_local.onenode -- bash                             the same, to look around in

`__main__` builds programs and the image outside (that needs the network), then runs the rest in an enclosure of
namespaces (`enclosure`): network, mounts and processes of its own. So clusters run beside each other and beside
embedded stacks, and whatever happens inside, the end of the enclosure ends all of it; only its cgroups and its folder
are then left to remove.

Everything but the node is the embedded stack's (`cluster`): the same control plane, LiveKit and bucket, on the node's
address instead of loopback. The project's image is made from a root folder of Debian packages and the locked
dependencies (`image`).
"""
