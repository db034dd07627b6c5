"""An OCI image archive (image-spec 1.1, image-layout) out of layers; `ctr images import` reads it."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEDIA_TYPE = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Image:
    """What an image is called, in full (`docker.io/…`: kubelet asks for it so), and how it runs."""

    reference: str
    user: str
    env: Mapping[str, str]
    entrypoint: tuple[str, ...]


@dataclass(frozen=True)
class Blob:
    """`digest` is hex SHA-256."""

    digest: str
    size: int

    @classmethod
    def of(cls, content: bytes) -> Blob:
        return cls(hashlib.sha256(content).hexdigest(), len(content))

    @classmethod
    def of_file(cls, path: Path) -> Blob:
        with path.open("rb") as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)

    def descriptor(self, kind: str, **more: Any) -> dict[str, Any]:
        media_type = f"{MEDIA_TYPE}.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{self.digest}", "size": self.size, **more}


def configuration(image: Image, layers: Sequence[Blob], machine: str) -> bytes:
    """The image's config: the layers are not compressed, so their digests are those of their contents."""
    return _json(
        {
            "architecture": ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {
                "User": image.user,
                "Env": [f"{name}={value}" for name, value in image.env.items()],
                "Entrypoint": list(image.entrypoint),
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
        }
    )


def manifest(config: Blob, layers: Sequence[Blob]) -> bytes:
    return _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{MEDIA_TYPE}.manifest.v1+json",
            "config": config.descriptor("config.v1+json"),
            "layers": [layer.descriptor("layer.v1.tar") for layer in layers],
        }
    )


def index(reference: str, described: Blob) -> bytes:
    """The archive's index: one manifest under its name."""
    names = {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    return _json(
        {"schemaVersion": 2, "manifests": [described.descriptor("manifest.v1+json", annotations=names)]},
    )


def write(out: Path, image: Image, layers: Sequence[Path]) -> Path:
    """Write the image's archive to `out`."""
    blobs = [Blob.of_file(layer) for layer in layers]
    config = configuration(image, blobs, platform.machine())
    described = manifest(Blob.of(config), blobs)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(out, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", index(image.reference, Blob.of(described)))
        for content in (config, described):
            _add(archive, f"blobs/sha256/{Blob.of(content).digest}", content)
        for blob, layer in zip(blobs, layers, strict=True):
            archive.add(layer, arcname=f"blobs/sha256/{blob.digest}")
    return out


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
