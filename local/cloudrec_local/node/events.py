"""Kubernetes Events about Pods: made once, counted when they happen again, sent in the background."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from ..kubeapi import MERGE, UNREACHABLE, ApiError, KubeApi, Object
from .status import timestamp

log = logging.getLogger(__name__)
QUEUE = 256
REMEMBERED = 1024


class Events:
    """Sends events of one node. When the API server does not keep up, new ones are dropped: they are only hints."""

    def __init__(self, api: KubeApi, node: str) -> None:
        self._api = api
        self._node = node
        self._queue: asyncio.Queue[tuple[Object, str, str, str]] = asyncio.Queue(QUEUE)
        self._sent: OrderedDict[tuple[str, str, str], tuple[str, int]] = OrderedDict()

    def emit(self, pod: Object, kind: str, reason: str, message: str) -> None:
        """Tell of something that happened to `pod`; never blocks."""
        try:
            self._queue.put_nowait((pod["metadata"], kind, reason, message[:1024]))
        except asyncio.QueueFull:
            log.debug("dropped event %s: %s", reason, message)

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            meta, kind, reason, message = await self._queue.get()
            try:
                await self._send(meta, kind, reason, message)
            except (ApiError, *UNREACHABLE) as error:  # its namespace may be ending
                log.debug("event %s of %s was not taken: %s", reason, meta["name"], error)

    async def _send(self, meta: Object, kind: str, reason: str, message: str) -> None:
        key = (meta["uid"], reason, message)
        path = f"/api/v1/namespaces/{meta['namespace']}/events"
        now = timestamp()
        if key in self._sent:
            name, count = self._sent[key]
            body = {"count": count + 1, "lastTimestamp": now}
            await self._api.request("PATCH", f"{path}/{name}", body, content_type=MERGE)
            self._sent[key] = (name, count + 1)
            self._sent.move_to_end(key)
            return
        event = {
            "metadata": {"generateName": f"{meta['name'][:200]}.", "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": "cloudrec-node", "host": self._node},
            "reportingComponent": "cloudrec-node",
            "reportingInstance": self._node,
        }
        made = await self._api.request("POST", path, event)
        self._sent[key] = (made["metadata"]["name"], 1)
        while len(self._sent) > REMEMBERED:
            self._sent.popitem(last=False)
