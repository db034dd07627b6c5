"""HLS that nobody wanted to keep: removed once all that was made of it is safe."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cloudrec_contract.playlist import parse
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.finisher.drain import PARALLEL, PLAYLIST, SEGMENT
from cloudrec_recorder.finisher.patience import GivenUp, Patience
from cloudrec_recorder.finisher.wanted import of_name
from cloudrec_recorder.uploader.s3 import CHECK_OBJECT
from cloudrec_recorder.uploader.store import BucketRefused, UploadFailed

logger = logging.getLogger(__name__)

_MANIFEST: Final = re.compile(r"(ha\d{1,2}_)?manifest\.json")
_BATCH: Final = 64


class _Refused(Exception):
    pass


def listed(playlists: Mapping[str, bytes]) -> set[str]:
    """The segments that they name."""
    names: set[str] = set()
    for text in playlists.values():
        try:
            names |= {segment.name for segment in parse(text.decode()).segments}
        except ValueError:
            continue
    return names


def unlisted(names: Mapping[str, int], playlists: Mapping[str, bytes]) -> list[str]:
    """Segments that no playlist names: nothing was made of them."""
    known = listed(playlists)
    return sorted(name for name in names if name.endswith(SEGMENT) and of_name(name) and name not in known)


def remove(names: Mapping[str, int], playlists: Mapping[str, bytes], depot: Depot, ask: Patience) -> str:
    """Remove the playlists and what they name, and the manifests, which come last; why they stay, empty when they do
    not. Raises Stopped."""
    segments = listed(playlists)
    groups = [
        sorted(name for name in names if name in segments),
        sorted(name for name in names if name.endswith(PLAYLIST) and of_name(name)),
        sorted(name for name in names if _MANIFEST.fullmatch(name) or name == CHECK_OBJECT),
    ]

    def one(name: str) -> None:
        try:
            depot.remove(name)
        except BucketRefused as error:  # an owner who allows no deletion means it
            raise _Refused(str(error)) from error

    try:
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="remove") as pool:
            for group in groups:
                for start in range(0, len(group), _BATCH):
                    list(pool.map(lambda name: ask(lambda: one(name)), group[start : start + _BATCH]))
    except (_Refused, GivenUp, UploadFailed) as error:
        logger.warning("playlists and segments stay: %s", error)
        return str(error)
    logger.info("%d playlists, segments and manifests removed", sum(map(len, groups)))
    return ""
