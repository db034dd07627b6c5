"""Lists of two stores made one: whatever each store saw of a recording, the bucket shows all that it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_contract.manifest import Gap, Manifest, ManifestSegment, ManifestTrack
from cloudrec_contract.playlist import Playlist, Segment, parse
from cloudrec_recorder.finisher import merging

BEGIN = 1_700_000_000_000
WHOLE = tuple(Segment(f"s{n:02}.ts", 10.0, float(BEGIN + n * 10_000)) for n in range(12))


def shown(*segments: Segment, ended: bool = False) -> Playlist:
    return Playlist(BEGIN, 640, 360, segments=segments, ended=ended)


def seen(store: Playlist, *, jumps: bool) -> Playlist:
    """As a store shows it: with a jump where it lacks a segment, or without."""
    segments = list(store.segments)
    if jumps:
        for n in range(1, len(segments)):
            if segments[n].start_ms - segments[n - 1].start_ms > 10_001:
                segments[n] = replace(segments[n], discontinuity=True)
    return replace(store, segments=tuple(segments))


def merged(
    bucket: Playlist | None, backup: Playlist | None, there: set[str], track: ManifestTrack | None = None
) -> Playlist:
    return parse(merging.playlist(bucket, backup, track, there))


@given(
    in_bucket=st.lists(st.integers(0, 11), unique=True).map(sorted),
    until=st.integers(0, 12),
    length=st.integers(1, 12),
)
def test_any_two_views_make_the_whole(in_bucket: list[int], until: int, length: int) -> None:
    """The backup's list goes up to some segment and lacks none; the bucket's has gaps, and may go on for longer."""
    whole = WHOLE[:length]
    bucket = seen(shown(*[whole[n] for n in in_bucket if n < length]), jumps=True)
    backup = shown(*whole[:until])
    there = {s.name for s in (*bucket.segments, *backup.segments)}
    if not there:
        assert merging.playlist(bucket, backup, None, there) == ""
        return
    found = merged(bucket, backup, there)
    assert [s.name for s in found.segments] == [s.name for s in whole if s.name in there]
    assert not any(s.discontinuity for s in found.segments[:until])


def test_an_end_in_either_is_an_end() -> None:
    there = {s.name for s in WHOLE}
    assert merged(shown(*WHOLE[:3], ended=True), shown(*WHOLE[:5]), there).ended
    assert merged(shown(*WHOLE[:3]), shown(*WHOLE[:5], ended=True), there).ended
    assert not merged(shown(*WHOLE[:3]), shown(*WHOLE[:5]), there).ended


def test_nothing_is_shown_that_the_bucket_does_not_have() -> None:
    found = merged(None, shown(*WHOLE[:4], ended=True), {"s00.ts", "s02.ts", "s03.ts"})
    assert [(s.name, s.discontinuity) for s in found.segments] == [
        ("s00.ts", False),
        ("s02.ts", True),
        ("s03.ts", False),
    ]


def test_what_is_in_the_bucket_alone_stays_as_it_is_to_the_byte() -> None:
    bucket = shown(*WHOLE, ended=True)
    there = {s.name for s in WHOLE}
    assert merging.playlist(bucket, shown(*WHOLE[:3]), None, there) == bucket.render()
    assert merging.playlist(parse(bucket.render()), None, None, there) == bucket.render()


def listed(*segments: ManifestSegment, gaps: tuple[Gap, ...] = ()) -> ManifestTrack:
    return ManifestTrack(
        playlist="a.m3u8",
        user_id="a",
        media="main",
        kind="video",
        codec="h264",
        begin_time_stamp=BEGIN,
        width=640,
        height=360,
        segments=list(segments),
        gaps=list(gaps),
        store="backup",
    )


def entry(n: int, store: str) -> ManifestSegment:
    return ManifestSegment.model_validate(
        {"file": f"s{n:02}.ts", "start": BEGIN + n * 10_000, "duration": 10, "bytes": 5, "sha256": "0", "store": store}
    )


def test_a_playlist_that_no_store_has_follows_from_the_manifest() -> None:
    lost = Gap(start=BEGIN + 10_000, duration=10, reason="SpoolFull", file="s01.ts")
    track = listed(entry(0, "bucket"), entry(2, "backup"), gaps=(lost,))
    found = merged(None, None, {"s00.ts", "s02.ts"}, track)
    assert (found.begin_ms, found.width) == (BEGIN, 640)
    assert [(s.name, s.discontinuity) for s in found.segments] == [("s00.ts", False), ("s02.ts", True)]
    with pytest.raises(ValueError, match="neither store"):
        merging.playlist(None, None, None, set())


def manifest(*tracks: ManifestTrack, updated: int = 5, complete: bool = True) -> Manifest:
    return Manifest(
        task_id="t", attempt=0, epoch=BEGIN, updated=updated, complete=complete, backup=9, tracks=list(tracks)
    )


def test_the_complete_manifest_is_the_one_then_the_later() -> None:
    early, late = manifest(updated=1), manifest(updated=2, complete=False)
    assert merging.newest(late, early) is early
    assert merging.newest(manifest(updated=1, complete=False), late) is late
    assert merging.newest(None, late) is late
    assert merging.newest(None, None) is None


def test_the_manifest_tells_where_everything_is_now() -> None:
    old = manifest(listed(entry(0, "bucket"), entry(1, "backup"), entry(2, "backup"), entry(3, "backup")))
    new = merging.manifest(old, {"s00.ts", "s01.ts", "a.m3u8"}, {"s02.ts", "a.m3u8"}, now=77)
    (track,) = new.tracks
    assert [(s.file, s.store) for s in track.segments] == [
        ("s00.ts", "bucket"),
        ("s01.ts", "bucket"),
        ("s02.ts", "backup"),
    ]
    assert [(gap.file, gap.reason, gap.start) for gap in track.gaps] == [("s03.ts", merging.GONE, BEGIN + 30_000)]
    assert (track.store, new.missing, new.backup, new.updated) == ("bucket", 1, 1, 77)
    assert merging.gone(new) == 1
    # What has gone is counted once, however often it is looked at.
    again = merging.manifest(new, {"s00.ts", "s01.ts", "s02.ts", "a.m3u8"}, set(), now=80)
    assert (again.missing, again.backup, merging.gone(again)) == (1, 0, 1)
