"""What ffprobe, which shares nothing with the project but libav, says of a playlist."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


class FFprobeMissing(RuntimeError):
    """The tests cannot do without it."""

    def __init__(self) -> None:
        super().__init__("the program `ffprobe` is missing: get it with  apt-get install -y ffmpeg")


def ffprobe_warnings(file: Path, timeout: float = 60) -> list[str]:
    """Have ffprobe read every packet and decode every frame; what it printed at level warning, line by line.

    An exit code that is not zero is one more line. Raises FFprobeMissing.
    """
    program = shutil.which("ffprobe")
    if program is None:
        raise FFprobeMissing
    of_playlists = ("-allowed_extensions", "ALL") if file.suffix == ".m3u8" else ()
    done = subprocess.run(
        [
            *(program, "-hide_banner", "-v", "warning", "-count_frames", "-count_packets"),
            *("-protocol_whitelist", "file", *of_playlists),
            *("-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", "-i", str(file)),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return [*lines, f"exit code {done.returncode}"] if done.returncode else lines
