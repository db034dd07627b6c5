"""Whether a recorder lives, and the child that salvages its spool."""

import asyncio
import time
from pathlib import Path

import pytest

from cloudrec_contract.spool import ALIVE, JOURNAL, EndRecord, decode_record
from cloudrec_recorder.uploader import salvaging
from cloudrec_recorder.uploader.salvaging import ALIVE_SECONDS, SalvageFailed, recorder_lives, salvage
from tests.unit.uploader.helpers import Recorder


async def test_no_heartbeat_or_an_old_one_is_a_dead_recorder(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert not await recorder_lives(tmp_path)
    (tmp_path / ALIVE).touch()
    assert not await recorder_lives(tmp_path, wall=lambda: time.time() + ALIVE_SECONDS)
    assert not await recorder_lives(tmp_path, wall=lambda: time.time() - 60)  # the clock was set back
    assert time.monotonic() - begun < 1


async def test_a_heartbeat_that_goes_on_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ALIVE).touch()
    asked = asyncio.create_task(recorder_lives(tmp_path))
    await asyncio.sleep(0)
    while not asked.done():
        (tmp_path / ALIVE).touch()
        await asyncio.wait({asked}, timeout=0.05)
    assert asked.result()
    monkeypatch.setattr(salvaging, "ALIVE_SECONDS", 0.3)
    (tmp_path / ALIVE).touch()
    assert not await recorder_lives(tmp_path)


async def test_the_child_ends_the_journal(tmp_path: Path) -> None:
    Recorder(tmp_path).join()
    await salvage(tmp_path, 60)
    last = decode_record((tmp_path / JOURNAL).read_bytes().splitlines()[-1])
    assert isinstance(last, EndRecord)
    assert last.failed


async def test_a_child_that_fails_is_tried_again_and_then_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(salvaging, "BETWEEN_SECONDS", 0.01)
    with pytest.raises(SalvageFailed, match="code 1"):
        await salvage(tmp_path / "nowhere", 60)


async def test_a_child_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(SalvageFailed, match="not done in 0 s"):
        await salvage(tmp_path, 0.01)
