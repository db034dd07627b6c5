"""What Chromium's fake camera and microphone play, over and over: the test picture and sound of a synthetic user.

Both count from zero and loop after the same number of whole seconds, so pictures say where in the loop they are.
"""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

from cloudrec_local.synthetic.picture import TestPicture
from cloudrec_local.synthetic.sound import FRAMES_PER_SECOND, SAMPLE_RATE, beep_hz, sound

LOOP_SECONDS = 4


@dataclass(frozen=True)
class Camera:
    """Files for one browser; `frames` is the length of the picture's loop, at `fps`."""

    number: int
    width: int
    height: int
    fps: int
    video: Path
    audio: Path

    @property
    def frames(self) -> int:
        return LOOP_SECONDS * self.fps

    @property
    def arguments(self) -> list[str]:
        """Chromium's."""
        return [
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={self.video}",
            f"--use-file-for-fake-audio-capture={self.audio}",
        ]


def make_camera(folder: Path, number: int, width: int = 640, height: int = 360, fps: int = 10) -> Camera:
    """Write the files of the synthetic user of this number: Y4M (4:2:0) and WAV (16 bit, mono)."""
    camera = Camera(number, width, height, fps, folder / f"camera-{number}.y4m", folder / f"camera-{number}.wav")
    picture = TestPicture(width, height, fps, number)
    with camera.video.open("wb") as file:
        file.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420\n".encode())
        for frame in range(camera.frames):
            file.write(b"FRAME\n")
            file.write(picture.draw(frame))
    with wave.open(str(camera.audio), "wb") as sounds:
        sounds.setnchannels(1)
        sounds.setsampwidth(2)
        sounds.setframerate(SAMPLE_RATE)
        sounds.writeframes(b"".join(sound(n, beep_hz(number)) for n in range(LOOP_SECONDS * FRAMES_PER_SECOND)))
    return camera
