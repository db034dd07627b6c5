"""The segment files of one playlist: names, the open file's buffer, and what the journal hears of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloudrec_contract.naming import FileKind, FileNames, playlist_of, segment_of
from cloudrec_contract.spool import SegmentRecord, TrackRecord, encode_record
from cloudrec_recorder.journal import Journal
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.segments.disk import Disk, SpoolFile
from cloudrec_recorder.segments.mpegts import PACKET, null_packets

_PACKETS_MIN: Final = 16
"""ffmpeg takes a file of less than 11 packets for something else: some frames of silence are no more."""

_SHORTEST: Final = 0.001
"""Seconds: a playlist tells milliseconds, and players refuse a segment of none."""
STAGGER: Final = 0.4
"""By how much of the target tracks that begin together are put out of step: else all their keyframes are asked for at
once, and all their segments uploaded at once, every ten seconds."""


@dataclass(frozen=True, slots=True)
class SegmentSettings:
    """`target` length of a segment in seconds; a break longer than `gap` seconds ends one.

    The first segment, and the first after a break, is shorter by up to `stagger` of the target, by each track's name.
    `continues`: the playlists have segments of another process already.
    """

    target: float = 10.0
    gap: float = 5.0
    stagger: float = 0.0
    continues: bool = False

    def first(self, key: TrackKey) -> float:
        """Seconds that this track's first segment is to last."""
        share = zlib.crc32(f"{key.kind} {key.media} {key.user_id}".encode()) / 2**32
        return self.target * (1 - self.stagger * share)


@dataclass(frozen=True, slots=True)
class Output:
    """Where segments go: shared by all tracks of a task. `epoch_ms`: time zero, ms since the Unix epoch."""

    names: FileNames
    epoch_ms: int
    folder: Path
    disk: Disk
    journal: Journal
    settings: SegmentSettings
    request_keyframe: Callable[[TrackKey], None]


@dataclass(frozen=True, slots=True)
class Description:
    """What the `track` record says about the first segment."""

    codec: str
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    transcoded: bool = False


class TrackFiles:
    """Writes one playlist's segments one after the other. Times are seconds since the epoch.

    `stem`: of all names; left out, that of single mode.
    """

    def __init__(self, output: Output, key: TrackKey, kind: FileKind, stem: str | None = None) -> None:
        self._output = output
        self._key = key
        self._kind = kind
        self._stem = stem if stem is not None else output.names.single(key.user_id, key.media, kind)
        self._playlist = playlist_of(self._stem)
        self._begun = False
        self._file: SpoolFile | None = None
        self._name = ""
        self._name_ms = 0
        self._start = 0.0
        self._discontinuity = False
        self._buffer: list[bytes] = []

    @property
    def is_open(self) -> bool:
        return self._file is not None

    def open(self, start: float, description: Description, *, discontinuity: bool) -> None:
        """Begin a segment whose first sample is at `start`; the track's first also makes it known."""
        output = self._output
        start_ms = self._ms(start)
        # Two keyframes can be a tick apart at a layer switch: names differ all the same.
        self._name_ms = max(int(start_ms), self._name_ms + 1)
        self._name = segment_of(self._stem, self._name_ms)
        self._start = start
        self._discontinuity = discontinuity
        self._file = SpoolFile(output.disk, output.folder / self._name)
        if not self._begun:
            self._begun = True
            output.journal.append(
                TrackRecord(
                    ts=output.journal.wall_ms(),
                    track=self._playlist,
                    user_id=self._key.user_id,
                    media=self._key.media,
                    kind=self._kind,
                    codec=description.codec,
                    begin_time_stamp=int(start_ms),
                    width=description.width,
                    height=description.height,
                    sample_rate=description.sample_rate,
                    channels=description.channels,
                    transcoded=description.transcoded,
                )
            )

    def write(self, packets: bytes) -> None:
        """Add transport packets to the open segment; they reach the file with the next `flush`."""
        self._buffer.append(packets)

    def flush(self) -> None:
        if self._file is not None and self._buffer:
            self._file.write(b"".join(self._buffer))
            self._buffer.clear()

    def close(self, end: float) -> None:
        """End the open segment at `end`: where the next one begins, or where its last sample ends."""
        self.flush()
        file, self._file = self._file, None
        if file is None:
            return
        if file.size < _PACKETS_MIN * PACKET:
            file.write(null_packets(_PACKETS_MIN - file.size // PACKET))
        journal = self._output.journal
        line = encode_record(
            SegmentRecord(
                ts=journal.wall_ms(),
                track=self._playlist,
                file=self._name,
                start=round(self._ms(self._start), 3),
                duration=round(max(end - self._start, _SHORTEST), 6),
                bytes=file.size,
                discontinuity=self._discontinuity,
            )
        )
        file.close(lambda: journal.write_line(line))

    def _ms(self, time: float) -> float:
        return self._output.epoch_ms + time * 1000
