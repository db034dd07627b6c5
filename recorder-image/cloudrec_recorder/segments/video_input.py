"""Video of any codec on its way to a `VideoTrack`: H.264 goes straight on, the rest through a transcoder."""

from __future__ import annotations

from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments.files import Output
from cloudrec_recorder.segments.transcode import DECODERS, Transcoder
from cloudrec_recorder.segments.video_track import VideoTrack
from cloudrec_recorder.segments.writers import VideoWriter

CODECS = frozenset({"H264", *DECODERS})
"""What can be recorded, by SDP names."""


class VideoInput:
    """One track's video. The transcoder's thread lives from its first picture to the next interruption."""

    def __init__(self, output: Output, key: TrackKey, writer: VideoWriter) -> None:
        self._output = output
        self._key = key
        self._track = VideoTrack(key, output.settings, writer, self._ask)
        self._transcoder: Transcoder | None = None
        self._codec = ""

    @property
    def active(self) -> bool:
        return self._track.active or self._transcoder is not None

    @property
    def busy(self) -> bool:
        """Pictures are being transcoded."""
        return self._transcoder is not None and not self._transcoder.idle

    @property
    def transcoded(self) -> str:
        """The codec that is being transcoded; "" when the pictures go as they come."""
        return self._codec if self._transcoder is not None and self._codec in DECODERS else ""

    @property
    def overloaded(self) -> bool:
        """Pictures are being dropped because transcoding is behind."""
        return self._transcoder is not None and self._transcoder.overloaded

    def media(self, unit: AccessUnit) -> None:
        self._codec = unit.codec
        if self._transcoder is None and unit.codec in DECODERS:
            self._transcoder = Transcoder(self._key.user_id, self._output.settings.target)
        transcoder = self._transcoder
        if transcoder is None:
            self._deliver(unit, transcoded=False)
            return
        transcoder.push(unit)
        if transcoder.needs_keyframe:
            self._output.request_keyframe(self._key)
        self._take()

    def interrupt(self) -> None:
        """End the segment here; what the transcoder has not done yet is waited for no longer."""
        transcoder, self._transcoder = self._transcoder, None
        if transcoder is not None:
            transcoder.close()
            for unit, transcoded in transcoder.take():
                self._deliver(unit, transcoded=transcoded)
        self._track.interrupt()

    def settle(self, timeout: float) -> bool:
        """Wait until the transcoder has done what waits for it, on any thread; nothing may be pushed any more."""
        if self._transcoder is None:
            return True
        self._transcoder.close()
        return self._transcoder.join(timeout)

    def flush(self) -> None:
        self._take()
        self._track.flush()

    def _take(self) -> None:
        if self._transcoder is not None:
            for unit, transcoded in self._transcoder.take():
                self._deliver(unit, transcoded=transcoded)

    def _deliver(self, unit: AccessUnit, *, transcoded: bool) -> None:
        self._track.transcoded = transcoded
        self._track.media(unit)

    def _ask(self) -> None:
        if self._transcoder is not None and self._track.transcoded:
            self._transcoder.force_keyframe()
        else:
            self._output.request_keyframe(self._key)
