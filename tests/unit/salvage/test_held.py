"""A recorder killed in a track's first seconds: what capture held back is in the files all the same, once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cloudrec_contract.spool import JOURNAL, EndRecord, SegmentRecord, TrackRecord
from cloudrec_local.playback.decode import load
from cloudrec_recorder.salvage.spool import salvage
from cloudrec_recorder.segments.disk import write_all
from cloudrec_recorder.segments.held import HELD
from tests.analysis.ffprobe import ffprobe_warnings
from tests.unit.salvage.holding import DELAY, FPS, Recorder
from tests.unit.segments import samples
from tests.unit.segments.pictures import encoded
from tests.unit.segments.playlists import playlist
from tests.unit.segments.samples import AUDIO, EPOCH_MS, VIDEO

NOW = EPOCH_MS + 60_000
PICTURES = samples.h264(300, width=128, height=96)
SOUND = samples.opus(samples.beeps(9.0, [float(second) + 0.5 for second in range(9)]))
LOSS = 0.5


@dataclass
class Made:
    """What a playlist has after salvage: pictures' and sound's moments, seconds since the task's epoch."""

    segments: list[SegmentRecord]
    pictures: list[float]
    beeps: list[float]
    audio_end: float


def made(folder: Path, kind: str) -> Made:
    records = samples.records(folder)
    assert isinstance(records[-1], EndRecord)
    (track,) = (r for r in records if isinstance(r, TrackRecord) and r.kind == kind)
    segments = [r for r in records if isinstance(r, SegmentRecord) and r.track == track.track]
    assert track.begin_time_stamp == int(segments[0].start)
    listed = folder / "media" / track.track
    listed.write_text(playlist(records, track.track))
    if kind != "audio_video":  # ffprobe itself does not bear streams that come and go
        assert ffprobe_warnings(listed) == []
    assert load(listed.read_text(), lambda name: (folder / "media" / name).read_bytes()).faults == []
    found = Made(segments, [], [], 0.0)
    for segment in segments:
        data = (folder / "media" / segment.file).read_bytes()
        assert len(data) == segment.bytes
        held = samples.ffprobe(folder / "media" / segment.file, "-count_frames", "-show_streams")
        streams = {stream["codec_type"] for stream in held["streams"]}
        if "video" in streams:
            found.pictures += [(pts or 0) / 90_000 - 10 for pts, _ in samples.demuxed(data)]
        if "audio" in streams:
            begin, line = samples.decoded_audio(data, folder)
            found.beeps += [begin - 10 + at for at in samples.onsets(line)]
            found.audio_end = begin - 10 + len(line) / samples.RATE
    assert all(after > before for before, after in pairwise(found.pictures))
    return found


def left_over(folder: Path) -> list[str]:
    return [path.name for path in (folder / HELD).iterdir()] + [path.name for path in folder.glob("salvage-*")]


def check(folder: Path, until: float, *, begin: float = 1.0) -> tuple[Made, Made]:
    """Everything captured from `begin` to `until` is there but for the last moments, and nothing twice."""
    video, audio = made(folder, "video"), made(folder, "audio")
    first, last = begin + DELAY, until + DELAY
    assert video.pictures[0] == pytest.approx(first, abs=0.002)
    assert video.pictures[-1] >= last - LOSS
    assert len(video.pictures) == round((video.pictures[-1] - video.pictures[0]) * FPS) + 1
    assert audio.audio_end >= last - LOSS
    expected = [first + beep for beep in (s + 0.5 for s in range(9)) if first + beep < last - LOSS]
    assert audio.beeps[: len(expected)] == pytest.approx(expected, abs=0.005)
    assert len(audio.beeps) <= len(expected) + 1
    assert left_over(folder) == []
    return video, audio


@pytest.mark.parametrize("until", [1.5, 3.47, 5.9])
def test_killed_while_all_is_held(tmp_path: Path, until: float) -> None:
    recorder = Recorder(tmp_path, PICTURES, SOUND)
    recorder.play(until)
    killed = recorder.kill()
    assert not any((killed / "media").iterdir())
    assert salvage(killed, lambda: NOW) == 2
    check(killed, until)
    recorder.end()


