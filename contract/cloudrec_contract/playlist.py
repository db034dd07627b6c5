"""HLS media playlists (RFC 8216) with TRTC's tags, as a value and back.

A playlist only ever grows: segments are appended, and `#EXT-X-ENDLIST` comes at the attempt's end, never because a user
left. EXTINF carries a trailing comma and TARGETDURATION is the ceiling of the longest segment, as the RFC asks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import quote, unquote

TARGET_SECONDS = 10
"""The usual length of a segment, and the least TARGETDURATION."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One closed segment. `start_ms`: first sample, ms since the Unix epoch. `duration` in seconds."""

    name: str
    duration: float
    start_ms: float
    discontinuity: bool = False


@dataclass(frozen=True, slots=True)
class Playlist:
    """`begin_ms` is TRTC's BeginTimeStamp; `width` and `height` are zero for audio."""

    begin_ms: int
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    segments: tuple[Segment, ...] = field(default=())
    ended: bool = False

    def append(self, segment: Segment) -> Playlist:
        """This playlist with one more segment. Raises ValueError once it has ended."""
        if self.ended:
            raise ValueError("a playlist that has ended cannot grow")
        return replace(self, segments=(*self.segments, segment))

    def end(self) -> Playlist:
        return replace(self, ended=True)

    def render(self) -> str:
        """The playlist's text. Segments' names are percent-encoded where a URL needs it (`+` too)."""
        longest = max((s.duration for s in self.segments), default=0.0)
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:3",
            "#EXT-X-ALLOW-CACHE:NO",
            "#EXT-X-MEDIA-SEQUENCE:0",
            f"#EXT-X-TARGETDURATION:{max(TARGET_SECONDS, math.ceil(longest))}",
            "#EXT-X-PLAYLIST-TYPE:EVENT",
            f"#EXT-X-TRTC-START-REC-TIME:{self.begin_ms}",
        ]
        if self.width:
            lines.append(f"#EXT-X-TRTC-VIDEO-METADATA:WIDTH:{self.width} HEIGHT:{self.height}")
        if self.sample_rate:
            lines.append(f"#EXT-X-TRTC-AUDIO-METADATA:SAMPLERATE:{self.sample_rate} CHANNELS:{self.channels}")
        for segment in self.segments:
            if segment.discontinuity:
                lines.append("#EXT-X-DISCONTINUITY")
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_iso(segment.start_ms)}")
            lines.append(f"#EXTINF:{segment.duration:.3f},")
            lines.append(quote(segment.name, safe=""))
        if self.ended:
            lines.append("#EXT-X-ENDLIST")
        return "\n".join(lines) + "\n"


def _iso(ms: float) -> str:
    at = datetime.fromtimestamp(round(ms) / 1000, tz=UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


_VIDEO = re.compile(r"WIDTH:(\d+) HEIGHT:(\d+)")
_AUDIO = re.compile(r"SAMPLERATE:(\d+) CHANNELS:(\d+)")


def parse(text: str) -> Playlist:
    """Read a playlist as written by `render`, or the guide's sample. Raises ValueError with the line that is wrong."""
    lines = text.splitlines()
    if not lines or lines[0] != "#EXTM3U":
        raise ValueError("a playlist begins with #EXTM3U")
    begin = width = height = rate = channels = 0
    segments: list[Segment] = []
    duration: float | None = None
    start: float | None = None
    discontinuity = ended = False
    for number, line in enumerate(lines[1:], 2):
        try:
            if ended and line:
                raise ValueError("after #EXT-X-ENDLIST")
            tag, _, value = line.partition(":")
            match tag:
                case "#EXT-X-TRTC-START-REC-TIME":
                    begin = int(value)
                case "#EXT-X-TRTC-VIDEO-METADATA":
                    width, height = map(int, _matched(_VIDEO, value))
                case "#EXT-X-TRTC-AUDIO-METADATA":
                    rate, channels = map(int, _matched(_AUDIO, value))
                case "#EXT-X-DISCONTINUITY":
                    discontinuity = True
                case "#EXT-X-PROGRAM-DATE-TIME":
                    start = float(round(datetime.fromisoformat(value).timestamp() * 1000))
                case "#EXTINF":
                    duration = float(value.split(",")[0])
                case "#EXT-X-ENDLIST":
                    ended = True
                case _ if line and not line.startswith("#"):
                    if duration is None:
                        raise ValueError("a segment without #EXTINF")
                    at = start if start is not None else _after(segments, begin)
                    segments.append(Segment(unquote(line), duration, at, discontinuity))
                    duration, start, discontinuity = None, None, False
        except ValueError as error:
            raise ValueError(f"playlist line {number}: {error}: {line!r}") from None
    return Playlist(begin, width, height, rate, channels, tuple(segments), ended)


def _after(segments: Iterable[Segment], begin: int) -> float:
    at = float(begin)
    for segment in segments:
        at = segment.start_ms + segment.duration * 1000
    return at


def _matched(pattern: re.Pattern[str], value: str) -> tuple[str, ...]:
    found = pattern.fullmatch(value)
    if not found:
        raise ValueError("malformed metadata")
    return found.groups()
