"""What a lapse of the Lease must not forget."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from cloudrec_contract.resources import RECORDINGS
from cloudrec_operator.api import Api
from cloudrec_operator.errors import ApiError, Conflict, NotFound
from cloudrec_operator.reconciler import Reconciler
from cloudrec_operator.running import Feed
from cloudrec_operator.settings import Settings
from cloudrec_operator.store import Key, Store
from cloudrec_operator.workqueue import WorkQueue

LESSON = Key("school", "lesson")


@pytest.mark.parametrize(
    "error", [Conflict(409, "Conflict", "changed meanwhile"), NotFound(404, "NotFound", "its Secret")]
)
async def test_what_failed_before_a_lapse_is_looked_at_after_it(
    monkeypatch: pytest.MonkeyPatch, error: ApiError
) -> None:
    store = Store()
    queue: WorkQueue[Key] = WorkQueue()
    feed = Feed(store, queue)
    reconciler = Reconciler(cast(Api, None), store, queue, Settings())
    tried = asyncio.Event()

    async def fails(key: Key) -> None:
        tried.set()
        raise error

    monkeypatch.setattr(reconciler, "reconcile", fails)
    feed.gained()
    body: dict[str, Any] = {"metadata": {"namespace": "school", "name": "lesson", "uid": "1", "resourceVersion": "7"}}
    feed.take(RECORDINGS, "ADDED", {**body, "spec": {}, "status": {}})
    worker = asyncio.create_task(reconciler.work())
    try:
        async with asyncio.timeout(10):
            await tried.wait()
            feed.lost()
            assert len(queue) == 0
            assert store.recordings.get(LESSON, 60.0) is None  # it has to be read again
            tried.clear()
            feed.gained()
            await tried.wait()
    finally:
        queue.close()
        await worker
