"""A spool as a killed recorder leaves it."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from cloudrec_contract.spool import TASK, LiveKitRoomTask, SegmentRecord, Task
from cloudrec_recorder.media import AccessUnit
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.segmenter import Segmenter
from tests.unit.segments import samples
from tests.unit.segments.samples import EPOCH_MS

FPS = 30


class Spool:
    """What a recorder had written when it was killed: a closed segment, and one that is open."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.time = 0.0
        work = folder / "recorder"
        work.mkdir()
        disk = Disk()
        output = samples.output(work, disk, [], target=2.0, gap=1.0)
        segmenter = Segmenter(output, lambda: self.time, merge=kind == "audio_video")
        self._record(segmenter, kind)
        written = threading.Event()
        disk.submit(written.set)
        assert written.wait(10)
        shutil.copytree(work, folder, dirs_exist_ok=True)  # the kill
        segmenter.finish()
        assert disk.close(10)
        shutil.rmtree(work)
        (self.closed,) = (r for r in samples.records(folder) if isinstance(r, SegmentRecord))
        (self.open,) = (path for path in (folder / "media").iterdir() if path.name != self.closed.file)
        self.bytes = self.open.read_bytes()
        task = Task(
            task_id="7b1c",
            sdk_app_id=1400000001,
            epoch=EPOCH_MS,
            room={"id": "12345"},
            livekit=LiveKitRoomTask(url="ws://livekit", room_name="12345"),
            robot_user_id="cloudrec",
        )
        (folder / TASK).write_text(task.model_dump_json(by_alias=True))

    def _record(self, segmenter: Segmenter, kind: str) -> None:
        units: list[AccessUnit] = []
        if kind != "audio":
            pictures = samples.h264(115, keyframes=frozenset({0, 60}), width=128, height=96)
            units += samples.video_units(pictures, fps=FPS)
        if kind != "video":
            units += samples.audio_units(samples.opus(samples.beeps(3.8, [1.0, 2.0, 3.0])))
        ticked = 0.0
        for unit in sorted(units, key=lambda unit: unit.time):
            self.time = unit.time
            if self.time - ticked > 0.2:
                ticked = self.time
                samples.let_sound_catch_up(segmenter)
                segmenter.tick()
            segmenter.media(unit)
        samples.let_sound_catch_up(segmenter)
        segmenter.tick()

    def cut(self, to: Path, size: int) -> Path:
        """A copy whose open file has so many bytes; returns that file."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder, to)
        file = to / "media" / self.open.name
        os.truncate(file, size)
        return file
