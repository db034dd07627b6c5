"""Copies of held frames in the spool: when they are there, and what can be read of them."""

from __future__ import annotations

import math
import random
import threading
from pathlib import Path

import pytest

from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.segments import held
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.held import HeldFiles, HeldFrame, parse

KEY = TrackKey("anna", "main", "video")


class Stage:
    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.busy: set[TrackKey] = set()
        self.disk = Disk()
        self.folder = folder / "held"
        self.files = HeldFiles(self.folder, self.disk, lambda: self.now, 3.0, self.busy.__contains__)

    def written(self) -> list[bytes]:
        done = threading.Event()
        self.disk.submit(done.set)
        assert done.wait(10)
        return [path.read_bytes() for path in sorted(self.folder.glob("*"))]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_what_is_written_is_read(stage: Stage) -> None:
    file = stage.files.begin(KEY, "H264", 90_000)
    assert file.frame(10.5, 1 << 40, b"key", keyframe=True)
    stage.files.flush()
    assert file.frame(10.6, (1 << 40) + 3000, b"", keyframe=False)
    (data,) = stage.written()
    assert parse(data).frames == [HeldFrame(10.5, 1 << 40, True, b"key")]
    assert parse(data).offset is None
    file.placed(-7.25)
    (data,) = stage.written()
    read = parse(data)
    assert (read.header.user_id, read.header.kind, read.header.codec) == ("anna", "video", "H264")
    assert read.frames[1] == HeldFrame(10.6, (1 << 40) + 3000, False, b"")
    assert read.offset == -7.25


def test_a_file_goes_a_while_after_its_frames_were_placed(stage: Stage) -> None:
    file = stage.files.begin(KEY, "H264", 90_000)
    file.frame(0.0, 0, b"x", keyframe=True)
    stage.now = 100.0
    stage.files.flush()
    stage.files.retire()
    assert len(stage.written()) == 1  # still held
    file.placed(0.0)
    stage.now = 102.9
    stage.files.retire()
    assert file.frame(102.0, 90, b"x", keyframe=False)
    stage.busy.add(KEY)
    stage.now = 103.1
    stage.files.retire()
    assert len(stage.written()) == 1
    stage.busy.clear()
    stage.files.retire()
    assert not stage.written()
    assert not file.frame(104.0, 180, b"x", keyframe=False)


def test_what_is_busy_for_ever_is_not_waited_for(stage: Stage) -> None:
    stage.files.begin(KEY, "VP8", 90_000).placed(0.0)
    stage.busy.add(KEY)
    stage.now = 61.0
    stage.files.retire()
    assert not stage.written()


def test_at_the_end_nothing_is_left(stage: Stage) -> None:
    files = [stage.files.begin(KEY, "H264", 90_000) for _ in range(3)]
    files[0].frame(0.0, 0, b"x", keyframe=True)
    stage.files.flush()
    assert len(stage.written()) == 3
    stage.files.close()
    assert not stage.written()


def test_bounds(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "FILE_BYTES_MAX", 1000)
    monkeypatch.setattr(held, "_FILES_MAX", 2)
    file = stage.files.begin(KEY, "H264", 90_000)
    taken = [file.frame(0.0, 0, bytes(300), keyframe=True) for _ in range(4)]
    assert taken == [True, True, False, False]
    assert not file.frame(0.0, 0, b"x", keyframe=True)  # nor one that would fit
    assert stage.files.begin(KEY, "H264", 90_000).frame(0.0, 0, b"x", keyframe=True)
    assert not stage.files.begin(KEY, "H264", 90_000).frame(0.0, 0, b"x", keyframe=True)


def test_a_spool_that_takes_none_is_not_the_end(stage: Stage) -> None:
    stage.folder.write_text("no folder")
    file = stage.files.begin(KEY, "H264", 90_000)
    file.frame(0.0, 0, b"x", keyframe=True)
    stage.files.flush()
    done = threading.Event()
    stage.disk.submit(done.set)
    assert done.wait(10)
    assert stage.disk.error is None
    stage.files.close()


def test_a_file_of_another_is_not_written_over(stage: Stage) -> None:
    stage.folder.mkdir()
    (stage.folder / "000000.held").write_bytes(b"another's")
    stage.files.begin(KEY, "H264", 90_000).frame(0.0, 0, b"x", keyframe=True)
    stage.files.flush()
    assert stage.written() == [b"another's"]
    stage.files.close()
    assert stage.written() == [b"another's"]


def test_a_torn_or_hostile_file_is_read_as_far_as_it_makes_sense(stage: Stage) -> None:
    file = stage.files.begin(KEY, "H264", 90_000)
    for index in range(10):
        file.frame(index / 30, index * 3000, bytes([index]) * 50, keyframe=index == 0)
    file.placed(1.0)
    (data,) = stage.written()
    whole = parse(data)
    header = data.index(b"\n") + 1
    for size in range(header, len(data)):
        read = parse(data[:size])
        assert read.frames == whole.frames[: len(read.frames)]
    for size in range(header):
        with pytest.raises(ValueError, match="header"):
            parse(data[:size])
    noise = random.Random(5)
    for _ in range(300):
        changed = bytearray(data)
        for _ in range(noise.randrange(1, 10)):
            changed[noise.randrange(header, len(changed))] = noise.randrange(256)
        read = parse(bytes(changed))
        assert all(math.isfinite(frame.arrival) for frame in read.frames)
    with pytest.raises(ValueError, match="header"):
        parse(b'{"userId": "a", "media": "left", "kind": "video", "codec": "H264", "clockRate": 90000}\n')
