"""What is shown: rows from journal records and file sizes, frames and lines from rows."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console

from cloudrec_contract.resources import ReportState
from cloudrec_contract.spool import (
    ConditionRecord,
    EndRecord,
    JoinedRecord,
    SegmentRecord,
    StateRecord,
    TrackRecord,
)
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.standalone.board import Board, Snapshot
from cloudrec_recorder.standalone.view import LiveView, LogLines, PlainView, frame, summary
from tests.unit.recorder import scripted
from tests.unit.recorder.scripted import EPOCH_MS

TASK = scripted.task()
NAMES = TASK.names
VIDEO = NAMES.playlist("alice", "main", "video")


def track(user: str = "alice", kind: str = "video") -> TrackRecord:
    return TrackRecord.model_validate(
        {
            "ts": EPOCH_MS,
            "track": NAMES.playlist(user, "main", kind),  # type: ignore[arg-type]
            "userId": user,
            "media": "main",
            "kind": kind,
            "codec": "AAC" if kind == "audio" else "H264",
            "beginTimeStamp": EPOCH_MS,
            **({"sampleRate": 48000, "channels": 1} if kind == "audio" else {"width": 640, "height": 360}),
        }
    )


def segment(start: float = 0.0, size: int = 1_000_000) -> SegmentRecord:
    file = NAMES.segment("alice", "main", "video", EPOCH_MS + start * 1000)
    return SegmentRecord(ts=EPOCH_MS, track=VIDEO, file=file, start=EPOCH_MS + start * 1000, duration=10.0, bytes=size)


class Shown:
    def __init__(self) -> None:
        self.board = Board(100.0)
        self.board.take(JoinedRecord(ts=EPOCH_MS))
        self.board.take(StateRecord(ts=EPOCH_MS, state=ReportState.RECORDING))
        self.board.take(track())

    def at(
        self, seconds: float, files: Mapping[str, int] | None = None, lost: Mapping[TrackKey, float] | None = None
    ) -> Snapshot:
        return self.board.snapshot(100.0 + seconds, EPOCH_MS + int(seconds * 1000), files or {}, lost or {})


@pytest.fixture
def shown() -> Shown:
    return Shown()


def text(renderable: object, width: int = 100) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_an_open_segment_counts_with_its_size_and_age(shown: Shown) -> None:
    shown.board.take(segment())
    open_file = NAMES.segment("alice", "main", "video", EPOCH_MS + 10_000)
    closed = segment().file
    (row,) = shown.at(14, {closed: 1_000_000, open_file: 400_000, "rubbish.ts": 5}).rows
    assert (row.seconds, row.segments, row.bytes) == (14.0, 1, 1_400_000)
    assert (row.user, row.codec, row.detail, row.playlist) == ("alice", "H264", "640×360", VIDEO)


def test_the_rate_is_of_the_last_seconds(shown: Shown) -> None:
    name = segment().file
    rates = [shown.at(second, {name: 125_000 * second}).rows[0].rate for second in range(1, 12)]
    assert rates[0] == 0
    assert rates[-1] == pytest.approx(1e6)
    stalled = [shown.at(second, {name: 125_000 * 11}).rows[0].rate for second in range(12, 20)]
    assert stalled[-1] == 0


def test_losses_are_of_the_files_kinds(shown: Shown) -> None:
    shown.board.take(track("bob", "audio_video"))
    lost = {
        TrackKey("alice", "main", "video"): 1.5,
        TrackKey("alice", "main", "audio"): 9.0,
        TrackKey("bob", "main", "audio"): 0.25,
        TrackKey("bob", "main", "video"): 0.75,
    }
    assert {row.user: row.lost for row in shown.at(1, lost=lost).rows} == {"alice": 1.5, "bob": 0.75}


def test_conditions_come_and_go(shown: Shown) -> None:
    shown.board.take(ConditionRecord(ts=EPOCH_MS, reason="Transcoded", message="VP8 of bob"))
    assert shown.at(1).conditions == {"Transcoded": "VP8 of bob"}
    shown.board.take(ConditionRecord(ts=EPOCH_MS, reason="Transcoded", status=False))
    shown.board.take(EndRecord(ts=EPOCH_MS))
    assert shown.at(1).conditions == {}
    assert shown.at(1).state is ReportState.ENDED
    assert shown.board.joined_ms == EPOCH_MS


def test_a_frame(shown: Shown) -> None:
    shown.board.take(segment())
    shown.board.take(ConditionRecord(ts=EPOCH_MS, reason="Transcoded", message="VP8 of [bold]bob"))
    lost = {TrackKey("alice", "main", "video"): 0.5}
    seen = text(frame(TASK, shown.at(75, lost=lost), ["12:00:00 INFO    in the room [again]"], (100, 40)))
    assert "● Recording  room 12345  1:15  1.0 MB  Ctrl-C ends it" in seen
    assert ["alice", "main", "video", "H264", "640×360", "0:10", "1", "1.0", "MB", "0.5", "s"] in [
        line.split() for line in seen.splitlines()
    ]
    assert "! Transcoded: VP8 of [bold]bob" in seen
    assert "in the room [again]" in seen


@pytest.mark.parametrize("width", [80, 120])
def test_a_frame_fits_the_terminal(shown: Shown, width: int) -> None:
    for number in range(40):
        shown.board.take(track(f"somebody-with-a-long-name-{number}", "audio"))
    seen = text(frame(TASK, shown.at(1), ["x" * 500] * 6, (width, 24)), width)
    lines = seen.splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= width for line in lines)
    assert "main audio AAC 48 kHz mono" in " ".join(seen.split())
    assert "and 31 more" in seen


def test_lines_without_a_terminal(shown: Shown) -> None:
    out = io.StringIO()
    with PlainView(Console(file=out, width=120)) as view:
        for tenths in range(0, 250, 5):
            view.show(shown.at(tenths / 10))
        shown.board.take(track("bob", "audio"))
        view.show(shown.at(25))
    assert out.getvalue().splitlines() == [
        "0:00 alice main video: H264 640×360",
        "0:00 Recording, 1 playlists, 0 kB, 0 kb/s",
        "0:10 Recording, 1 playlists, 0 kB, 0 kb/s",
        "0:20 Recording, 1 playlists, 0 kB, 0 kb/s",
        "0:25 bob main audio: AAC 48 kHz mono",
    ]


def test_a_live_view_puts_the_cursor_back(shown: Shown) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=30)
    with LiveView(TASK, console, LogLines()) as view:
        view.show(shown.at(1))
    assert "alice" in out.getvalue()
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


def test_the_summary_tells_how_to_play(shown: Shown) -> None:
    shown.board.take(segment())
    console = Console(record=True, width=80, file=io.StringIO())
    summary(console, shown.at(12), Path("my recording"))
    seen = console.export_text()
    assert f"ffplay 'my recording/{VIDEO}'" in seen
    assert "mergeAudioVideo: true" in seen


def test_nothing_was_recorded() -> None:
    board = Board(0.0)
    board.take(EndRecord(ts=EPOCH_MS))
    console = Console(record=True, width=80, file=io.StringIO())
    summary(console, board.snapshot(1.0, EPOCH_MS, {}, {}), Path("out"))
    assert console.export_text().strip() == "nothing was recorded"
