"""Segments cut off anywhere, as a killed recorder leaves them, and what a player makes of them after salvage."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudrec_contract.spool import JOURNAL, TASK, EndRecord, SegmentRecord, TrackRecord
from cloudrec_recorder.salvage.repair import Unsalvageable, repair
from cloudrec_recorder.salvage.spool import MESSAGE, salvage
from cloudrec_recorder.salvage.transport import whole
from cloudrec_recorder.segments.mpegts import PACKET, PID_AUDIO, PID_VIDEO, null_packets
from tests.analysis.ffprobe import ffprobe_warnings
from tests.unit.salvage.killed import FPS, Spool
from tests.unit.segments import samples
from tests.unit.segments.playlists import playlist
from tests.unit.segments.samples import EPOCH_MS

KINDS = ["video", "audio", "audio_video"]
NOW = EPOCH_MS + 60_000


@pytest.fixture(scope="module", params=KINDS)
def spool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Spool:
    return Spool(tmp_path_factory.mktemp("spool"), request.param)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    return Spool(tmp_path_factory.mktemp("spool"), "video")


def ends(data: bytes) -> list[tuple[int, int, bool]]:
    """(PID, offset behind it, filled up exactly) of each PES packet of a whole file, read packet by packet."""
    found: list[tuple[int, int, bool]] = []
    last: dict[int, int] = {}
    for at in range(0, len(data), PACKET):
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        if pid not in (PID_VIDEO, PID_AUDIO):
            continue
        if data[at + 1] & 0x40:
            last[pid] = len(found)
            found.append((pid, 0, False))
        first = bool(data[at + 1] & 0x40)
        stuffed = bool(data[at + 3] & 0x20) and (not first or data[at + 4] > 7)
        found[last[pid]] = (pid, at + PACKET, not stuffed)
    return found


def test_any_offset_loses_no_more_than_what_was_not_finished(spool: Spool) -> None:
    """Of pictures that end exactly with a packet, the last may be lost: nothing shows that it is whole."""
    pes = ends(spool.bytes)
    sizes = {0, 1, len(spool.bytes), *random.Random(7).sample(range(len(spool.bytes)), 300)}
    for edge in range(0, len(spool.bytes), PACKET):
        sizes |= {edge, edge + 1, max(edge - 1, 0)}
    for size in sorted(sizes):
        found = whole(spool.bytes[:size])
        finished = [p for p in pes if p[1] <= size]
        sure = finished
        if finished and finished[-1][0] == PID_VIDEO and finished[-1][2] and size - finished[-1][1] < PACKET:
            sure = finished[:-1]
        kept = found.packets * PACKET
        assert kept <= size
        assert kept >= (sure[-1][1] if sure else 0)
        assert all(end <= kept or begin >= kept for begin, end in spans(pes))


def spans(pes: list[tuple[int, int, bool]]) -> list[tuple[int, int]]:
    """(begin, end) of each PES packet; the muxer writes each in one go."""
    tables = 2 * PACKET
    return [(before, end) for before, (_, end, _) in zip([tables, *(p[1] for p in pes)], pes, strict=False)]


def journaled(folder: Path) -> tuple[TrackRecord, list[SegmentRecord], EndRecord | None]:
    records = samples.records(folder)
    (track,) = (r for r in records if isinstance(r, TrackRecord))
    end = [r for r in records if isinstance(r, EndRecord)]
    assert len(end) <= 1
    return track, [r for r in records if isinstance(r, SegmentRecord)], end[0] if end else None


def warnings(folder: Path) -> list[str]:
    """What ffprobe says of each file, and of the playlist that the uploader makes of the journal."""
    track, segments, _ = journaled(folder)
    made = folder / "media" / track.track
    made.write_text(playlist(samples.records(folder), track.track))
    said = ffprobe_warnings(made)
    for segment in segments:
        samples.ffprobe(folder / "media" / segment.file, "-count_frames", "-show_streams")
    return said


@pytest.mark.parametrize("part", [0.02, 0.1, 0.33, 0.5, 0.77, 0.999, 1.0])
def test_a_player_has_nothing_to_say(spool: Spool, tmp_path: Path, part: float) -> None:
    size = int(len(spool.bytes) * part)
    file = spool.cut(tmp_path / "s", size)
    expected = whole(spool.bytes[:size])
    saved = salvage(tmp_path / "s", lambda: NOW)
    track, segments, end = journaled(tmp_path / "s")
    assert end == EndRecord(ts=NOW, failed=True, reason="RecorderDied", message=MESSAGE)
    assert [s.file for s in segments] == [spool.closed.file, *([file.name] if saved else [])]
    assert saved == (expected.streams is not None)
    assert file.exists() == bool(saved)
    assert warnings(tmp_path / "s") == []
    if saved:
        added = segments[-1]
        assert added.bytes == file.stat().st_size
        assert added.start == pytest.approx(spool.closed.start + spool.closed.duration * 1000, abs=0.02)
        assert not added.discontinuity or "audio_video" in track.track
        count = count_pictures(file)
        finished = sum(1 for pid, end, _ in ends(spool.bytes) if pid == PID_VIDEO and end <= size)
        assert finished - 1 <= count <= finished
        if count:
            assert added.duration == pytest.approx(count / FPS, abs=0.3 if "audio_video" in track.track else 0.001)


def count_pictures(file: Path) -> int:
    if file.name.rpartition("_main_")[2].startswith("audio_") and "audio_video" not in file.name:
        return 0
    return len(samples.demuxed(file.read_bytes()))


def test_each_early_end_of_a_merged_segment_plays(tmp_path: Path) -> None:
    """Tables that promise sound which is not there yet are put right."""
    spool = Spool(tmp_path, "audio_video")
    first_sound = next(end for pid, end, _ in ends(spool.bytes) if pid == PID_AUDIO)
    for size in (first_sound - PACKET, first_sound):
        spool.cut(tmp_path / "s", size)
        assert salvage(tmp_path / "s", lambda: NOW) == 1
        assert warnings(tmp_path / "s") == []
    _, segments, _ = journaled(tmp_path / "s")
    assert not segments[-1].discontinuity
    spool.cut(tmp_path / "s", first_sound - PACKET)
    salvage(tmp_path / "s", lambda: NOW)
    _, segments, _ = journaled(tmp_path / "s")
    assert segments[-1].discontinuity


# --- killed and run again ---


class Killed(Exception):
    pass


def test_killed_at_any_call_and_run_again_it_comes_to_the_same(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(spool.bytes) * 2 // 3
    spool.cut(tmp_path / "once", size)
    salvage(tmp_path / "once", lambda: NOW)
    expected = {p.name: p.read_bytes() for p in (tmp_path / "once" / "media").iterdir()}
    journal = (tmp_path / "once" / JOURNAL).read_bytes()
    for step in range(100):
        spool.cut(tmp_path / "s", size)
        left = step

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object) -> object:
                nonlocal left
                if left == 0:
                    raise Killed
                left -= 1
                return real(*arguments)

            return call

        with monkeypatch.context() as patched:
            for name in ("write", "pwrite", "ftruncate"):
                patched.setattr(os, name, dying(getattr(os, name)))
            try:
                salvage(tmp_path / "s", lambda: NOW)
                finished = True
            except Killed:
                finished = False
        salvage(tmp_path / "s", lambda: NOW)
        assert {p.name: p.read_bytes() for p in (tmp_path / "s" / "media").iterdir()} == expected, step
        assert (tmp_path / "s" / JOURNAL).read_bytes() == journal
        if finished:
            assert step >= 4
            return
    pytest.fail("it never finished")


def test_a_repaired_file_is_repaired_to_itself(spool: Spool, tmp_path: Path) -> None:
    for size in random.Random(3).sample(range(len(spool.bytes) // 2, len(spool.bytes)), 20):
        file = spool.cut(tmp_path / "s", size)
        first = repair(file)
        data = file.read_bytes()
        assert repair(file) == first
        assert file.read_bytes() == data


def test_the_process(pictures: Spool, tmp_path: Path) -> None:
    spool = pictures.cut(tmp_path / "s", 5000).parent.parent
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "cloudrec_recorder.salvage", str(spool)],
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    _, segments, end = journaled(spool)
    assert len(segments) == 2
    assert end is not None
    gone = subprocess.run(
        [sys.executable, "-m", "cloudrec_recorder.salvage", str(tmp_path / "nowhere")],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert gone.returncode == 1


# --- what else may lie there ---


def test_a_torn_line_of_the_journal(pictures: Spool, tmp_path: Path) -> None:
    folder = pictures.cut(tmp_path / "s", len(pictures.bytes)).parent.parent
    before = (folder / JOURNAL).read_bytes()
    (folder / JOURNAL).write_bytes(before + b'{"type":"segm')
    assert salvage(folder, lambda: NOW) == 1
    after = (folder / JOURNAL).read_bytes()
    assert after.startswith(before + b'{"type":"segm\n')
    (folder / JOURNAL).write_bytes(after.replace(b'{"type":"segm\n', b""))
    assert len(journaled(folder)[1]) == 2


def test_a_record_that_lacks_but_its_newline_counts(pictures: Spool, tmp_path: Path) -> None:
    folder = pictures.cut(tmp_path / "s", len(pictures.bytes)).parent.parent
    salvage(folder, lambda: NOW)
    lines = (folder / JOURNAL).read_bytes().splitlines()
    (folder / JOURNAL).write_bytes(b"\n".join(lines[:-1]))
    assert salvage(folder, lambda: NOW) == 0
    assert len(journaled(folder)[1]) == 2


def test_a_lost_track_record_is_made_again(spool: Spool, tmp_path: Path) -> None:
    folder = spool.cut(tmp_path / "s", len(spool.bytes)).parent.parent
    before, _, _ = journaled(folder)
    (folder / JOURNAL).unlink()
    (folder / "media" / spool.closed.file).unlink()
    assert salvage(folder, lambda: NOW) == 1
    made, (segment,), _ = journaled(folder)
    begin = int(segment.start)
    assert made == before.model_copy(update={"ts": NOW, "begin_time_stamp": begin})


def test_without_a_task_the_name_tells_the_time(pictures: Spool, tmp_path: Path) -> None:
    folder = pictures.cut(tmp_path / "s", len(pictures.bytes)).parent.parent
    (folder / TASK).unlink()
    salvage(folder, lambda: NOW)
    _, (closed, added), _ = journaled(folder)
    assert added.start == int(closed.start + closed.duration * 1000)


def test_a_file_that_later_ones_have_followed_is_dropped(pictures: Spool, tmp_path: Path) -> None:
    """A disk that was full for a while leaves such; a playlist only grows at its end."""
    folder = pictures.cut(tmp_path / "s", len(pictures.bytes)).parent.parent
    stem = pictures.closed.file.rpartition("_")[0]
    early = folder / "media" / f"{stem}_20231114221314000.ts"
    shutil.copy(pictures.open, early)
    assert salvage(folder, lambda: NOW) == 1
    assert not early.exists()


def test_odd_files_do_no_harm(pictures: Spool, tmp_path: Path) -> None:
    folder = pictures.cut(tmp_path / "s", len(pictures.bytes)).parent.parent
    stem = pictures.closed.file.rpartition("_")[0]
    secret = tmp_path / "secret"
    secret.write_bytes(pictures.bytes)
    media = folder / "media"
    (media / f"{stem}_20240101000000000.ts").symlink_to(secret)
    (media / f"{stem}_20240101000001000.ts").mkdir()
    (media / f"{stem}_20240101000002000.ts").write_bytes(random.Random(1).randbytes(100_000))
    (media / f"{stem}_20240101000003000.ts").write_bytes(null_packets(50))
    with (media / f"{stem}_20240101000004000.ts").open("wb") as huge:
        huge.truncate(1 << 40)
    os.mkfifo(media / f"{stem}_20240101000005000.ts")
    (media / "notes.txt").write_text("left alone")
    (media / f"{stem}_99999999999999999.ts").write_text("no date")
    (media / "strange_20240101000006000.ts").write_bytes(pictures.bytes)
    assert salvage(folder, lambda: NOW) == 1
    assert secret.read_bytes() == pictures.bytes
    assert len(journaled(folder)[1]) == 2
    assert (media / "notes.txt").exists()


def test_noise_is_no_stream_and_never_raises(pictures: Spool) -> None:
    noise = random.Random(11)
    for _ in range(300):
        data = bytearray(pictures.bytes)
        for _ in range(noise.randrange(1, 40)):
            data[noise.randrange(len(data))] = noise.randrange(256)
        found = whole(bytes(data))
        assert found.packets * PACKET <= len(data)


def test_repairing_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty.ts").touch()
    with pytest.raises(Unsalvageable, match="whole"):
        repair(tmp_path / "empty.ts")
    (tmp_path / "link.ts").symlink_to(tmp_path / "empty.ts")
    with pytest.raises(Unsalvageable, match="regular"):
        repair(tmp_path / "link.ts")
