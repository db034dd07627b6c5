"""200 tasks with 30 events each, over real HTTP and by the real clock, and another leader takes over in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

from aiohttp import web

from cloudrec_contract.resources import Callback
from cloudrec_contract.secret import Secret
from cloudrec_operator.callbacks.clock import SystemClock
from cloudrec_operator.callbacks.receivers import Receiver
from cloudrec_operator.callbacks.render import sign
from cloudrec_operator.callbacks.sender import AHEAD, Sender
from cloudrec_operator.callbacks.transport import HttpTransport
from cloudrec_operator.observed import Recording
from cloudrec_operator.plan import Plan
from cloudrec_operator.policy import callbacks
from cloudrec_operator.store import Key
from tests.unit.callbacks.test_sender import one
from tests.unit.operator.samples import seen

TASKS, EVENTS = 200, 30
KEY = Secret("k")


@dataclass
class Hook:
    """Takes what is signed well; `taken` has the keys in the order of their coming."""

    url: str
    taken: list[str]
    half: asyncio.Event
    done: asyncio.Event

    async def take(self, request: web.Request) -> web.Response:
        if request.headers["Sign"] != sign(KEY, await request.read()):
            return web.Response(status=403)
        self.taken.append(request.headers["Idempotency-Key"])
        if len(self.taken) == TASKS * EVENTS // 2:
            self.half.set()
        return web.Response()


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    made = Hook("", [], asyncio.Event(), asyncio.Event())
    app = web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield made
    finally:
        await runner.cleanup()


class Leader:
    """A real sender, and a reconciler's part: it writes into `world` what is settled."""

    def __init__(self, world: dict[str, Recording], at: Hook, transport: HttpTransport) -> None:
        self.world = world
        self.at = at
        self.leads = True
        self.callback = Callback(url=at.url)
        self.sender = Sender(self._receiver, transport, self._changed, lambda: self.leads, SystemClock())

    async def _receiver(self, app: Key) -> Receiver:
        return Receiver(self.at.url, "127.0.0.1", 1400000001, KEY, allow_private=True)

    def _changed(self, key: Key, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.look, key.name)

    def look(self, name: str) -> None:
        if not self.leads:
            return
        for _ in range(2):
            known = self.world[name]
            progress = self.sender.offer(Key(known.namespace, name), known, self.callback, ())
            plan = callbacks.noted(Plan(), replace(seen(known), callback=self.callback, progress=progress))
            if plan.status is None:
                break
            self.world[name] = replace(known, status=plan.status)
        if all(rec.status.attempts[0].acked == EVENTS for rec in self.world.values()):
            self.at.done.set()

    async def stop(self) -> None:
        """As one that lost the Lease: what it has not written is not known."""
        self.leads = False
        await self.sender.close()


async def test_all_arrive_in_each_tasks_order_although_the_leader_changes() -> None:
    world = {f"t{n:03}": one(f"t{n:03}", EVENTS) for n in range(TASKS)}
    async with asyncio.timeout(120), hook() as at, HttpTransport() as transport:
        for number in range(2):
            leader = Leader(world, at, transport)
            for name in world:
                leader.look(name)
            await (at.done if number else at.half).wait()
            await leader.stop()
    arrived: dict[str, list[int]] = {}
    for key in at.taken:
        task, _, seq = key.rsplit("-", 2)
        arrived.setdefault(task, []).append(int(seq))
    assert len(arrived) == TASKS
    for seqs in arrived.values():
        assert list(dict.fromkeys(seqs)) == list(range(1, EVENTS + 1))
        back = [before - after for before, after in pairwise(seqs) if after <= before]
        assert len(back) <= 1
        assert all(steps < AHEAD for steps in back)
    for rec in world.values():
        assert rec.status.callbacks is not None
        assert rec.status.callbacks.watermark == EVENTS
