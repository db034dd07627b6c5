"""Namespaces around a cluster: network, mounts and processes of its own, so that nothing of it can outlive it.

`command` wraps a command line so that it runs as the first process of new namespaces; `enter`, called by it, makes
them fit for a node; `as_first_process` does a first process's duty, which is to reap. When that process ends, the
kernel ends all others.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from .configuration import ADDRESS

INTERFACE = "node0"
# kubelet sets these for the whole machine; here it finds them as it wants them, in files of ours
TUNABLES = {"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1"}
# kubelet, CNI and containerd have fixed places below these
COVERED = (Path("/var/lib"), Path("/var/log"))


def command(argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` in new namespaces, and ends with whoever started it."""
    namespaces = ("--net", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc")
    return ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, "--kill-child=KILL", "--", *argv]


def network_commands() -> list[list[str]]:
    """Loopback and the node's address. It is on one end of a veth pair, which any kernel has (some have no dummy)."""
    lines = (
        "link set lo up",
        f"link add {INTERFACE} type veth peer name {INTERFACE}-peer",
        f"addr add {ADDRESS}/24 dev {INTERFACE}",
        f"link set {INTERFACE} up",
        f"link set {INTERFACE}-peer up",
        f"route add default dev {INTERFACE}",  # to nowhere, but kubelet and the API server look for one
    )
    return [["ip", *line.split()] for line in lines]


def mount_commands(covered: Iterable[Path], scratch: Path) -> list[list[str]]:
    """A /run of its own, and an overlay over each of `covered` whose changes go to `scratch` (on that /run)."""
    commands = [["mount", "--make-rshared", "/"], ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]]
    for folder in covered:
        upper, work = (scratch / folder.name / part for part in ("upper", "work"))
        changes = f"upperdir={upper},workdir={work}"
        commands += [
            ["mkdir", "-p", str(upper), str(work)],
            ["mount", "-t", "overlay", "-o", f"lowerdir={folder},{changes}", "overlay", str(folder)],
        ]
    return commands


def enter() -> None:
    """Make the new namespaces fit for a node. Raises subprocess.CalledProcessError."""
    scratch = Path("/run/cloudrec-scratch")
    for argv in (*mount_commands(COVERED, scratch), *network_commands()):
        subprocess.run(argv, check=True, timeout=30)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1\n")
    for name, value in TUNABLES.items():
        ours = scratch / name.replace("/", ".")
        ours.write_text(f"{value}\n")
        subprocess.run(["mount", "--bind", str(ours), f"/proc/sys/{name}"], check=True, timeout=30)


def as_first_process(work: Callable[[], int]) -> NoReturn:
    """Run `work` in a child and reap everybody's children until it has ended; exits with its code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    while True:
        try:
            pid, status = os.wait()
        except KeyboardInterrupt:  # the child had it too, and ends in good order
            continue
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
