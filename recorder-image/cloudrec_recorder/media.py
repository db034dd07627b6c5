"""What capture hands to the segmenter: encoded access units on the task's one time line.

Names are WebRTC's: a *participant* publishes *tracks*; TRTC's words (user, main/aux) name whose they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Media = Literal["main", "aux"]
Kind = Literal["audio", "video"]


@dataclass(frozen=True, slots=True)
class TrackKey:
    """One recorded track: a user's main or aux audio or video, over leaves and rejoins."""

    user_id: str
    media: Media
    kind: Kind


@dataclass(slots=True)
class AccessUnit:
    """One encoded video frame (H.264 Annex B with start codes) or one Opus packet.

    `time` is the presentation time in seconds since the task's epoch; capture guarantees that it grows strictly within
    one `source`. `source` changes when the track starts anew (rejoin, republish, new SSRC): time may jump there.
    """

    key: TrackKey
    codec: str  # as in SDP, upper case: "H264", "OPUS", "VP8"
    data: bytes
    time: float
    keyframe: bool
    source: int


class Held(Protocol):
    """A copy of one source's frames on their way to a `MediaSink`, so that those held back outlive the process."""

    def frame(self, arrival: float, timestamp: int, data: bytes, *, keyframe: bool) -> bool:
        """A frame arrived at this task time (s); `timestamp` is RTP's, unwrapped. False: no more are kept."""

    def placed(self, offset: float) -> None:
        """What was held goes to the sink now: its task time is its RTP time (in seconds) and this."""


class MediaSink(Protocol):
    """Where capture delivers, on the event loop's thread; must not block and must not raise."""

    def hold(self, key: TrackKey, codec: str, clock_rate: int) -> Held:
        """Frames of a source begin to be held back: they cannot be placed yet. `codec` as in `AccessUnit`."""

    def media(self, unit: AccessUnit) -> None: ...

    def lost(self, key: TrackKey, seconds: float) -> None:
        """Packets of about this much time were given up on."""


class NotKept:
    """A `Held` that keeps nothing."""

    def frame(self, arrival: float, timestamp: int, data: bytes, *, keyframe: bool) -> bool:
        return False

    def placed(self, offset: float) -> None: ...
