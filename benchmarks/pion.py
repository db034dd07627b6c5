"""The pion peer: built once into the cache, and run."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cloudrec_local.home import cache_folder, locked

SOURCE: Final = Path(__file__).parent / "peers" / "pion"
BUILD_SECONDS: Final = 1200.0
FLAGS: Final = ("-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w")


class PeerError(Exception):
    """The peer could not be built, or did not do its work."""


def build() -> Path:
    """The program; built when its sources, or the toolchain, are not those of the last time.

    Raises:
        PeerError: no `go` on PATH, or it could not build.
    """
    go = shutil.which("go")
    if go is None:
        raise PeerError("the benchmark's peer is written in Go: install it from https://go.dev/dl/ (1.26 or newer)")
    digest = hashlib.sha256(subprocess.run([go, "version"], capture_output=True, check=True, timeout=60).stdout)
    for path in sorted(SOURCE.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    cache = cache_folder()
    program = cache / "bin" / f"pion-peer-{platform.machine()}-{digest.hexdigest()[:16]}"
    with locked(cache / "pion-peer.lock", BUILD_SECONDS, waiting="another build is running: waiting for it"):
        if not program.exists():
            _build(go, program)
    return program


def _build(go: str, program: Path) -> None:
    print("building the pion peer (a minute or two, once)", flush=True)
    program.parent.mkdir(parents=True, exist_ok=True)
    made = program.with_name(f".{program.name}.{os.getpid()}")
    try:
        done = subprocess.run(
            [go, "build", *FLAGS, "-o", str(made), "."],
            cwd=SOURCE,
            env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        if done.returncode:
            raise PeerError(f"go could not build the pion peer:\n{done.stderr.strip()}")
        made.rename(program)
    finally:
        made.unlink(missing_ok=True)


@contextmanager
def sender(program: Path, video: Path, audio: Path) -> Iterator[str]:
    """One sender for all runs; the address of its signalling. It ends with the block, and with this process."""
    process = subprocess.Popen(
        [str(program), "send", "-video", str(video), "-audio", str(audio)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise PeerError("the sender did not start")
        yield address
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
