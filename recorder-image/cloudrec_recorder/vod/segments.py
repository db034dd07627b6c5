"""A playlist's segments, brought beside it in another store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from cloudrec_recorder.vod.interface import Media

AT_ONCE: Final = 4
"""Segments that are fetched and put at a time; each is on the disk so long."""


def each_segment(media: Media, put: Callable[[str, Path], object]) -> None:
    """Fetch every segment into a file for `put(name, path)`. The first error ends it, when those at work are done."""
    if not media.segments:
        return
    fetch = media.fetch
    if fetch is None:
        raise ValueError(f"{media.name} has segments, and there is no way to fetch them")

    with (
        tempfile.TemporaryDirectory(prefix="vod-", dir=media.path.parent) as folder,
        ThreadPoolExecutor(AT_ONCE, thread_name_prefix="vod") as pool,
    ):

        def bring(index: int, name: str) -> None:
            path = Path(folder, f"{index}.ts")
            fetch(name, path)
            put(name, path)
            path.unlink()

        jobs = [pool.submit(bring, index, name) for index, name in enumerate(dict.fromkeys(media.segments))]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def with_addresses(playlist: str, address: Callable[[str], str]) -> str:
    """The playlist with each segment's name replaced by an absolute address."""
    lines = (line if not line or line.startswith("#") else address(unquote(line)) for line in playlist.splitlines())
    return "".join(f"{line}\n" for line in lines)
