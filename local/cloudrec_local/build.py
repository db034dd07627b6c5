"""The Go programs of the stack, built once from their pinned modules and kept in the user's cache.

A program's file name carries a key over everything that its build depends on: a new pin is a new build, an old one is
found again. Builds have module and build caches of their own, 5 GB together, which go once all is built, and stay after
a failure, so that the next try goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from .display import BuildDisplay, Step
from .errors import BuildError, StackError
from .home import cache_folder, locked
from .processes import tail
from .toolchain import find_or_fetch

LOCK_TIMEOUT = 3600.0
DISK_NEEDED = 7 * 2**30
FLAGS = ("-mod=readonly", "-modcacherw", "-buildvcs=false", "-trimpath")
KEEP = "CLOUDREC_KEEP_GO_CACHE"


@dataclass(frozen=True)
class Recipe:
    """How one program is built: `package` of the module in `builds/<folder>`; `override` names its variable."""

    name: str
    title: str
    folder: str
    package: str
    override: str
    ldflags: tuple[str, ...] = ("-s", "-w")


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "kube",
            "Kubernetes 1.37.2",
            "kube",
            ".",
            "CLOUDREC_KUBE_BINARY",
            ("-s", "-w", "-X=k8s.io/component-base/version.gitVersion=v1.37.2"),
        ),
        Recipe(
            "livekit-server",
            "LiveKit 1.13.5",
            "livekit",
            "github.com/livekit/livekit-server/cmd/server",
            "CLOUDREC_LIVEKIT_BINARY",
        ),
        Recipe(
            "node",
            "kubelet and kube-proxy 1.37.2",
            "node",
            ".",
            "CLOUDREC_NODE_BINARY",
            ("-s", "-w", "-X=k8s.io/component-base/version.gitVersion=v1.37.2"),
        ),
    )
}


def source(recipe: Recipe) -> Path:
    """The folder of the recipe's Go module."""
    return Path(str(files("cloudrec_local"))) / "builds" / recipe.folder


def key(recipe: Recipe, module: Mapping[str, bytes], machine: str) -> str:
    """A hash over all that the program depends on: the module's files by name, the flags, the machine."""
    digest = hashlib.sha256()
    for part in (recipe.package, *FLAGS, *recipe.ldflags, machine):
        digest.update(part.encode() + b"\0")
    for name in sorted(module):
        digest.update(name.encode() + b"\0" + hashlib.sha256(module[name]).digest())
    return digest.hexdigest()[:16]


def target(recipe: Recipe, cache: Path) -> Path:
    """Where the built program lies in the cache."""
    module = {
        path.name: path.read_bytes() for path in source(recipe).iterdir() if path.suffix in (".go", ".mod", ".sum")
    }
    return cache / "bin" / f"{recipe.name}-{key(recipe, module, platform.machine())}"


def modules_in(go_sum: str) -> int:
    """How many modules a go.sum holds whole, which is what a build may have to download."""
    return sum(1 for line in go_sum.splitlines() if line and "/go.mod " not in line)


def ensure(
    names: Iterable[str], *, cache: Path | None = None, environ: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """Where the programs are, after building those that are neither cached nor named by their variable.

    Raises:
        BuildError: a build failed; its log's tail is in the message.
        StackError: no toolchain, no room on the disk, a named program that is not there.
    """
    folder = cache or cache_folder(environ)
    found: dict[str, Path] = {}
    for name in names:
        recipe = RECIPES[name]
        if own := environ.get(recipe.override):
            if not os.access(own, os.X_OK):
                raise StackError(f"{recipe.override} names {own}, which is no program")
            found[name] = Path(own).absolute()
        else:
            found[name] = target(recipe, folder)
    if missing := [RECIPES[name] for name, path in found.items() if not path.exists()]:
        with locked(folder / "build.lock", LOCK_TIMEOUT, waiting="another build is running: waiting for it"):
            if missing := [recipe for recipe in missing if not found[recipe.name].exists()]:
                _build_all(missing, found, folder, environ)
    return found


def _build_all(recipes: list[Recipe], targets: Mapping[str, Path], cache: Path, environ: Mapping[str, str]) -> None:
    if (free := shutil.disk_usage(cache).free) < DISK_NEEDED:
        raise StackError(
            f"building needs {DISK_NEEDED / 2**30:.0f} GB of room for a while; {cache} has {free / 2**30:.1f} GB",
            "name another folder in CLOUDREC_CACHE",
        )
    work = cache / "go"
    work.mkdir(parents=True, exist_ok=True)
    with BuildDisplay([recipe.title for recipe in recipes]) as display:
        go = find_or_fetch(work / "toolchain", display.say)
        env = go_environment(work, environ)
        for recipe in recipes:
            log = cache / "logs" / f"build-{recipe.name}.log"
            Build(recipe, targets[recipe.name], go, env, log).run(display.step(recipe.title))
    if environ.get(KEEP) != "1":
        _remove(work)


def go_environment(work: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of `go`: the user's proxy settings stay, caches and everything that changes its output do not."""
    env = {key: value for key, value in environ.items() if key not in ("GOROOT", "GOOS", "GOARCH", "GOEXPERIMENT")}
    temporary = work / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    return env | {
        "GOMODCACHE": str(work / "mod"),
        "GOCACHE": str(work / "build"),
        "GOTMPDIR": str(temporary),
        "GOFLAGS": "-modcacherw",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


@dataclass
class Build:
    """One program's build: modules are downloaded, packages counted and compiled, and it appears in one step."""

    recipe: Recipe
    target: Path
    go: Path
    env: Mapping[str, str]
    log: Path
    _module: Path = field(init=False)

    def __post_init__(self) -> None:
        self._module = source(self.recipe)

    def run(self, step: Step) -> None:
        """Build. Raises BuildError."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        expected = modules_in((self._module / "go.sum").read_text())
        step.phase("downloading", expected)
        packages = 0
        for line in self._go("list", *FLAGS, "-deps", self.recipe.package):
            if line.startswith("go: downloading "):
                step.advance()
            elif not line.startswith("go: "):
                packages += 1
        step.phase("compiling", packages)
        self.target.parent.mkdir(parents=True, exist_ok=True)
        made = self.target.with_name(f".{self.target.name}.{os.getpid()}")
        flags = (*FLAGS, "-ldflags", " ".join(self.recipe.ldflags), "-v", "-o", str(made))
        try:
            for line in self._go("build", *flags, self.recipe.package):
                if not line.startswith(("go: ", "#")):
                    step.advance()
            made.chmod(0o755)
            made.rename(self.target)
        finally:
            made.unlink(missing_ok=True)
        step.done()

    def _go(self, *arguments: str) -> Iterator[str]:
        """Run `go` in the module's folder; each line that it says, as it says it. All of it goes to the log too."""
        with self.log.open("a") as log, _running([str(self.go), *arguments], self._module, self.env) as process:
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                yield line.rstrip("\n")
            code = process.wait()
        if code != 0:
            raise BuildError(
                f"{self.recipe.title} could not be built (go {arguments[0]}: exit {code}). "
                f"The end of {self.log}:\n{tail(self.log)}",
                "the next try goes on from where this one ended",
            )


@contextmanager
def _running(argv: list[str], cwd: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process whose whole group ends with the block, however the block ends."""
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _remove(folder: Path) -> None:
    """Remove a folder that may hold read-only ones."""

    def writable(function: Callable[..., object], path: str, _: object) -> None:
        Path(path).parent.chmod(stat.S_IRWXU)
        function(path)

    shutil.rmtree(folder, onerror=writable)
