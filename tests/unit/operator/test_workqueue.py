from __future__ import annotations

import asyncio

from cloudrec_operator.store import Key, Kind
from cloudrec_operator.workqueue import WorkQueue


async def test_a_key_waits_once_and_is_worked_on_by_one() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "b"
    other = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    assert not other.done()
    queue.done("a")
    assert await asyncio.wait_for(other, 1) == "a"


async def test_urgent_keys_come_first_in_their_order() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key, urgent in (("a", False), ("b", True), ("c", True), ("b", False)):
        queue.add(key, urgent=urgent)
    assert [await queue.get() for _ in range(3)] == ["b", "c", "a"]
    queue.add("d", urgent=True)
    queue.clear()
    assert len(queue) == 0


async def test_a_closed_queue_ends_its_workers() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_after("late", 60)
    queue.close()
    assert await asyncio.wait_for(waiting, 1) is None
    queue.add("a")
    assert await queue.get() is None


async def test_the_earliest_time_counts() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    assert await asyncio.wait_for(queue.get(), 1) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_pauses_grow_up_to_a_cap_and_begin_anew() -> None:
    loop = asyncio.get_running_loop()
    queue: WorkQueue[str] = WorkQueue(first=1, most=5)
    pauses = []
    for _ in range(5):
        queue.retry("a")
        pauses.append(round(queue._timers["a"].when() - loop.time()))
        queue._timers.pop("a").cancel()
    assert pauses == [1, 2, 4, 5, 5]
    queue.settle("a")
    queue.retry("a")
    assert round(queue._timers["a"].when() - loop.time()) == 1
    queue.clear()
    assert not queue._timers


def body(version: str, uid: str = "u") -> dict[str, dict[str, str]]:
    return {"metadata": {"namespace": "n", "name": "x", "uid": uid, "resourceVersion": version}}


def test_an_older_version_never_replaces_a_newer_one() -> None:
    now = 0.0
    shelf, key = Kind(lambda: now), Key("n", "x")
    shelf.put(body("9"))
    shelf.put(body("10"))
    shelf.put(body("9"))
    known = shelf.get(key)
    assert known is not None
    assert known["metadata"]["resourceVersion"] == "10"
    shelf.drop(key, "another")
    assert shelf.get(key) is not None
    now = 100.0
    assert shelf.get(key, max_age=60) is None
    shelf.drop(key, "u")
    assert shelf.keys() == []


def test_the_echo_of_our_own_write_is_told_from_news() -> None:
    shelf = Kind()
    shelf.put(body("5"), written=True)
    assert shelf.echoes(body("5"))
    assert not shelf.echoes(body("6"))
    shelf.put(body("6"))
    assert not shelf.echoes(body("6")), "somebody else's write, or what was only read"


def test_groups_follow_their_members() -> None:
    shelf = Kind(group=lambda one: one.get("spec", {}).get("robot"))
    first = {**body("1"), "spec": {"robot": "r1"}}
    shelf.put(first)
    assert shelf.alike({"metadata": {}, "spec": {"robot": "r1"}}) == [first]
    moved = {**body("2"), "spec": {"robot": "r2"}}
    shelf.put(moved)
    assert shelf.alike(first) == []
    assert shelf.alike(moved) == [moved]
    shelf.drop(Key("n", "x"))
    assert shelf.alike(moved) == []
