"""kopf's part: list and watch recordings, apps, recorder Pods and nodes, resume broken watches, answer liveness probes.

It runs in a thread of its own: kopf takes every task of its loop for its own and cancels it at its end. Only `on.event`
handlers are used, so kopf writes nothing to any resource: no finalizer, no annotation, no progress.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from cloudrec_contract.resources import APPS, GROUP, RECORDINGS, VERSION
from cloudrec_operator.connection import Connection
from cloudrec_operator.policy.podparts import MANAGED_BY
from cloudrec_operator.settings import Settings

log = logging.getLogger(__name__)

Deliver = Callable[[str, str | None, dict[str, Any]], None]
"""Takes (plural, the watch event's type or None for what was listed, the object)."""

PODS, NODES = "pods", "nodes"
STOP_SECONDS = 5.0
CLOSE_SECONDS = 0.25
"""kopf's TLS connections end a little after their sessions; a loop that is closed before leaves them open. The time is
what aiohttp's documentation advises."""


class NoDiff(kopf.DiffBaseStorage):
    """kopf would copy each object, twice, to tell what has changed; nobody asks it."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


def handlers(connection: Connection, settings: Settings, deliver: Deliver) -> kopf.OperatorRegistry:
    """kopf's registry of all that is watched; `deliver` is called in kopf's thread, and must not block."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = NoDiff()
        settings.scanning.disabled = True
        settings.queueing.idle_timeout = 0.1
        settings.watching.label_selectors["v1", "pods"] = ",".join(f"{k}={v}" for k, v in MANAGED_BY.items())

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return connection.for_kopf()

    @kopf.on.event(GROUP, VERSION, RECORDINGS, registry=registry)
    async def recording(event: kopf.RawEvent, **_: Any) -> None:
        deliver(RECORDINGS, event["type"], dict(event["object"]))

    @kopf.on.event(GROUP, VERSION, APPS, registry=registry)
    async def app(event: kopf.RawEvent, **_: Any) -> None:
        deliver(APPS, event["type"], dict(event["object"]))

    @kopf.on.event("v1", "pods", labels=MANAGED_BY, registry=registry)
    async def pod(event: kopf.RawEvent, **_: Any) -> None:
        deliver(PODS, event["type"], dict(event["object"]))

    @kopf.on.event("v1", "nodes", registry=registry)
    async def node(event: kopf.RawEvent, **_: Any) -> None:
        deliver(NODES, event["type"], in_short(event["object"]))

    return registry


def in_short(node: Mapping[str, Any]) -> dict[str, Any]:
    """What is looked at of a Node: the list of its images alone may have 100 KB."""
    ready = [c for c in node.get("status", {}).get("conditions", ()) if c.get("type") == "Ready"]
    return {"metadata": dict(node["metadata"]), "status": {"conditions": ready}}


class Watcher:
    """Runs kopf in a thread; `ended` is set in the loop's thread when it has ended, whatever the cause."""

    def __init__(self, connection: Connection, settings: Settings, deliver: Deliver) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._settings = settings
        self._deliver = deliver
        self._stop = threading.Event()
        self.ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def _run(self) -> None:
        settings = self._settings
        host = f"[{settings.health_host}]" if ":" in settings.health_host else settings.health_host
        endpoint = f"http://{host}:{settings.health_port}/healthz" if settings.health_port else None
        loop = asyncio.new_event_loop()
        try:
            kopf.run(
                loop=loop,
                registry=handlers(self._connection, settings, self._from_thread),
                standalone=True,
                clusterwide=not settings.namespace,
                namespaces=[settings.namespace] if settings.namespace else [],
                liveness_endpoint=endpoint,
                stop_flag=self._stop,
            )
        except Exception:
            log.exception("watching failed")
        finally:
            loop.run_until_complete(asyncio.sleep(CLOSE_SECONDS))
            loop.close()
            self._loop.call_soon_threadsafe(self.ended.set)

    def _from_thread(self, plural: str, kind: str | None, body: dict[str, Any]) -> None:
        self._loop.call_soon_threadsafe(self._deliver, plural, kind, body)
