"""Single mode: every user's audio and video, apart or merged, in segments of their own playlists."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Set
from typing import Final

from cloudrec_recorder.media import AccessUnit, Held, Media, NotKept, TrackKey
from cloudrec_recorder.segments.audio import RATE
from cloudrec_recorder.segments.audio_worker import AudioInput, AudioWorker
from cloudrec_recorder.segments.files import Output
from cloudrec_recorder.segments.held import HELD, HeldFiles
from cloudrec_recorder.segments.merged import HOLD_SECONDS, MergedTrack
from cloudrec_recorder.segments.video_input import CODECS, VideoInput
from cloudrec_recorder.segments.writers import AudioFiles, VideoFiles

FLUSH_SECONDS: Final = 0.2
"""How often `tick` is to be called. What a process loses that is killed, at most 0.5 s, is made up of:

30 ms  between two readings of the sockets (of sound, also the 20 ms of a packet)
50 ms  of sound, between two batches for its worker (`audio_worker.BATCH_SECONDS`)
43 ms  of sound, in the AAC encoder (transcoded pictures: the one that is being encoded)
200 ms between two flushes, when all that was muxed, and the sound not yet in a PES packet, goes to the kernel
1      picture, the last in the file, of which nothing shows that it is whole

Not in it is a hole in the packets at that moment: 150 ms of sound, or pictures until they were sent again (1 s). What
capture holds back is in `held` files after a reading and a flush, and so is merged sound that waits for pictures.
"""
_SETTLE_SECONDS: Final = 3.0
"""How long the worker may take for what capture held back for 5 s, of all users at once."""
BACKLOG_MAX: Final = 64 << 20
"""Bytes that may wait for the disk: 10 s of 25 users at 2 Mbps each. Beyond it media is left out."""
_RECENT: Final = 32
"""Packets of sound, 0.6 s, of which some may not be in a file yet."""
STOP_SECONDS: Final = 2.0
"""How long `stop` waits for the sound that is still being transcoded."""

_CODECS: Final = {"video": CODECS, "audio": frozenset({"OPUS"})}


class Segmenter:
    """The `MediaSink` of a recording: a writer per track, made when its first media comes.

    Called on the event loop's thread only. `media` and `tick` wait for nothing.
    """

    def __init__(self, output: Output, now: Callable[[], float], *, merge: bool = False) -> None:
        self._output = output
        self._now = now  # monotonic seconds
        self._merge = merge
        self._video: dict[TrackKey, VideoInput] = {}
        self._audio: dict[TrackKey, AudioInput] = {}
        self._merged: dict[tuple[str, Media], MergedTrack] = {}
        self._worker = AudioWorker()
        self._expected: frozenset[TrackKey] | None = None
        self._closed = False
        settle = HOLD_SECONDS + _SETTLE_SECONDS if merge else _SETTLE_SECONDS
        self._held = HeldFiles(output.folder.with_name(HELD), output.disk, now, settle, self._transcoding)
        self._copies: dict[TrackKey, Held] = {}
        self._recent: dict[TrackKey, deque[AccessUnit]] = {}  # merged sound
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

    def hold(self, key: TrackKey, codec: str, clock_rate: int) -> Held:
        """A copy of what capture holds back, in the spool."""
        if self._closed or codec not in _CODECS[key.kind]:
            return NotKept()
        return self._held.begin(key, codec, clock_rate)

    def media(self, unit: AccessUnit) -> None:
        if self._closed or self._overloaded(unit):
            return
        key = unit.key
        if unit.codec not in _CODECS[key.kind]:
            self.unsupported[key] = unit.codec
            return
        self.unsupported.pop(key, None)
        now = self._seen[key] = self._now()
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
                files = AudioFiles(self._output, key)
                audio = self._audio[key] = AudioInput(self._output.settings, files, self._worker)
            audio.media(unit)
        self._worker.turn(now)

    def lost(self, key: TrackKey, seconds: float) -> None:
        self.lost_seconds[key] = self.lost_seconds.get(key, 0.0) + seconds

    def expect(self, keys: Set[TrackKey]) -> None:
        """Video that is to come or is coming already. Merged sound does not wait for any other."""
        before, self._expected = self._expected, frozenset(key for key in keys if key.kind == "video")
        for key in self._expected.symmetric_difference(before or ()):
            if merged := self._merged.get((key.user_id, key.media)):
                merged.expect_video(expected=key in self._expected)
                if key in self._expected:
                    self._copy_sound(TrackKey(key.user_id, key.media, "audio"))

    def tick(self) -> None:
        """Hand what was written to the disk, and end the segments of tracks that fell silent."""
        self._held.flush()
        now = self._now()
        longest = self._output.settings.gap
        for key, audio in self._audio.items():
            if audio.active and now - self._seen[key] > longest:
                audio.interrupt()
        for key, video in self._video.items():
            if video.active and now - self._seen[key] > longest:
                self._interrupt_video(key)
        self._worker.turn(now)
        self._worker.take()
        for merged in self._merged.values():
            merged.tick()
        for audio in self._audio.values():
            audio.flush()
        for video in self._video.values():
            video.flush()
        self._held.retire()

    @property
    def transcoded(self) -> dict[TrackKey, str]:
        """Tracks that are being transcoded, and from which codec."""
        return {key: video.transcoded for key, video in self._video.items() if video.transcoded}

    @property
    def transcoding_behind(self) -> list[TrackKey]:
        """Tracks whose pictures are being dropped up to a keyframe because transcoding is too slow."""
        return [key for key, video in self._video.items() if video.overloaded]

    @property
    def audio_behind(self) -> bool:
        """Sound (and merged pictures) are being left out because transcoding sound is too slow."""
        return self._worker.overloaded

    @property
    def audio_left_out(self) -> int:
        """Units of media left out for that."""
        return self._worker.left_out

    @property
    def audio_waiting(self) -> int:
        """Units of sound (and merged pictures) that the thread for sound has yet to deal with."""
        return self._worker.waiting

    @property
    def waiting(self) -> bool:
        """Something has yet to be transcoded."""
        return self._worker.waiting > 0 or any(video.busy for video in self._video.values())

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Take no more media. Sound that is being transcoded is waited for so long. May be called again."""
        self._closed = True
        done = self._worker.close(timeout)
        self._worker.take()
        for merged in self._merged.values() if done else ():
            merged.release()

    def wait_for_sound(self, timeout: float) -> bool:
        """After `stop`: wait for the sound that is being transcoded; False if that takes longer than `timeout` seconds.

        For another thread, as `settle`; `stop` is to be called again then.
        """
        return self._worker.close(timeout)

    def settle(self, timeout: float) -> bool:
        """After `stop`: wait for what is being transcoded; False if that takes longer than `timeout` seconds.

        For another thread.
        """
        until = time.monotonic() + timeout
        return all(video.settle(max(until - time.monotonic(), 0.0)) for video in self._video.values())

    def finish(self) -> None:
        """End every open segment, for good."""
        self.stop()
        for merged in self._merged.values():
            merged.release()
        for video in self._video.values():
            video.flush()  # what is transcoded belongs before the end of the sound
        for audio in self._audio.values():  # first: a merged segment that both end is then ended once
            audio.finish()
        for video in self._video.values():
            video.interrupt()
        self._held.close()

    def _interrupt(self) -> None:
        """End every open segment; the next media begin others."""
        for audio in self._audio.values():
            audio.interrupt()
        for key in self._video:
            self._interrupt_video(key)

    def _interrupt_video(self, key: TrackKey) -> None:
        if self._merge:
            self._merged[key.user_id, key.media].interrupt_video()
        else:
            self._video[key].interrupt()

    def _to_merged(self, unit: AccessUnit) -> None:
        key = unit.key
        whose = (key.user_id, key.media)
        merged = self._merged.get(whose)
        if merged is None:
            merged = self._merged[whose] = MergedTrack(self._output, *whose, self._now, self._worker)
            if self._expected is not None:
                merged.expect_video(expected=TrackKey(*whose, "video") in self._expected)
        if key.kind == "video":
            self._video[key] = merged.video
        else:
            self._audio[key] = merged.audio
            self._remember_sound(unit)
        merged.media(unit)

    def _copy_sound(self, key: TrackKey) -> None:
        """What is kept back for pictures to come, as `hold` does for capture; with what is on its way to the files."""
        if key in self._audio:
            copy = self._copies[key] = self._held.begin(key, "OPUS", RATE)
            copy.placed(0.0)
            for unit in self._recent[key]:
                copy.frame(unit.time, round(unit.time * RATE), unit.data, keyframe=True)

    def _remember_sound(self, unit: AccessUnit) -> None:
        key = unit.key
        self._recent.setdefault(key, deque(maxlen=_RECENT)).append(unit)
        copy = self._copies.get(key)
        if copy is not None and not copy.frame(unit.time, round(unit.time * RATE), unit.data, keyframe=True):
            del self._copies[key]

    def _transcoding(self, key: TrackKey) -> bool:
        return key in self._video and self._video[key].busy

    def _overloaded(self, unit: AccessUnit) -> bool:
        backlog = self._output.disk.backlog
        if self.overloaded and backlog < BACKLOG_MAX // 2:
            self.overloaded = False
        elif not self.overloaded and backlog > BACKLOG_MAX:
            self.overloaded = True
            self._interrupt()
        if self.overloaded:
            self.left_out += 1
        return self.overloaded
