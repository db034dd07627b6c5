"""Run a command beside a one-node cluster that lives as long as it.

The command finds the cluster by CLOUDREC_ONENODE (its folder) and KUBECONFIG. Exit code: the command's, or 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .. import build, install
from ..errors import StackError
from . import cgroups, enclosure, image, remains, requirements
from .cluster import OneNode, settings
from .configuration import Layout

INSIDE = "--inside"


def main() -> int:
    arguments = _parse()
    try:
        if arguments.inside:
            layout = Layout(arguments.inside, arguments.inside.name)
            enclosure.enter()
            enclosure.as_first_process(lambda: _inside(layout, arguments.command))
        return _outside(arguments.command, arguments.logs)
    except StackError as error:
        sys.stderr.write(f"Error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"Try:   {error.hint}\n")
        return 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cloudrec_local.onenode", description=__doc__)
    parser.add_argument("--logs", type=Path, help="a folder to copy the logs of programs and Pods to at the end")
    parser.add_argument(INSIDE, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="+", help="what to run, after --")
    return parser.parse_args()


class _Progress:
    """A line for each step, with the seconds since the start."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:6.1f} s  {text}", file=sys.stderr, flush=True)


def _outside(command: list[str], logs: Path | None) -> int:
    """Build what is needed, run the rest enclosed, and remove what it left."""
    report = _Progress()
    requirements.check()
    build.ensure(["kube", "livekit-server", "node"])
    for dead in remains.of_the_dead():
        remains.remove(Layout(dead, dead.name))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with remains.new_folder() as root:
        layout = Layout(root, root.name)
        try:
            image.ensure(install.version(), root / "images", report)
            report("the images are made")
            cgroups.create(layout.cgroup, cgroups.current())
            inside = [sys.executable, "-m", "cloudrec_local.onenode", INSIDE, str(root), "--", *command]
            return _run(enclosure.command(inside))
        finally:
            if logs is not None:
                _copy_logs(layout, logs)
            if left := remains.remove(layout):
                report(f"left behind, as it is in use: {', '.join(map(str, left))}")


def _run(argv: list[str]) -> int:
    """Run and wait; an interrupt reaches the command too, which ends in its own good order."""
    process = subprocess.Popen(argv)
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
    finally:
        process.kill()  # its death ends the enclosure
        process.wait()


def _inside(layout: Layout, command: list[str]) -> int:
    report = _Progress()
    try:
        stack = OneNode(layout, sorted((layout.root / "images").glob("*.tar")))
        stack.up(report)
    except StackError as error:
        sys.stderr.write(f"Error: {error.message}\n")
        return 1
    report(f"the cluster runs: {' '.join(command)}")
    try:
        return subprocess.run(command, env={**os.environ, **settings(layout)}, check=False).returncode
    finally:
        report("ending the cluster")


def _copy_logs(layout: Layout, logs: Path) -> None:
    for source in (layout.root / "stack" / "logs", layout.pod_logs):
        if source.exists():
            shutil.copytree(source, logs / source.name, dirs_exist_ok=True, symlinks=True)


if __name__ == "__main__":
    sys.exit(main())
