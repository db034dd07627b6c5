"""A user's sound and picture in one transport stream: segments are cut at keyframes, and sound is interleaved.

Where there are pictures there is sound, be it silence: players by Media Source Extensions take no kind that comes
later, and stop where one of two ends. Sound alone is cut by its own length until pictures come; what comes, goes or
returns begins a segment, behind a discontinuity (sound that finds no keyframe in time joins in the middle of one). At
a beginning both are waited for a moment, so that a user who publishes both has both in the first segment.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from cloudrec_recorder.media import AccessUnit, Media, TrackKey
from cloudrec_recorder.segments.audio import FRAME, RATE, AacFrame, silence
from cloudrec_recorder.segments.audio_worker import AudioInput, AudioWorker
from cloudrec_recorder.segments.files import Description, Output, TrackFiles
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer
from cloudrec_recorder.segments.video_input import VideoInput
from cloudrec_recorder.segments.writers import FRAMES_PER_PES, mux_audio

HOLD_SECONDS: Final = 6.0
"""How long one kind waits for the other: capture holds a new track for up to 5 s, until it knows its clock. Pictures
wait at a beginning; sound alone is written so late while pictures are expected, so that they find their place before
it."""
_HOLD_BYTES: Final = 16 << 20
_HELD_FRAMES: Final = int(3.0 * RATE / FRAME)
_LINGER: Final = 1.0  # seconds of sound after the last picture, or before the first, that share the pictures' segment
_BESIDE: Final = 0.1  # seconds that sound waits for pictures of its time, where there are pictures
_ABREAST: Final = 0.5  # seconds that sound may be behind the pictures that arrive with it
_OVERLAP: Final = 0.5  # seconds that pictures may begin before the end of the sound written


class MergedTrack:
    """One (user, media). `media` and `tick` feed its two tracks, which are looked after as if they were apart.

    Pictures take the way of the sound, by the worker's queue, so that both come here in the order that they had.
    """

    def __init__(
        self, output: Output, user_id: str, media: Media, now: Callable[[], float], worker: AudioWorker
    ) -> None:
        video = TrackKey(user_id, media, "video")
        self._files = _MergedFiles(output, video)
        self._now = now
        self._expected_until = float("inf")  # nobody has said yet
        self._worker = worker
        self.video = VideoInput(output, video, _VideoFace(self._files))
        self.audio = AudioInput(output.settings, _AudioFace(self._files), worker)
        self._dropping = False
        self._held: list[AccessUnit] = []
        self._held_since = 0.0
        self._held_bytes = 0

    def media(self, unit: AccessUnit) -> None:
        if unit.key.kind == "audio":
            self.audio.media(unit)
        elif self._worker.room():
            self._dropping = False
            self._worker.submit(partial(self._worker.call, partial(self._picture, unit)))
        elif not self._dropping:
            self._dropping = True
            self.interrupt_video()  # what comes next begins with a keyframe

    def expect_video(self, *, expected: bool) -> None:
        """Pictures begin now, some seconds late perhaps; or there are none to come."""
        self._expected_until = self._now() + HOLD_SECONDS if expected else float("-inf")

    def interrupt_video(self) -> None:
        """End the pictures after what was taken so far."""
        self._worker.submit(partial(self._worker.call, self.video.interrupt))

    def _picture(self, unit: AccessUnit) -> None:
        if not self._held and (self.video.active or self._files.audio_on):
            self.video.media(unit)
            return
        if not self._held:
            self._held_since = self._now()
        self._held.append(unit)
        self._held_bytes += len(unit.data)
        if self._held_bytes > _HOLD_BYTES:
            self.release()

    def tick(self) -> None:
        self._files.patient = self._now() < self._expected_until
        if self._held and (self._now() - self._held_since >= HOLD_SECONDS or self._sound_is_there()):
            self.release()

    def _sound_is_there(self) -> bool:
        """Sound has begun, and all that capture held back of it has come."""
        return self._files.audio_on and self._files.sound_end > self._held[-1].time - _ABREAST

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
        self._begun = output.settings.continues
        self._start = 0.0
        self._gap = output.settings.gap
        self._reach = 0.0  # seconds before the segment that its silence may begin: sound's end is noticed late
        self._pending: list[AacFrame] = []
        self._channels = 1
        self.audio_on = False
        self._audio_joined = False  # sound goes on in the open segment
        self._audio_begin = self._audio_end = 0.0
        self._in_segment = 0
        self.patient = True
        """Sound alone is kept back: pictures of the same time may come."""
        self.video_on = False
        self._video_last = self._video_end = 0.0
        self._discontinuity = {"video": False, "audio": False}

    # --- pictures -------------------------------------------------------------------------------------------------

    @property
    def wants_cut(self) -> bool:
        return self.video_on and self.audio_on and not self._audio_joined

    def open_video(self, start: float, description: Description, *, discontinuity: bool) -> bool:
        if self._files.is_open and (start <= self._start or (not self.video_on and start < self._audio_end - _OVERLAP)):
            return False
        if self._files.is_open and self.video_on:
            if self._audio_joined:
                self._mux_audio(before=start)
            else:
                self._fill(start)
        elif self._files.is_open or start - self._audio_begin > _LINGER:
            self._write_alone(before=start)
        was_open = self._files.is_open
        if was_open:
            self._files.close(start)
        elif self.audio_on:
            start = min(start, self._audio_begin)
        changed = self.audio_on != self._audio_joined  # sound comes, or has gone
        self._open(
            start,
            Streams(video=True, audio=True),
            Description(
                description.codec,
                description.width,
                description.height,
                sample_rate=RATE,
                channels=self._channels,
                transcoded=description.transcoded,
            ),
            discontinuity=discontinuity or not was_open or changed,
        )
        self.video_on = True
        self._reach = self._gap + 1.0 if was_open else 0.0
        return True

    def write_video(self, data: bytes, pts: int, *, keyframe: bool) -> None:
        if self._audio_joined and len(self._pending) >= FRAMES_PER_PES:
            self._mux_audio(before=pts / CLOCK)
        self._files.write(self._muxer.video(data, pts, keyframe=keyframe, discontinuity=self._marks("video")))
        self._video_last = pts / CLOCK

    def close_video(self, end: float) -> None:
        self.video_on = False
        self._video_end = end
        if not self._audio_joined:
            self._fill(end)
            self._close()

    # --- sound ----------------------------------------------------------------------------------------------------

    @property
    def sound_end(self) -> float:
        """Where the sound ends that has come so far, in seconds since the epoch."""
        return (self._pending[-1].position + FRAME) / RATE if self._pending else self._audio_end

    def begins(self, start: float) -> None:
        self.audio_on = True
        self._audio_begin = start

    def write(self, frame: AacFrame, channels: int) -> None:
        self._channels = channels
        self._pending.append(frame)
        if not self.video_on:
            if self.patient:
                self._write_alone(before=frame.position / RATE - HOLD_SECONDS)
        elif not self._audio_joined:
            if len(self._pending) > _HELD_FRAMES:
                self._join_late()
        elif len(self._pending) >= _HELD_FRAMES // 2:
            self._mux_audio()

    def _join_late(self) -> None:
        """No keyframe comes: sound begins in the middle of a segment."""
        self._fill(float("inf"))
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
        self.audio_on = self._audio_joined = False

    def flush(self) -> None:
        if not self.video_on:
            if not self.patient:
                self._write_alone()
        elif self._audio_joined and self._pending:
            newest = self._pending[-1].position / RATE
            self._mux_audio(before=max(self._video_last, newest - _BESIDE))
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
        self._audio_joined = self.audio_on
        self._in_segment = 0

    def _close(self) -> None:
        self._files.close(max(self._video_end, self._audio_end))

    def _mux_audio(self, before: float = float("inf")) -> int:
        """Write the sound that waits, up to a time; returns how many frames that were."""
        count = next((i for i, f in enumerate(self._pending) if f.position >= before * RATE), len(self._pending))
        frames, self._pending = self._pending[:count], self._pending[count:]
        self._write_audio(frames)
        return count

    def _fill(self, end: float) -> None:
        """Silence from where the segment's sound ends, up to a time or to the sound that waits."""
        at = round(max(self._audio_end, self._start - self._reach) * RATE)
        until = min([end * RATE, *(frame.position for frame in self._pending[:1])])
        count = max(0, int((until - at) // FRAME)) if self._files.is_open else 0
        self._write_audio([AacFrame(at + FRAME * n, silence(self._channels)) for n in range(count)])

    def _write_audio(self, frames: list[AacFrame]) -> None:
        for at in range(0, len(frames), FRAMES_PER_PES):
            part = frames[at : at + FRAMES_PER_PES]
            self._files.write(mux_audio(self._muxer, part, discontinuity=self._marks("audio")))
            self._audio_end = (part[-1].position + FRAME) / RATE

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


class _AudioFace:
    """The side of the files that the sound is written to."""

    def __init__(self, files: _MergedFiles) -> None:
        self._files = files

    def begins(self, start: float) -> None:
        self._files.begins(start)

    def write(self, frame: AacFrame, channels: int) -> None:
        self._files.write(frame, channels)

    def broken(self) -> None:
        self._files.broken()

    def flush(self) -> None:
        self._files.flush()
