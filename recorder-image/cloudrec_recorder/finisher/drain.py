"""One pass: compare the two stores, copy what the bucket lacks, put the lists right, and only then remove the copies.

The order makes a kill harmless. A playlist names a segment after the bucket has confirmed it; nothing is removed from
the backup store before all of it is in the bucket; and the manifest is removed last, since it tells what there was.

Keys that may write to the bucket and read nothing are a good set-up. Then the pass goes by what the uploader put into
the backup store at the recording's end, a complete manifest, and notes there what it has done.
"""

from __future__ import annotations

import logging
import re
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from cloudrec_contract.conditions import Reason
from cloudrec_contract.manifest import Manifest, ManifestTrack, parse_manifest
from cloudrec_contract.playlist import Playlist, parse
from cloudrec_recorder.finisher import merging
from cloudrec_recorder.finisher.depot import Depot, Entry
from cloudrec_recorder.uploader.s3 import CHECK_OBJECT
from cloudrec_recorder.uploader.store import BucketRefused, BucketUnreachable, FileGone, StoreError, UploadFailed

logger = logging.getLogger(__name__)

PARALLEL: Final = 4
PROGRESS_SECONDS: Final = 10.0
SEGMENT, PLAYLIST = ".ts", ".m3u8"
_BATCH: Final = 64
_MANIFEST: Final = re.compile(r"(ha\d{1,2}_)?manifest\.json")


class Stopped(Exception):
    """The process is to end."""


class _Unreadable(Exception):
    """The bucket's keys allow no listing, or no reading."""


class Away(Exception):
    """A store does not do its part: the pass is broken off. `reason` and `message` are for a condition."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a whole pass. `faults`: what stayed in the backup store alone, and why; `missing`: segments that are in no
    store any more; `kept`: why copies that are not needed any more stay in the backup store, empty when they do not."""

    missing: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    kept: str = ""


