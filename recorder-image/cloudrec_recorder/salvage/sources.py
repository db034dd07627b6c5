"""Copies of held frames (`segments.held`) as access units on the task's time line."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cloudrec_contract.spool import Task
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments.held import FILE_BYTES_MAX, SUFFIX, HeldSource, parse

logger = logging.getLogger(__name__)

_FILES_MAX: Final = 1024
_BYTES_MAX: Final = 128 << 20
"""Of all files; the sidecar's memory has to do for them."""
_TRIES: Final = 2
"""How often a file is worked on: media that a decoder dies of must not keep the rest from its end."""
_NAME: Final = re.compile(r"\d{6,}" + re.escape(SUFFIX) + r"(?P<tries>\d?)")
_BREAK_MAX: Final = 12.0
"""Seconds between two frames; capture takes a longer break for another source."""
_LENGTH_MAX: Final = 120.0
_TICK: Final = 1 / 90_000
_LATEST_MS: Final = 4_102_000_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """One source's frames; there is at least one."""

    path: Path
    key: TrackKey
    units: list[AccessUnit]

    @property
    def begin(self) -> float:
        return self.units[0].time

    @property
    def end(self) -> float:
        """When the last frame begins."""
        return self.units[-1].time


def read(folder: Path, task: Task) -> Iterator[Source]:
    """All that can be used, in the order in which they began to be held."""
    if not folder.is_dir() or folder.is_symlink():
        return
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry, _ in zip(entries, range(_FILES_MAX), strict=False))
    left = _BYTES_MAX
    for number, name in enumerate(names, 1):
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        try:
            if int(found["tries"] or 0) >= _TRIES:
                raise ValueError("it was worked on in vain before")
            data = _read(folder / name, left)
            left -= len(data)
            held = parse(data)
            source = Source(folder / name, _key(held, task), _place(held, number, task.epoch))
        except (OSError, ValueError) as error:
            logger.warning("held frames in %s are left out: %s", name, error)
            continue
        yield source


def tried(source: Source) -> Source:
    """Count one more try, in the file's name."""
    found = _NAME.fullmatch(source.path.name)
    tries = int(found["tries"] or 0) if found else 0
    stem = source.path.name.partition(SUFFIX)[0]
    return replace(source, path=source.path.rename(source.path.with_name(f"{stem}{SUFFIX}{tries + 1}")))


def _read(path: Path, most: int) -> bytes:
    """Raises OSError, and ValueError for what is no file of ours."""
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError("it is no regular file")
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        return file.read(min(FILE_BYTES_MAX, most))


def _key(held: HeldSource, task: Task) -> TrackKey:
    header = held.header
    kind = "audio_video" if task.merge_audio_video else header.kind
    if len(header.user_id.encode()) > task.names.longest_user_id(header.media, kind):
        raise ValueError("its user id is too long")
    return TrackKey(header.user_id, header.media, header.kind)


def _place(held: HeldSource, number: int, epoch: int) -> list[AccessUnit]:
    """Where capture placed the frames; if it did not, where it would have: by the one that was the least late."""
    rate = held.header.clock_rate
    offset = held.offset
    if offset is None:
        offset = min((f.arrival - f.timestamp / rate for f in held.frames), default=0.0)
    key = TrackKey(held.header.user_id, held.header.media, held.header.kind)
    units: list[AccessUnit] = []
    for frame in held.frames:
        time = frame.timestamp / rate + offset
        if units:
            time = max(time, units[-1].time + _TICK)
            if time - units[-1].time > _BREAK_MAX or time - units[0].time > _LENGTH_MAX:
                break
        elif not 0 < epoch + time * 1000 < _LATEST_MS:
            break
        units.append(AccessUnit(key, held.header.codec, frame.data, time, frame.keyframe, number))
    if not units:
        raise ValueError("there are none that can be placed")
    return units
