"""`cloudrec merge` on files that the recorder's own segmenter wrote, judged by what is seen and heard of its."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cloudrec_contract.naming import encode_id, playlist_of, utc_stamp
from cloudrec_contract.spool import TrackRecord
from cloudrec_local import fetch
from cloudrec_local.cli import main
from cloudrec_local.merge_plan import PLAYERS, Wanted
from cloudrec_recorder.convert.recode import Encoding
from cloudrec_recorder.media import AccessUnit, Media, TrackKey
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.segmenter import Segmenter
from tests.unit.convert.recordings import Recorded, in_step, look
from tests.unit.segments import samples
from tests.unit.segments.pictures import FPS, encoded
from tests.unit.segments.playlists import playlist

ALICE = encode_id("alice")
SECTIONS = ((1, 5), (25, 29))


def pictures(media: Media, first: int, end: int, codec: str = "H264") -> list[AccessUnit]:
    numbers = range(first * FPS, end * FPS)
    units = encoded(codec, numbers, keyframes=range(0, 1000, 30))
    key = TrackKey("alice", media, "video")
    return [
        AccessUnit(key, codec, data, number / FPS, keyframe, first)
        for number, (data, keyframe) in zip(numbers, units, strict=True)
    ]


def sound(first: int, end: int) -> list[AccessUnit]:
    pcm = samples.beeps(end, [float(n) for n in range(first, end)])[:, first * samples.RATE :]
    return [
        AccessUnit(TrackKey("alice", "main", "audio"), "OPUS", data, first + place * 0.02, True, first)
        for place, data in enumerate(samples.opus(pcm))
    ]


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sections of camera and sound; in the first a screen too, from second 2 to 4."""
    units: list[AccessUnit] = pictures("aux", 2, 4)
    for first, end in SECTIONS:
        units += [*pictures("main", first, end), *sound(first, end)]
    return record(tmp_path_factory.mktemp("talk"), units)


def record(folder: Path, units: list[AccessUnit]) -> Path:
    """What the recorder makes of it."""
    disk = Disk()
    output = samples.output(folder, disk, [], target=2.0, gap=1.0)
    segmenter = Segmenter(output, lambda: 0.0)
    for unit in sorted(units, key=lambda unit: unit.time):
        segmenter.media(unit)
    segmenter.stop(20)
    assert segmenter.settle(20)
    segmenter.finish()
    assert disk.close(10)
    records = samples.records(folder)
    for each in records:
        if isinstance(each, TrackRecord):
            (output.folder / each.track).write_text(playlist(records, each.track))
    return output.folder


def merge(folder: Path | str, *options: str) -> Result:
    return CliRunner().invoke(main, ["merge", "-f", str(folder), *options])


