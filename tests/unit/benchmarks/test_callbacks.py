from __future__ import annotations

from benchmarks import callbacks, hook
from cloudrec_contract.events import EventType, TaskFacts, payload


def test_rounds_are_summed_up() -> None:
    seconds = {"operator": [3.0, 4.0, 2.0], "bare": [1.0, 1.0, 1.0]}
    told = callbacks.summary(seconds, 1000, (60.04, 71.5))
    assert told["us_per_event"] == {"operator": 3000, "bare": 1000}
    assert told["ratio"] == 3.0
    assert told["memory_mb"] == {"base": 60.0, "waiting": 71.5}
    assert told["waiting_mb"] == 11.5


def test_the_bare_loop_sends_what_an_operator_sends() -> None:
    sent = hook.event(3)
    info = sent["EventInfo"]
    task = TaskFacts(info["TaskId"], info["RoomId"], info["UserId"])
    made = payload(EventType.FILE_SLICE, info["EventMsTs"], info["Payload"], task, sent["CallbackTs"])
    assert sent == made
