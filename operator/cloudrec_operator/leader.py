"""Leadership by a Lease, as client-go's leader election does it.

Of several replicas the one that renews the Lease leads. A leader that could not renew for two thirds of the Lease's
duration takes itself for no leader before any other may: `leads()` looks at the monotonic clock at every write, so even
a stalled process stops writing in time. Others judge the Lease by when *they* saw it change last, never by its times.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cloudrec_operator.api import LEASES, Object, Requests
from cloudrec_operator.errors import ApiError, NotFound

log = logging.getLogger(__name__)

LEASE = "cloudrec-operator"


class Elector:
    """Seeks and keeps the Lease `namespace`/cloudrec-operator for `identity`.

    `gained` and `lost` are called in the loop's thread when leadership changes. `seconds` is the Lease's duration.
    """

    def __init__(
        self,
        requests: Requests,
        namespace: str,
        identity: str,
        seconds: float,
        gained: Callable[[], None],
        lost: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = requests
        self._path = f"{LEASES}/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._identity = identity
        self._seconds = seconds
        self._gained = gained
        self._lost = lost
        self._clock = clock
        self._leading = False
        self._renewed = float("-inf")
        self._seen: tuple[str, float] = ("", float("-inf"))

    def leads(self) -> bool:
        """Whether this replica may write at this moment."""
        return self._leading and self._clock() - self._renewed < self._seconds * 2 / 3

    async def run(self) -> None:
        """Seek and renew until cancelled; then give the Lease up, so that the next one need not wait."""
        pause = self._seconds * 2 / 15
        try:
            while True:
                started = self._clock()
                try:
                    async with asyncio.timeout(pause * 2):
                        held = await self._try()
                except (ApiError, TimeoutError) as error:
                    log.warning("lease not renewed: %s", error)
                    held = None
                self._settle(held, started)
                await asyncio.sleep(max(0.0, pause - (self._clock() - started)))
        finally:
            was = self.leads()
            self._settle(False, self._clock())
            if was:
                await self._release()

    def _settle(self, held: bool | None, started: float) -> None:
        """`held` None: unknown, so an old lead lasts until it is too old.

        A lead that had lapsed is lost although the Lease is still ours: what was held back meanwhile must be done.
        """
        if self._leading and (held is False or not self.leads()):
            self._leading = False
            log.info("no longer leading", extra={"identity": self._identity})
            self._lost()
        if held:
            self._renewed = started
        if held and not self._leading:
            self._leading = True
            log.info("leading", extra={"identity": self._identity})
            self._gained()

    async def _try(self) -> bool:
        """One attempt to take or renew the Lease. A Conflict (an ApiError) means that another was quicker."""
        try:
            lease = await self._requests.request("GET", f"{self._path}/{LEASE}")
        except NotFound:
            await self._requests.request("POST", self._path, body=self._fresh())
            return True
        spec = lease.get("spec", {})
        holder = spec.get("holderIdentity") or ""
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        if holder not in ("", self._identity):
            patience = float(spec.get("leaseDurationSeconds") or self._seconds)
            if self._clock() - self._seen[1] < patience:
                return False
        if holder == self._identity and not self._leading:
            log.info("taking up the lease of a former process of this name")
        written = await self._write(lease, spec, holder)
        self._seen = (written["metadata"]["resourceVersion"], self._clock())
        return True

    async def _write(self, lease: Object, spec: dict[str, Any], holder: str) -> Object:
        now = _micro_time()
        changed = holder != self._identity
        lease["spec"] = {
            **spec,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, round(self._seconds)),
            "renewTime": now,
            "acquireTime": now if changed else spec.get("acquireTime", now),
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + int(changed),
        }
        return await self._requests.request("PUT", f"{self._path}/{LEASE}", body=lease)

    async def _release(self) -> None:
        """Best effort, with a deadline: without it the next leader waits for the Lease to run out."""
        try:
            async with asyncio.timeout(2):
                lease = await self._requests.request("GET", f"{self._path}/{LEASE}")
                if lease.get("spec", {}).get("holderIdentity") == self._identity:
                    lease["spec"].update(holderIdentity="", leaseDurationSeconds=1, renewTime=_micro_time())
                    await self._requests.request("PUT", f"{self._path}/{LEASE}", body=lease)
        except (ApiError, TimeoutError) as error:
            log.warning("lease not released: %s", error)

    def _fresh(self) -> Object:
        now = _micro_time()
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": LEASE, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._seconds)),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": 0,
            },
        }


def _micro_time() -> str:
    """Kubernetes' MicroTime."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
