"""MPEG transport stream as bytes (ISO/IEC 13818-1, 2.4.3): sync bytes, tables at the beginning, continuity counters."""

from __future__ import annotations

import numpy as np

PACKET = 188
_SYNC = 0x47
_NULL_PID = 0x1FFF


class Continuity:
    """Looks at segment after segment, as a player that reads them as one stream does."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def reset(self) -> None:
        """After EXT-X-DISCONTINUITY counters may begin anywhere."""
        self._last.clear()

    def look(self, data: bytes) -> list[str]:
        """What is wrong with the next segment; empty when all is well."""
        if not data or len(data) % PACKET:
            return [f"{len(data)} bytes are not a whole number of {PACKET}-byte packets"]
        packets = np.frombuffer(data, np.uint8).reshape(-1, PACKET)
        unsynced = int((packets[:, 0] != _SYNC).sum())
        if unsynced:
            return [f"{unsynced} packets without sync byte"]
        faults = []
        pids = (packets[:, 1].astype(np.int32) & 0x1F) << 8 | packets[:, 2]
        if pids[0] != 0:
            faults.append("does not begin with a program association table")
        if (packets[:, 1] & 0x80).any():
            faults.append("packets marked as damaged")
        for pid in np.unique(pids):
            if pid != _NULL_PID:
                faults += self._counters(int(pid), packets[pids == pid])
        return faults

    def _counters(self, pid: int, packets: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> list[str]:
        control = packets[:, 3]
        marked = ((control & 0x20) != 0) & (packets[:, 4] > 0) & ((packets[:, 5] & 0x80) != 0)
        carrying = (control & 0x10) != 0
        counters, marked = control[carrying] & 0x0F, marked[carrying]
        if not len(counters):
            return []
        before = np.concatenate(([self._last.get(pid, int(counters[0]) - 1) & 0x0F], counters[:-1]))
        self._last[pid] = int(counters[-1])
        broken = int((((before + 1) & 0x0F) != counters)[~marked].sum())
        return [f"continuity counter of PID {pid} breaks {broken} times"] if broken else []
