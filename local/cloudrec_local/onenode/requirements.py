"""What must be there before a one-node cluster can be made: root, a few Debian packages, a checkout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shutil import which

from ..errors import MissingToolError, StackError

PACKAGES: Mapping[str, str] = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "busybox": "busybox-static",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
}
PLUGINS = ("ptp", "host-local", "portmap", "loopback")
PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


def missing_packages(found: Callable[[str], object], plugins: bool) -> list[str]:
    """Debian packages of the programs that `found` does not find; `plugins`: whether CNI's are there."""
    packages = [package for program, package in PACKAGES.items() if not found(program)]
    return sorted({*packages, *([] if plugins else ["containernetworking-plugins"])})


def cni_plugins(folders: Iterable[Path] = PLUGIN_FOLDERS) -> Path | None:
    """The folder that holds CNI's plugins."""
    return next((folder for folder in folders if all((folder / name).exists() for name in PLUGINS)), None)


def check() -> None:
    """Raises StackError (not root) or MissingToolError (with the command that installs what is missing)."""
    if os.geteuid() != 0:
        raise StackError("a real node needs root: namespaces, mounts, cgroups", "sudo make node-smoke")
    if missing := missing_packages(which, cni_plugins() is not None):
        raise MissingToolError(
            f"missing: {', '.join(missing)}",
            f"apt-get install --no-install-recommends {' '.join(missing)}",
        )