@pytest.mark.parametrize("after", [0.0, 0.04, 0.3, 1.0, 2.9, 3.3])
@pytest.mark.parametrize("report_at", [2.5, float("inf")])
def test_killed_after_it_was_let_out(tmp_path: Path, after: float, report_at: float) -> None:
    """By a report, or because none came in 5 s; before the next flush, after it, and when the copy is gone."""
    until = min(report_at, 6.0) + 0.01 + after
    recorder = Recorder(tmp_path, PICTURES, SOUND, report_at=report_at)
    recorder.play(until)
    killed = recorder.kill()
    salvage(killed, lambda: NOW)
    video, audio = check(killed, until)
    assert len(video.segments) == len(audio.segments) == 1
    recorder.end()
    whole = tmp_path / "recorder"  # where the living recorder puts the same
    (started,) = (r for r in samples.records(whole) if isinstance(r, TrackRecord) and r.kind == "video")
    assert video.segments[0].start == pytest.approx(started.begin_time_stamp, abs=1.0)
    assert not list((whole / HELD).iterdir())


def test_killed_where_short_segments_are_closed_already(tmp_path: Path) -> None:
    pictures = samples.h264(300, width=128, height=96, keyframes=frozenset(range(0, 300, 15)))
    for step, until in enumerate((6.02, 6.1, 6.5)):
        recorder = Recorder(tmp_path / str(step), pictures, SOUND, target=2.0)
        recorder.play(until)
        killed = recorder.kill()
        salvage(killed, lambda: NOW)
        video, audio = check(killed, until)
        assert len(video.segments) >= 2
        assert len(audio.segments) >= 2
        recorder.end()


def test_killed_while_a_user_who_came_again_is_held(tmp_path: Path) -> None:
    """The segment of before is closed, and what was held goes on behind it."""
    recorder = Recorder(tmp_path, PICTURES, SOUND, report_at=1.5)
    recorder.play(4.0)
    recorder.leave()
    recorder.tick()
    recorder.begin = {VIDEO: 5.0, AUDIO: 5.0}
    recorder.come(PICTURES, SOUND)
    recorder.play(7.0)
    killed = recorder.kill()
    salvage(killed, lambda: NOW)
    video, audio = made(killed, "video"), made(killed, "audio")
    for track in (video, audio):
        assert [segment.discontinuity for segment in track.segments] == [False, True]
    assert video.pictures[0] == pytest.approx(1 + DELAY, abs=0.002)
    assert video.pictures[-1] >= 7 - LOSS
    assert audio.audio_end >= 7 - LOSS
    assert left_over(killed) == []
    recorder.end()


@pytest.fixture(scope="module")
def vp8() -> list[tuple[bytes, bool]]:
    return encoded("VP8", range(155))


@pytest.mark.parametrize("until", [3.0, 6.02])
def test_pictures_to_be_transcoded(tmp_path: Path, vp8: list[tuple[bytes, bool]], until: float) -> None:
    """Held, and let out but hardly begun on."""
    recorder = Recorder(tmp_path, vp8, SOUND, codec="VP8")
    recorder.play(until)
    killed = recorder.kill()
    salvage(killed, lambda: NOW)
    check(killed, until)
    recorder.end()


@pytest.mark.parametrize("until", [3.0, 6.02, 6.9, 9.0])
def test_merged(tmp_path: Path, until: float) -> None:
    recorder = Recorder(tmp_path, PICTURES, SOUND, merge=True)
    recorder.segmenter.expect({VIDEO})
    recorder.play(until)
    killed = recorder.kill()
    salvage(killed, lambda: NOW)
    both = made(killed, "audio_video")
    last = until + DELAY
    assert both.pictures[0] == pytest.approx(1 + DELAY, abs=0.002)
    assert both.pictures[-1] >= last - LOSS
    assert both.audio_end >= last - LOSS
    expected = [1.55 + second for second in range(9) if 1.55 + second < last - LOSS]
    assert both.beeps[: len(expected)] == pytest.approx(expected, abs=0.005)
    assert left_over(killed) == []
    recorder.end()


def test_merged_sound_that_is_kept_back_for_a_camera_to_come(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, PICTURES, SOUND, merge=True, begin={AUDIO: 1.0, VIDEO: 7.0}, report_at=1.5)
    recorder.segmenter.expect(frozenset())
    recorder.play(6.5)
    recorder.segmenter.expect({VIDEO})
    recorder.play(9.0)
    killed = recorder.kill()
    salvage(killed, lambda: NOW)
    both = made(killed, "audio_video")
    assert both.pictures[0] == pytest.approx(7 + DELAY, abs=0.1)
    assert both.pictures[-1] >= 9 - LOSS
    assert both.audio_end >= 9 - LOSS
    assert both.beeps == pytest.approx([1.55 + second for second in range(len(both.beeps))], abs=0.005)
    recorder.end()


