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


class MediaSink(Protocol):
    """Where capture delivers, on the event loop's thread; must not block and must not raise."""

    def media(self, unit: AccessUnit) -> None: ...

    def lost(self, key: TrackKey, seconds: float) -> None:
        """Packets of about this much time were given up on."""
