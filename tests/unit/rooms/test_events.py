from __future__ import annotations

import asyncio

from cloudrec_recorder.rooms import Changed, Joined, Left, Unreachable
from cloudrec_recorder.rooms.events import QUEUE_MAX, EventQueue


async def drain(queue: EventQueue) -> list[object]:
    events: list[object] = []
    try:
        async with asyncio.timeout(0.05):
            while True:
                events.append(await queue.get())
    except TimeoutError:
        return events


async def test_in_order_and_what_is_overtaken_is_dropped() -> None:
    queue = EventQueue()
    first, last = Changed(frozenset("a"), ()), Changed(frozenset("b"), ())
    left = Left(0, "Stopped", "")
    for event in (Joined(), first, last, Unreachable("x", "1"), Unreachable("x", "2"), Joined(rejoined=True), left):
        queue.put(event)
    assert await drain(queue) == [Joined(), last, Unreachable("x", "2"), Joined(rejoined=True), left]


async def test_bounded_and_the_end_is_never_lost() -> None:
    queue = EventQueue()
    for _ in range(200):
        queue.put(Joined(rejoined=True))
        queue.put(Unreachable("x", "y"))
    queue.put(Left(100, "RejoinTimeout", ""))
    events = await drain(queue)
    assert len(events) <= QUEUE_MAX
    assert events[-1] == Left(100, "RejoinTimeout", "")


async def test_what_nothing_newer_replaces_is_kept() -> None:
    queue = EventQueue()
    queue.put(Unreachable("LiveKitUnreachable", "first"))
    queue.put(Joined())
    last = Changed(frozenset("a"), ())
    for _ in range(QUEUE_MAX):
        queue.put(Unreachable("x", "y"))
        queue.put(last)
    events = await drain(queue)
    assert len(events) <= QUEUE_MAX
    assert Joined() in events
    assert events[-1] == last


async def test_a_waiting_consumer_is_woken() -> None:
    queue = EventQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(Joined())
    assert await asyncio.wait_for(waiting, 1) == Joined()
