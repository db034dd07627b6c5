"""Playlists for players beside the recorded ones."""

from __future__ import annotations

from pathlib import Path

from cloudrec_contract.naming import FileNames
from cloudrec_contract.playlist import Playlist, Segment, parse
from cloudrec_contract.resources import RoomType
from cloudrec_local.fetch import Objects, download, player_playlists

NAMES = FileNames(1400000001, "room", RoomType.STRING, 0)
VIDEO, AUDIO = (NAMES.playlist("ann", "main", kind) for kind in ("video", "audio"))


def recorded(name: str, *discontinuities: int) -> str:
    segments = [
        Segment(
            f"{name.removesuffix('.m3u8')}_{place}.ts",
            10.0,
            1_700_000_000_000.0 + 10_000 * place,
            place in discontinuities,
        )
        for place in range(3)
    ]
    return Playlist(1_700_000_000_000, segments=tuple(segments), ended=True).render()


def test_video_and_audio_are_joined_without_their_discontinuities() -> None:
    made = player_playlists({VIDEO: recorded(VIDEO, 1), AUDIO: recorded(AUDIO, 2)})
    assert set(made) == {"play_ann.m3u8", f"players/{VIDEO}", f"players/{AUDIO}"}
    assert [line for line in made["play_ann.m3u8"].splitlines() if not line.startswith("#")] == [f"players/{VIDEO}"]
    assert f'URI="players/{AUDIO}"' in made["play_ann.m3u8"]
    for name in (VIDEO, AUDIO):
        before, copy = parse(recorded(name)), parse(made[f"players/{name}"])
        assert [segment.name for segment in copy.segments] == [f"../{segment.name}" for segment in before.segments]
        assert [segment.start_ms for segment in copy.segments] == [segment.start_ms for segment in before.segments]
        assert not any(segment.discontinuity for segment in copy.segments)
        assert copy.ended


def test_one_kind_alone_is_played_as_it_was_recorded() -> None:
    made = player_playlists({AUDIO: recorded(AUDIO, 2)})
    assert set(made) == {"play_ann.m3u8"}
    assert AUDIO in made["play_ann.m3u8"].splitlines()


def test_download_leaves_the_recorded_files_as_they_are(tmp_path: Path) -> None:
    files = {name: recorded(name, 1).encode() for name in (VIDEO, AUDIO)}
    objects = Objects(lambda: sorted(files), files.__getitem__, "s3://somewhere")
    assert download(objects, tmp_path / "out") == sorted(files)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files
    assert (tmp_path / "out" / "players" / VIDEO).is_file()
