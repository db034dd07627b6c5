"""Single mode: every user's audio and video, apart or merged, in segments of their own playlists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Final

from cloudrec_recorder.media import AccessUnit, Media, TrackKey
from cloudrec_recorder.segments.audio_track import AudioTrack
from cloudrec_recorder.segments.files import Output
from cloudrec_recorder.segments.merged import MergedTrack
from cloudrec_recorder.segments.video_input import CODECS, VideoInput
from cloudrec_recorder.segments.writers import AudioFiles, VideoFiles

FLUSH_SECONDS: Final = 0.2
"""How often `tick` is to be called. A killed process loses at most this, and 43 ms in the AAC encoder."""
BACKLOG_MAX: Final = 64 << 20
"""Bytes that may wait for the disk: 10 s of 25 users at 2 Mbps each. Beyond it media is left out."""

_CODECS: Final = {"video": CODECS, "audio": frozenset({"OPUS"})}


class Segmenter:
    """The `MediaSink` of a recording: a writer per track, made when its first media comes.

    Called on the event loop's thread only. Neither `media` nor `tick` waits for the disk.
    """

    def __init__(self, output: Output, now: Callable[[], float], *, merge: bool = False) -> None:
        self._output = output
        self._now = now  # monotonic seconds
        self._merge = merge
        self._video: dict[TrackKey, VideoInput] = {}
        self._audio: dict[TrackKey, AudioTrack] = {}
        self._merged: dict[tuple[str, Media], MergedTrack] = {}
        self._closed = False
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
        if self._closed or self._overloaded(unit):
            return
        key = unit.key
        if unit.codec not in _CODECS[key.kind]:
            self.unsupported[key] = unit.codec
            return
        self.unsupported.pop(key, None)
        self._seen[key] = self._now()
        self.units += 1
        if self._merge:
            self._to_merged(unit)
        elif key.kind == "video":
            video = self._video.get(key)
            if video is None:
                video = self._video[key] = VideoInput(self._output, key, VideoFiles(self._output, key))
            video.media(unit)
        else:
            audio = self._audio.get(key)
            if audio is None:
                audio = self._audio[key] = AudioTrack(self._output.settings, AudioFiles(self._output, key))
            audio.media(unit)

    def lost(self, key: TrackKey, seconds: float) -> None:
        self.lost_seconds[key] = self.lost_seconds.get(key, 0.0) + seconds

    def tick(self) -> None:
        """Hand what was written to the disk, and end the segments of tracks that fell silent."""
        now = self._now()
        for merged in self._merged.values():
            merged.tick()
        for key, track in self._sound_first():
            if track.active and now - self._seen[key] > self._output.settings.gap:
                track.interrupt()
            track.flush()

    @property
    def transcoded(self) -> dict[TrackKey, str]:
        """Tracks that are being transcoded, and from which codec."""
        return {key: video.transcoded for key, video in self._video.items() if video.transcoded}

    @property
    def transcoding_behind(self) -> list[TrackKey]:
        """Tracks whose pictures are being dropped up to a keyframe because transcoding is too slow."""
        return [key for key, video in self._video.items() if video.overloaded]

    def stop(self) -> None:
        """Take no more media."""
        self._closed = True
        for merged in self._merged.values():
            merged.release()

    def settle(self, timeout: float) -> bool:
        """After `stop`: wait for what is being transcoded; False if that takes longer than `timeout` seconds.

        The only method that waits, and the only one for another thread.
        """
        until = time.monotonic() + timeout
        return all(video.settle(max(until - time.monotonic(), 0.0)) for video in self._video.values())

    def finish(self) -> None:
        """End every open segment."""
        for video in self._video.values():
            video.flush()  # what is transcoded belongs before the end of the sound
        for _, track in self._sound_first():
            track.interrupt()

    def _to_merged(self, unit: AccessUnit) -> None:
        key = unit.key
        whose = (key.user_id, key.media)
        merged = self._merged.get(whose)
        if merged is None:
            merged = self._merged[whose] = MergedTrack(self._output, *whose, self._now)
        if key.kind == "video":
            self._video[key] = merged.video
        else:
            self._audio[key] = merged.audio
        merged.media(unit)

    def _sound_first(self) -> Iterator[tuple[TrackKey, VideoInput | AudioTrack]]:
        """Every track; of merged ones a segment that both end is then ended once."""
        return chain(self._audio.items(), self._video.items())

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
