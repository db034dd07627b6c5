"""How segments lie beside each other, and whether a playlist says the same as its segments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from cloudrec_local.playback.decode import TICKS, Recording


@dataclass(frozen=True)
class Joint:
    """Two consecutive segments. `gap` in ms, from the end of the one to the first sample of the other; an overlap is
    negative. Of video, whose last picture has no end of its own, it is what the step differs from the step before."""

    before: str
    after: str
    gap: float
    discontinuity: bool


def joints(recording: Recording) -> list[Joint]:
    """Every joint of a playlist, those marked as discontinuities too."""
    return [
        Joint(before.name, after.name, (after.first_pts - before.end_pts) / TICKS * 1000, after.discontinuity)
        for before, after in pairwise(recording.segments)
    ]


def broken_joints(recording: Recording, tolerance: float) -> list[Joint]:
    """Joints with a gap or overlap of more than `tolerance` ms that no discontinuity announces."""
    return [j for j in joints(recording) if abs(j.gap) > tolerance and not j.discontinuity]


def date_errors(recording: Recording) -> list[float]:
    """For each segment PROGRAM-DATE-TIME less START-REC-TIME carried on by PTS (ms)."""
    epoch = recording.epoch
    dates = {entry.name: entry.wall for entry in recording.playlist.entries}
    return [
        (wall - (epoch + segment.first_pts / TICKS)) * 1000
        for segment in recording.segments
        if (wall := dates[segment.name]) is not None
    ]


def duration_errors(recording: Recording) -> list[float]:
    """For each segment EXTINF less what is in it (ms)."""
    return [(segment.declared - segment.seconds) * 1000 for segment in recording.segments]


def epoch_spread(recordings: Iterable[Recording]) -> float:
    """By how much the files of one task disagree about when PTS zero was (ms): START-REC-TIME is whole ms."""
    epochs = [recording.epoch for recording in recordings]
    return (max(epochs) - min(epochs)) * 1000
