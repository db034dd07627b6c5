"""The second stage as a whole: what was acknowledged, more events than a report holds, and being told to end."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.finish import LEDGER, Ledger
from cloudrec_contract.resources import EventFact
from cloudrec_recorder.finisher import convertwork
from cloudrec_recorder.finisher.convertwork import ConvertWork, Seen, seen
from cloudrec_recorder.finisher.settings import from_environment
from cloudrec_recorder.uploader.report import Reporter
from cloudrec_recorder.uploader.store import UploadFailed
from tests.unit.convert.recordings import Recorded
from tests.unit.finisher.desk import MP4, FolderDepot, always, task
from tests.unit.finisher.test_settings import ALONE
from tests.unit.uploader.helpers import until


class Stage:
    """A stage with a bucket of its own; `sent` are the reports that the API server took."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, ack_seconds: float = 20) -> None:
        self.folder = folder / "bucket"
        self.folder.mkdir()
        self.bucket = FolderDepot(self.folder)
        monkeypatch.setattr(convertwork, "Depot", lambda *_: self.bucket)
        convert = task(MP4)
        self.settings = from_environment(
            {
                **ALONE,
                "CLOUDREC_CONVERT": convert.model_dump_json(by_alias=True, exclude_none=True),
                "CLOUDREC_ACK_SECONDS": str(ack_seconds),
            }
        )
        self.stop = threading.Event()
        self.sent: list[dict[str, Any]] = []
        self.reporter = Reporter(self._apply)
        self.work = ConvertWork(self.settings, convert, folder, self.reporter, self.stop)

    async def _apply(self, report: dict[str, Any]) -> None:
        self.sent.append(report)

    def events(self, count: int) -> None:
        """A predecessor said so many, and all was done."""
        facts = [EventFact(seq=number, type=311, ts=1) for number in range(1, count + 1)]
        ledger = Ledger(task_id=self.settings.task_id, events=facts, done=True)
        (self.folder / LEDGER).write_text(ledger.model_dump_json(by_alias=True))

    def seqs(self) -> list[int]:
        return [event["seq"] for event in self.sent[-1]["events"]] if self.sent else []

    async def __aenter__(self) -> Stage:
        self._reporting = asyncio.create_task(self.reporter.run())
        self.running = asyncio.create_task(self.work.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        self.work.wake()
        await asyncio.wait_for(self.running, 20)
        self._reporting.cancel()


def attempt(**more: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": "7b1c"},
        "status": {"attempts": [{"pod": "lesson-0a1b2-0", "acked": 9}, {"pod": "lesson-0a1b2-f1", **more}]},
    }


def test_what_is_read_of_the_resource() -> None:
    assert seen(attempt(acked=7), "7b1c", "lesson-0a1b2-f1") == Seen(7, True)
    assert seen(attempt(), "7b1c", "lesson-0a1b2-f1") == Seen(0, True)
    assert seen(attempt(), "7b1c", "lesson-0a1b2-f2") == Seen()
    assert seen(None, "7b1c", "lesson-0a1b2-f1").gone
    assert seen(attempt(), "of another", "lesson-0a1b2-f1").gone


async def test_a_successor_says_only_what_was_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    stage.events(100)
    async with stage:
        await asyncio.sleep(0)
        assert not stage.running.done()
        stage.work.changed(Seen(95, True))
        assert await asyncio.wait_for(stage.running, 20) == ""
        assert await stage.reporter.accepted(20)
    assert stage.seqs() == [96, 97, 98, 99, 100]
    assert (stage.sent[-1]["state"], stage.sent[-1]["conversion"]["done"]) == ("Ended", True)


async def test_more_events_than_fit_are_told_as_they_are_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, monkeypatch)
    stage.events(150)
    async with stage:
        stage.work.changed(Seen(0, True))
        for acked in (0, 40, 80):
            stage.work.changed(Seen(acked, True))
            await until(lambda: stage.seqs() == list(range(acked + 1, acked + 65)))  # noqa: B023
            assert stage.sent[-1]["state"] == "Starting"
            assert not stage.running.done()
        stage.work.changed(Seen(90, True))
        assert await asyncio.wait_for(stage.running, 20) == ""
        assert await stage.reporter.accepted(20)
    assert stage.seqs() == list(range(91, 151))
    assert stage.sent[-1]["state"] == "Ended"


async def test_nobody_acknowledges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch, ack_seconds=0.3)
    stage.events(100)
    async with stage:
        stage.work.changed(Seen(0, True))
        assert await asyncio.wait_for(stage.running, 20) == ""
        assert await stage.reporter.accepted(20)
    assert stage.seqs() == [*range(1, 64), 100]
    assert stage.sent[-1]["state"] == "Ended"


@pytest.mark.parametrize("at", ["first look", "acks"])
async def test_told_to_end_while_it_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    stage = Stage(tmp_path, monkeypatch)
    stage.events(100)
    async with stage:
        if at == "acks":
            stage.work.changed(Seen(0, True))
            await until(stage.seqs)
        stage.stop.set()
        stage.work.wake()
        assert await asyncio.wait_for(stage.running, 20) == ""
    assert not any(report["state"] == "Ended" for report in stage.sent)


async def test_the_recording_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    stage.events(100)
    async with stage:
        stage.work.changed(Seen(gone=True))
        assert await asyncio.wait_for(stage.running, 20) == ""
        assert await stage.reporter.accepted(1)
    assert stage.sent == []


async def test_a_recording_is_converted_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    Recorded(stage.folder).video("alice", (1, 3))
    async with stage:
        stage.work.board.uploaded()
        stage.work.changed(Seen(0, True))
        assert await asyncio.wait_for(stage.running, 30) == ""
        assert await stage.reporter.accepted(20)
    last = stage.sent[-1]
    assert (last["state"], last["uploaded"]) == ("Ended", True)
    assert last["conversion"] == {
        "reason": Reason.REMUXED,
        "message": "1 file",
        "percent": 100,
        "done": True,
        "files": 1,
        "failed": 0,
    }
    assert [(event["seq"], event["type"]) for event in last["events"]] == [(1, 310)]
    assert all(report["uploaded"] for report in stage.sent)
    assert json.loads((stage.folder / LEDGER).read_text())["done"]


async def test_without_the_ledger_another_is_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    stage.bucket.fault = always("read", UploadFailed("TooLarge", "scripted"))
    monkeypatch.setattr("cloudrec_recorder.finisher.patience.FIRST_SECONDS", 0.001)
    async with stage:
        stage.work.changed(Seen(0, True))
        assert "TooLarge" in await asyncio.wait_for(stage.running, 20)
    assert not any(report["state"] == "Ended" for report in stage.sent)
