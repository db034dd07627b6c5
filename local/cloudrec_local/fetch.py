"""`cloudrec fetch`: a recording's files from its bucket into a folder, with one playlist a user that any player opens.

Also what the demo uses to look into a recording. The credentials are those of the recording's own Secret, read with the
kubeconfig's rights.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import boto3
import click
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from cloudrec_contract.naming import encode_id, parse_name
from cloudrec_contract.resources import (
    APPS,
    GROUP,
    RECORDINGS,
    VERSION,
    CloudRecordingSpec,
    RecordingAppSpec,
)
from cloudrec_contract.storage import bucket_of, object_store

from .errors import StackError

PLAYER_PREFIX = "play_"
_COPIES = "players"


@dataclass(frozen=True)
class Objects:
    """The objects of one task: `get(name)` for each of `names()` (bare file names)."""

    names: Callable[[], list[str]]
    get: Callable[[str], bytes]
    where: str


def objects_of(kubeconfig: Path, namespace: str, recording: str) -> Objects:
    """Open the bucket of a CloudRecording.

    Raises:
        StackError: the resource, its app or its Secret cannot be read, or it has no task id yet.
    """
    config.load_kube_config(str(kubeconfig))
    custom, core = client.CustomObjectsApi(), client.CoreV1Api()
    try:
        found = cast(Any, custom.get_namespaced_custom_object(GROUP, VERSION, namespace, RECORDINGS, recording))
        spec = CloudRecordingSpec.model_validate(found["spec"])
        app = cast(Any, custom.get_namespaced_custom_object(GROUP, VERSION, namespace, APPS, spec.app_ref.name))
        app_spec = RecordingAppSpec.model_validate(app["spec"])
        bucket = bucket_of(spec, app_spec)
        secret = core.read_namespaced_secret(bucket.credentials_secret_ref.name, namespace, _request_timeout=10)
    except ApiException as error:
        raise StackError(f"cannot read recording {namespace}/{recording}: {error.reason}") from error
    except ValueError as error:
        raise StackError(f"recording {namespace}/{recording}: {error}") from error
    store = object_store(bucket, app_spec.storage, found["metadata"]["uid"])
    keys = {name: base64.b64decode(value).decode() for name, value in (secret.data or {}).items()}
    s3 = boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name=store.region,
        aws_access_key_id=keys["accessKey"],
        aws_secret_access_key=keys["secretKey"],
        config=Config(
            s3={"addressing_style": "path" if store.path_style else "virtual"},
            connect_timeout=5,
            read_timeout=30,
            retries={"max_attempts": 3},
        ),
    )

    def names() -> list[str]:
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=store.key_prefix)
        return [item["Key"].removeprefix(store.key_prefix) for page in pages for item in page.get("Contents", [])]

    def get(name: str) -> bytes:
        body: bytes = s3.get_object(Bucket=store.bucket, Key=store.key_prefix + name)["Body"].read()
        return body

    return Objects(names, get, f"s3://{store.bucket}/{store.key_prefix}")


def player_playlists(playlists: Mapping[str, str]) -> dict[str, str]:
    """HLS multivariant playlists that join a user's video with his audio, one per user, media and attempt, and what
    they refer to: texts by their paths in the folder of the recorded files. `playlists` are those, by name.

    All files of a task share one time line, so a player needs nothing else to keep them in sync. Discontinuities have
    to match in all that a multivariant playlist joins (RFC 8216, 6.2.4), and those of video and audio do not: hls.js
    waits for ever at one of the audio's, and loses step at one of the video's. As time goes on across them, copies
    without them will do.
    """
    tracks: dict[tuple[int, str, str], dict[str, str]] = {}
    for name in playlists:
        try:
            parsed = parse_name(name)
        except ValueError:
            continue
        tracks.setdefault((parsed.index, parsed.user_id, parsed.media), {})[parsed.kind] = name
    made: dict[str, str] = {}
    for (index, user, media), kinds in sorted(tracks.items()):
        video, audio = kinds.get("video"), kinds.get("audio")
        lines = ["#EXTM3U", "#EXT-X-VERSION:3"]
        if video and audio:
            for name in (video, audio):
                made[f"{_COPIES}/{name}"] = _without_discontinuities(playlists[name])
            uri = f"{_COPIES}/{quote(audio, safe='')}"
            lines.append(f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="{media}",DEFAULT=YES,AUTOSELECT=YES,URI="{uri}"')
            lines += ['#EXT-X-STREAM-INF:BANDWIDTH=2000000,AUDIO="a"', f"{_COPIES}/{quote(video, safe='')}"]
        elif main := video or audio:
            lines += ["#EXT-X-STREAM-INF:BANDWIDTH=2000000", quote(main, safe="")]
        else:
            continue
        made[f"{PLAYER_PREFIX}{_readable(user)}{_suffix(index, media)}.m3u8"] = "\n".join(lines) + "\n"
    return made


def _without_discontinuities(text: str) -> str:
    """A copy of a playlist for a folder below its own."""
    lines = [line for line in text.splitlines() if line != "#EXT-X-DISCONTINUITY"]
    return "".join(f"{line if line.startswith('#') else f'../{line}'}\n" for line in lines)


def _readable(user: str) -> str:
    return user if user.isascii() and user.replace("-", "").replace("_", "").isalnum() else encode_id(user)


def _suffix(index: int, media: str) -> str:
    return ("" if media == "main" else f"_{media}") + (f"_ha{index}" if index else "")


def download(
    objects: Objects, out: Path, progress: Callable[[str], None] = lambda _: None, *, players: bool = True
) -> list[str]:
    """Copy every file of the task into `out`, and with `players` add their playlists; returns the files' names."""
    out.mkdir(parents=True, exist_ok=True)
    names = objects.names()
    playlists: dict[str, str] = {}
    for name in names:
        if Path(name).name != name:
            continue
        content = objects.get(name)
        (out / name).write_bytes(content)
        if name.endswith(".m3u8"):
            playlists[name] = content.decode()
        progress(name)
    for name, text in player_playlists(playlists).items() if players else ():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text)
    return names


@click.command()
@click.argument("recording")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the files; made when missing.")
@click.option("-n", "--namespace", default="default", show_default=True, help="The recording's namespace.")
@click.option("--name", "stack_name", default="default", show_default=True, help="The embedded stack to ask.")
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, exists=True),
    help="A cluster of your own instead of the embedded stack.",
)
def fetch(recording: str, out: Path, namespace: str, stack_name: str, kubeconfig: Path | None) -> None:
    """Copy the files of RECORDING from its bucket into a folder.

    Beside the files as recorded it writes play_<user>.m3u8, which joins a user's video and audio:

        cloudrec fetch demo --out recording && ffplay recording/play_user-1.m3u8
    """
    from .home import Home, stack_folder

    path = kubeconfig or Home(stack_folder(stack_name)).kubeconfig
    if not path.exists():
        raise StackError(f"no stack named {stack_name!r} is running", "cloudrec up")
    try:
        names = download(objects_of(path, namespace, recording), out, lambda name: click.echo(f"  {name}"))
    except (BotoCoreError, ClientError) as error:
        raise StackError(f"cannot read the bucket: {error}") from error
    if not names:
        raise StackError(f"recording {recording} has no files yet")
    players = sorted(out.glob(f"{PLAYER_PREFIX}*.m3u8"))
    click.echo(f"{len(names)} files in {out}. Play: " + ", ".join(f"ffplay {path}" for path in players))