class Drain:
    """`scratch`: a folder for segments on their way, `PARALLEL` of them at most. `clock`: ms since the Unix epoch.

    `left` counts the files that are in the backup store and not in the bucket, None before it is known.
    """

    def __init__(
        self, bucket: Depot, backup: Depot, scratch: Path, stop: threading.Event, clock: Callable[[], int]
    ) -> None:
        self.left: int | None = None
        self.copied = 0
        self._bucket = bucket
        self._backup = backup
        self._scratch = scratch
        self._stop = stop
        self._clock = clock
        self._blind = False
        self._lock = threading.Lock()
        self._bytes = 0
        self._told_at = 0.0

    def run(self) -> Outcome:
        """Blocking. Raises Away, and Stopped."""
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="drain") as pool:
            try:
                return self._pass(pool)
            except _Unreadable as error:
                logger.info("the bucket cannot be read, so the manifests in the backup store are gone by: %s", error)
                self._blind = True
                return self._pass(pool)

    def _pass(self, pool: ThreadPoolExecutor) -> Outcome:
        self._heed()
        with self._asking(self._backup):
            source = {name: entry for name, entry in self._backup.entries().items() if _ours(name)}
        target = {} if self._blind else self._listed()
        lacking = [
            name for name in sorted(source) if name.endswith(SEGMENT) and not source[name].same(target.get(name))
        ]
        lists = sum(name not in target for name in source if not name.endswith((SEGMENT, CHECK_OBJECT)))
        self.left = len(lacking) + lists
        if source:
            logger.info("%d files in the backup store, of which the bucket lacks %d", len(source), self.left)
        manifests = self._manifests(source, target)
        there = _told_there(manifests) if self._blind else set(target)
        known = {s.file: s.sha256 for m in manifests.values() for t in m.tracks for s in t.segments if s.file in source}
        faults = self._copy_all(pool, lacking, source, known, there)
        faults |= self._unknown(source, manifests) if self._blind else {}
        faults |= self._playlists([name for name in source if name not in faults], there, manifests)
        manifests = self._put_manifests(source, there, manifests, faults)
        self.left = len(faults)
        kept = self._remove_all(pool, source, faults)
        return Outcome(sum(map(merging.gone, manifests.values())), faults, kept)

    def _listed(self) -> dict[str, Entry]:
        try:
            with self._asking(self._bucket):
                return self._bucket.entries()
        except Away as away:
            _look_closer(away)
            raise

    def _unknown(self, source: dict[str, Entry], manifests: dict[str, Manifest]) -> dict[str, str]:
        """Lists in the backup store that nothing can be made of: what the bucket has may be newer."""
        told = {*manifests, *(track.playlist for m in manifests.values() for track in m.tracks), CHECK_OBJECT}
        why = "the bucket cannot be read, and no complete manifest tells what it should have"
        return {name: why for name in source if not name.endswith(SEGMENT) and name not in told}

    # --- segments ---

    def _copy_all(
        self,
        pool: ThreadPoolExecutor,
        names: list[str],
        source: dict[str, Entry],
        known: dict[str, str],
        there: set[str],
    ) -> dict[str, str]:
        """Copy these, and add them to `there`. What went wrong with single ones."""
        faults: dict[str, str] = {}
        for batch in _batches(names):
            results = pool.map(lambda name: self._copy(name, source[name], known.get(name)), batch)
            for name, fault in zip(batch, results, strict=True):
                if fault:
                    logger.error("%s stays in the backup store: %s", name, fault)
                    faults[name] = fault
                else:
                    there.add(name)
        return faults

    def _copy(self, name: str, entry: Entry, sha256: str | None) -> str:
        """What is wrong with it, empty when it is in the bucket. Raises Away, and Stopped."""
        self._heed()
        with tempfile.NamedTemporaryFile(dir=self._scratch, prefix="segment-") as file:
            path = Path(file.name)
            try:
                with self._asking(self._backup):
                    found = self._backup.fetch(name, path)
                if path.stat().st_size != entry.bytes or sha256 not in (None, found):
                    raise UploadFailed("Damaged", "its content in the backup store is not what was put there")
                with self._asking(self._bucket):
                    self._bucket.put_segment(name, path)
            except UploadFailed as error:
                return str(error)
        self._progress(entry.bytes)
        return ""

    def _progress(self, size: int) -> None:
        with self._lock:
            self.copied += 1
            self._bytes += size
            if self.left:
                self.left -= 1
            now = time.monotonic()
            if now - self._told_at >= PROGRESS_SECONDS:
                self._told_at = now
                logger.info("%d files (%.1f MB) brought, %d left", self.copied, self._bytes / 1e6, self.left or 0)

    # --- playlists and manifests ---

    def _manifests(self, source: dict[str, Entry], target: dict[str, Entry]) -> dict[str, Manifest]:
        """The one that tells most, of each attempt."""
        found: dict[str, Manifest] = {}
        for name in sorted({name for name in (*source, *target) if _MANIFEST.fullmatch(name)}):
            bucket = self._manifest(self._bucket, name) if name in target else None
            backup = self._manifest(self._backup, name) if name in source else None
            best = merging.newest(bucket, backup)
            if best is not None and (best.complete or not self._blind):
                found[name] = best
        return found

    def _manifest(self, depot: Depot, name: str) -> Manifest | None:
        body = self._read(depot, name)
        try:
            return parse_manifest(body) if body is not None else None
        except ValidationError as error:
            logger.warning("%s in %s is no manifest: %d faults", name, depot.where, error.error_count())
            return None

    def _read(self, depot: Depot, name: str) -> bytes | None:
        self._heed()
        try:
            with self._asking(depot):
                return depot.read(name)
        except Away as away:
            if depot is self._bucket:
                _look_closer(away)
            raise
        except UploadFailed as error:
            if not isinstance(error, FileGone):
                logger.warning("%s in %s cannot be read: %s", name, depot.where, error)
            return None

    def _playlists(self, source: Collection[str], there: set[str], manifests: dict[str, Manifest]) -> dict[str, str]:
        """Put those that the backup store had a part in; what went wrong with single ones."""
        tracks = {track.playlist: track for m in manifests.values() for track in m.tracks if _concerns(track)}
        faults: dict[str, str] = {}
        for name in sorted({*tracks, *(name for name in source if name.endswith(PLAYLIST))}):
            if self._blind and name not in tracks:
                continue  # the bucket has it as it should be
            old = self._read(self._bucket, name) if name in there and not self._blind else None
            other = self._read(self._backup, name) if name in source else None
            try:
                text = merging.playlist(_playlist(old), _playlist(other), tracks.get(name), there).encode()
                if not text:
                    continue
                if text != old:
                    with self._asking(self._bucket):
                        self._bucket.put_playlist(name, text)
            except (ValueError, UploadFailed) as error:
                logger.error("%s cannot be put right: %s", name, error)
                faults[name] = str(error)
            else:
                there.add(name)
        return faults

    def _put_manifests(
        self, source: dict[str, Entry], there: set[str], manifests: dict[str, Manifest], faults: dict[str, str]
    ) -> dict[str, Manifest]:
        """Put those that are not in the bucket as they should be. Those that the bucket should have."""
        right: dict[str, Manifest] = {}
        for name, old in manifests.items():
            new = right[name] = merging.manifest(old, there, source, self._clock())
            if name not in source and new.model_copy(update={"updated": old.updated}) == old:
                continue
            text = new.model_dump_json(by_alias=True, exclude_none=True).encode()
            try:
                with self._asking(self._bucket):
                    self._bucket.put_playlist(name, text)
                if self._blind:
                    with self._asking(self._backup):
                        self._backup.put_playlist(name, text)
            except UploadFailed as error:
                logger.error("%s cannot be put: %s", name, error)
                faults[name] = str(error)
        return right

    # --- what is not needed any more ---

    def _remove_all(self, pool: ThreadPoolExecutor, source: dict[str, Entry], faults: dict[str, str]) -> str:
        """Remove what the bucket has; why not, if the store refuses. Lists stay for as long as segments do."""
        names = [name for name in source if name.endswith(SEGMENT) and name not in faults]
        groups = [names]
        if not faults:
            groups.append([name for name in source if name.endswith(PLAYLIST)])
            groups.append([name for name in source if not name.endswith((SEGMENT, PLAYLIST))])
        try:
            for batch in (batch for group in groups for batch in _batches(group)):
                list(pool.map(partial(self._remove), batch))
        except (BucketRefused, UploadFailed) as error:
            logger.warning("the copies in the backup store stay: %s", error)
            return str(error)
        if source:
            logger.info("%d copies removed from the backup store", sum(map(len, groups)))
        return ""

    def _remove(self, name: str) -> None:
        self._heed()
        try:
            self._backup.remove(name)
        except BucketUnreachable as error:
            raise self._away(self._backup, error) from error

    # --- errors ---

    def _heed(self) -> None:
        if self._stop.is_set():
            raise Stopped

    @contextmanager
    def _asking(self, depot: Depot) -> Iterator[None]:
        """A store that refuses or does not answer breaks the pass off."""
        try:
            yield
        except (BucketRefused, BucketUnreachable) as error:
            raise self._away(depot, error) from error

    def _away(self, depot: Depot, error: StoreError) -> Away:
        if depot is self._bucket:
            return Away(error.reason, f"the bucket: {error}")
        return Away(Reason.BACKUP_FAILED, f"the backup store: {error}")


