"""The whole operator in one event loop: connection, leadership, workers, and kopf's thread that feeds them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from cloudrec_contract.resources import APPS, RECORDINGS
from cloudrec_operator import slots
from cloudrec_operator.api import CLOUDREC, Api, HttpRequests, LeaderRequests, Requests
from cloudrec_operator.callbacks.clock import SystemClock
from cloudrec_operator.callbacks.metrics import Deliveries
from cloudrec_operator.callbacks.receivers import Receivers
from cloudrec_operator.callbacks.sender import Sender
from cloudrec_operator.callbacks.transport import HttpTransport
from cloudrec_operator.connection import Connection, connect
from cloudrec_operator.errors import ApiError, OperatorError
from cloudrec_operator.leader import Elector
from cloudrec_operator.observed import Node
from cloudrec_operator.reconciler import Reconciler
from cloudrec_operator.settings import Settings
from cloudrec_operator.store import Key, Store
from cloudrec_operator.telemetry import Conversions, metrics
from cloudrec_operator.watch import NODES, PODS, Watcher
from cloudrec_operator.workqueue import WorkQueue

log = logging.getLogger(__name__)

FINISH_SECONDS = 5.0
"""How long a reconcile may go on after the end was asked for."""


class WatchEnded(OperatorError):
    """kopf's thread ended although nobody asked it to: start again from nothing."""


class Feed:
    """What the watch tells, put into the store; and which recordings are to be looked at for it."""

    def __init__(self, store: Store, queue: WorkQueue[Key]) -> None:
        self._store = store
        self._queue = queue
        self._shelves = {RECORDINGS: store.recordings, APPS: store.apps, PODS: store.pods, NODES: store.nodes}
        self.leading = False

    def take(self, plural: str, kind: str | None, body: dict[str, Any]) -> None:
        meta = body["metadata"]
        key = Key(meta.get("namespace", ""), meta["name"])
        shelf = self._shelves[plural]
        if kind == "MODIFIED" and shelf.echoes(body):
            return
        if plural == NODES and kind != "DELETED" and (old := shelf.get(key)) and Node.parse(old) == Node.parse(body):
            shelf.put(body)
            return
        if kind == "DELETED":
            shelf.drop(key, meta["uid"])
        else:
            shelf.put(body)
        if not self.leading:
            return
        if plural == RECORDINGS:
            # Somebody may be waiting for the decision; what is decided can wait a little.
            self._queue.add(key, urgent=slots.waits(body))
        elif plural == APPS:
            for recording in self._store.recordings:
                if _names(recording, key):
                    self._queue.add(Key(key.namespace, recording["metadata"]["name"]))
        elif plural == NODES:
            for pod in self._store.pods:
                if pod.get("spec", {}).get("nodeName") == key.name:
                    self._owner_of(pod["metadata"])
        else:
            self._owner_of(meta)

    def _owner_of(self, pod: Mapping[str, Any]) -> None:
        if owner := (pod.get("labels") or {}).get("cloudrec.dev/recording"):
            self._queue.add(Key(pod["namespace"], owner))

    def gained(self) -> None:
        self.leading = True
        for key in self._store.recordings.keys():  # noqa: SIM118 - not a dict
            self._queue.add(key)

    def lost(self) -> None:
        self.leading = False
        self._queue.clear()


def _names(recording: dict[str, Any], app: Key) -> bool:
    """Whether a recording that is not finished, or whose callbacks are not, refers to the app."""
    spec, status = recording.get("spec", {}), recording.get("status") or {}
    told = status.get("callbacks")
    return (
        recording["metadata"]["namespace"] == app.namespace
        and spec.get("appRef", {}).get("name") == app.name
        and (status.get("phase") not in ("Completed", "Failed") or (told is not None and "settledAt" not in told))
    )


async def operate(settings: Settings, stop: asyncio.Event) -> None:
    """Run until `stop` is set. Raises OperatorError when it cannot go on."""
    connection = await connect(settings.serviceaccount)
    async with AsyncExitStack() as stack:
        requests = await stack.enter_async_context(HttpRequests(connection.configuration))
        if await _stopped(stop, _wait_for_crds(requests)):
            return
        transport = await stack.enter_async_context(HttpTransport())
        await _run(settings, connection, requests, transport, stop)


async def _run(
    settings: Settings, connection: Connection, requests: Requests, transport: HttpTransport, stop: asyncio.Event
) -> None:
    store = Store()
    queue: WorkQueue[Key] = WorkQueue(most=settings.retry_seconds)
    feed = Feed(store, queue)

    def gained() -> None:
        reconciler.lead_anew()
        feed.gained()

    def lost() -> None:
        feed.lost()
        sender.clear()

    elector = Elector(
        requests,
        settings.lease_namespace or connection.namespace,
        settings.who,
        settings.lease_seconds,
        gained,
        lost,
    )
    api = Api(LeaderRequests(requests, elector.leads))
    deliveries, conversions = Deliveries(), Conversions()
    sender = Sender(Receivers(api, store).of, transport, queue.add_after, elector.leads, SystemClock(), deliveries)
    reconciler = Reconciler(api, store, queue, settings, sender=sender, deliveries=deliveries, conversions=conversions)
    watcher = Watcher(connection, settings, feed.take)
    watcher.start()
    workers = [asyncio.create_task(reconciler.work(), name=f"worker-{n}") for n in range(settings.workers)]
    leading = asyncio.create_task(elector.run(), name="elector")
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(watcher.ended.wait())]
    try:
        async with metrics(settings.metrics_host, settings.metrics_port, deliveries, conversions):
            await asyncio.wait([*waits, leading, *workers], return_when=asyncio.FIRST_COMPLETED)
        for task in (leading, *workers):
            if task.done():
                task.result()
        if watcher.ended.is_set() and not stop.is_set():
            raise WatchEnded("the watch ended")
    finally:
        # Workers first: the Lease is given up only when nothing writes any more.
        queue.close()
        await asyncio.wait(workers, timeout=FINISH_SECONDS)
        await _end([*workers, *waits])
        await sender.close()
        await _end([leading])
        await watcher.stop()


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _wait_for_crds(requests: Requests) -> None:
    """kopf looks for the resources once, so they have to be served before it starts."""
    told = False
    while True:
        try:
            served = {resource["name"] for resource in (await requests.request("GET", CLOUDREC)).get("resources", ())}
            if {RECORDINGS, APPS} <= served:
                return
            problem = "the CRDs are not installed: kubectl apply -f crds/"
        except ApiError as error:
            problem = f"waiting for the API server to serve cloudrec.dev (kubectl apply -f crds/): {error}"
        if not told:
            log.warning(problem)
            told = True
        await asyncio.sleep(1)


async def _stopped(stop: asyncio.Event, work: Any) -> bool:
    """Do `work` unless `stop` comes first; whether it did."""
    stopping, working = asyncio.create_task(stop.wait()), asyncio.create_task(work)
    await asyncio.wait([stopping, working], return_when=asyncio.FIRST_COMPLETED)
    stopped = not working.done()
    await _end([stopping] if not stopped else [stopping, working])
    if not stopped:
        working.result()
    return stopped
