"""What is reported, and how often."""

from __future__ import annotations

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Conversion, EventFact, Report, ReportedCondition, ReportState
from cloudrec_recorder.finisher.board import Board

DONE = Conversion(reason=Reason.REMUXED, percent=100, done=True, files=3)


def events(count: int) -> list[EventFact]:
    return [EventFact(seq=number, type=311, ts=1) for number in range(1, count + 1)]


def board() -> tuple[Board, list[Report], list[float]]:
    said: list[Report] = []
    clock = [100.0]
    return Board(said.append, lambda: clock[0]), said, clock


def test_the_drain_first_and_all_that_is_left_in_one_report() -> None:
    told, said, _ = board()
    told.drained(Report(conditions=[ReportedCondition(reason=Reason.BUCKET_UNREACHABLE)], backup=3))
    told.drained(Report(state=ReportState.ENDED, uploaded=True, missing=1))
    told.end(DONE, events(2), last=False)
    told.end(DONE, events(2), last=True)
    assert [(r.state, r.uploaded, r.backup, r.missing) for r in said] == [
        (ReportState.STARTING, False, 3, 0),
        (ReportState.STARTING, True, 0, 1),
        (ReportState.ENDED, True, 0, 1),
    ]
    assert [r.conversion.done for r in said if r.conversion] == [False, False, True]
    assert [len(r.events) for r in said] == [0, 0, 2]


def test_progress_in_steps_and_not_too_often() -> None:
    told, said, clock = board()
    for second in range(101):
        clock[0] += 1
        told.progress(second / 100, second // 30, 0, "alice")
    percents = [report.conversion.percent for report in said if report.conversion]
    assert percents == [10, 20, 30, 40, 50, 60, 70, 80, 90, 99]
    said.clear()
    told, said, clock = board()
    for step in range(1000):
        clock[0] += 0.01
        told.progress(step / 1000, 0, 0, "alice")
    assert len(said) == 2
    told.progress(0.2, 0, 0, "begun anew")
    assert len(said) == 2


def test_acknowledged_events_go_and_others_come() -> None:
    told, said, _ = board()
    told.acknowledge(3)
    told.said(events(100))
    assert [event.seq for event in said[-1].events] == list(range(4, 68))
    told.said(events(100))
    assert len(said) == 1
    told.acknowledge(50)
    assert [event.seq for event in said[-1].events] == list(range(51, 101))
    assert told.waiting == 50
    told.acknowledge(50)
    assert len(said) == 2


def test_when_nobody_listens_the_last_event_is_there_all_the_same() -> None:
    told, said, _ = board()
    told.end(DONE, events(100), last=True)
    assert [event.seq for event in said[-1].events] == [*range(1, 64), 100]
    told.acknowledge(63)
    assert [event.seq for event in said[-1].events] == list(range(64, 101))


def test_trouble_is_told_once_and_cleared() -> None:
    told, said, _ = board()
    for _ in range(5):
        told.trouble(Reason.VOD_UNREACHABLE, "503")
    told.note(Reason.EXPIRY_REFUSED, "first")
    told.note(Reason.EXPIRY_REFUSED, "second")
    told.trouble(None)
    assert [[(c.reason, c.message) for c in report.conditions] for report in said] == [
        [(Reason.VOD_UNREACHABLE, "503")],
        [(Reason.EXPIRY_REFUSED, "first")],
    ]