def _look_closer(away: Away) -> None:
    """Raises _Unreadable when the bucket knows its keys, and they allow something else."""
    refused = away.__cause__
    if isinstance(refused, BucketRefused) and refused.code == "AccessDenied":
        raise _Unreadable(away.message) from away


def _told_there(manifests: dict[str, Manifest]) -> set[str]:
    """What the bucket has, by its manifests."""
    tracks = [track for manifest in manifests.values() for track in manifest.tracks]
    segments = {segment.file for track in tracks for segment in track.segments if segment.store == "bucket"}
    return segments | {track.playlist for track in tracks if track.store == "bucket"}


def _ours(name: str) -> bool:
    return name.endswith((SEGMENT, PLAYLIST)) or name == CHECK_OBJECT or _MANIFEST.fullmatch(name) is not None


def _concerns(track: ManifestTrack) -> bool:
    """Whether something of it was in the backup store alone."""
    return track.store == "backup" or any(segment.store == "backup" for segment in track.segments)


def _playlist(body: bytes | None) -> Playlist | None:
    """Raises ValueError on what is no playlist."""
    return parse(body.decode()) if body is not None else None


def _batches(names: list[str]) -> Iterable[list[str]]:
    for start in range(0, len(names), _BATCH):
        yield names[start : start + _BATCH]
