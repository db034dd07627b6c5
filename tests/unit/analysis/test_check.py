"""The check of `cloudrec demo`: what plays passes, and what does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudrec_local.check import FileReport, check_files
from tests.unit.analysis.made import audio, joined, numbers, video, write

USERS = {"user-1": 1, "user-2": 2}
FRAMES = numbers(1, 4)


def check(folder: Path, users: dict[str, int] | None = None) -> list[FileReport]:
    def get(key: str) -> bytes:
        assert key.startswith("prefix/task/")
        return (folder / key.removeprefix("prefix/task/")).read_bytes()

    keys = [f"prefix/task/{path.name}" for path in folder.glob("*.m3u8")]
    return check_files(keys, get, USERS if users is None else users)


def test_what_plays_passes(tmp_path: Path) -> None:
    write(tmp_path, video(FRAMES), "video")
    write(tmp_path, audio(1, 4), "audio")
    sound, picture = check(tmp_path)
    assert (sound.faults, picture.faults) == ((), ())
    assert (picture.user, picture.media, picture.kind, picture.codec) == ("user-1", "main", "video", "h264")
    assert (picture.resolution, picture.frames, picture.missing, picture.segments) == ("320x180", 60, 0, 2)
    assert picture.seconds == pytest.approx(4, abs=0.01)
    assert picture.size == sum(path.stat().st_size for path in tmp_path.glob("*_video_*.ts"))
    assert (sound.codec, sound.resolution, sound.frames, sound.gaps) == ("aac", "", 0, ())
    assert (sound.recognised, picture.recognised) == (True, True)


def test_a_stranger_is_not_looked_for(tmp_path: Path) -> None:
    write(tmp_path, video(FRAMES), "video")
    (report,) = check(tmp_path, {})
    assert not report.faults
    assert report.recognised is None


def test_another_users_content_does_not_pass(tmp_path: Path) -> None:
    write(tmp_path, video(FRAMES), "video", user="user-2")
    write(tmp_path, audio(1, 4), "audio", user="user-2")
    sound, picture = check(tmp_path)
    assert (sound.recognised, picture.recognised) == (False, False)


def test_missing_pictures_are_counted_and_gaps_listed(tmp_path: Path) -> None:
    frames = [n for n in FRAMES if n not in (FRAMES[20], FRAMES[44])]
    write(tmp_path, joined(video(frames[:40]), video(frames[40:], shift=0.5), discontinuity=True), "video")
    (report,) = check(tmp_path)
    assert report.missing == 2
    assert report.faults == ()
    ((offset, length),) = report.gaps
    assert (offset, length) == pytest.approx((41 / 15 - 1 / 15, 0.5 + 1 / 15), abs=0.01)


def test_a_hidden_gap_at_a_joint_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, joined(video(FRAMES[:30]), video(FRAMES[30:], shift=0.5)), "video")
    (report,) = check(tmp_path)
    assert report.faults
    assert "begins +0.500 s" in report.faults[0]


def test_a_playlist_without_end_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, audio(1, 4), "audio", ended=False)
    (report,) = check(tmp_path)
    assert report.faults == ("the playlist has no end",)


def test_a_lost_segment_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, video(FRAMES), "video")
    next(tmp_path.glob("*.ts")).unlink()
    (report,) = check(tmp_path)
    assert report.faults
    assert report.faults[0].startswith("FileNotFoundError")


def test_an_empty_playlist_is_a_fault(tmp_path: Path) -> None:
    path = write(tmp_path, video(FRAMES), "video")
    path.write_text("")
    (report,) = check(tmp_path)
    assert report.faults[0].startswith("PlaylistError")


def test_a_foreign_name_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "other.m3u8").touch()
    (report,) = check(tmp_path)
    assert report.faults


def test_sound_where_a_picture_should_be_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, audio(1, 4), "video")
    (report,) = check(tmp_path)
    assert "holds audio" in report.faults
