"""Single mode: every user's audio and video apart, each in segments of its own playlist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments.audio_track import AudioTrack
from cloudrec_recorder.segments.files import Output
from cloudrec_recorder.segments.video_track import VideoTrack

FLUSH_SECONDS: Final = 0.2
"""How often `tick` is to be called. A killed process loses at most this, and 43 ms in the AAC encoder."""
BACKLOG_MAX: Final = 64 << 20
"""Bytes that may wait for the disk: 10 s of 25 users at 2 Mbps each. Beyond it media is left out."""

_CODECS: Final = {"video": "H264", "audio": "OPUS"}


class Segmenter:
    """The `MediaSink` of a recording: a writer per track, made when its first media comes.

    Called on the event loop's thread only. Neither `media` nor `tick` waits for the disk.
    """

    def __init__(self, output: Output, now: Callable[[], float]) -> None:
        self._output = output
        self._now = now  # monotonic seconds
        self._tracks: dict[TrackKey, VideoTrack | AudioTrack] = {}
        self._seen: dict[TrackKey, float] = {}
        self.units = 0
        """Access units taken so far."""
        self.unsupported: dict[TrackKey, str] = {}
        """Tracks that are left out because of their codec, and the codec."""
        self.lost_seconds: dict[TrackKey, float] = {}
        """Media that capture gave up on, by track."""
        self.overloaded = False
        """Media is being left out because the disk is behind."""
        self.left_out = 0
        """Access units left out for that."""

    def media(self, unit: AccessUnit) -> None:
        if self._overloaded(unit):
            return
        key = unit.key
        if unit.codec != _CODECS[key.kind]:
            self.unsupported[key] = unit.codec
            return
        self.unsupported.pop(key, None)
        track = self._tracks.get(key)
        if track is None:
            make = VideoTrack if key.kind == "video" else AudioTrack
            track = self._tracks[key] = make(self._output, key)
        self._seen[key] = self._now()
        self.units += 1
        track.media(unit)

    def lost(self, key: TrackKey, seconds: float) -> None:
        self.lost_seconds[key] = self.lost_seconds.get(key, 0.0) + seconds

    def tick(self) -> None:
        """Hand what was written to the disk, and end the segments of tracks that fell silent."""
        now = self._now()
        for key, track in self._tracks.items():
            if track.active and now - self._seen[key] > self._output.settings.gap:
                track.interrupt()
            track.flush()

    def finish(self) -> None:
        """End every open segment."""
        for track in self._tracks.values():
            track.interrupt()

    def _overloaded(self, unit: AccessUnit) -> bool:
        backlog = self._output.disk.backlog
        if self.overloaded and backlog < BACKLOG_MAX // 2:
            self.overloaded = False
        elif not self.overloaded and backlog > BACKLOG_MAX:
            self.overloaded = True
            self.finish()
        if self.overloaded:
            self.left_out += 1
        return self.overloaded
