"""One playlist, and one manifest, of what the bucket and the backup store have of each. Pure.

While the bucket failed, each store's playlist was put for itself: the bucket's names what is in the bucket, and the
backup's all that was in either when it was put last, which may be long ago. Manifests differ likewise. Segments are
only ever appended, so both playlists are parts of one sequence; merged they are that sequence.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Final

from cloudrec_contract.manifest import Gap, Manifest, ManifestSegment, ManifestTrack, Where
from cloudrec_contract.playlist import Playlist, Segment

GONE: Final = "GoneFromBackup"
"""Reason of a gap: the segment was in the backup store alone, and is not there any more."""


def playlist(
    bucket: Playlist | None, backup: Playlist | None, track: ManifestTrack | None, there: Container[str]
) -> str:
    """The text of the playlist that the bucket should have: what either names, as far as it is `there`, in the bucket.

    Without either it follows from the manifest's `track`. Empty when none of its segments is there. Raises ValueError
    when there is nothing to make it of.
    """
    known = [found for found in (backup, bucket) if found is not None]
    if not known and track is not None:
        known = [_of_manifest(track)]
    if not known:
        raise ValueError("neither store has the playlist, and no manifest names it")
    # The longest is nearest to the whole.
    first = max(known, key=lambda found: len(found.segments))
    merged: Sequence[Segment] = first.segments
    for other in known:
        merged = _with(merged, other.segments)
    if backup is not None:  # it has no jump where the bucket lacked a segment
        flags = {segment.name: segment.discontinuity for segment in backup.segments}
        merged = [replace(segment, discontinuity=flags.get(segment.name, segment.discontinuity)) for segment in merged]
    whole = replace(first, segments=tuple(_only(merged, there)), ended=any(found.ended for found in known))
    return whole.render() if whole.segments else ""


def _with(merged: Sequence[Segment], others: Sequence[Segment]) -> list[Segment]:
    """`merged` with those of `others` that it lacks, each behind its predecessor; by time where both have some."""
    result = list(merged)
    known = {segment.name for segment in result}
    if all(other.name in known for other in others):
        return result
    places = {segment.name: index for index, segment in enumerate(result)}
    named = {segment.name for segment in others}
    shift, at = 0, 0
    for other in others:
        if other.name in known:
            at = places[other.name] + shift + 1
            continue
        while at < len(result) and result[at].name not in named and result[at].start_ms < other.start_ms:
            at += 1
        result.insert(at, other)
        shift += 1
        at += 1
    return result


def _only(segments: Sequence[Segment], there: Container[str]) -> list[Segment]:
    """Those that are there; a jump where others are left out."""
    kept: list[Segment] = []
    jump = False
    for segment in segments:
        if segment.name in there:
            kept.append(replace(segment, discontinuity=True) if jump else segment)
            jump = False
        else:
            jump = True
    return kept


def _of_manifest(track: ManifestTrack) -> Playlist:
    lost = sorted(gap.start for gap in track.gaps if gap.file is not None)
    segments: list[Segment] = []
    before = float("-inf")
    for segment in track.segments:
        jump = any(before < start < segment.start for start in lost)
        segments.append(Segment(segment.file, segment.duration, segment.start, segment.discontinuity or jump))
        before = segment.start
    return Playlist(
        begin_ms=track.begin_time_stamp,
        width=track.width,
        height=track.height,
        sample_rate=track.sample_rate,
        channels=track.channels,
        segments=tuple(segments),
    )


def newest(bucket: Manifest | None, backup: Manifest | None) -> Manifest | None:
    """The manifest that tells most: a complete one, else the later one."""
    known = [found for found in (bucket, backup) if found is not None]
    return max(known, key=lambda found: (found.complete, found.updated), default=None)


def manifest(of: Manifest, bucket: Container[str], backup: Container[str], now: int) -> Manifest:
    """`of`, told anew of which files are in which store; `now` in ms since the Unix epoch.

    A segment that was in the backup store alone and is in neither becomes a gap, and is missing.
    """
    tracks = [_track(track, bucket, backup) for track in of.tracks]
    gone = sum(len(old.segments) - len(new.segments) for old, new in zip(of.tracks, tracks, strict=True))
    left = sum(segment.store == "backup" for track in tracks for segment in track.segments)
    left += sum(track.store == "backup" for track in tracks)
    return of.model_copy(
        update={"tracks": tracks, "missing": of.missing + gone, "backup": left, "updated": max(now, of.updated)}
    )


def _track(track: ManifestTrack, bucket: Container[str], backup: Container[str]) -> ManifestTrack:
    segments: list[ManifestSegment] = []
    gaps = list(track.gaps)
    for segment in track.segments:
        store: Where = "bucket" if segment.file in bucket else segment.store
        if store == "backup" and segment.file not in backup:
            gaps.append(Gap(start=segment.start, duration=segment.duration, reason=GONE, file=segment.file))
        else:
            segments.append(segment if segment.store == store else segment.model_copy(update={"store": store}))
    gaps.sort(key=lambda gap: gap.start)
    shown: Where = "bucket" if track.playlist in bucket or track.playlist not in backup else track.store
    return track.model_copy(update={"segments": segments, "gaps": gaps, "store": shown})


def gone(of: Manifest) -> int:
    """How many of its segments were lost from the backup store."""
    return sum(gap.reason == GONE for track in of.tracks for gap in track.gaps)
