"""A journal's segments as the playlist that the uploader makes of them."""

from __future__ import annotations

from collections.abc import Sequence

from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_contract.spool import JournalRecord, SegmentRecord, TrackRecord


def playlist(records: Sequence[JournalRecord], track: str) -> str:
    """The text of the playlist of this name."""
    info = next(r for r in records if isinstance(r, TrackRecord) and r.track == track)
    segments = [
        Segment(r.file, r.duration, r.start, r.discontinuity)
        for r in records
        if isinstance(r, SegmentRecord) and r.track == track
    ]
    made = Playlist(
        info.begin_time_stamp,
        info.width,
        info.height,
        info.sample_rate,
        info.channels,
        tuple(segments),
        ended=True,
    )
    return made.render()
