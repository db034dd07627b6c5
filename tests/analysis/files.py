"""Recordings in a local folder, decoded and sorted by whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cloudrec_contract.naming import parse_single
from cloudrec_local.playback.decode import Recording, load


@dataclass(frozen=True)
class Whose:
    """Of which user, which stream; `attempt` is 0, or the number in `ha<n>_`."""

    user: str
    media: str
    kind: str
    attempt: int = 0


def read_playlist(path: Path) -> Recording:
    """Decode the playlist at `path` and the segments beside it. Raises PlaylistError and FileNotFoundError."""
    return load(path.read_bytes().decode(), lambda name: (path.parent / name).read_bytes())


def read_folder(folder: Path) -> dict[Whose, Recording]:
    """Decode every playlist of a single-mode task's folder."""
    recordings = {}
    for path in sorted(folder.glob("*.m3u8")):
        name = parse_single(path.name)
        recordings[Whose(name.user_id, name.media, name.kind, name.index)] = read_playlist(path)
    return recordings


def one(
    recordings: dict[Whose, Recording],
    user: str,
    kind: Literal["audio", "video"],
    media: Literal["main", "aux"] = "main",
    attempt: int = 0,
) -> Recording:
    """One of them. Raises KeyError naming those that are there."""
    whose = Whose(user, media, kind, attempt)
    if whose not in recordings:
        raise KeyError(f"{whose} is not among {list(recordings)}")
    return recordings[whose]
