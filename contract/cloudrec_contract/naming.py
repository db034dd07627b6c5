"""Names of everything that is made: files (the guide's patterns), Pods, Secrets, robots.

File names are parts of object keys: `+` stays as it is in a name and must be percent-encoded in every URL.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from cloudrec_contract.resources import Mode, RoomType

FileMedia = Literal["main", "aux"]
FileKind = Literal["audio", "video", "audio_video"]

ATTEMPTS_MAX = 16
"""Of one task: `index` is below."""
NAME_BYTES = 255
"""Of a file's name, on every file system (NAME_MAX)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode_id(text: str) -> str:
    """Base64 of the UTF-8 id with `/` as `-` and `=` as `.`; `+` stays (guide, "Note" under the naming rules)."""
    return base64.b64encode(text.encode()).decode().replace("/", "-").replace("=", ".")


def decode_id(text: str) -> str:
    """Inverse of `encode_id`. Raises ValueError when the text is no such encoding."""
    return base64.b64decode(text.replace("-", "/").replace(".", "="), validate=True).decode()


def utc_stamp(ms: float) -> str:
    """17 digits yyyymmddHHMMSSmmm, UTC, of a time in ms since the Unix epoch."""
    at = _EPOCH + timedelta(milliseconds=int(ms))
    return at.strftime("%Y%m%d%H%M%S") + f"{at.microsecond // 1000:03d}"


def parse_utc_stamp(text: str) -> int:
    """Inverse of `utc_stamp`, in ms. Raises ValueError on anything but 17 digits of a real date."""
    if len(text) != 17 or not text.isdigit():
        raise ValueError(f"not a 17-digit UTC stamp: {text!r}")
    at = datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    return int((at - _EPOCH).total_seconds()) * 1000 + int(text[14:])


def room_token(room_id: str, room_type: RoomType) -> str:
    """The `<roomid>` of file names: a number as it is, a string room encoded."""
    return room_id if room_type is RoomType.NUMBER else encode_id(room_id)


def playlist_of(stem: str) -> str:
    return f"{stem}.m3u8"


def segment_of(stem: str, start_ms: float) -> str:
    """`start_ms`: the segment's first sample, ms since the Unix epoch."""
    return f"{stem}_{utc_stamp(start_ms)}.ts"


@dataclass(frozen=True, slots=True)
class FileNames:
    """All file names of one attempt of one task. `index` 0 has no prefix; from 1 on files are `ha<index>_…`."""

    sdk_app_id: int
    room_id: str
    room_type: RoomType
    index: int = 0

    @property
    def _head(self) -> str:
        ha = f"ha{self.index}_" if self.index else ""
        return f"{ha}{self.sdk_app_id}_{room_token(self.room_id, self.room_type)}"

    @property
    def _plain(self) -> str:
        return f"{self.sdk_app_id}_{room_token(self.room_id, self.room_type)}"

    @property
    def mixed(self) -> str:
        """Stem of the playlist and the segments in mixed mode."""
        return self._head

    def single(self, user_id: str, media: FileMedia, kind: FileKind) -> str:
        """Stem of a user's playlist and segments in single mode."""
        return f"{self._head}__UserId_s_{encode_id(user_id)}__UserId_e_{media}_{kind}"

    def playlist(self, user_id: str, media: FileMedia, kind: FileKind) -> str:
        return playlist_of(self.single(user_id, media, kind))

    def segment(self, user_id: str, media: FileMedia, kind: FileKind, start_ms: float) -> str:
        """`start_ms`: the segment's first sample, ms since the Unix epoch."""
        return segment_of(self.single(user_id, media, kind), start_ms)

    def longest_user_id(self, media: FileMedia, kind: FileKind) -> int:
        """Bytes of UTF-8 of the longest user id whose segments can be named; below 1 when no user's can."""
        encoded = NAME_BYTES - len(self.segment("", media, kind, 0))
        return encoded // 4 * 3

    def mixed_playlist(self) -> str:
        return playlist_of(self.mixed)

    def recorded(self, mode: Mode, user_id: str, media: FileMedia, kind: FileKind) -> str:
        """The playlist of a `resources.RecordedFile`; a mixed recording has one, whatever is in it."""
        return self.mixed_playlist() if mode is Mode.MIXED else self.playlist(user_id, media, kind)

    def mixed_segment(self, start_ms: float) -> str:
        return segment_of(self.mixed, start_ms)

    def file(self, user_id: str | None, media: str, part: int | None = None, suffix: str = "mp4") -> str:
        """An MP4 or AAC file, of the mixed recording when `user_id` is None. One over all attempts, so never with `ha`;
        `part` counts from 1, None when it is not split."""
        whose = "" if user_id is None else f"__UserId_s_{encode_id(user_id)}__UserId_e_{media}"
        return f"{self._plain}{whose}{_part(part)}.{suffix}"


