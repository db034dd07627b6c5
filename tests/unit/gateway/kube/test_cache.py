from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from cloudrec_gateway.kube.cache import Cache, Key, Shelf, Task, make_app
from cloudrec_gateway.kube.client import Object, Unavailable, api_error
from cloudrec_gateway.kube.follow import follow
from tests.unit.gateway.kube.fakes import UID, raw_app, recording

LESSON = Key("school", "lesson")


def shelf(*recordings: Object) -> Shelf[Task]:
    made: Shelf[Task] = Shelf(Task)
    for found in recordings:
        made.put(found)
    return made


def test_an_older_version_never_replaces_a_newer() -> None:
    tasks = shelf(recording(resourceVersion="10"), recording(resourceVersion="9", labels={"old": "yes"}))
    found = tasks.get(LESSON)
    assert found is not None
    assert found.version == "10"
    assert tasks.by_uid(found.uid) is found


def test_one_of_the_same_name_has_its_own_uid() -> None:
    tasks = shelf(recording(), recording(uid="another", resourceVersion="8"))
    assert tasks.by_uid(UID.format(7)) is None
    tasks.drop(recording())
    assert tasks.by_uid("another") is not None, "that was its predecessor's end"
    tasks.drop(recording(uid="another"))
    assert tasks.get(LESSON) is None


def test_a_list_is_all_there_is() -> None:
    tasks = shelf(recording(), recording("b", uid="b"))
    assert not tasks.synced
    tasks.replace([recording("b", uid="b"), recording("c", uid="c")])
    assert tasks.synced
    assert {task.key.name for task in tasks.all()} == {"b", "c"}
    assert tasks.by_uid(UID.format(7)) is None


def test_apps_without_an_api_or_of_another_version_are_left_out() -> None:
    apps = Shelf(make_app)
    without = raw_app("without")
    del without["spec"]["api"]
    apps.replace([raw_app(), without, raw_app("strange", sdk_app_id=0)])
    assert [app.key.name for app in apps.all()] == ["demo"]
    changed = raw_app()
    changed["metadata"]["resourceVersion"] = "2"
    del changed["spec"]["api"]
    apps.put(changed)
    assert apps.all() == []


def test_what_is_not_read_yet() -> None:
    cache = Cache()
    assert "RecordingApps" in cache.missing()
    cache.apps.replace([])
    assert "CloudRecordings" in cache.missing()
    cache.tasks.replace([])
    assert cache.missing() == ""


async def test_waiting_for_a_change() -> None:
    tasks = shelf()
    loop = asyncio.get_running_loop()
    assert not await tasks.until(lambda: False, loop.time() + 0.01)
    waiting = asyncio.create_task(tasks.until(lambda: tasks.get(LESSON) is not None, loop.time() + 5))
    await asyncio.sleep(0)
    tasks.put(recording("other", uid="o"))
    await asyncio.sleep(0)
    assert not waiting.done()
    tasks.put(recording())
    assert await waiting
    assert await tasks.until(lambda: True, loop.time() - 1)


# --- following ------------------------------------------------------------------------------------------------------


class Script:
    """`Reads`: what lists and watches give, in their order; then it hangs."""

    def __init__(self, lists: list[list[Object] | Exception], watches: list[list[tuple[str, Object] | Exception]]):
        self.lists, self.watches = lists, watches
        self.versions: list[str] = []
        self.over = asyncio.Event()

    async def list(self, path: str, params: Mapping[str, str] | None = None) -> tuple[list[Object], str]:
        found = self.lists.pop(0)
        if isinstance(found, Exception):
            raise found
        return found, "100"

    async def watch(
        self, path: str, version: str, params: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[str, Object]]:
        self.versions.append(version)
        if not self.watches:
            self.over.set()
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, Exception):
                raise event
            yield event


async def run(script: Script, tasks: Shelf[Task]) -> None:
    following = asyncio.create_task(follow(script, "/tasks", tasks))
    async with asyncio.timeout(10):
        await script.over.wait()
    following.cancel()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloudrec_gateway.kube.follow.FIRST_PAUSE", 0.001)


async def test_a_watch_goes_on_where_the_last_one_ended() -> None:
    bookmark = ("BOOKMARK", {"metadata": {"resourceVersion": "105"}})
    script = Script(
        [[recording()]],
        [
            [("ADDED", recording("b", uid="b", resourceVersion="101")), bookmark],
            [
                ("DELETED", recording(resourceVersion="106")),
                ("MODIFIED", recording("b", uid="b", resourceVersion="107")),
            ],
        ],
    )
    tasks = shelf()
    await run(script, tasks)
    assert script.versions == ["100", "105", "107"]
    assert [(task.key.name, task.version) for task in tasks.all()] == [("b", "107")]


async def test_a_gap_is_closed_by_a_list() -> None:
    script = Script(
        [Unavailable(0, "away"), [recording()], Unavailable(503, "away"), [recording("b", uid="b")]],
        [[api_error(410, "too old")]],
    )
    tasks = shelf()
    await run(script, tasks)
    assert [task.key.name for task in tasks.all()] == ["b"]
