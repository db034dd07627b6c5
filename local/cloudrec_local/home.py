"""Where things lie: the cache of built programs, a stack's own folder, and the manifests that come with the project."""

from __future__ import annotations

import fcntl
import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from shutil import which

from .errors import MissingToolError, StackError

DEFAULT_NAME = "default"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`$CLOUDREC_CACHE`, else `$XDG_CACHE_HOME/cloudrec`, else `~/.cache/cloudrec`."""
    if own := environ.get("CLOUDREC_CACHE"):
        return Path(own).expanduser().absolute()
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cloudrec"


def stack_folder(name: str = DEFAULT_NAME, environ: Mapping[str, str] = os.environ) -> Path:
    """`$CLOUDREC_HOME/<name>`, else `$XDG_STATE_HOME/cloudrec/<name>`, else `~/.local/state/cloudrec/<name>`."""
    if not _NAME.fullmatch(name):
        raise StackError(f"{name!r} is no name for a stack: use up to 32 of a–z, 0–9 and -")
    if own := environ.get("CLOUDREC_HOME"):
        return Path(own).expanduser().absolute() / name
    base = environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "cloudrec" / name


@dataclass(frozen=True)
class Home:
    """The folder of one stack; everything that the stack writes is below `root`."""

    root: Path

    @property
    def state(self) -> Path:
        """The stack's ports and credentials; its presence marks the folder as a stack's own."""
        return self.root / "stack.json"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """One record per process that was started."""
        return self.root / "run"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def arrivals(self) -> Path:
        """What the callback receiver got, a JSON object a line."""
        return self.data / "receiver" / "arrivals.jsonl"

    @property
    def node(self) -> Path:
        return self.root / "node"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "admin.kubeconfig"

    def log(self, component: str) -> Path:
        return self.logs / f"{component}.log"

    def is_foreign(self) -> bool:
        """Whether the folder holds something that no stack put there."""
        known = {"stack.json", "lock"}
        return (
            self.root.exists()
            and not self.state.exists()
            and any(entry.name not in known for entry in self.root.iterdir())
        )


@contextmanager
def locked(path: Path, timeout: float, waiting: str = "") -> Iterator[None]:
    """Hold an exclusive lock on `path` (made when missing) and wait at most `timeout` seconds for it.

    `waiting` is told once on stderr when somebody else holds it.

    The holder may remove the file: whoever waited on the removed one notices and locks the new one.

    Raises:
        StackError: another process held the lock for the whole time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (FileExistsError, FileNotFoundError):  # the folder was removed between two calls (mkdir looks twice)
            if path.parent.is_file() or time.monotonic() > deadline:
                raise
            continue
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StackError(f"another process has held {path} for {timeout:.0f} s") from None
                    if waiting:
                        print(waiting, file=sys.stderr)
                        waiting = ""
                    time.sleep(0.1)
            try:
                current = path.stat().st_ino == os.fstat(handle).st_ino
            except FileNotFoundError:
                current = False
            if current:
                yield
                return
        finally:
            os.close(handle)


def tool(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The program `name` from this Python's own environment, else from PATH.

    Raises:
        MissingToolError: neither has it.
    """
    search = os.pathsep.join([sysconfig.get_path("scripts"), str(Path(sys.executable).parent)])
    found = which(name, path=search) or which(name, path=environ.get("PATH"))
    if not found:
        raise MissingToolError(f"the program `{name}` is missing", "uv sync --extra local")
    return Path(found)


def invocation(environ: Mapping[str, str] = os.environ) -> str:
    """How the user calls this program: `uv run` sets UV in what it starts."""
    return "uv run cloudrec" if environ.get("UV") else "cloudrec"


def crds() -> list[Path]:
    """The CRD manifests: packaged inside the contract in a wheel, in `crds/` of a checkout."""
    contract = Path(str(files("cloudrec_contract")))
    return _manifests(contract / "crds", contract.parent.parent / "crds")


def manifests() -> list[Path]:
    """What operator and gateway need in a cluster: RBAC, admission policies, and what runs."""
    packages = ("cloudrec_operator", "cloudrec_gateway")  # the first has the namespace
    return [path for name in packages for path in _manifests(Path(str(files(name))) / "manifests")]


def _manifests(*folders: Path) -> list[Path]:
    for folder in folders:
        if found := sorted(folder.glob("*.yaml")):
            return found
    raise StackError(f"no manifests in {' or '.join(map(str, folders))}", "uv sync --all-extras")


def example(name: str) -> Path:
    """A manifest of `examples/`: packaged in a wheel, in the checkout beside the code.

    Raises:
        StackError: there is none of that name.
    """
    local = Path(str(files("cloudrec_local")))
    for folder in (local / "examples", local.parent.parent / "examples"):
        if (folder / name).exists():
            return folder / name
    raise StackError(f"the example {name} is missing", "uv sync --all-extras")
