"""What is read from the resource, watching it, and reporting: against scripted API servers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from cloudrec_contract.mix import Template
from cloudrec_contract.resources import DesiredState, Report, ReportState, Subscription, UserList
from cloudrec_recorder.uploader.kube import ApiError, Resource
from cloudrec_recorder.uploader.report import Reporter
from cloudrec_recorder.uploader.resource import GONE, Wishes, follow, wishes
from tests.unit.uploader.helpers import until


def resource(version: str = "1", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"name": "lesson", "uid": "7b1c", "resourceVersion": version, **more.pop("metadata", {})},
        "spec": {"desiredState": "Running", **more.pop("spec", {})},
    }
    return {**made, **more}


def read(found: Resource | None) -> Wishes:
    return wishes(found, "7b1c", "lesson-0a1b2-0", "u-1")


# --- wishes ---


def test_a_running_recording() -> None:
    assert read(resource()) == Wishes(DesiredState.RUNNING, Subscription())


@pytest.mark.parametrize(
    "found",
    [
        resource(spec={"desiredState": "Stopped"}),
        resource(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    ],
)
def test_what_stops_a_recording(found: Resource) -> None:
    assert read(found) == Wishes(DesiredState.STOPPED, Subscription())


def test_what_ends_for_another_of_the_same_robot() -> None:
    replaced = {"replacedBy": "0c3d"}
    assert read(resource(status=replaced)) == Wishes(DesiredState.STOPPED, Subscription(), replaced=True)
    stopped = resource(status=replaced, spec={"desiredState": "Stopped"})
    assert read(stopped) == Wishes(DesiredState.STOPPED, Subscription())


@pytest.mark.parametrize("found", [None, resource(metadata={"uid": "another of that name"})])
def test_what_is_gone(found: Resource | None) -> None:
    assert read(found) == GONE


def test_whose_streams() -> None:
    subscribe = {"audio": {"include": ["alice"]}, "video": {"exclude": ["bot.*$"]}}
    assert read(resource(spec={"streams": {"kind": "AudioVideo", "later": 1, "subscribe": subscribe}})).subscribe == (
        Subscription(audio=UserList(include=["alice"]), video=UserList(exclude=["bot.*$"]))
    )


def test_a_newer_subscription_leaves_the_old_one() -> None:
    assert read(resource(spec={"streams": {"subscribe": {"smell": {}}}})).subscribe is None


def test_the_layout_of_a_mixed_recording() -> None:
    mix = {"video": {"width": 640, "height": 360}, "layout": {"template": "Floating"}}
    found = read(resource(spec={"mix": mix})).mix
    assert found is not None
    assert found.layout.template is Template.FLOATING
    assert read(resource(spec={"mix": {"layout": {"template": "Spiral"}}})).mix is None


def test_only_the_own_attempt_counts() -> None:
    own = {"pod": "lesson-0a1b2-0", "podUID": "u-1", "index": 0, "acked": 7}
    other = {"pod": "lesson-0a1b2-1", "podUID": "u-2", "index": 1, "acked": 9}
    assert read(resource(status={"attempts": [other]})) == Wishes(DesiredState.RUNNING, Subscription())
    now = read(resource(status={"attempts": [other, own]}))
    assert (now.acked, now.declared) == (7, True)
    assert not read(resource(status={"attempts": [{**own, "podUID": "u-0"}]})).declared


@pytest.mark.parametrize(
    ("later", "superseded"),
    [
        ({"index": 1, "report": {"ready": True}}, True),
        ({"index": 3, "report": {"ready": True, "state": "Ended"}}, True),
        ({"index": 1, "report": {"ready": False}}, False),
        ({"index": 1}, False),
        ({"index": 1, "role": "Finish", "report": {"ready": True}}, False),
    ],
)
def test_a_later_attempt_in_the_room_supersedes(later: dict[str, Any], superseded: bool) -> None:
    own = {"pod": "lesson-0a1b2-0", "podUID": "u-1", "index": 0, "report": {"ready": True}}
    other = {"pod": "lesson-0a1b2-1", "podUID": "u-2", **later}
    assert read(resource(status={"attempts": [own, other]})).superseded is superseded
    # An earlier one never does.
    mine = {**own, "index": 5}
    assert not read(resource(status={"attempts": [other, mine]})).superseded


# --- follow ---


class Api:
    """Plays answers: to `get` a resource, None or an error; to `watch` a list of events that may end in an error."""

    def __init__(self, gets: list[Resource | ApiError | None], watches: list[list[Any]]) -> None:
        self.gets = gets
        self.watches = watches
        self.versions: list[str] = []

    async def get(self) -> tuple[Resource | None, str]:
        answer = self.gets.pop(0) if len(self.gets) > 1 else self.gets[0]
        if isinstance(answer, ApiError):
            raise answer
        return answer, "100"

    async def watch(self, resource_version: str) -> AsyncIterator[Resource]:
        self.versions.append(resource_version)
        if not self.watches:
            await asyncio.Event().wait()
        for event in self.watches.pop(0):
            if isinstance(event, ApiError):
                raise event
            yield event


def event(kind: str, found: Resource) -> dict[str, Any]:
    return {"type": kind, "object": found}


@contextlib.asynccontextmanager
async def following(api: Api) -> AsyncIterator[list[Wishes]]:
    seen: list[Wishes] = []
    task = asyncio.create_task(follow(api, read, seen.append))
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_changes_are_told_once() -> None:
    stopped = resource("103", spec={"desiredState": "Stopped"})
    api = Api(
        [resource()],
        [
            [
                event("MODIFIED", resource("101", status={"phase": "Idle"})),
                event("BOOKMARK", {"metadata": {"resourceVersion": "102"}}),
                event("MODIFIED", stopped),
            ],
            [event("DELETED", resource("104"))],
        ],
    )
    async with following(api) as seen:
        await until(lambda: len(api.versions) == 3)
    assert [w.desired for w in seen] == [DesiredState.RUNNING, DesiredState.STOPPED, DesiredState.STOPPED]
    assert [w.gone for w in seen] == [False, False, True]
    # A watch that ends goes on from where it was.
    assert api.versions == ["100", "103", "104"]


async def test_a_version_that_is_too_old_means_a_new_list() -> None:
    api = Api([resource(), resource(spec={"desiredState": "Stopped"})], [[ApiError(410, "too old")]])
    async with following(api) as seen:
        await until(lambda: len(seen) == 2)
    assert seen[-1].desired is DesiredState.STOPPED


async def test_an_api_server_that_is_away_changes_nothing() -> None:
    away = ApiError(0, "connection refused")
    api = Api([resource(), away, away, resource()], [[away]])
    async with following(api) as seen:
        await until(lambda: len(api.versions) == 2)
    assert len(seen) == 1


# --- reports ---


class Server:
    """Takes reports, or answers with the errors given first."""

    def __init__(self, *errors: ApiError) -> None:
        self.errors = list(errors)
        self.taken: list[dict[str, Any]] = []
        self.tries = 0

    async def apply(self, report: dict[str, Any]) -> None:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        self.taken.append(report)


@pytest.fixture
def reporting() -> Iterator[Callable[[Server], Reporter]]:
    tasks: list[asyncio.Task[None]] = []

    def start(server: Server) -> Reporter:
        reporter = Reporter(server.apply)
        tasks.append(asyncio.create_task(reporter.run()))
        return reporter

    yield start
    for task in tasks:
        task.cancel()


async def test_reports_are_gathered_and_a_steady_recording_writes_nothing(
    reporting: Callable[[Server], Reporter],
) -> None:
    server = Server()
    reporter = reporting(server)
    for leave_code in range(10):
        reporter.tell(Report(state=ReportState.RECORDING, leave_code=leave_code))
    assert await reporter.accepted(10)
    assert [r["leaveCode"] for r in server.taken] == [9]
    reporter.tell(Report(state=ReportState.RECORDING, leave_code=9))
    assert await reporter.accepted(0.01)
    assert not await asyncio.wait_for(_grows(server), 1)


async def _grows(server: Server) -> bool:
    before = server.tries
    await asyncio.sleep(0.3)
    return server.tries > before


async def test_a_report_that_is_not_taken_is_tried_again(reporting: Callable[[Server], Reporter]) -> None:
    server = Server(ApiError(403, "no attempt"), ApiError(503, "later"), ApiError(0, "away"), ApiError(0, "away"))
    reporter = reporting(server)
    reporter.tell(Report())
    await until(lambda: server.tries >= 4)
    assert reporter.away
    assert not await reporter.accepted(0.01)
    reporter.tell(Report(state=ReportState.IDLE))
    server.errors = []
    assert await reporter.accepted(10)
    assert not reporter.away
    assert [r["state"] for r in server.taken] == ["Idle"]


async def test_once_the_attempt_is_declared_a_denied_report_is_tried_at_once(
    reporting: Callable[[Server], Reporter],
) -> None:
    server = Server(ApiError(403, "no attempt"))
    reporter = reporting(server)
    reporter.tell(Report())
    await until(lambda: server.tries >= 5)
    server.errors = []
    reporter.declared()
    assert await reporter.accepted(0.5)


async def test_nobody_is_there_to_report_to(reporting: Callable[[Server], Reporter]) -> None:
    reporter = reporting(Server(ApiError(404, "not found")))
    reporter.tell(Report())
    assert await reporter.accepted(10)
    assert reporter.gone
    reporter.tell(Report(state=ReportState.ENDED))
    assert await reporter.accepted(0.01)