def test_merged_sound_that_begins_beside_pictures(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, PICTURES, SOUND, merge=True, begin={VIDEO: 1.0, AUDIO: 7.0})
    recorder.segmenter.expect({VIDEO})
    recorder.play(9.0)
    killed = recorder.kill()
    salvage(killed, lambda: NOW)
    both = made(killed, "audio_video")
    assert both.pictures[0] == pytest.approx(1 + DELAY, abs=0.002)
    assert both.pictures[-1] >= 9 - LOSS
    assert both.audio_end >= 9 - LOSS
    assert both.beeps[0] == pytest.approx(7.55, abs=0.005)
    recorder.end()


# --- the salvager itself ---


class Killed(Exception):
    pass


@pytest.mark.parametrize("until", [3.5, 6.02])
def test_salvage_killed_at_any_call_and_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: float
) -> None:
    recorder = Recorder(tmp_path, PICTURES, [])
    recorder.play(until)
    killed = recorder.kill()
    recorder.end()
    for step in range(100):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(killed, copy)
        left = step

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **more: object) -> object:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return real(*arguments, **more)

            return call

        with monkeypatch.context() as patched:
            for name in ("link", "ftruncate", "pwrite", "rename"):
                patched.setattr(os, name, dying(getattr(os, name)))
            patched.setattr(Path, "unlink", dying(Path.unlink))
            patched.setattr("cloudrec_recorder.salvage.spool.write_all", dying(write_all))
            try:
                salvage(copy, lambda: NOW)
                finished = True
            except Killed:
                finished = False
        salvage(copy, lambda: NOW)
        video = made(copy, "video")
        assert len(video.segments) == 1
        assert video.pictures[0] == pytest.approx(1 + DELAY, abs=0.002)
        assert video.pictures[-1] >= until + DELAY - LOSS
        assert {path.name for path in (copy / "media").glob("*.ts")} == {video.segments[0].file}
        if finished:
            assert step >= 5
            return
    pytest.fail("it never finished")


def test_media_that_the_decoder_dies_of_is_tried_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, PICTURES, [])
    recorder.play(3.0)
    killed = recorder.kill()
    recorder.end()

    def dies(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr("cloudrec_recorder.salvage.spool.make", dies)
    for _ in range(2):
        with pytest.raises(Killed):
            salvage(killed, lambda: NOW)
    assert salvage(killed, lambda: NOW) == 0
    assert isinstance(samples.records(killed)[-1], EndRecord)


def test_without_time_what_is_written_has_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path, PICTURES, [])
    recorder.play(6.5)  # let out, and in part in the file
    recorder.play(6.6)
    killed = recorder.kill()
    recorder.end()
    monkeypatch.setattr("cloudrec_recorder.salvage.spool.HELD_SECONDS", 0.0)
    assert salvage(killed, lambda: NOW) == 1
    assert made(killed, "video").pictures[0] == pytest.approx(1 + DELAY, abs=0.002)
    assert left_over(killed) == []


def test_odd_files_do_no_harm(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, PICTURES, SOUND)
    recorder.play(3.0)
    killed = recorder.kill()
    recorder.end()
    held = killed / HELD
    secret = tmp_path / "secret"
    shutil.copy(held / "000000.held", secret)
    head = b'{"userId": "%s", "media": "main", "kind": "video", "codec": "H264", "clockRate": 90000}\n'
    (held / "000100.held").symlink_to(secret)
    (held / "000101.held").mkdir()
    os.mkfifo(held / "000102.held")
    (held / "000103.held").write_bytes(np.random.default_rng(1).bytes(10_000))
    (held / "000104.held").write_bytes(head % (b"x" * 900))
    (held / "000105.held").write_bytes(head % b"eve")
    data = (held / "000000.held").read_bytes()
    for number, frames in ((106, np.random.default_rng(2).bytes(10_000)), (107, data.partition(b"\n")[2][:300])):
        (held / f"000{number}.held").write_bytes(head % b"../../eve" + frames)
    with (held / "000108.held").open("wb") as huge:
        huge.truncate(1 << 40)
    (held / "notes").write_text("left alone")
    assert salvage(killed, lambda: NOW) >= 2
    assert len(made(killed, "audio").segments) == 1
    names = {r.track for r in samples.records(killed) if isinstance(r, TrackRecord)}
    assert all("/" not in name for name in names)
    assert secret.exists()
    assert (held / "notes").exists()


def test_without_a_task_held_frames_are_left_alone(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, PICTURES, [])
    recorder.play(3.0)
    killed = recorder.kill()
    recorder.end()
    (killed / "task.json").unlink()
    assert salvage(killed, lambda: NOW) == 0
    (end,) = samples.records(killed)
    assert isinstance(end, EndRecord)
    assert (killed / JOURNAL).exists()
