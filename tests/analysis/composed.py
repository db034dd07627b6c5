"""A mixed recording's picture looked at window by window: whose picture is there, and is it lit."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from cloudrec_contract.layout import Source, Window, arrange
from cloudrec_contract.mix import Layout, RenderMode
from cloudrec_local.playback.beeps import onsets
from cloudrec_local.playback.decode import Recording
from cloudrec_local.synthetic.code import Code, Luma, read
from cloudrec_local.synthetic.picture import is_flash
from cloudrec_local.synthetic.sound import beep_hz
from tests.analysis.files import read_playlist

Rect = tuple[int, int, int, int]
"""Left, top, width, height."""
PAIR_SECONDS = 0.4
"""A flash and a beep further apart do not belong together; they come once a second."""


@dataclass(frozen=True)
class Composed:
    """A decoded mixed recording: its pictures' luma beside what `playback` reads of it."""

    recording: Recording
    frames: list[tuple[float, Luma]]
    """Wall time (s) and luma of each picture."""

    def codes(self, rect: Rect) -> Iterator[tuple[float, Code | None]]:
        """What is to be read in a window, picture by picture."""
        for wall, luma in self.frames:
            yield wall, read(crop(luma, rect))

    def shows(self, places: Sequence[tuple[Rect, int]]) -> list[tuple[float, bool]]:
        """Picture by picture: whether these users (by number), and nobody else, are in these windows."""
        return [
            (wall, all((code := read(crop(luma, rect))) is not None and code.user == user for rect, user in places))
            for wall, luma in self.frames
        ]

    def offsets(self, rect: Rect, user: int) -> list[float]:
        """Seconds from each beep of the user to the flash in his window that goes with it, while he is shown there."""
        lit = list(self._flashes(rect, user))
        heard = [
            sound.wall + onset
            for sound in self.recording.sounds
            for onset in onsets(sound.samples, sound.rate, beep_hz(user))
        ]
        pairs = [(min(heard, key=lambda at: abs(at - flash)), flash) for flash in lit if heard]
        return [flash - beep for beep, flash in pairs if abs(flash - beep) < PAIR_SECONDS]

    def _flashes(self, rect: Rect, user: int) -> Iterator[float]:
        """When a flash begins; what was lit when he came does not begin."""
        before = True
        for wall, luma in self.frames:
            window = crop(luma, rect)
            shown = (code := read(window)) is not None and code.user == user
            lit = shown and is_flash(window)
            if lit and not before:
                yield wall
            before = lit or not shown


def look(playlist: Path) -> Composed:
    """Decode a mixed playlist and the segments beside it. Raises PlaylistError and FileNotFoundError."""
    recording = read_playlist(playlist)
    frames: list[tuple[float, Luma]] = []
    for segment in recording.segments:
        with av.open(io.BytesIO((playlist.parent / segment.name).read_bytes()), format="mpegts") as container:
            frames += [(0.0, _luma(frame)) for frame in container.decode(video=0)]
    walls = [picture.wall for picture in recording.pictures]
    if len(walls) != len(frames):
        raise ValueError(f"{len(frames)} pictures by the segments, {len(walls)} by the playlist")
    return Composed(recording, [(wall, luma) for wall, (_, luma) in zip(walls, frames, strict=True)])


def pictures(layout: Layout, width: int, height: int, users: Sequence[str]) -> list[Rect]:
    """Where the pictures of these users' cameras are, in their order; they are 16:9 and wholly shown (Fit)."""
    assert layout.render_mode is RenderMode.FIT
    sources = [Source(user, "main", True) for user in users]
    placed = {
        window.source.user_id: _inside(window)
        for window in arrange(layout, width, height, sources)
        if window.source is not None
    }
    return [placed[user] for user in users]


def _inside(window: Window) -> Rect:
    width = min(window.width, window.height * 16 // 9)
    height = width * 9 // 16
    return window.left + (window.width - width) // 2, window.top + (window.height - height) // 2, width, height


def crop(luma: Luma, rect: Rect) -> Luma:
    left, top, width, height = rect
    return luma[top : top + height, left : left + width]


def _luma(frame: VideoFrame) -> Luma:
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: frame.height, : frame.width].copy()
