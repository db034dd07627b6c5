"""Passes, pauses, and what is said: a store that is away, files that cannot be copied, the end of the time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from cloudrec_contract.conditions import Reason
from cloudrec_contract.resources import Report, ReportState
from cloudrec_recorder.finisher.drain import Away, Outcome, Stopped
from cloudrec_recorder.finisher.drainwork import CAP_SECONDS, FAULTY_PASSES, DrainWork

AWAY = Away(Reason.BUCKET_UNREACHABLE, "the bucket: 503: scripted")


class Script:
    """Passes that end as told: with an outcome, or an exception; each copies as many files as `copies` says."""

    def __init__(self, *ends: Outcome | Exception, left: int | None = 4) -> None:
        self.left = left
        self.copied = 0
        self.copies = 0
        self.ends = list(ends)
        self.ran = 0

    def run(self) -> Outcome:
        end = self.ends[min(self.ran, len(self.ends) - 1)]
        self.ran += 1
        self.copied += self.copies
        if isinstance(end, Exception):
            raise end
        self.left = len(end.faults)
        return end


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


async def finish(script: Script, seconds: float = 86400) -> tuple[str, list[Report], Clock]:
    said: list[Report] = []
    clock = Clock()
    told: Callable[[Report], Any] = said.append
    finisher = DrainWork(
        script,
        told,
        threading.Event(),
        seconds=seconds,
        place="spare/x",
        monotonic=lambda: clock.now,
        pause=clock.pause,
    )
    return await finisher.run(), said, clock


async def test_a_good_pass_is_all() -> None:
    why, said, clock = await finish(Script(Outcome()))
    assert why == ""
    assert [(r.state, r.uploaded, r.backup, r.missing) for r in said] == [(ReportState.ENDED, True, 0, 0)]
    assert clock.pauses == []


async def test_a_store_that_is_away_is_knocked_at_for_hours_and_told_of_once() -> None:
    script = Script(*[AWAY] * 200, Outcome())
    why, said, clock = await finish(script)
    assert why == ""
    assert [(r.uploaded, [c.reason for c in r.conditions], r.backup) for r in said] == [
        (False, [Reason.BUCKET_UNREACHABLE], 4),
        (True, [], 0),
    ]
    assert clock.pauses[0] < 2
    assert max(clock.pauses) <= CAP_SECONDS * 1.2
    assert clock.now > 3 * 3600 * 0.8


async def test_a_pass_that_got_on_is_followed_soon() -> None:
    script = Script(*[AWAY] * 30, Outcome())
    script.copies = 1
    _, _, clock = await finish(script)
    assert max(clock.pauses) < 2


async def test_the_time_is_up() -> None:
    why, said, clock = await finish(Script(AWAY), seconds=600)
    assert why == ""
    assert (said[-1].uploaded, said[-1].backup, said[-1].conditions[0].reason) == (True, 4, Reason.BACKUP_IN_USE)
    assert "spare/x" in said[-1].conditions[0].message
    assert "503" in said[-1].conditions[0].message
    assert clock.now <= 600


async def test_without_a_look_at_the_stores_nothing_is_claimed() -> None:
    why, said, _ = await finish(Script(AWAY, left=None), seconds=600)
    assert "could not be compared" in why
    assert not any(report.uploaded for report in said)


async def test_files_that_cannot_be_copied_are_left_after_some_passes() -> None:
    script = Script(Outcome(faults={"a.ts": "Damaged: x"}))
    why, said, _ = await finish(script)
    assert (why, script.ran) == ("", FAULTY_PASSES)
    assert (said[-1].uploaded, said[-1].backup) == (True, 1)
    assert "a.ts: Damaged: x" in said[-1].conditions[0].message


async def test_copies_that_stay_are_told_of() -> None:
    _, said, _ = await finish(Script(Outcome(kept="AccessDenied: no", missing=2)))
    assert (said[-1].uploaded, said[-1].backup, said[-1].missing) == (True, 0, 2)
    assert [(c.reason, "AccessDenied" in c.message) for c in said[-1].conditions] == [(Reason.BACKUP_FAILED, True)]


async def test_told_to_end_it_claims_nothing() -> None:
    why, said, _ = await finish(Script(Stopped()))
    assert (why, said) == ("", [])
