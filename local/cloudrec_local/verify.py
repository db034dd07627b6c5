"""`cloudrec verify`: the files of a task held against the manifests that its attempts wrote beside them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from rich.console import Console
from rich.progress import Progress

from cloudrec_contract import playlist
from cloudrec_contract.manifest import Manifest, ManifestSegment, ManifestTrack, parse_manifest

from .errors import StackError
from .fetch import Objects, objects_of

WHOLE: Final = 0
NOT_ALL: Final = 3
DAMAGED: Final = 4

_MANIFEST: Final = re.compile(r"(ha\d{1,2}_)?manifest\.json")
_MEDIA: Final = (".ts", ".m3u8")
_PARALLEL: Final = 4


class Kind(StrEnum):
    """What may be wrong with a file; the first group is damage."""

    MISSING = "missing"
    SIZE = "size"
    SHA256 = "sha256"
    PLAYLIST = "playlist"
    MANIFEST = "manifest"

    LOST = "lost"
    BACKUP = "backup"
    INCOMPLETE = "incomplete"
    EXTRA = "extra"


_DAMAGE: Final = frozenset({Kind.MISSING, Kind.SIZE, Kind.SHA256, Kind.PLAYLIST, Kind.MANIFEST})


@dataclass(frozen=True, slots=True)
class Finding:
    kind: Kind
    file: str
    detail: str


@dataclass(slots=True)
class Verdict:
    """`segments`, `bytes`: those that are whole."""

    manifests: int = 0
    segments: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def code(self) -> int:
        """The exit code."""
        if any(finding.kind in _DAMAGE for finding in self.findings):
            return DAMAGED
        return NOT_ALL if self.findings else WHOLE

    def found(self, kind: Kind, file: str, detail: str) -> None:
        self.findings.append(Finding(kind, file, detail))


class _Silent:
    """A progress that is not shown."""

    def begin(self, total: int) -> None:
        pass

    def advance(self) -> None:
        pass


def verify(objects: Objects, progress: _Silent | None = None) -> Verdict:
    """Read every file of the manifests whole. Raises StackError when there is no manifest, else what `objects` does."""
    shown = progress or _Silent()
    there = set(objects.names())
    verdict = Verdict()
    manifests = list(_manifests(objects, there, verdict))
    if not manifests and not verdict.findings:
        raise StackError(f"there is no manifest in {objects.where}", "is this the folder of a task?")
    segments = [(s, track) for m in manifests for track in m.tracks for s in track.segments]
    shown.begin(len(segments))
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for finding, (segment, _) in zip(
            pool.map(lambda pair: _segment(pair[0], objects, there), segments), segments, strict=True
        ):
            shown.advance()
            if finding is not None:
                verdict.findings.append(finding)
            else:
                verdict.segments += 1
                verdict.bytes += segment.bytes
    for manifest in manifests:
        _attempt(manifest, objects, there, verdict)
    known = {s.file for s, _ in segments} | {track.playlist for m in manifests for track in m.tracks}
    for name in sorted(there - known):
        if name.endswith(_MEDIA):
            verdict.found(Kind.EXTRA, name, "no manifest names it")
    return verdict


def _manifests(objects: Objects, there: Iterable[str], verdict: Verdict) -> Iterator[Manifest]:
    for name in sorted(name for name in there if _MANIFEST.fullmatch(name)):
        verdict.manifests += 1
        try:
            yield parse_manifest(objects.get(name))
        except ValidationError as error:
            what = error.errors(include_input=False, include_url=False)[0]["msg"]
            verdict.found(Kind.MANIFEST, name, f"is no manifest: {what}")


def _segment(segment: ManifestSegment, objects: Objects, there: set[str]) -> Finding | None:
    if segment.file not in there:
        if segment.store == "backup":
            return Finding(Kind.BACKUP, segment.file, "is in the backup store alone")
        return Finding(Kind.MISSING, segment.file, f"{segment.bytes} bytes")
    body = objects.get(segment.file)
    if len(body) != segment.bytes:
        return Finding(Kind.SIZE, segment.file, f"has {len(body)} bytes, not {segment.bytes}")
    if hashlib.sha256(body).hexdigest() != segment.sha256:
        return Finding(Kind.SHA256, segment.file, "its content is not what was uploaded")
    return None


def _attempt(manifest: Manifest, objects: Objects, there: set[str], verdict: Verdict) -> None:
    who = f"attempt {manifest.attempt}"
    if not manifest.complete:
        verdict.found(Kind.INCOMPLETE, who, "it has not ended, or its manifest was not finished")
    if manifest.failed:
        verdict.found(Kind.INCOMPLETE, who, f"it failed: {manifest.reason}")
    for track in manifest.tracks:
        for gap in track.gaps:
            if gap.file is not None:
                verdict.found(Kind.LOST, gap.file, f"{gap.duration:.1f} s: {gap.reason}")
        _playlist(track, manifest.complete, objects, there, verdict)


def _playlist(track: ManifestTrack, complete: bool, objects: Objects, there: set[str], verdict: Verdict) -> None:
    name = track.playlist
    stored = [s.file for s in track.segments if s.store == "bucket" or s.file in there]
    if name not in there:
        if track.store == "backup":
            verdict.found(Kind.BACKUP, name, "is in the backup store alone")
        elif stored:
            verdict.found(Kind.MISSING, name, "the playlist")
        return
    try:
        found = playlist.parse(objects.get(name).decode())
    except ValueError as error:
        verdict.found(Kind.PLAYLIST, name, str(error))
        return
    named = [segment.name for segment in found.segments]
    for segment in named:
        if segment not in there:
            verdict.found(Kind.PLAYLIST, name, f"names {segment}, which is not there")
    if not complete or track.store == "backup":
        return
    if not found.ended:
        verdict.found(Kind.PLAYLIST, name, "has no end")
    if named != stored:
        verdict.found(Kind.PLAYLIST, name, f"names {len(named)} segments; the manifest has {len(stored)}")


# --- where the files are ---


def folder_objects(folder: Path) -> Objects:
    """The plain files of a folder."""
    return Objects(
        names=lambda: [path.name for path in folder.iterdir() if path.is_file()],
        get=lambda name: (folder / name).read_bytes(),
        where=str(folder),
    )


def bucket_objects(url: str, endpoint: str | None, region: str | None) -> Objects:
    """The objects below `s3://bucket/prefix`, with the credentials that boto3 finds. Raises StackError."""
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    if not parts.netloc or not prefix:
        raise StackError(f"{url} names no task", "s3://bucket/prefix/taskid")
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        config=Config(
            s3={"addressing_style": "path" if endpoint else "auto"},
            connect_timeout=5,
            read_timeout=30,
            retries={"max_attempts": 3},
        ),
    )

    def names() -> list[str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=parts.netloc, Prefix=prefix + "/")
        return [item["Key"].removeprefix(prefix + "/") for page in pages for item in page.get("Contents", [])]

    def get(name: str) -> bytes:
        body: bytes = client.get_object(Bucket=parts.netloc, Key=f"{prefix}/{name}")["Body"].read()
        return body

    return Objects(names, get, url)


class _Bar(_Silent):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("segments", total=None)

    def begin(self, total: int) -> None:
        self._progress.update(self._task, total=total)

    def advance(self) -> None:
        self._progress.advance(self._task)


@click.command("verify")
@click.argument("target")
@click.option("-n", "--namespace", default="default", show_default=True, help="The recording's namespace.")
@click.option("--name", "stack_name", default="default", show_default=True, help="The embedded stack to ask.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, exists=True),
    help="A cluster of your own instead of the embedded stack.",
)
@click.option("--endpoint", help="Of an s3:// target that is not AWS.")
@click.option("--region", help="Of an s3:// target.")
def command(
    target: str,
    namespace: str,
    stack_name: str,
    kubeconfig: Path | None,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Check the files of a recording against its manifests: every segment is read, its size and SHA-256 compared.

    TARGET is a CloudRecording's name, a folder (./files, with a slash), or s3://bucket/prefix/taskid, whose credentials
    are those that boto3 finds (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY).

    \b
    Exit codes:
      0  everything is there and whole
      1  the files cannot be read, or there is no manifest
      3  what is there is whole, but it is not all: the recording goes on or failed, segments were given up on or are
         in the backup store alone, or there are files of no manifest
      4  files are missing or damaged, or a playlist is not right
    """
    errors = Console(stderr=True)
    with _reading(target), Progress(console=errors, transient=True) as progress:
        verdict = verify(_objects(target, namespace, stack_name, kubeconfig, endpoint, region), _Bar(progress))
    for finding in verdict.findings:
        click.echo(f"{finding.kind:<10} {finding.file}  {finding.detail}")
    click.echo(
        f"{verdict.segments} segments whole ({verdict.bytes / 1e6:.1f} MB) by {verdict.manifests} manifests, "
        f"{len(verdict.findings)} findings"
    )
    raise SystemExit(verdict.code)


def _objects(
    target: str,
    namespace: str,
    stack_name: str,
    kubeconfig: Path | None,
    endpoint: str | None,
    region: str | None,
) -> Objects:
    from .home import Home, stack_folder

    if target.startswith("s3://"):
        return bucket_objects(target, endpoint, region)
    if "/" in target:
        return folder_objects(Path(target))
    path = kubeconfig or Home(stack_folder(stack_name)).kubeconfig
    if not path.exists():
        raise StackError(f"no stack named {stack_name!r} is running", "cloudrec up")
    return objects_of(path, namespace, target)


@contextmanager
def _reading(target: str) -> Iterator[None]:
    """Errors of bucket and folder as a StackError."""
    try:
        yield
    except (BotoCoreError, ClientError, OSError) as error:
        raise StackError(f"cannot read {target}: {error}") from error
