"""What is used of which segment."""

from __future__ import annotations

import pytest

from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_recorder.convert.plan import Piece, Use, closed_up, covered, plan, sections, within


def piece(attempt: int, start: float, end: float) -> Piece:
    return Piece(f"{attempt}:{start:.0f}", attempt, start * 1000, end * 1000)


def spans(uses: list[Use] | tuple[Use, ...]) -> list[tuple[str, float, float]]:
    return [(use.piece.name, use.low / 1000, use.high / 1000) for use in uses]


def test_the_older_attempt_wins() -> None:
    pieces = [piece(0, 0, 10), piece(0, 10, 20), piece(1, 10, 20), piece(1, 20, 30)]
    assert spans(covered(pieces, "audio")) == [("0:0", 0, 10), ("0:10", 10, 20), ("1:20", 20, 30)]


def test_sound_changes_over_at_once() -> None:
    assert spans(covered([piece(0, 0, 10), piece(1, 4, 14)], "audio")) == [("0:0", 0, 10), ("1:4", 10, 14)]


def test_pictures_change_over_at_a_segments_beginning() -> None:
    assert spans(covered([piece(0, 0, 10), piece(1, 4, 14)], "video")) == [("0:0", 0, 4), ("1:4", 4, 14)]


def test_a_newer_attempt_fills_holes() -> None:
    pieces = [piece(0, 0, 10), piece(0, 20, 30), piece(1, 5, 15), piece(1, 15, 25)]
    assert spans(covered(pieces, "audio")) == [("0:0", 0, 10), ("1:5", 10, 15), ("1:15", 15, 20), ("0:20", 20, 30)]


def test_what_is_shorter_than_rounding_is_no_hole() -> None:
    pieces = [piece(0, 0, 10), piece(0, 10.001, 20), piece(1, 5, 15)]
    assert [name for name, _, _ in spans(covered(pieces, "video"))] == ["0:0", "0:10.001".partition(".")[0]]


@pytest.mark.parametrize(("gap", "count"), [(14.9, 1), (15.0, 1), (15.1, 2)])
def test_sections(gap: float, count: int) -> None:
    uses = covered([piece(0, 0, 10), piece(0, 10 + gap, 40)], "video")
    assert len(sections(uses)) == count


def test_a_screen_that_is_off_makes_no_section() -> None:
    camera = covered([piece(0, at, at + 10) for at in range(0, 100, 10)], "video")
    screen = covered([piece(0, 10, 20), piece(0, 80, 90)], "video")
    assert sections([*camera, *screen]) == [(0, 100_000)]


def test_blanks_are_closed_up() -> None:
    uses = covered([piece(0, 0, 10), piece(0, 40, 50), piece(0, 100, 110)], "audio")
    stretches = sections(uses)
    assert [use.shift for use in closed_up(uses, stretches)] == [0, -30_000, -80_000]
    assert spans(within(uses, stretches[1])) == [("0:40", 40, 50)]


def test_playlists_that_are_none_are_told() -> None:
    name = "1400000001_12345__UserId_s_YWxpY2U.__UserId_e_main_video"
    text = Playlist(0, segments=(Segment("a.ts", 2, 0), Segment("b.ts", 2, 2000)), ended=True).render().encode()
    found = plan({f"{name}.m3u8": text, "x y.m3u8": text, f"ha1_{name}.m3u8": b"\xff"}, {"a.ts": 188, "b.ts": 0})
    assert {fault.file for fault in found.faults} == {"b.ts", "x y.m3u8", f"ha1_{name}.m3u8"}
    (stream,) = found.streams
    assert (stream.user_id, stream.media, [use.piece.name for use in stream.video]) == ("alice", "main", ["a.ts"])
