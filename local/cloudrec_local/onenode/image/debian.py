"""The lowest layer: Python and what it links to, unpacked from Debian's packages.

apt works out the packages for a machine that has none, so this one's own state plays no part; no maintainer script
runs.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from urllib.parse import unquote

from ...errors import MissingToolError, StackError

WANTED = ("python3", "libgcc-s1", "libstdc++6", "dash", "findutils", "busybox-static", "ca-certificates", "base-files")
# dependencies of configuration scripts, which do not run
UNNEEDED = frozenset({"debconf", "debianutils", "dpkg", "libmd0", "mawk", "media-types", "openssl", "perl-base", "tar"})
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\ncloudrec:x:65532:65532:cloudrec:/tmp:/bin/sh\n",
    "etc/group": "root:x:0:\ncloudrec:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
APPLETS = ("cat", "date", "env", "id", "kill", "ls", "ps", "sleep", "stat", "test", "true", "wget")
_SECONDS = 600


def parse_uris(text: str) -> list[str]:
    """The file names of packages in what `apt-get --print-uris` says: `'URI' NAME SIZE HASH` a line."""
    names = [line.split()[1] for line in text.splitlines() if line.startswith("'")]
    return sorted(name for name in names if package_of(name) not in UNNEEDED)


def package_of(file: str) -> str:
    """`libc6_2.36-9_amd64.deb` is of package libc6."""
    return file.partition("_")[0]


def closure() -> list[str]:
    """The files of all packages that the layer is made of: names with versions. Raises StackError."""
    with TemporaryDirectory() as temporary:
        return parse_uris(_apt(Path(temporary), "--print-uris"))


def make_root(root: Path, files: Iterable[str]) -> None:
    """Unpack the packages into `root` and do what their scripts would do. Raises StackError."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _apt(folder, "--download-only")
        _merged_usr(root)
        for file in files:
            _unpack(folder / "archives" / file, root)
    for name, content in FILES.items():
        (root / name).write_text(content)
    (root / "tmp").chmod(0o1777)
    bundle = root / CERTIFICATES.relative_to("/")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    trusted = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    bundle.write_text("".join(path.read_text().strip() + "\n" for path in trusted))
    for path in (root / "usr/share").iterdir():
        if path.name in ("doc", "man", "locale", "info", "lintian", "ca-certificates"):
            _run(["rm", "-r", str(path)])
    (root / "usr/bin/sh").unlink(missing_ok=True)
    (root / "usr/bin/sh").symlink_to("dash")
    _applets(root / "usr/bin", APPLETS)


def busybox_root(root: Path) -> Path:
    """A root with nothing but the machine's static busybox."""
    program = which("busybox")
    if program is None:
        raise MissingToolError("busybox is missing", "apt-get install busybox-static")
    folder = root / "bin"
    folder.mkdir(parents=True)
    (root / "tmp").mkdir(mode=0o1777)
    copy = folder / "busybox"
    copy.write_bytes(Path(program).read_bytes())
    copy.chmod(0o755)
    _applets(folder, ("sh", *APPLETS))
    return root


def python_version(root: Path) -> str:
    """`3.11`: which Python the root has."""
    found = re.fullmatch(r"python(\d+\.\d+)", (root / "usr/bin/python3").readlink().name)
    if not found:
        raise StackError(f"no Python was found in {root}")
    return found[1]


def _applets(folder: Path, names: Iterable[str]) -> None:
    """Links to busybox for what the folder has not."""
    for name in names:
        if not (folder / name).is_symlink() and not (folder / name).exists():
            (folder / name).symlink_to("busybox")


def _merged_usr(root: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(Path("usr") / name)


def _unpack(package: Path, root: Path) -> None:
    """As dpkg would: where the root has a link to a folder, the package's folder of that name does not replace it."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE) as reader:
        unpack = ["tar", "--extract", "--keep-directory-symlink", "--directory", str(root)]
        done = subprocess.run(
            unpack, stdin=reader.stdout, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    if reader.returncode or done.returncode:
        raise StackError(f"{package.name} could not be unpacked: {done.stderr.strip()}")


def _apt(folder: Path, action: str) -> str:
    """Have apt install WANTED on a machine without a single package, as far as `action` goes."""
    (folder / "archives" / "partial").mkdir(parents=True)
    status = folder / "status"
    status.touch()
    options = {
        "Dir::State::status": status,
        "Dir::Cache::archives": folder / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "root",
    }
    settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    said = _run(["apt-get", *settings, "-qq", "-y", "--no-install-recommends", action, "install", *WANTED])
    for path in (folder / "archives").glob("*.deb"):
        path.rename(path.with_name(unquote(path.name).replace(":", "%3a")))
    return said


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise StackError(f"{' '.join(argv[:1])} failed: {done.stderr.strip()}", "apt-get update")
    return done.stdout
