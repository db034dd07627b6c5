"""A user's sound and picture in one transport stream: segments are cut at keyframes, and sound is interleaved.

The tables name what a segment really holds. Sound alone is cut by its own length until pictures come; who comes, goes
or returns begins a segment with new tables, behind a discontinuity (sound that finds no keyframe in time joins in the
middle of one). At a beginning both are waited for a moment, so
that a user who publishes both has both in the first segment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cloudrec_recorder.media import AccessUnit, Media, TrackKey
from cloudrec_recorder.segments.audio import FRAME, RATE, AacFrame
from cloudrec_recorder.segments.audio_track import AudioTrack
from cloudrec_recorder.segments.files import Description, Output, TrackFiles
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer
from cloudrec_recorder.segments.video_input import VideoInput
from cloudrec_recorder.segments.writers import FRAMES_PER_PES, mux_audio

HOLD_SECONDS: Final = 6.0
"""How long one kind waits for the other: capture holds a new track for up to 5 s, until it knows its clock. Pictures
wait at a beginning; sound alone is written so late all the time, so that pictures find their place before it."""
_HOLD_BYTES: Final = 16 << 20
_HELD_FRAMES: Final = int(3.0 * RATE / FRAME)
_LINGER: Final = 1.0  # seconds of sound after the last picture, or before the first, that share the pictures' segment
_OVERLAP: Final = 0.5  # seconds that pictures may begin before the end of the sound written


class MergedTrack:
    """One (user, media). `media` and `tick` feed its two tracks, which are looked after as if they were apart."""

    def __init__(self, output: Output, user_id: str, media: Media, now: Callable[[], float]) -> None:
        video = TrackKey(user_id, media, "video")
        self._files = _MergedFiles(output, video)
        self._now = now
        self.video = VideoInput(output, video, _VideoFace(self._files))
        self.audio = AudioTrack(output.settings, self._files)
        self._held: list[AccessUnit] = []
        self._held_since = 0.0
        self._held_bytes = 0

    def media(self, unit: AccessUnit) -> None:
        if unit.key.kind == "audio":
            self.audio.media(unit)
            self.release()  # behind the sound: the pictures' tables name it then
        elif self.video.active or self.audio.active:
            self.release()
            self.video.media(unit)
        else:
            if not self._held:
                self._held_since = self._now()
            self._held.append(unit)
            self._held_bytes += len(unit.data)
            if self._held_bytes > _HOLD_BYTES:
                self.release()

    def tick(self) -> None:
        if self._held and self._now() - self._held_since >= HOLD_SECONDS:
            self.release()

    def release(self) -> None:
        """Let the pictures wait no longer."""
        held, self._held, self._held_bytes = self._held, [], 0
        for unit in held:
            self.video.media(unit)


class _MergedFiles:
    """The segments of one `audio_video` playlist; an `AudioWriter`, and by `_VideoFace` a `VideoWriter`."""

    def __init__(self, output: Output, key: TrackKey) -> None:
        self._files = TrackFiles(output, key, "audio_video")
        self._frames_per_segment = round(output.settings.target * RATE / FRAME)
        self._streams = Streams(video=True, audio=True)  # of the newest segment
        self._muxer = TsMuxer(self._streams)
        self._begun = False
        self._start = 0.0
        self._pending: list[AacFrame] = []
        self._channels = 1
        self._audio_on = False
        self._audio_joined = False  # sound goes on in the open segment
        self._audio_begin = self._audio_end = 0.0
        self._in_segment = 0
        self._per_pes = FRAMES_PER_PES
        self.video_on = False
        self._video_end = 0.0
        self._discontinuity = {"video": False, "audio": False}

    # --- pictures -------------------------------------------------------------------------------------------------

    @property
    def wants_cut(self) -> bool:
        return self.video_on and self._audio_on and not self._audio_joined

    def open_video(self, start: float, description: Description, *, discontinuity: bool) -> bool:
        if self._files.is_open and (start <= self._start or (not self.video_on and start < self._audio_end - _OVERLAP)):
            return False
        if self._files.is_open and self.video_on:
            if self._audio_joined:
                self._mux_audio(before=start)
        elif self._files.is_open or start - self._audio_begin > _LINGER:
            self._write_alone(before=start)
        was_open = self._files.is_open
        if was_open:
            self._files.close(start)
        elif self._audio_on:
            start = min(start, self._audio_begin)
        with_audio = self._audio_on
        resumed = with_audio and not self._audio_joined
        self._open(
            start,
            Streams(video=True, audio=with_audio),
            Description(
                description.codec,
                description.width,
                description.height,
                sample_rate=RATE if with_audio else 0,
                channels=self._channels if with_audio else 0,
                transcoded=description.transcoded,
            ),
            discontinuity=discontinuity or not was_open or resumed,
        )
        self.video_on = True
        return True

    def write_video(self, data: bytes, pts: int, *, keyframe: bool) -> None:
        if self._audio_joined and len(self._pending) >= FRAMES_PER_PES:
            self._mux_audio(before=pts / CLOCK)
        self._files.write(self._muxer.video(data, pts, keyframe=keyframe, discontinuity=self._marks("video")))

    def close_video(self, end: float) -> None:
        self.video_on = False
        self._video_end = end
        if not self._audio_joined:
            self._close()

    # --- sound ----------------------------------------------------------------------------------------------------

    def begins(self, start: float) -> None:
        self._audio_on = True
        self._audio_begin = start

    def write(self, frame: AacFrame, channels: int) -> None:
        self._channels = channels
        self._pending.append(frame)
        if not self.video_on:
            self._write_alone(before=frame.position / RATE - HOLD_SECONDS)
        elif not self._audio_joined:
            if len(self._pending) > _HELD_FRAMES:
                self._join_late()
        elif len(self._pending) >= _HELD_FRAMES // 2:
            self._mux_audio()

    def _join_late(self) -> None:
        """No keyframe comes: sound begins in the middle of a segment, with new tables if need be."""
        if not self._streams.audio:
            self._streams = Streams(video=True, audio=True)
            self._files.write(self._muxer.carry(self._streams))
            self._per_pes = 1  # each with its time stamp: a demuxer that has begun derives none
        self._audio_joined = True
        self._discontinuity["audio"] = True
        self._mux_audio()

    def broken(self) -> None:
        if not self.video_on:
            self._write_alone()
            self._close()
        elif self._audio_joined:
            self._mux_audio()
        self._pending = []
        self._audio_on = self._audio_joined = False

    def flush(self) -> None:
        self._files.flush()

    # --- both -----------------------------------------------------------------------------------------------------

    def _write_alone(self, before: float = float("inf")) -> None:
        """Write the sound up to a time where there are no pictures, cutting it by its own length."""
        while self._pending and (begin := self._pending[0].position / RATE) < before:
            late = self._streams.video and begin > self._video_end + _LINGER
            if self._files.is_open and (late or self._in_segment >= self._frames_per_segment):
                self._files.close(begin)
            if not self._files.is_open:
                description = Description("AAC", sample_rate=RATE, channels=self._channels)
                self._open(begin, Streams(video=False, audio=True), description, discontinuity=not self._joined(begin))
            until = min(before, begin + FRAMES_PER_PES * FRAME / RATE)
            self._in_segment += self._mux_audio(before=until)

    def _joined(self, begin: float) -> bool:
        """Whether sound at this time follows what was written without a gap."""
        return abs(begin - self._audio_end) < FRAME / RATE / 2

    def _open(self, start: float, streams: Streams, description: Description, *, discontinuity: bool) -> None:
        if streams != self._streams:
            self._streams = streams
            self._muxer = TsMuxer(streams)
            discontinuity = True
        discontinuity = discontinuity and self._begun
        self._files.open(start, description, discontinuity=discontinuity)
        self._files.write(self._muxer.tables())
        self._discontinuity = {"video": discontinuity, "audio": discontinuity}
        self._begun = True
        self._start = start
        self._audio_joined = streams.audio
        self._in_segment = 0
        self._per_pes = FRAMES_PER_PES

    def _close(self) -> None:
        self._files.close(max(self._video_end, self._audio_end))

    def _mux_audio(self, before: float = float("inf")) -> int:
        """Write the sound that waits, up to a time; returns how many frames that were."""
        count = next((i for i, f in enumerate(self._pending) if f.position >= before * RATE), len(self._pending))
        frames, self._pending = self._pending[:count], self._pending[count:]
        for at in range(0, count, self._per_pes):
            part = frames[at : at + self._per_pes]
            self._files.write(mux_audio(self._muxer, part, discontinuity=self._marks("audio")))
            self._audio_end = (part[-1].position + FRAME) / RATE
        return count

    def _marks(self, kind: str) -> bool:
        marked, self._discontinuity[kind] = self._discontinuity[kind], False
        return marked


class _VideoFace:
    """The side of the files that a `VideoTrack` writes to."""

    def __init__(self, files: _MergedFiles) -> None:
        self._files = files

    @property
    def is_open(self) -> bool:
        return self._files.video_on

    @property
    def wants_cut(self) -> bool:
        return self._files.wants_cut

    def open(self, start: float, description: Description, *, discontinuity: bool) -> bool:
        return self._files.open_video(start, description, discontinuity=discontinuity)

    def write(self, data: bytes, pts: int, *, keyframe: bool) -> None:
        self._files.write_video(data, pts, keyframe=keyframe)

    def close(self, end: float) -> None:
        self._files.close_video(end)

    def flush(self) -> None:
        self._files.flush()