def _part(part: int | None) -> str:
    return "" if part is None else f"_{part}"


@dataclass(frozen=True, slots=True)
class ParsedName:
    """What the name of a playlist or segment tells. In mixed mode there is no user; `media` is main, and `kind` is
    audio_video whatever is in the file."""

    index: int
    sdk_app_id: int
    room: str
    user_id: str
    media: str
    kind: str
    start_ms: int | None


_SINGLE = re.compile(
    r"^(?:ha(?P<ha>\d{1,2})_)?(?P<app>\d+)_(?P<room>.+?)__UserId_s_(?P<user>[A-Za-z0-9+.\-]*)__UserId_e_"
    r"(?P<media>main|aux)_(?P<kind>audio_video|audio|video)(?:_(?P<utc>\d{17}))?\.(?:m3u8|ts)$"
)


def parse_single(name: str) -> ParsedName:
    """Take a single-mode file name apart. Raises ValueError when it is none. `room` stays encoded."""
    found = _SINGLE.match(name)
    if not found:
        raise ValueError(f"not the name of a single-mode playlist or segment: {name!r}")
    return ParsedName(
        index=int(found["ha"] or 0),
        sdk_app_id=int(found["app"]),
        room=found["room"],
        user_id=decode_id(found["user"]),
        media=found["media"],
        kind=found["kind"],
        start_ms=parse_utc_stamp(found["utc"]) if found["utc"] else None,
    )


_MIXED = re.compile(
    r"^(?:ha(?P<ha>\d{1,2})_)?(?P<app>\d+)_(?P<room>[A-Za-z0-9+.\-]+?)(?:_(?P<utc>\d{17}))?\.(?:m3u8|ts)$"
)


def parse_name(name: str) -> ParsedName:
    """Take the name of a playlist or segment of either mode apart. Raises ValueError when it is none."""
    found = _MIXED.match(name)
    if not found:
        return parse_single(name)
    return ParsedName(
        index=int(found["ha"] or 0),
        sdk_app_id=int(found["app"]),
        room=found["room"],
        user_id="",
        media="main",
        kind="audio_video",
        start_ms=parse_utc_stamp(found["utc"]) if found["utc"] else None,
    )


def key_prefix(prefix: Sequence[str], task_id: str) -> str:
    """`<prefix>/<taskid>/`, above every file of a task in its bucket."""
    return "/".join((*prefix, task_id)) + "/"


def room_fault(sdk_app_id: int, room_id: str, room_type: RoomType, mode: Mode = Mode.SINGLE) -> str:
    """Why no file could be named in this room, whichever the attempt; empty when it can."""
    names = FileNames(sdk_app_id, room_id, room_type, ATTEMPTS_MAX - 1)
    mixed = mode is Mode.MIXED
    fits = len(names.mixed_segment(0)) <= NAME_BYTES if mixed else names.longest_user_id("main", "audio_video") > 0
    whose = "a" if mixed else "a user's"
    return "" if fits else f"is too long: {whose} file would have a name of more than {NAME_BYTES} bytes"


# --- Kubernetes -----------------------------------------------------------------------------------------------------


def pod_name(recording: str, uid: str, index: int) -> str:
    """`<name>-<first five of the uid>-<index>`: no clash with a predecessor of the same name."""
    return f"{recording}-{uid[:5]}-{index}"


def finisher_name(recording: str, uid: str, index: int) -> str:
    """`<name>-<first five of the uid>-f<index>`, beside the recorders' Pods."""
    return f"{recording}-{uid[:5]}-f{index}"


def robot_identity(user_id: str, index: int) -> str:
    """`<robot>~<attempt>`: a successor never evicts its predecessor, and no user's id is taken."""
    return f"{user_id}~{index}"
