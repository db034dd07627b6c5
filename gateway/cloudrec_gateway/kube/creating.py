"""A Create on the API server: the recording, then the Secret of one into a bucket, then the operator's decision; or
nothing of it stays.

The recording's name is derived from the request's signature, so the same request sent again finds what it made, by
whichever replica. (Signatures have seconds: two requests with equal bodies within one second are the same.)

A recording that is refused, or not decided upon in time, is deleted again, but only in the version that was looked at:
if the operator accepts it meanwhile, it stays and the client gets its TaskId. Of one that could not be deleted
(its gateway died, say) the operator makes an end a minute later.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

from cloudrec_contract.resources import RECORDINGS
from cloudrec_gateway.errors import FAILED_OPERATION, INTERNAL_ERROR, INVALID_PARAMETER, ApiFault
from cloudrec_gateway.kube.cache import Shelf, Task
from cloudrec_gateway.kube.client import (
    CLOUDREC,
    ApiError,
    Conflict,
    Invalid,
    NotFound,
    Object,
    Refused,
    Unavailable,
    namespaced,
)
from cloudrec_gateway.kube.decision import decision, undecided

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 0.1
LEAST_SECONDS: Final = 0.2
T = TypeVar("T")


class Writes(Protocol):
    """The part of `client.Kube` that is used here."""

    async def get(self, path: str, seconds: float = ...) -> Object: ...
    async def create(self, path: str, body: Object, seconds: float = ...) -> Object: ...
    async def patch(self, path: str, body: Object, seconds: float = ...) -> Object: ...
    async def delete(self, path: str, uid: str, version: str, seconds: float = ...) -> None: ...


def recording_name(sdk_app_id: int, signature: str, body_hash: str) -> str:
    """Of the recording that a request makes: the same for the same request alone. A DNS label of 36 characters."""
    text = "\n".join((str(sdk_app_id), signature, body_hash))
    return f"api-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


async def trying(call: Callable[[float], Awaitable[T]], deadline: float) -> T:
    """`call`, which gets the seconds that are left, again while the API server is away. Raises ApiError."""
    loop = asyncio.get_running_loop()
    while True:
        left = deadline - loop.time()
        try:
            return await call(max(LEAST_SECONDS, left))
        except Unavailable:
            if deadline - loop.time() <= PAUSE_SECONDS:
                raise
            await asyncio.sleep(PAUSE_SECONDS)


class Creating:
    """One Create. `decide_by` and `end` are times of the loop's clock; `end` leaves time to take back."""

    def __init__(self, kube: Writes, tasks: Shelf[Task], decide_by: float, end: float) -> None:
        self._kube = kube
        self._tasks = tasks
        self._decide_by = decide_by
        self._end = end

    async def run(self, body: Object, secret: Callable[[Object], Object | None]) -> str:
        """The TaskId. `secret` makes the Secret's manifest from the recording as it was made; None: it needs none.

        Raises ApiFault.
        """
        try:
            made = await self._make(body)
        except ApiError as error:
            raise write_fault(error) from error
        self._tasks.put(made)
        uid: str = made["metadata"]["uid"]
        owned = secret(made)
        if owned is not None:
            try:
                await self._make_secret(made, owned)
            except ApiError as error:
                await self._take_back(Task(made), write_fault(error))
                return uid
        return await self._wait(Task(made))

    async def _make(self, body: Object) -> Object:
        meta = body["metadata"]
        collection = namespaced(CLOUDREC, meta["namespace"], RECORDINGS)
        while True:
            try:
                return await trying(lambda left: self._kube.create(collection, body, left), self._decide_by)
            except Conflict:
                try:
                    return await trying(
                        lambda left: self._kube.get(f"{collection}/{meta['name']}", left), self._decide_by
                    )
                except NotFound:
                    # An earlier one of the same request was refused and is just gone: this is a new one.
                    await self._pause()

    async def _make_secret(self, made: Object, body: Object) -> None:
        """One of the same name that a former recording of this name has left is in the way until it is collected."""
        meta = body["metadata"]
        collection = namespaced("/api/v1", meta["namespace"], "secrets")
        path = f"{collection}/{meta['name']}"
        while True:
            try:
                await trying(lambda left: self._kube.create(collection, body, left), self._decide_by)
                return
            except Conflict:
                pass
            try:
                there = (await trying(lambda left: self._kube.get(path, left), self._decide_by))["metadata"]
                owners = [owner["uid"] for owner in there.get("ownerReferences", ())]
                if made["metadata"]["uid"] in owners:
                    return
                log.info("a Secret of a former request is in the way", extra={"secret": meta["name"]})
                await self._kube.delete(path, there["uid"], there["resourceVersion"])
            except (NotFound, Conflict):
                pass
            await self._pause()

    async def _pause(self) -> None:
        if asyncio.get_running_loop().time() + PAUSE_SECONDS >= self._decide_by:
            raise Unavailable(0, "what is in the way did not go in time")
        await asyncio.sleep(PAUSE_SECONDS)

    async def _wait(self, made: Task) -> str:
        def decided() -> bool:
            now = self._tasks.by_uid(made.uid)
            return now is None or decision(now) is not None

        await self._tasks.until(decided, self._decide_by)
        task = self._tasks.by_uid(made.uid)
        if task is None:
            raise ApiFault(FAILED_OPERATION, "the task was deleted before it began")
        verdict = decision(task)
        if verdict is None:
            await self._take_back(task, undecided(task))
        elif verdict.fault is not None:
            await self._take_back(task, verdict.fault)
        return made.uid

    async def _take_back(self, task: Task, fault: ApiFault) -> None:
        """Delete the recording and raise `fault`; return if it was accepted after all."""
        while True:
            newer = await self._deleted(task)
            if newer is None:
                raise fault
            self._tasks.put(newer.raw)
            verdict = decision(newer)
            if verdict is not None:
                if verdict.fault is None:
                    return
                fault = verdict.fault
            if asyncio.get_running_loop().time() >= self._end:
                log.error("recording %s/%s changes too often to be taken back", *task.key)
                raise fault
            task = newer

    async def _deleted(self, task: Task) -> Task | None:
        """None when it is gone, or nothing more can be done about it; else what has become of it."""
        path = namespaced(CLOUDREC, task.key.namespace, RECORDINGS, task.key.name)
        try:
            try:
                await trying(lambda left: self._kube.delete(path, task.uid, task.version, left), self._end)
                return None
            except Conflict:
                newer = Task(await trying(lambda left: self._kube.get(path, left), self._end))
        except NotFound:
            return None
        except ApiError as error:
            # The operator gives it up in a minute.
            log.error("recording %s/%s could not be taken back: %s", *task.key, error)
            return None
        return newer if newer.uid == task.uid else None


def write_fault(error: ApiError) -> ApiFault:
    """What a client is told when the API server did not take a write."""
    match error:
        case Invalid():
            return ApiFault(INVALID_PARAMETER, error.message)
        case Refused():
            log.error("the API server refused a write: %s", error)
            return ApiFault(FAILED_OPERATION, "the cluster does not allow it now (its quota or a policy, or RBAC)")
        case _:
            log.error("the API server did not take a write: %s", error)
            return ApiFault(INTERNAL_ERROR, "the cluster did not answer in time; ask again")
