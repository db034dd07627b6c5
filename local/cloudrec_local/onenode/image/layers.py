"""Folders as tar files that are the same whenever their contents are."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path


def _normal(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def archive_folder(folder: Path, out: Path) -> Path:
    """Write all that is in `folder` to the tar `out`, in order of names, owned by root, without times; in one step."""
    made = out.with_name(f".{out.name}.{os.getpid()}")
    with tarfile.open(made, "w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name, filter=_normal)
    made.rename(out)
    return out


def digest_of(*parts: str) -> str:
    """A hash over texts, in hex."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
