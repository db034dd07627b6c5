"""Container images without a registry or a container engine: root folders put into OCI archives.

Three layers, by how often they change: Debian's Python (`debian`), the locked dependencies of one part, the project
(`project`). The first two are kept in the user's cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from ...home import cache_folder, locked
from ..configuration import SANDBOX_IMAGE
from . import debian, project
from .layers import archive_folder, digest_of
from .oci import Image, write

VERSION = "2"
"""Part of every key of what is kept: to be changed with what is done here."""
USER = "65532:65532"
PARTS = ("recorder", "operator", "gateway")
WAIT = "trap 'exit 0' TERM INT; sleep 2147483647 & wait"
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "SSL_CERT_FILE": str(debian.CERTIFICATES),
}
LOCK_SECONDS = 1800.0


def ensure(version: str, out: Path, report: Callable[[str], None], cache: Path | None = None) -> list[Path]:
    """Make the archives of the project's images (`cloudrec/<part>:<version>`) and of busybox in `out`.

    Raises:
        StackError: a package or a wheel could not be fetched, or the project could not be built.
    """
    folder = (cache or cache_folder()) / "images"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(folder / "lock", LOCK_SECONDS, waiting="another build of images is running: waiting for it"):
        base = _base(folder, report)
        python = debian.python_version(base.root)
        installer = project.Installer(base.root, python)
        found = []
        with TemporaryDirectory(dir=folder) as temporary:
            work = Path(temporary)
            wheel = installer.wheel(work)
            ours = installer.layer("project", work / "project.tar", [str(wheel)], launchers=True)
            for part in PARTS:
                layers = [base.layer, _dependencies(folder, installer, part, report), ours]
                image = Image(f"docker.io/cloudrec/{part}:{version}", USER, ENVIRONMENT, (f"cloudrec-{part}",))
                found.append(write(out / f"{part}.tar", image, layers))
            layer = archive_folder(debian.busybox_root(work / "busybox"), work / "busybox.tar")
            image = Image(SANDBOX_IMAGE, "", {"PATH": "/bin"}, ("/bin/sh", "-c", WAIT))
            found.append(write(out / "busybox.tar", image, [layer]))
    return found


class _Base:
    def __init__(self, folder: Path) -> None:
        self.root, self.layer = folder / "root", folder / "layer.tar"


def _base(folder: Path, report: Callable[[str], None]) -> _Base:
    """Debian's Python as an unpacked root and as a layer."""
    packages = debian.closure()
    base = _Base(folder / f"base-{digest_of(VERSION, *packages)[:16]}")
    if not base.layer.exists():
        report(f"image: unpacking {len(packages)} Debian packages")
        _forget(folder, "base-*")
        debian.make_root(base.root, packages)
        archive_folder(base.root, base.layer)
    return base


def _dependencies(folder: Path, installer: project.Installer, part: str, report: Callable[[str], None]) -> Path:
    """The layer with the locked dependencies of one extra."""
    requirements = project.locked_requirements(part)
    layer = folder / f"{part}-{digest_of(VERSION, installer.python, requirements)[:16]}.tar"
    if not layer.exists():
        report(f"image: installing what {part} needs")
        _forget(folder, f"{part}-*")
        with TemporaryDirectory(dir=folder) as temporary:
            wanted = Path(temporary) / "requirements.txt"
            wanted.write_text(requirements)
            installer.layer(part, layer, ["--requirement", str(wanted)])
    return layer


def _forget(folder: Path, pattern: str) -> None:
    """Remove what earlier pins left."""
    for old in folder.glob(pattern):
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
