"""`manifest.json`: what an attempt has recorded and where it is, beside its files. Each attempt writes its own.

It is put while the recording goes on, seldom, and at the end; `complete` says that nothing follows. Readers
pass over unknown keys.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cloudrec_contract.model import Lenient

VERSION = 1
MANIFEST = "manifest.json"

Where = Literal["bucket", "backup"]


class ManifestSegment(Lenient):
    """A segment that a store has confirmed: `start` in ms since the Unix epoch, `duration` in s, `sha256` in hex."""

    file: str
    start: float
    duration: float
    bytes: int
    sha256: str
    discontinuity: bool = False
    store: Where = Field("bucket", description="backup: it is there alone, and not yet in the bucket")


class Gap(Lenient):
    """Time without media: `start` in ms since the Unix epoch, `duration` in s; `file` is the segment that is missing.

    `reason`: NotRecorded, nothing came from the publisher; or why the segment is in no store.
    """

    start: float
    duration: float
    reason: str
    file: str | None = None


class ManifestTrack(Lenient):
    playlist: str
    user_id: str
    media: str
    kind: str
    codec: str
    begin_time_stamp: int
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    transcoded: bool = False
    segments: list[ManifestSegment] = []
    gaps: list[Gap] = []
    store: Where = Field("bucket", description="of the playlist as it is at the end")


class Manifest(Lenient):
    """`epoch`, `updated`: ms since the Unix epoch. `clock_offsets`: by how many ms each publisher's clock was behind.

    `missing` counts segments that are in no store, `backup` files that are in the backup store alone.
    """

    version: int = VERSION
    task_id: str
    attempt: int
    epoch: int
    updated: int
    complete: bool = Field(False, description="the attempt has ended and all of it is dealt with")
    failed: bool = False
    reason: str = Field("", description="why the attempt ended")
    missing: int = 0
    backup: int = 0
    tracks: list[ManifestTrack] = []
    clock_offsets: dict[str, float] = {}


def manifest_name(index: int) -> str:
    """Of attempt `index`: `manifest.json`, then `ha1_manifest.json`, as its other files are named."""
    return f"ha{index}_{MANIFEST}" if index else MANIFEST


def parse_manifest(data: bytes | str) -> Manifest:
    """Raises pydantic.ValidationError on what is no manifest."""
    return Manifest.model_validate_json(data)
