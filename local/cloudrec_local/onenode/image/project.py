"""The upper layers: wheels installed by uv from the project's lock file, and the project's own wheel."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ...errors import MissingToolError, StackError
from .layers import archive_folder

_SECONDS = 900
LAUNCHER = """\
#!/usr/bin/python3 -P
import sys
from {module} import {function}
sys.exit({function}())
"""


def checkout() -> Path:
    """The folder with pyproject.toml and uv.lock. Raises StackError when this is an installed wheel."""
    root = Path(str(files("cloudrec_local"))).parent.parent
    if not (root / "uv.lock").exists():
        raise StackError("images are made from a checkout, and this is an installed package")
    return root


def locked_requirements(extra: str) -> str:
    """What an extra of the project installs, with versions and hashes, as the lock file has it."""
    return _uv("export", "--frozen", "--no-dev", "--no-emit-project", "--no-header", "--extra", extra, cwd=checkout())


def launchers(entry_points: str) -> dict[str, str]:
    """Programs by name from a wheel's entry_points.txt."""
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string(entry_points)
    found = {}
    for name, place in parser.items("console_scripts"):
        module, _, function = place.partition(":")
        found[name] = LAUNCHER.format(module=module, function=function)
    return found


@dataclass(frozen=True)
class Installer:
    """Makes layers for a root with Python `python` (`3.11`)."""

    root: Path
    python: str

    @property
    def _packages(self) -> Path:
        """Where Debian's Python looks, below `/`."""
        return Path("usr/local/lib") / f"python{self.python}" / "dist-packages"

    def wheel(self, folder: Path) -> Path:
        """Build the project's wheel as the checkout is now."""
        _uv("build", "--wheel", "--quiet", "--out-dir", str(folder), str(checkout()))
        (wheel,) = folder.glob("*.whl")
        return wheel

    def layer(self, name: str, out: Path, wanted: Sequence[str], *, launchers: bool = False) -> Path:
        """Install `wanted` (arguments for pip) and pack it as the tar `out`, compiled by the root's own Python."""
        stage = self.root / "build" / name
        shutil.rmtree(stage, ignore_errors=True)
        target = stage / self._packages
        target.mkdir(parents=True)
        try:
            where = ("--target", str(target), "--python", sys.executable, "--python-version", self.python)
            _uv("pip", "install", "--quiet", "--no-deps", "--link-mode", "copy", *where, *wanted)
            shutil.rmtree(target / "bin", ignore_errors=True)
            (target / ".lock").unlink(missing_ok=True)
            if launchers:
                self._launchers(stage, target)
            self._compile(name)
            return archive_folder(stage, out)
        finally:
            shutil.rmtree(self.root / "build")

    def _launchers(self, stage: Path, target: Path) -> None:
        folder = stage / "usr/local/bin"
        folder.mkdir(parents=True)
        (entry_points,) = target.glob("cloudrec-*.dist-info/entry_points.txt")
        for name, script in launchers(entry_points.read_text()).items():
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)

    def _compile(self, name: str) -> None:
        """Times are not kept in layers, so compiled files must not be checked against them."""
        here = f"/build/{name}"
        options = ("-q", "--invalidation-mode", "unchecked-hash", "-s", here, "-p", "/")
        _run(["chroot", str(self.root), "/usr/bin/python3", "-m", "compileall", *options, here])


def _uv(*arguments: str, cwd: Path | None = None) -> str:
    program = os.environ.get("UV") or shutil.which("uv")
    if program is None:
        raise MissingToolError("uv is needed to make the image", "pip install uv")
    return _run([program, *arguments], cwd)


def _run(argv: Sequence[str], cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise StackError(f"{' '.join(argv[:3])} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
