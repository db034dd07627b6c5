"""What is in files that were recorded: how many pictures, and how many are missing between the first and the last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.media import RATE
from cloudrec_contract.naming import parse_single
from cloudrec_recorder.segments.mpegts import CLOCK, PACKET, PID_VIDEO

_WRAP: Final = 1 << 33


def picture_times(data: bytes) -> list[int]:
    """The time stamps (90 kHz, 33 bits) of the pictures in a transport stream that the recorder wrote."""
    packets = np.frombuffer(data, np.uint8).reshape(-1, PACKET)
    pids = (packets[:, 1].astype(int) & 0x1F) << 8 | packets[:, 2]
    starts = packets[(pids == PID_VIDEO) & (packets[:, 1] & 0x40 != 0)]
    times = []
    for packet in starts:
        at = 5 + int(packet[4]) if packet[3] & 0x20 else 4
        field = [int(byte) for byte in packet[at + 9 : at + 14]]
        times.append((field[0] >> 1 & 7) << 30 | field[1] << 22 | field[2] >> 1 << 15 | field[3] << 7 | field[4] >> 1)
    return times


def missing_pictures(times: Iterable[int]) -> int:
    """Pictures that a publisher with a steady rate sent in between and that are not there."""
    missing, last = 0, None
    for time in times:
        if last is not None:
            missing += max(round((time - last) % _WRAP * RATE / CLOCK) - 1, 0)
        last = time
    return missing


def count_pictures(folder: Path) -> tuple[int, int]:
    """Pictures recorded, and missing, in all tracks' segments of a spool."""
    tracks: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in folder.glob("*.ts"):
        name = parse_single(path.name)
        if name.kind == "video":
            tracks[name.user_id].append((name.start_ms or 0, path))
    recorded = missing = 0
    for segments in tracks.values():
        times = [time for _, path in sorted(segments) for time in picture_times(path.read_bytes())]
        recorded += len(times)
        missing += missing_pictures(times)
    return recorded, missing
