"""Media playlists, read strictly: RFC 8216 with TRTC's tags (guide, "Recording start time"), and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from urllib.parse import unquote

_TAGS_ONCE = (
    "#EXT-X-VERSION",
    "#EXT-X-ALLOW-CACHE",
    "#EXT-X-MEDIA-SEQUENCE",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-TRTC-START-REC-TIME",
)
_TAGS_AT_MOST_ONCE = (
    "#EXT-X-PLAYLIST-TYPE",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-TRTC-VIDEO-METADATA",
    "#EXT-X-TRTC-AUDIO-METADATA",
    "#EXT-X-TRTC-VERSION",
    "#EXT-X-TRTC-DATE",
    "#EXT-X-TRTC-MEDIA-ID",
    "#EXT-X-TRTC-USER-ID",
    "#EXT-X-TRTC-MIX-STREAM",
    "#EXT-X-TRTC-STREAM-TYPE",
)
_HEADERS = (*_TAGS_ONCE, *_TAGS_AT_MOST_ONCE)
_FIXED = {"#EXT-X-VERSION": "3", "#EXT-X-ALLOW-CACHE": "NO", "#EXT-X-MEDIA-SEQUENCE": "0"}
_EXTINF = re.compile(r"(\d+(?:\.\d+)?),")
_VIDEO = re.compile(r"WIDTH:(\d+) HEIGHT:(\d+)")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:?\d\d)")
_URI = re.compile(r"[A-Za-z0-9._~%-]+\.ts")


class PlaylistError(ValueError):
    """A playlist that is not as it has to be; the message names the line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment. `name` is its file's name, decoded; `duration` in seconds; `wall` by PROGRAM-DATE-TIME, in seconds
    since the Unix epoch."""

    name: str
    duration: float
    wall: float | None
    discontinuity: bool


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """`start` is START-REC-TIME in seconds since the Unix epoch; `size` (width, height) as announced."""

    start: float
    target_duration: int
    size: tuple[int, int] | None
    entries: tuple[Entry, ...]
    ended: bool


def parse(text: str) -> MediaPlaylist:
    """Raises PlaylistError at the first thing that is wrong."""
    if not text.endswith("\n"):
        raise PlaylistError("the last line is cut off")
    lines = text.split("\n")[:-1]
    if lines[0] != "#EXTM3U":
        raise PlaylistError("line 1: not #EXTM3U")
    reader = _Reader()
    for number, line in enumerate(lines[1:], 2):
        try:
            reader.line(line)
        except ValueError as error:
            raise PlaylistError(f"line {number}: {error}: {line!r}") from None
    return reader.result()


class _Reader:
    """What the lines so far have said."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.entries: list[Entry] = []
        self.duration: float | None = None
        self.wall: float | None = None
        self.discontinuity = self.ended = False

    def line(self, line: str) -> None:
        if self.ended:
            raise ValueError("after #EXT-X-ENDLIST")
        if not line.startswith("#"):
            self._segment(line)
            return
        tag, _, value = line.partition(":")
        match tag:
            case "#EXTINF":
                self._expect(self.duration is None, "two #EXTINF for one segment")
                self.duration = float(_matched(_EXTINF, value)[0])
                self._expect(self.duration > 0, "a segment without duration")
            case "#EXT-X-PROGRAM-DATE-TIME":
                self._expect(self.wall is None, "two dates for one segment")
                _matched(_DATE, value)
                self.wall = datetime.fromisoformat(value).timestamp()
            case "#EXT-X-DISCONTINUITY":
                self._expect(line == tag and not self.discontinuity, "malformed or twice")
                self.discontinuity = True
            case "#EXT-X-TRTC-FILE-ATTR":
                _matched(re.compile(r"\d+,\d+"), value)
            case "#EXT-X-ENDLIST":
                self._expect(line == tag, "malformed")
                self._expect(not self._pending(), "the segment before has no name")
                self.ended = True
            case _:
                self._header(tag, value)

    def _header(self, tag: str, value: str) -> None:
        self._expect(tag in _HEADERS, "unknown tag")
        self._expect(tag not in self.headers, "twice")
        self._expect(not self.entries and not self._pending(), "a header after the first segment")
        self._expect(_FIXED.get(tag, value) == value, f"not {_FIXED.get(tag)}")
        self.headers[tag] = value

    def _segment(self, line: str) -> None:
        self._expect(self.duration is not None, "a segment without #EXTINF")
        self._expect(_URI.fullmatch(line) is not None, "not the percent-encoded bare name of a segment")
        assert self.duration is not None
        self.entries.append(Entry(unquote(line), self.duration, self.wall, self.discontinuity))
        self.duration = self.wall = None
        self.discontinuity = False

    def _pending(self) -> bool:
        return self.duration is not None or self.wall is not None or self.discontinuity

    @staticmethod
    def _expect(condition: bool, otherwise: str) -> None:
        if not condition:
            raise ValueError(otherwise)

    def result(self) -> MediaPlaylist:
        missing = [tag for tag in _TAGS_ONCE if tag not in self.headers]
        if missing:
            raise PlaylistError(f"missing: {', '.join(missing)}")
        if self._pending():
            raise PlaylistError("the last segment has no name")
        size = None
        try:
            target = int(self.headers["#EXT-X-TARGETDURATION"])
            start = int(self.headers["#EXT-X-TRTC-START-REC-TIME"])
            if (video := self.headers.get("#EXT-X-TRTC-VIDEO-METADATA")) is not None:
                width, height = (int(part) for part in _matched(_VIDEO, video))
                size = (width, height)
        except ValueError as error:
            raise PlaylistError(f"header: {error}") from None
        for entry in self.entries:
            # RFC 8216, 4.3.3.1: rounded to the nearest integer, at most the target duration
            if int(entry.duration + 0.5) > target:
                raise PlaylistError(f"{entry.name} is longer than the target duration of {target} s")
        names = [entry.name for entry in self.entries]
        if len(set(names)) < len(names):
            raise PlaylistError("a segment is there twice")
        for before, after in pairwise(self.entries):
            if before.wall is not None and after.wall is not None and after.wall <= before.wall:
                raise PlaylistError(f"{after.name} begins before {before.name}")
        return MediaPlaylist(start / 1000, target, size, tuple(self.entries), self.ended)


def _matched(pattern: re.Pattern[str], value: str) -> tuple[str, ...]:
    found = pattern.fullmatch(value)
    if not found:
        raise ValueError("malformed")
    return found.groups() or (value,)
