"""The elector against a Lease in memory, with optimistic locking as the API server has it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from cloudrec_operator.api import JSON, LeaderRequests, Object
from cloudrec_operator.errors import NotLeader, api_error
from cloudrec_operator.leader import Elector


class Leases:
    """One Lease; `away` makes every call fail."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.away = False

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
    ) -> Object:
        await asyncio.sleep(0)
        if self.away:
            raise api_error(0, "Unreachable", "")
        if method == "GET":
            if self.lease is None:
                raise api_error(404, "NotFound", "")
            return copy.deepcopy(self.lease)
        assert body is not None
        if method == "POST":
            if self.lease is not None:
                raise api_error(409, "AlreadyExists", "")
        elif self.lease is None or body["metadata"].get("resourceVersion") != str(self.version):
            raise api_error(409, "Conflict", "")
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)

    @property
    def holder(self) -> str:
        return "" if self.lease is None else str(self.lease["spec"]["holderIdentity"])


class Replica:
    def __init__(self, leases: Leases, name: str, seconds: float = 0.3) -> None:
        self.gained, self.lost = asyncio.Event(), asyncio.Event()
        self.elector = Elector(leases, "ns", name, seconds, self.gained.set, self.lost.set)


@asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(replica.elector.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), 5)


async def test_one_leads_and_hands_over_at_a_clean_end() -> None:
    leases = Leases()
    first, second = Replica(leases, "a", 30), Replica(leases, "b", 0.3)
    async with running(second) as waiting:
        waiting.cancel()
    async with running(first) as leading:
        await until(first.gained)
        async with running(second):
            await asyncio.sleep(0.1)
            assert not second.elector.leads()
            leading.cancel()
            await until(first.lost)
            await until(second.gained)
            assert leases.holder == "b"
            assert not first.elector.leads()


async def test_a_silent_leader_is_succeeded() -> None:
    leases = Leases()
    leases.lease = {"metadata": {"resourceVersion": "0"}, "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 1}}
    heir = Replica(leases, "heir")
    began = asyncio.get_running_loop().time()
    async with running(heir):
        await until(heir.gained)
    assert asyncio.get_running_loop().time() - began >= 1
    assert leases.lease["spec"]["leaseTransitions"] >= 1


async def test_a_leader_that_cannot_renew_stops_writing_in_time() -> None:
    leases = Leases()
    replica = Replica(leases, "a")
    guarded = LeaderRequests(leases, replica.elector.leads)
    async with running(replica):
        await until(replica.gained)
        leases.away = True
        await until(replica.lost)
        assert not replica.elector.leads()
        with pytest.raises(NotLeader):
            await guarded.request("POST", "/x", body={})
        leases.away = False
        assert await guarded.request("GET", "/x")
        replica.gained.clear()
        await until(replica.gained)


def test_a_stalled_process_knows_by_its_clock() -> None:
    now = 0.0
    elector = Elector(Leases(), "ns", "a", 15, lambda: None, lambda: None, clock=lambda: now)
    elector._settle(True, 0.0)
    assert elector.leads()
    now = 10.1
    assert not elector.leads()


def test_a_lead_that_lapsed_and_is_renewed_is_gained_anew() -> None:
    """What a worker could not write meanwhile is looked at again."""
    now = 0.0
    told: list[str] = []
    elector = Elector(
        Leases(), "ns", "a", 15, lambda: told.append("gained"), lambda: told.append("lost"), clock=lambda: now
    )
    elector._settle(True, 0.0)
    now = 9.0
    elector._settle(True, 9.0)
    assert told == ["gained"]
    now = 19.5
    elector._settle(True, 19.4)
    assert told == ["gained", "lost", "gained"]
    assert elector.leads()


async def test_two_at_once_make_one_leader() -> None:
    leases = Leases()
    replicas = [Replica(leases, name, 5) for name in "abc"]
    tasks = [asyncio.create_task(replica.elector.run()) for replica in replicas]
    await asyncio.wait([asyncio.create_task(until(r.gained)) for r in replicas], return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.05)
    assert sum(replica.elector.leads() for replica in replicas) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
