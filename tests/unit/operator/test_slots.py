"""Who holds a slot of an app, and who gets the next one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cloudrec_operator.api import Api, Object
from cloudrec_operator.errors import api_error
from cloudrec_operator.observe import Observer
from cloudrec_operator.observed import Observed, Recording
from cloudrec_operator.slots import Slots, holds, waits
from cloudrec_operator.store import Key, Store
from tests.unit.operator.samples import APP_SPEC, NOW, SETTINGS, SPEC, accepted, raw
from tests.unit.operator.test_observe import Server

APP = Key("school", "demo")
APP_RAW = {"metadata": {"name": "demo", "namespace": "school", "resourceVersion": "1"}, "spec": APP_SPEC}
LIST = "/apis/cloudrec.dev/v1alpha1/namespaces/school/cloudrecordings"


def known(name: str, phase: str | None = "Recording", app: str = "demo", **meta: Any) -> Object:
    status = {} if phase is None else {**accepted(), "phase": phase, "taskId": f"uid-{name}"}
    return raw({**SPEC, "appRef": {"name": app}}, status, name=name, uid=f"uid-{name}", **meta)


def slots_over(*recordings: Object) -> tuple[Slots, Store]:
    store = Store()
    for recording in recordings:
        store.recordings.put(recording)

    async def read(namespace: str) -> None:
        pass

    return Slots(store.recordings, read), store


@pytest.mark.parametrize(
    ("phase", "holding", "waiting"),
    [
        (None, False, True),
        ("Pending", True, False),
        ("Starting", True, False),
        ("Idle", True, False),
        ("Recording", True, False),
        ("Stopping", True, False),
        ("Finalizing", False, False),
        ("Completed", False, False),
        ("Failed", False, False),
    ],
)
def test_which_phases_count(phase: str | None, holding: bool, waiting: bool) -> None:
    assert (holds(known("a", phase)), waits(known("a", phase))) == (holding, waiting)


def test_one_that_waits_is_pending_without_a_task_id() -> None:
    waiting = raw(status={"phase": "Pending"})
    assert (holds(waiting), waits(waiting)) == (False, True)


def test_the_last_slot_is_given_once_and_comes_back() -> None:
    slots, store = slots_over(known("a"), known("b", "Finalizing"), known("c", app="other"))
    assert slots.take(Key("school", "new"), APP, 2)
    assert slots.take(Key("school", "new"), APP, 2), "it has one already"
    assert not slots.take(Key("school", "newer"), APP, 2)
    assert slots.take(Key("school", "newer"), Key("school", "other"), 2)
    slots.settle(Key("school", "new"))
    assert slots.take(Key("school", "newest"), APP, 2)
    store.recordings.put(known("newest", resourceVersion="8"))
    assert not slots.take(Key("school", "new"), APP, 2), "counted once, taken and in the store"
    slots.settle(Key("school", "newest"))
    assert not slots.take(Key("school", "new"), APP, 2)
    store.recordings.drop(Key("school", "a"))
    assert slots.take(Key("school", "new"), APP, 2)


def test_an_app_of_the_same_name_in_another_namespace_is_another() -> None:
    slots, _ = slots_over(known("a", namespace="elsewhere"))
    assert slots.take(Key("school", "new"), APP, 1)


async def test_a_namespace_is_read_once_in_each_reign() -> None:
    asked: list[str] = []
    go = asyncio.Event()

    async def read(namespace: str) -> None:
        asked.append(namespace)
        await go.wait()
        if len(asked) == 1:
            raise api_error(503, "", "away")

    slots = Slots(Store().recordings, read)
    both = [asyncio.create_task(slots.know("school")) for _ in range(2)]
    go.set()
    results = await asyncio.gather(*both, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Unavailable", "NoneType"]
    await slots.know("school")
    assert asked == ["school", "school"]
    slots.forget()
    await slots.know("school")
    assert asked == ["school"] * 3


async def test_one_that_is_read_in_a_former_reign_is_read_again() -> None:
    reading, go = asyncio.Event(), asyncio.Event()
    asked = 0

    async def read(namespace: str) -> None:
        nonlocal asked
        asked += 1
        reading.set()
        await go.wait()

    slots = Slots(Store().recordings, read)
    early = asyncio.create_task(slots.know("school"))
    await reading.wait()
    slots.forget()
    go.set()
    await early
    await slots.know("school")
    assert asked == 2


# --- the observer's part --------------------------------------------------------------------------------------------


async def look(listed: list[Object], limit: int) -> tuple[Observed, Server]:
    spec = {**APP_SPEC, "limits": {"maxConcurrentTasks": limit}}
    app = {**APP_RAW, "spec": spec}
    apps = "/apis/cloudrec.dev/v1alpha1/namespaces/school/recordingapps/demo"
    server = Server({apps: app, LIST: {"metadata": {}, "items": listed}})
    own = known("new", None)
    store = Store()
    store.recordings.put(own)
    looking = Observer(Api(server), store, SETTINGS, lambda: NOW)
    return await looking.around(Recording.parse(own)), server


async def test_acceptance_rests_on_a_fresh_list() -> None:
    seen, server = await look([known("a"), known("b")], 3)
    assert seen.room_for_one
    assert server.asked.count(LIST) == 1
    seen, _ = await look([known("a"), known("b")], 2)
    assert not seen.room_for_one