def made(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.mp4")}


def stamp(second: int) -> str:
    """Of the section that begins then: AAC's priming and Opus' lookahead come first."""
    return utc_stamp(samples.EPOCH_MS + second * 1000 - 28)


COMBINATIONS = list(product("01", (False, True), "012", (None, "10"), (None, (160, 90))))


@pytest.mark.parametrize(("mode", "drop", "audio", "fps", "size"), COMBINATIONS)
def test_every_combination(
    talk: Path,
    tmp_path: Path,
    mode: str,
    drop: bool,
    audio: str,
    fps: str | None,
    size: tuple[int, int] | None,
) -> None:
    options = ["-m", mode, "-a", audio, "-o", str(tmp_path)]
    options += ["-s"] * drop + (["-p", fps] if fps else []) + (["-r", *map(str, size)] if size else [])
    result = merge(talk, *options)
    assert result.exit_code == 0, result.output
    other = "main" if audio == "2" else "aux"
    heads = [f"_{stamp(1)}", f"_{stamp(25)}"] if mode == "0" else [""]
    expected = {f"{ALICE}{head}_av.mp4" for head in heads}
    expected |= {f"{ALICE}{head}_{other}.mp4" for head in (heads if other == "main" else heads[:1])}
    assert made(tmp_path) == expected
    assert ("encoded anew" in result.stdout) == bool(fps or size)
    rate = int(fps or 15) if fps or size else FPS
    spans = [[SECTIONS[0]], [SECTIONS[1]]] if mode == "0" else [list(SECTIONS)]
    for head, span in zip(heads, spans, strict=True):
        seen = look(tmp_path / f"{ALICE}{head}_av.mp4")
        seconds = [second for begin, end in span for second in range(begin, end)]
        shown = [(2, 4)] if audio == "2" and span[0] == SECTIONS[0] else [] if audio == "2" else span
        assert len(seen.pictures) == pytest.approx(sum(end - begin for begin, end in shown) * rate, abs=rate + 2)
        assert {each for _, _, each in seen.pictures} <= {size or (320, 180)}
        blank = mode == "1" and drop
        begins = seconds[0] - seen.beeps[0]
        heard = [at + begins for at in seen.beeps]
        removed = [20 if blank and second >= 25 else 0 for second in seconds]
        assert heard == pytest.approx([second - gone for second, gone in zip(seconds, removed, strict=True)], abs=0.06)
        first = {number: time for time, number, _ in reversed(seen.pictures)}  # a picture may be repeated
        for number, time in first.items():
            if number is not None:
                gone = 20 if blank and number >= 25 * FPS else 0
                assert time + begins == pytest.approx(number / FPS - gone, abs=0.06)


def test_without_options_all_pictures_are_there(talk: Path, tmp_path: Path) -> None:
    merge(talk, "-m", "1", "-o", str(tmp_path))
    seen = look(tmp_path / f"{ALICE}_av.mp4")
    assert seen.numbers == [*range(30, 150), *range(750, 870)]
    in_step(seen, [1, 2, 3, 4, 25, 26, 27, 28])


def test_a_user_who_sent_vp8(tmp_path: Path) -> None:
    folder = record(tmp_path, [*pictures("main", 1, 4, "VP8"), *sound(1, 4)])
    assert merge(folder, "-m", "1").exit_code == 0
    seen = look(folder / f"{ALICE}_av.mp4")
    assert seen.numbers == list(range(30, 120))
    in_step(seen, [1, 2, 3])


def test_a_screen_alone(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.video("alice", (1, 5), media="aux")
    recorded.audio("alice", (1, 5))
    assert merge(tmp_path, "-m", "1").exit_code == 0
    assert made(tmp_path) == {f"{ALICE}_av.mp4", f"{ALICE}_aux.mp4"}
    assert not look(tmp_path / f"{ALICE}_av.mp4").pictures
    for path in tmp_path.glob("*.mp4"):
        path.unlink()
    assert merge(tmp_path, "-m", "1", "-a", "1").exit_code == 0
    assert made(tmp_path) == {f"{ALICE}_av.mp4"}
    in_step(look(tmp_path / f"{ALICE}_av.mp4"), range(1, 5))


def test_attempts_and_users(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.video("alice", (1, 5))
    recorded.video("alice", (5, 9), attempt=1)
    recorded.audio("bob", (1, 5))
    assert merge(tmp_path).exit_code == 0
    assert {name.partition("_")[0] for name in made(tmp_path)} == {ALICE, encode_id("bob")}
    assert len(look(next(tmp_path.glob(f"{ALICE}*"))).pictures) == 8 * FPS


def test_what_is_skipped_is_named(tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.video("alice", (1, 11))
    files = recorded.files("_video_")
    files[0].unlink()
    files[1].write_bytes(b"")
    files[2].write_bytes(b"no transport stream" * 20)
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    (tmp_path / playlist_of("broken")).write_text("#EXTM3U\n")
    recorded.both(None, (1, 3))
    result = merge(tmp_path)
    assert result.exit_code == 1
    for name in (*(file.name for file in files[:3]), "holiday.jpg", "1400000001_12345.m3u8"):
        assert f"skipped {name}" in result.stderr
    assert files[3].name not in result.stderr
    again = merge(tmp_path)  # what was made before is no foreign file
    assert again.stderr.count("skipped") == result.stderr.count("skipped")


@pytest.mark.parametrize("options", [["-p", "x"], ["-m", "2"], ["-r", "641", "360"], ["-a", "3"], ["--task", "demo"]])
def test_wrong_use(tmp_path: Path, options: Iterable[str]) -> None:
    assert merge(tmp_path, *options).exit_code == 2


def test_nothing_to_do(tmp_path: Path) -> None:
    assert merge(tmp_path).exit_code == 2
    assert merge(tmp_path / "none").exit_code == 2
    assert CliRunner().invoke(main, ["merge"]).exit_code == 2


@pytest.mark.parametrize(("fps", "used"), [(1, 5), (5, 5), (60, 60), (200, 120), (None, 15)])
def test_rates_are_clamped(fps: int | None, used: int) -> None:
    assert Wanted(fps=fps, size=(640, 360)).encoding == Encoding((640, 360), used)


def test_files_of_several_rooms_are_told_apart(tmp_path: Path) -> None:
    for room in ("12345", "678"):
        (tmp_path / room).mkdir()
        recorded = Recorded(tmp_path / room)
        recorded.audio("alice", (1, 3))
        for path in (tmp_path / room).iterdir():
            shutil.copy(path, tmp_path / path.name.replace("12345", room))
    for path in tmp_path.glob("*_678_*.m3u8"):
        path.write_text(path.read_text().replace("12345", "678"))
    assert merge(tmp_path, "-m", "1").exit_code == 0
    assert made(tmp_path) == {f"1400000001_{room}_{ALICE}_av.mp4" for room in ("12345", "678")}


def test_the_help_teaches() -> None:
    text = CliRunner().invoke(main, ["merge", "--help"]).output
    assert "Exit codes" in text
    assert "cloudrec fetch" in text
    assert PLAYERS == fetch.PLAYER_PREFIX
