"""Recordings into MP4, judged by what is seen and heard of it."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from cloudrec_recorder.convert.engine import NONE, Converted, Limits, NoSpace, Orders, to_aac, to_mp4
from cloudrec_recorder.convert.plan import Planned, plan
from cloudrec_recorder.convert.source import FolderSource
from tests.unit.convert.recordings import EPOCH_MS, Recorded, in_step, look
from tests.unit.segments.pictures import FPS


def name(part: int | None) -> str:
    return f"out{'' if part is None else f'_{part}'}.mp4"


def planned(folder: Path) -> Planned:
    source = FolderSource(folder)
    playlists = {path.name: path.read_bytes() for path in folder.glob("*.m3u8")}
    return plan(playlists, source.sizes())


def convert(folder: Path, limits: Limits = NONE, number: int = 0) -> Converted:
    stream = planned(folder).streams[number]
    made = to_mp4(stream, FolderSource(folder), folder, Orders(name, limits))
    assert not list(folder.glob(".*"))
    for file in made.files:
        clean(file.path)
    return made


def clean(path: Path) -> None:
    """ffmpeg has nothing to say of it, and what tells where media is comes first."""
    done = subprocess.run(
        ["ffmpeg", "-v", "warning", "-xerror", "-i", str(path), "-fps_mode", "passthrough", "-f", "null", "-"],
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def numbers(first: int, end: int) -> list[int]:
    """Of the pictures from second `first` up to `end`."""
    return list(range(first * FPS, end * FPS))


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_sound_and_pictures_of_two_playlists(recorded: Recorded) -> None:
    recorded.video("alice", (1, 9))
    recorded.audio("alice", (0.5, 9))
    made = convert(recorded.folder)
    (file,) = made.files
    assert (made.reencoded, made.faults, file.part) == ((), (), None)
    assert file.start == pytest.approx(EPOCH_MS + 472, abs=2)  # AAC's priming comes before
    assert file.seconds == pytest.approx(8.53, abs=0.05)
    seen = look(file.path)
    assert seen.numbers == numbers(1, 9)
    in_step(seen, range(1, 9))


def test_one_playlist_with_both(recorded: Recorded) -> None:
    recorded.both(None, (2, 10))
    seen = look(convert(recorded.folder).files[0].path)
    assert seen.numbers == numbers(2, 10)
    in_step(seen, range(2, 10), within=0.03)


def test_a_successor_goes_on_where_the_first_attempt_ended(recorded: Recorded) -> None:
    recorded.video("alice", (1, 9))
    recorded.audio("alice", (1, 9))
    recorded.video("alice", (5, 15), attempt=1)  # overlapping by 4 s
    recorded.audio("alice", (4.3, 15), attempt=1)
    seen = look(convert(recorded.folder).files[0].path)
    assert seen.numbers == numbers(1, 15)
    in_step(seen, range(1, 15))


def test_a_successors_segment_that_begins_in_the_middle_of_an_older_one(recorded: Recorded) -> None:
    recorded.video("alice", (1, 9))
    recorded.video("alice", (6, 13), attempt=1, every=4)  # its segment from 6 to 10 holds the end of the other
    seen = look(convert(recorded.folder).files[0].path)
    assert seen.numbers == numbers(1, 13)


def test_a_newer_attempt_fills_an_older_ones_hole(recorded: Recorded) -> None:
    recorded.video("alice", (1, 13), leave_out=[5])
    recorded.video("alice", (3, 11), attempt=1)
    seen = look(convert(recorded.folder).files[0].path)
    assert seen.numbers == numbers(1, 13)


def test_gaps_stay_gaps(recorded: Recorded) -> None:
    for begin, end in ((1, 5), (9, 12)):
        recorded.video("alice", (begin, end), attempt=begin // 9)
        recorded.audio("alice", (begin + 0.2, end + 0.2), attempt=begin // 9)
    seen = look(convert(recorded.folder).files[0].path)
    assert seen.numbers == [*numbers(1, 5), *numbers(9, 12)]
    in_step(seen, [2, 3, 4, 5, 10, 11, 12])


def test_time_stamps_wrap_after_a_day(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path, offset=(1 << 33) / 90_000 - 10 - 4)  # 4 s in
    recorded.video("alice", (1, 9))
    recorded.audio("alice", (1, 9))
    seen = look(convert(recorded.folder).files[0].path)
    assert seen.numbers == numbers(1, 9)
    in_step(seen, range(1, 9))


def test_sound_alone(recorded: Recorded) -> None:
    recorded.audio("alice", (1.5, 6))
    seen = look(convert(recorded.folder).files[0].path)
    assert not seen.pictures
    assert [at + 1.5 - 1024 / 48_000 for at in seen.beeps] == pytest.approx([2, 3, 4, 5], abs=0.01)


def test_pictures_alone_and_a_screen_apart(recorded: Recorded) -> None:
    recorded.video("alice", (1, 5))
    recorded.video("alice", (2, 4), media="aux")
    streams = planned(recorded.folder).streams
    assert [(stream.user_id, stream.media) for stream in streams] == [("alice", "aux"), ("alice", "main")]
    seen = look(convert(recorded.folder, number=0).files[0].path)
    assert (seen.numbers, seen.sound) == (numbers(2, 4), None)


def test_another_size_is_scaled_and_only_that(recorded: Recorded) -> None:
    recorded.video("alice", (1, 5))
    recorded.video("alice", (5, 9), size=(640, 360))
    recorded.video("alice", (9, 11))
    recorded.audio("alice", (1, 11))
    made = convert(recorded.folder)
    assert made.reencoded == ("pictures of another size than the first",)
    seen = look(made.files[0].path)
    assert {size for _, _, size in seen.pictures} == {(320, 180)}
    assert seen.numbers == numbers(1, 11)
    in_step(seen, range(1, 11))


def test_sound_that_becomes_stereo(recorded: Recorded) -> None:
    recorded.audio("alice", (1.5, 5), channels=1)
    recorded.audio("alice", (5.3, 9), channels=2)
    made = convert(recorded.folder)
    assert made.reencoded
    seen = look(made.files[0].path)
    assert seen.channels == 2
    begins = (made.files[0].start - EPOCH_MS) / 1000
    assert [at + begins for at in seen.beeps] == pytest.approx([2, 3, 4, 6, 7, 8], abs=0.02)


@pytest.mark.parametrize("audio", [True, False])
@pytest.mark.parametrize("limits", [Limits(None, 2.5), Limits(30_000, None)], ids=["seconds", "bytes"])
def test_parts(recorded: Recorded, limits: Limits, audio: bool) -> None:
    recorded.video("alice", (1, 11), every=4)
    if audio:
        recorded.audio("alice", (1, 11))
    made = convert(recorded.folder, limits)
    assert [file.part for file in made.files] == list(range(1, len(made.files) + 1))
    assert [file.path.name for file in made.files] == [name(part) for part in range(1, len(made.files) + 1)]
    assert len(made.files) > 2
    every: list[int | None] = []
    heard: list[float] = []
    for file in made.files:
        assert limits.bytes is None or file.bytes <= limits.bytes
        assert limits.seconds is None or file.seconds <= limits.seconds + 0.03
        seen = look(file.path)
        assert min(seen.pictures[0][0], seen.sound[0] if seen.sound else 1.0) == pytest.approx(0, abs=0.001)
        every += seen.numbers
        heard += [at + seen.first_second for at in seen.beeps]
    assert every == numbers(1, 11)
    if audio:
        beeps = sorted({round(at) for at in heard})
        assert beeps == list(range(2, 11)) or beeps == list(range(1, 11))
        assert all(abs(at - round(at)) < 0.06 for at in heard)


def test_sound_alone_in_parts(recorded: Recorded) -> None:
    recorded.audio("alice", (1.5, 9))
    made = convert(recorded.folder, Limits(None, 3.0))
    assert all(file.seconds <= 3 for file in made.files)
    assert sum(len(look(file.path).beeps) for file in made.files) == 7


def test_a_file_grows_when_more_is_to_be_told_than_was_thought(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded.video("alice", (1, 5))
    recorded.audio("alice", (1, 5))
    monkeypatch.setattr("cloudrec_recorder.convert.engine._room", lambda *_: 100)
    seen = look(convert(recorded.folder).files[0].path)
    assert seen.numbers == numbers(1, 5)
    in_step(seen, range(1, 5))


def test_damaged_missing_and_empty_files_are_told(recorded: Recorded) -> None:
    recorded.video("alice", (1, 13))
    recorded.audio("alice", (1, 13))
    files = recorded.files("_video_")
    files[1].unlink()
    files[2].write_bytes(b"")
    files[4].write_bytes(files[4].read_bytes()[:10_000])
    found = planned(recorded.folder)
    assert {fault.file: fault.reason for fault in found.faults} == {files[1].name: "missing", files[2].name: "empty"}
    made = convert(recorded.folder)
    assert [fault.file for fault in made.faults] == [files[4].name]
    seen = look(made.files[0].path)
    kept = [number for number in seen.numbers if number is not None]
    assert kept[: 2 * FPS] == numbers(1, 3)
    assert set(numbers(7, 9)) | set(numbers(11, 13)) <= set(kept)
    in_step(seen, range(1, 13))


def test_sound_as_aac(recorded: Recorded) -> None:
    recorded.video("alice", (1, 5))
    recorded.audio("alice", (1.5, 5))
    recorded.audio("alice", (7.5, 9), attempt=1)
    stream = planned(recorded.folder).streams[0]
    made = to_aac(stream, FolderSource(recorded.folder), recorded.folder, Orders(lambda _: "out.aac"))
    seen = look(made.files[0].path)
    assert not seen.pictures
    assert [at + 1.5 for at in seen.beeps] == pytest.approx([2, 3, 4, 8], abs=0.04)


def test_killed_in_the_middle_it_begins_anew(recorded: Recorded) -> None:
    recorded.video("alice", (1, 9))

    class Killed(Exception):
        pass

    def progress(done: int, total: int) -> None:
        if done > total / 2:
            (recorded.folder / ".out.mp4.7.converting").write_bytes(b"of an earlier process")
            raise Killed

    stream = planned(recorded.folder).streams[0]
    with pytest.raises(Killed):
        to_mp4(stream, FolderSource(recorded.folder), recorded.folder, Orders(name, progress=progress))
    assert not list(recorded.folder.glob("*out*"))
    assert look(convert(recorded.folder).files[0].path).numbers == numbers(1, 9)


def test_parts_are_delivered_as_they_are_made(recorded: Recorded) -> None:
    recorded.video("alice", (1, 9))
    seen: list[tuple[str, int]] = []

    def deliver(file: object) -> None:
        seen.append((file.path.name, len(list(recorded.folder.glob(".*")))))  # type: ignore[attr-defined]

    stream = planned(recorded.folder).streams[0]
    orders = Orders(name, Limits(None, 3.0), deliver=deliver)
    to_mp4(stream, FolderSource(recorded.folder), recorded.folder, orders)
    assert [each for each, _ in seen] == ["out_1.mp4", "out_2.mp4", "out_3.mp4"]


def test_files_end_while_the_camera_is_off(recorded: Recorded) -> None:
    """The sound goes on, and no keyframe comes for longer than a file may last."""
    recorded.video("alice", (1, 3))
    recorded.audio("alice", (1, 12))
    recorded.video("alice", (12, 14))
    recorded.audio("alice", (60, 62), attempt=1)
    made = convert(recorded.folder, Limits(None, 20.0))
    assert len(made.files) == 4
    assert all(file.seconds <= 20 for file in made.files)
    assert look(made.files[0].path).numbers == [*numbers(1, 3), *numbers(12, 14)]
    assert all(before.end == pytest.approx(after.start, abs=25) for before, after in pairwise(made.files))
    (whole,) = convert(recorded.folder).files
    assert whole.seconds == pytest.approx(61, abs=0.1)


def test_a_picture_lasts_longer_than_32_bits_of_time_tell(recorded: Recorded) -> None:
    recorded.video("alice", (1, 3))
    recorded.video("alice", (30_000, 30_002), attempt=1)
    seen = look(convert(recorded.folder).files[0].path)
    times = [time for time, _, _ in seen.pictures]
    assert times[60] == pytest.approx(29_999, abs=0.002)
    assert seen.video_end == pytest.approx(30_001, abs=0.002)


def test_it_says_when_the_disk_is_too_small(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded.video("alice", (1, 3))
    monkeypatch.setattr("cloudrec_recorder.convert.engine._SPARE_BYTES", 1 << 60)
    with pytest.raises(NoSpace, match="MiB are needed"):
        convert(recorded.folder)


def test_nothing_of_an_empty_user(recorded: Recorded) -> None:
    recorded.video("alice", (1, 3))
    for path in recorded.files("_video_"):
        path.write_bytes(path.read_bytes()[: 2 * 188])  # the tables alone
    assert convert(recorded.folder).files == ()
    for path in recorded.files("_video_"):
        path.unlink()
    assert planned(recorded.folder).streams == ()


def test_files_that_are_taken_away_need_room_for_two(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording of a day is larger than any disk."""
    recorded.video("alice", (1, 3))
    source = FolderSource(recorded.folder)
    monkeypatch.setattr(source, "sizes", lambda: {path.name: 1 << 40 for path in recorded.files("")})
    free = shutil.disk_usage(recorded.folder)._replace(free=5 << 30)
    monkeypatch.setattr("cloudrec_recorder.convert.engine.shutil.disk_usage", lambda _: free)
    stream = planned(recorded.folder).streams[0]
    with pytest.raises(NoSpace):
        to_mp4(stream, source, recorded.folder, Orders(name))
    assert to_mp4(stream, source, recorded.folder, Orders(name, taken=True)).files
