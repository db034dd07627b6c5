"""Create on the API server: all of it, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cloudrec_gateway.errors import (
    FAILED_OPERATION,
    INTERNAL_ERROR,
    INVALID_PARAMETER,
    RESTRICTED_CONCURRENCY,
    ApiFault,
)
from cloudrec_gateway.kube.cache import Shelf, Task
from cloudrec_gateway.kube.client import Invalid, Object, Refused, Unavailable
from cloudrec_gateway.kube.creating import Creating, recording_name
from cloudrec_gateway.kube.decision import decision
from tests.unit.gateway.kube.fakes import RECORDINGS, SECRETS, FakeKube, Times, accepted, not_accepted, recording


def body() -> Object:
    made = recording("api-1")
    made["metadata"] = {"name": "api-1", "namespace": "school"}
    del made["status"]
    return made


def secret(made: Object) -> Object:
    meta = made["metadata"]
    owner = {"kind": "CloudRecording", "uid": meta["uid"]}
    return {"metadata": {"name": "api-1-bucket", "namespace": "school", "ownerReferences": [owner]}}


class Bench:
    """`operator` is called with the uid after each recording is made, some moments later."""

    def __init__(self) -> None:
        self.tasks: Shelf[Task] = Shelf(Task)
        self.kube = FakeKube(self.tasks)
        self.operator: Callable[[str], Object | None] = accepted
        self.secret: Callable[[Object], Object | None] = secret
        self._deciding: set[asyncio.Task[None]] = set()

    async def create(self, decide: float = 2.0, end: float = 0.5) -> str:
        now = asyncio.get_running_loop().time()
        operator = asyncio.create_task(self._decide())
        try:
            return await Creating(self.kube, self.tasks, now + decide, now + decide + end).run(body(), self.secret)
        finally:
            operator.cancel()

    async def _decide(self) -> None:
        path = f"{RECORDINGS}/api-1"
        known = ""
        while True:
            there = self.kube.objects.get(path)
            if there is not None and there["metadata"]["uid"] != known and not there.get("status"):
                await asyncio.sleep(0.02)
                known = there["metadata"]["uid"]
                status = self.operator(known)
                if status is not None and path in self.kube.objects:
                    self.kube.decide("api-1", status)
            await asyncio.sleep(0.005)

    async def fault(self, **times: float) -> ApiFault:
        with pytest.raises(ApiFault) as caught:
            await self.create(**times)
        return caught.value

    @property
    def left(self) -> tuple[list[str], list[str]]:
        return self.kube.names(RECORDINGS), self.kube.names(SECRETS)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_names_are_a_requests_own() -> None:
    name = recording_name(1, "sig", "hash")
    assert name == recording_name(1, "sig", "hash")
    others = {recording_name(2, "sig", "hash"), recording_name(1, "gis", "hash"), recording_name(1, "sig", "other")}
    assert len({name, *others}) == 4
    assert len(name) <= 52


async def test_the_recording_first_then_its_secret(bench: Bench) -> None:
    uid = await bench.create()
    assert [call for call in bench.kube.calls if call[0] == "POST"] == [("POST", RECORDINGS), ("POST", SECRETS)]
    assert bench.left == (["api-1"], ["api-1-bucket"])
    owners = bench.kube.objects[f"{SECRETS}/api-1-bucket"]["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == [uid]


async def test_one_without_a_secret(bench: Bench) -> None:
    bench.secret = lambda made: None
    uid = await bench.create()
    assert await bench.create() == uid
    assert bench.left == (["api-1"], [])


async def test_one_without_a_secret_is_taken_back(bench: Bench) -> None:
    bench.secret = lambda made: None
    bench.operator = lambda uid: not_accepted("TooManyTasks", "Failed")
    assert (await bench.fault()).code == RESTRICTED_CONCURRENCY
    assert bench.left == ([], [])


async def test_the_same_request_again_finds_what_it_made(bench: Bench) -> None:
    first = await bench.create()
    assert await bench.create() == first
    bench.kube.decide("api-1", accepted(first, "Completed"))
    assert await bench.create() == first
    del bench.kube.objects[f"{SECRETS}/api-1-bucket"]
    bench.kube.decide("api-1", {})
    assert await bench.create() == first, "its gateway died before it made the Secret"
    assert bench.left == (["api-1"], ["api-1-bucket"])


async def test_two_at_once_are_one(bench: Bench) -> None:
    one, two = await asyncio.gather(bench.create(), bench.create())
    assert one == two


async def test_an_api_server_that_stumbles_is_asked_again(bench: Bench) -> None:
    bench.kube.before = Times(2, "POST")
    assert await bench.create()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (not_accepted("TooManyTasks", "Failed"), RESTRICTED_CONCURRENCY),
        (not_accepted("TooManyTasks"), RESTRICTED_CONCURRENCY),
        (not_accepted("InvalidSpec", "Failed"), INVALID_PARAMETER),
        (not_accepted("EndpointUnknown"), INVALID_PARAMETER),
        (not_accepted("AppInvalid"), FAILED_OPERATION),
        (not_accepted("OfANewerOperator"), FAILED_OPERATION),
        ({"phase": "Completed"}, FAILED_OPERATION),
    ],
)
async def test_what_is_refused_is_taken_back(bench: Bench, status: Object, code: str) -> None:
    bench.operator = lambda uid: status
    fault = await bench.fault()
    assert fault.code == code
    assert bench.left[0] == []


async def test_after_a_refusal_the_same_request_is_a_new_one(bench: Bench) -> None:
    bench.operator = lambda uid: not_accepted("TooManyTasks", "Failed")
    await bench.fault()
    assert bench.left == ([], ["api-1-bucket"]), "not collected yet"
    bench.operator = accepted
    uid = await bench.create()
    owners = bench.kube.objects[f"{SECRETS}/api-1-bucket"]["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == [uid]


async def test_without_a_decision_nothing_stays(bench: Bench) -> None:
    bench.operator = lambda uid: None
    began = asyncio.get_running_loop().time()
    assert (await bench.fault(decide=0.3)).code == INTERNAL_ERROR
    assert asyncio.get_running_loop().time() - began < 1
    assert bench.left[0] == []


async def test_a_secret_that_stays_missing_is_said(bench: Bench) -> None:
    bench.operator = lambda uid: not_accepted("SecretNotFound", message="Secret livekit does not exist")
    fault = await bench.fault(decide=0.3)
    assert fault.code == INTERNAL_ERROR
    assert "livekit" in fault.message
    assert bench.left[0] == []


async def test_what_is_accepted_at_the_last_moment_stays(bench: Bench) -> None:
    bench.operator = lambda uid: not_accepted("TooManyTasks")

    def accept(method: str, path: str) -> None:
        if method == "DELETE" and not bench.kube.objects[path]["status"].get("taskId"):
            bench.kube.decide("api-1", accepted(bench.kube.objects[path]["metadata"]["uid"]))

    bench.kube.before = accept
    uid = await bench.create()
    assert bench.kube.objects[f"{RECORDINGS}/api-1"]["metadata"]["uid"] == uid


async def test_what_cannot_be_taken_back_is_left_to_the_operator(bench: Bench) -> None:
    bench.operator = lambda uid: not_accepted("TooManyTasks")
    bench.kube.before = Times(1000, "DELETE")
    assert (await bench.fault(decide=0.2, end=0.3)).code == RESTRICTED_CONCURRENCY
    assert bench.left[0] == ["api-1"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid(422, "spec.room: wrong"), INVALID_PARAMETER),
        (Refused(403, "exceeded quota"), FAILED_OPERATION),
        (Unavailable(0, "away"), INTERNAL_ERROR),
    ],
)
@pytest.mark.parametrize("collection", ["cloudrecordings", "secrets"])
async def test_what_the_api_server_does_not_take(bench: Bench, error: Exception, code: str, collection: str) -> None:
    bench.kube.before = Times(1000, "POST", collection, error)
    bench.operator = lambda uid: None
    fault = await bench.fault(decide=0.3)
    assert fault.code == code
    assert bench.left == ([], [])


async def test_one_that_somebody_deletes_meanwhile(bench: Bench) -> None:
    def gone(uid: str) -> None:
        bench.tasks.drop(bench.kube.objects.pop(f"{RECORDINGS}/api-1"))

    bench.operator = gone
    assert (await bench.fault()).code == FAILED_OPERATION


@pytest.mark.parametrize(
    ("reason", "code"),
    [("EndpointUnknown", FAILED_OPERATION), ("InvalidSpec", INVALID_PARAMETER), ("AppInvalid", FAILED_OPERATION)],
)
def test_the_stores_of_vod_are_the_apps(reason: str, code: str) -> None:
    there = recording(status=not_accepted(reason))
    found = decision(Task({**there, "spec": {**there["spec"], "storage": {"vod": {}}}}))
    assert found is not None
    assert found.fault is not None
    assert found.fault.code == code


@pytest.mark.parametrize(
    ("status", "open_", "refused"),
    [
        ({}, True, False),
        ({"phase": "Pending"}, True, False),
        (not_accepted("SecretNotFound"), True, False),
        (not_accepted("SecretNotFound", "Completed"), False, True),
        (not_accepted("AppNotFound"), False, True),
        (accepted("u"), False, False),
        (accepted("u", "Failed"), False, False),
    ],
)
def test_decisions(status: dict[str, Any], open_: bool, refused: bool) -> None:
    found = decision(Task(recording(status=status)))
    assert (found is None) is open_
    assert (found is not None and found.fault is not None) is refused
