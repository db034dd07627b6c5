"""The mixed recording's segments: H.264 and AAC of the composer in one transport stream, cut at its keyframes."""

from __future__ import annotations

from typing import Final

from cloudrec_contract.mix import MixAudio, MixVideo
from cloudrec_contract.naming import FileKind
from cloudrec_contract.resources import StreamKind
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.mix.wire import Picture, Sound
from cloudrec_recorder.segments.audio import FRAME
from cloudrec_recorder.segments.files import Description, Output, TrackFiles
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer, ticks
from cloudrec_recorder.segments.video_track import CUT_EARLY
from cloudrec_recorder.segments.writers import FRAMES_PER_PES

KINDS: Final[dict[StreamKind, FileKind]] = {
    StreamKind.AUDIO_VIDEO: "audio_video",
    StreamKind.AUDIO: "audio",
    StreamKind.VIDEO: "video",
}
_PENDING_MAX: Final = 512  # AAC frames that wait for a first picture, 10 s
_BESIDE: Final = 0.1  # seconds that sound may be ahead of the pictures that are written


class MixedFiles:
    """One playlist. Pictures and sound each come in order, both without gaps until `interrupt`."""

    def __init__(self, output: Output, kind: StreamKind, video: MixVideo, audio: MixAudio) -> None:
        self._target = output.settings.target
        self._rate = audio.sample_rate
        self._interval = 1 / video.fps
        self._pictures = kind is not StreamKind.AUDIO
        self._files = TrackFiles(output, TrackKey("", "main", "video"), KINDS[kind], output.names.mixed)
        self._muxer = TsMuxer(Streams(video=self._pictures, audio=kind is not StreamKind.VIDEO))
        sound = kind is not StreamKind.VIDEO
        self._description = Description(
            "H264" if self._pictures else "AAC",
            width=video.width if self._pictures else 0,
            height=video.height if self._pictures else 0,
            sample_rate=audio.sample_rate if sound else 0,
            channels=audio.channels if sound else 0,
        )
        self._begun = False
        self._start = self._end = 0.0
        self._pending: list[Sound] = []
        self._marks: set[str] = set()

    @property
    def end(self) -> float:
        """Where what was written ends, in seconds since the epoch."""
        return self._end

    def picture(self, picture: Picture) -> None:
        if picture.keyframe and (not self._files.is_open or self._full(picture.time)):
            self._mux(before=picture.time)
            self._open(picture.time)
        elif not self._files.is_open:
            return
        if len(self._pending) >= FRAMES_PER_PES:
            self._mux(before=picture.time + _BESIDE)
        marked = self._marked("video")
        data = self._muxer.video(picture.data, ticks(picture.time), keyframe=picture.keyframe, discontinuity=marked)
        self._files.write(data)
        self._end = picture.time + self._interval

    def sound(self, sound: Sound) -> None:
        self._pending.append(sound)
        if self._pictures:
            del self._pending[:-_PENDING_MAX]
            return
        time = sound.position / self._rate
        if not self._files.is_open or self._full(time - CUT_EARLY):
            self._mux(before=time)
            self._open(time)
        self._end = time + FRAME / self._rate
        if len(self._pending) >= FRAMES_PER_PES:
            self._mux()

    def interrupt(self) -> None:
        """End the segment: what comes next does not follow on."""
        self._mux(before=self._end)
        self._pending.clear()
        self._files.close(self._end)

    def flush(self) -> None:
        """Hand what was written to the disk."""
        if self._files.is_open:
            self._mux(before=self._end + _BESIDE)
        self._files.flush()

    def _full(self, time: float) -> bool:
        return time - self._start >= self._target - CUT_EARLY

    def _open(self, start: float) -> None:
        joined = self._files.is_open
        self._files.close(start)
        discontinuity = self._begun and not joined
        self._files.open(start, self._description, discontinuity=discontinuity)
        self._files.write(self._muxer.tables())
        self._marks = {"video", "audio"} if discontinuity else set()
        self._begun = True
        self._start = start

    def _mux(self, before: float = float("inf")) -> None:
        """Write the sound that waits, up to a time."""
        if not self._files.is_open:
            return
        limit = before * self._rate
        count = next((i for i, sound in enumerate(self._pending) if sound.position >= limit), len(self._pending))
        frames, self._pending = self._pending[:count], self._pending[count:]
        for at in range(0, count, FRAMES_PER_PES):
            part = frames[at : at + FRAMES_PER_PES]
            pts = round(part[0].position * CLOCK / self._rate)
            data = b"".join(sound.data for sound in part)
            self._files.write(self._muxer.audio(data, pts, discontinuity=self._marked("audio")))

    def _marked(self, kind: str) -> bool:
        marked = kind in self._marks
        self._marks.discard(kind)
        return marked
