"""`cloudrec verify` on a folder that is whole, and on what may become of one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloudrec_contract.manifest import Gap, Manifest, ManifestSegment, ManifestTrack, manifest_name, parse_manifest
from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_local.cli import main
from cloudrec_local.errors import StackError
from cloudrec_local.verify import Kind, folder_objects, verify

BEGIN = 1_700_000_000_000


def write(folder: Path, index: int = 0, **more: object) -> Manifest:
    """An attempt of two segments, as its sidecar leaves it."""
    head = f"ha{index}_" if index else ""
    segments, listed = [], []
    for number in range(2):
        name = f"{head}a_{number}.ts"
        body = bytes([number]) * 1000
        (folder / name).write_bytes(body)
        start = BEGIN + number * 10_000
        segments.append(Segment(name, 10.0, start))
        listed.append(
            ManifestSegment(file=name, start=start, duration=10.0, bytes=1000, sha256=hashlib.sha256(body).hexdigest())
        )
    playlist = f"{head}a.m3u8"
    (folder / playlist).write_text(Playlist(BEGIN, segments=tuple(segments), ended=True).render())
    made = Manifest(
        task_id="7b1c",
        attempt=index,
        epoch=BEGIN,
        updated=BEGIN,
        complete=True,
        tracks=[
            ManifestTrack(
                playlist=playlist,
                user_id="alice",
                media="main",
                kind="video",
                codec="H264",
                begin_time_stamp=BEGIN,
                segments=listed,
            )
        ],
    ).model_copy(update=more)
    save(folder, made)
    return made


def save(folder: Path, made: Manifest) -> None:
    (folder / manifest_name(made.attempt)).write_text(made.model_dump_json(by_alias=True))


def kinds(folder: Path) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.file) for finding in verify(folder_objects(folder)).findings]


def test_whole_attempts(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, 1)
    (tmp_path / "alice.mp4").write_bytes(b"made later, from these")
    verdict = verify(folder_objects(tmp_path))
    assert (verdict.code, verdict.findings) == (0, [])
    assert (verdict.manifests, verdict.segments, verdict.bytes) == (2, 4, 4000)


def drop(folder: Path) -> None:
    (folder / "a_1.ts").unlink()


def shorten(folder: Path) -> None:
    (folder / "a_1.ts").write_bytes(b"\1" * 999)


def flip(folder: Path) -> None:
    (folder / "a_1.ts").write_bytes(b"\1" * 999 + b"\0")


def cut_playlist(folder: Path) -> None:
    path = folder / "a.m3u8"
    path.write_text(path.read_text().replace("#EXT-X-ENDLIST\n", ""))


def forget_segment(folder: Path) -> None:
    (folder / "a.m3u8").write_text(Playlist(BEGIN, segments=(Segment("a_0.ts", 10.0, BEGIN),), ended=True).render())


def no_playlist(folder: Path) -> None:
    (folder / "a.m3u8").unlink()


def no_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (drop, [(Kind.MISSING, "a_1.ts"), (Kind.PLAYLIST, "a.m3u8")]),
        (shorten, [(Kind.SIZE, "a_1.ts")]),
        (flip, [(Kind.SHA256, "a_1.ts")]),
        (cut_playlist, [(Kind.PLAYLIST, "a.m3u8")]),
        (forget_segment, [(Kind.PLAYLIST, "a.m3u8")]),
        (no_playlist, [(Kind.MISSING, "a.m3u8")]),
        (
            no_manifest,
            [
                (Kind.MANIFEST, "manifest.json"),
                (Kind.EXTRA, "a.m3u8"),
                (Kind.EXTRA, "a_0.ts"),
                (Kind.EXTRA, "a_1.ts"),
            ],
        ),
    ],
)
def test_damage(tmp_path: Path, damage: Callable[[Path], None], found: list[tuple[Kind, str]]) -> None:
    write(tmp_path)
    damage(tmp_path)
    assert kinds(tmp_path) == found
    assert verify(folder_objects(tmp_path)).code == 4


def test_what_is_not_all_there_is(tmp_path: Path) -> None:
    made = write(tmp_path, failed=True, reason="RecorderDied")
    (tmp_path / "a_7.ts").write_bytes(b"of nobody")
    [track] = made.tracks
    moved = track.segments[1].model_copy(update={"store": "backup"})
    gap = Gap(start=BEGIN, duration=10, reason="SpoolFull", file="a_2.ts")
    kept = track.model_copy(update={"segments": [track.segments[0], moved], "gaps": [gap], "store": "backup"})
    save(tmp_path, made.model_copy(update={"tracks": [kept]}))
    (tmp_path / "a_1.ts").unlink()
    (tmp_path / "a.m3u8").unlink()
    verdict = verify(folder_objects(tmp_path))
    assert [(f.kind, f.file) for f in verdict.findings] == [
        (Kind.BACKUP, "a_1.ts"),
        (Kind.INCOMPLETE, "attempt 0"),
        (Kind.LOST, "a_2.ts"),
        (Kind.BACKUP, "a.m3u8"),
        (Kind.EXTRA, "a_7.ts"),
    ]
    assert verdict.code == 3


def test_a_recording_that_goes_on(tmp_path: Path) -> None:
    made = write(tmp_path, complete=False)
    cut_playlist(tmp_path)
    assert kinds(tmp_path) == [(Kind.INCOMPLETE, "attempt 0")]
    assert parse_manifest((tmp_path / "manifest.json").read_bytes()) == made


def test_without_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="no manifest"):
        verify(folder_objects(tmp_path))


def test_the_command(tmp_path: Path) -> None:
    write(tmp_path)
    run = CliRunner().invoke(main, ["verify", f"{tmp_path}/"])
    assert run.exit_code == 0, run.output
    assert "2 segments whole" in run.output
    flip(tmp_path)
    run = CliRunner().invoke(main, ["verify", f"{tmp_path}/"])
    assert run.exit_code == 4
    assert "sha256     a_1.ts" in run.output
    for target in (f"{tmp_path}/nowhere", "s3://bucket"):
        run = CliRunner().invoke(main, ["verify", target])
        assert run.exit_code == 1
        assert "Error" in run.output
