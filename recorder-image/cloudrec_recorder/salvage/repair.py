"""Making a cut-off segment's file end where its media is whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cloudrec_recorder.salvage.transport import Whole, whole
from cloudrec_recorder.segments.disk import write_all
from cloudrec_recorder.segments.mpegts import PACKET, Streams, TsMuxer, null_packets

FILE_MAX: Final = 256 << 20
"""Bytes of the largest file that is looked at: 10 s at 200 Mbit/s."""


PACKETS_MIN: Final = 16
"""As `segments.files` has it: ffmpeg takes a file of less than 11 packets for something else."""


class Unsalvageable(Exception):
    """There is nothing to be played in a file; the message says why."""


def repair(path: Path) -> tuple[Whole, int]:
    """Cut the file back, have its tables name what it holds, and pad it; returns what it holds, and its size in bytes.

    A repaired file is repaired to itself: a null packet stands behind what was found to be whole. Raises Unsalvageable,
    and OSError when the disk fails.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise Unsalvageable("it is no regular file")
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_size > FILE_MAX:
            raise Unsalvageable(f"its {status.st_size} bytes are more than a segment can have")
        data = _read(fd, status.st_size)
        found = whole(data)
        streams = found.streams
        if streams is None or not found.tables:
            raise Unsalvageable("no access unit in it is whole")
        nulls = max(1, PACKETS_MIN - found.packets)
        end = found.packets * PACKET
        for row in found.tables:
            table = table_of(streams, data[row * PACKET : (row + 1) * PACKET])
            os.pwrite(fd, table, row * PACKET)
        # One packet of what is cut off stays until it is written over: it proves the one before it to be whole.
        os.ftruncate(fd, min(end + PACKET, status.st_size // PACKET * PACKET))
        os.lseek(fd, end, os.SEEK_SET)
        write_all(fd, null_packets(nulls))
        size = end + nulls * PACKET
        os.ftruncate(fd, size)
        return found, size
    finally:
        os.close(fd)


def table_of(streams: Streams, packet: bytes) -> bytes:
    """The programme map table in the place of `packet`: as it was when it names these streams and no more."""
    made = TsMuxer(streams).tables()[PACKET:]
    wanted, there = _named(made), _named(packet)
    return packet if there == wanted else made[:3] + packet[3:4] + made[4:]


def _named(packet: bytes) -> tuple[tuple[int, int], ...]:
    """(stream type, PID) of each stream in a table of `TsMuxer`, without descriptors."""
    length = (packet[6] & 0x0F) << 8 | packet[7]
    entries = packet[17 : 8 + length - 4]
    return tuple((entries[at], (entries[at + 1] & 0x1F) << 8 | entries[at + 2]) for at in range(0, len(entries) - 4, 5))


def _read(fd: int, size: int) -> bytes:
    parts = []
    at = 0
    while at < size and (part := os.pread(fd, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)
