"""What a lapse of the Lease must not forget."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from cloudrec_contract.resources import RECORDINGS
from cloudrec_operator.api import Api
from cloudrec_operator.errors import Conflict
from cloudrec_operator.reconciler import Reconciler
from cloudrec_operator.running import Feed
from cloudrec_operator.settings import Settings
from cloudrec_operator.store import Key, Store
from cloudrec_operator.workqueue import WorkQueue

LESSON = Key("school", "lesson")


async def test_what_conflicted_before_a_lapse_is_looked_at_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    queue: WorkQueue[Key] = WorkQueue()
    feed = Feed(store, queue)
    reconciler = Reconciler(cast(Api, None), store, queue, Settings())
    tried = asyncio.Event()

    async def conflicts(key: Key) -> None:
        tried.set()
        raise Conflict(409, "Conflict", "changed meanwhile")

    monkeypatch.setattr(reconciler, "reconcile", conflicts)
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
