"""A recorder's way from frames to segments, held back and let out as capture does it, and killed at any moment."""

from __future__ import annotations

import itertools
import shutil
import threading
from pathlib import Path

from cloudrec_contract.spool import TASK, LiveKitRoomTask, Task
from cloudrec_recorder.capture.depacketize import Frame
from cloudrec_recorder.capture.output import TrackOutput
from cloudrec_recorder.capture.timeline import ParticipantClock
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.segmenter import FLUSH_SECONDS, Segmenter
from tests.unit.segments import samples
from tests.unit.segments.samples import AUDIO, EPOCH_MS, VIDEO

FPS = 30
DELAY = 0.05  # between capture by the publisher and arrival, seconds
RTP = 4_000_000_000  # shortly before it wraps


class Recorder:
    """`play` has time pass, with frames, up to a moment (task time, s); tracks begin at `begin`."""

    def __init__(
        self,
        folder: Path,
        pictures: list[tuple[bytes, bool]],
        sound: list[bytes],
        *,
        codec: str = "H264",
        merge: bool = False,
        begin: dict[TrackKey, float] | None = None,
        report_at: float = float("inf"),
        target: float = 10.0,
    ) -> None:
        self.folder = folder
        self.work = folder / "recorder"
        self.work.mkdir(parents=True)
        self.time = 0.0
        self.begin = {VIDEO: 1.0, AUDIO: 1.0} | (begin or {})
        self.report_at = report_at
        self.disk = Disk()
        output = samples.output(self.work, self.disk, [], target=target)
        self.segmenter = Segmenter(output, lambda: self.time, merge=merge)
        self.sources = itertools.count(1)
        self.codec = codec
        self.come(pictures, sound)
        self.ticked = 0.0
        self.reported = False
        task = Task(
            task_id="7b1c",
            sdk_app_id=1400000001,
            epoch=EPOCH_MS,
            room={"id": "12345"},
            livekit=LiveKitRoomTask(url="ws://livekit", room_name="12345"),
            robot_user_id="cloudrec",
            merge_audio_video=merge,
            segment_seconds=target,
        )
        (self.work / TASK).write_text(task.model_dump_json(by_alias=True))

    def come(self, pictures: list[tuple[bytes, bool]], sound: list[bytes]) -> None:
        """The user joins, with new streams."""
        participant = ParticipantClock()
        self.video, self.audio = (
            TrackOutput(key, codec, rate, participant, self.segmenter, self.sources.__next__, lambda: None)
            for key, codec, rate in ((VIDEO, self.codec, 90_000), (AUDIO, "OPUS", 48_000))
        )
        self.events = sorted(
            [
                (self.begin[VIDEO] + index / FPS, self.video, index * 90_000 // FPS, data, key)
                for index, (data, key) in enumerate(pictures)
            ]
            + [
                (self.begin[AUDIO] + index / 50, self.audio, index * 960, data, True)
                for index, data in enumerate(sound)
            ],
            key=lambda event: event[0],
        )

    def leave(self) -> None:
        self.video.close()
        self.audio.close()

    def play(self, until: float) -> None:
        """Frames captured before `until`."""
        while self.events and self.events[0][0] < until:
            at, output, timestamp, data, keyframe = self.events.pop(0)
            self.time = at + DELAY
            if not self.reported and at >= self.report_at:
                self.reported = True
                self._report(at)
            output.frame(self.time, Frame((RTP + timestamp) & 0xFFFFFFFF, data, keyframe))
            if self.time - self.ticked >= FLUSH_SECONDS:
                self.tick()

    def tick(self) -> None:
        self.ticked = self.time
        samples.let_sound_catch_up(self.segmenter)
        self.segmenter.tick()

    def _report(self, at: float) -> None:
        """The publisher's clock shows 5,000 s more than ours."""
        for output, rate in ((self.video, 90_000), (self.audio, 48_000)):
            timestamp = (RTP + round((at - self.begin[output.key]) * rate)) & 0xFFFFFFFF
            output.sender_report(at + DELAY, at + 5000, timestamp)

    def kill(self, name: str = "killed") -> Path:
        """The spool as it is once what was handed to the kernel is there; the recorder lives on, unknown to it."""
        written = threading.Event()
        self.disk.submit(written.set)
        assert written.wait(10)
        copy = self.folder / name
        shutil.copytree(self.work, copy)
        return copy

    def end(self) -> None:
        self.leave()
        self.segmenter.finish()
        assert self.disk.close(10)
