"""A plan carried out: all its users in one room, in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from cloudrec_local.synthetic.plan import Command, Plan
from cloudrec_local.synthetic.server import PublishError, Server
from cloudrec_local.synthetic.truth import Event, Truth, WallClock
from cloudrec_local.synthetic.user import SyntheticUser

_MOST_COMMANDS_WAITING = 64


class Session:
    """Carries a plan out. `stop` may be called at any time, also from a signal handler."""

    def __init__(
        self, server: Server, room: str, plan: Plan, observe: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._server, self._room, self._plan, self._observe = server, room, plan, observe
        self._clock = WallClock()
        self._events: list[Event] = []
        self._over = asyncio.Event()
        self._commands: dict[str, asyncio.Queue[Command]] = {
            user.identity: asyncio.Queue(_MOST_COMMANDS_WAITING) for user in plan.users
        }

    def stop(self) -> None:
        self._over.set()

    def command(self, command: Command) -> None:
        """Have a user do something as soon as its steps so far are done. Raises PublishError for a stranger."""
        try:
            self._commands[command.user].put_nowait(command)
        except KeyError:
            raise PublishError(f"there is no user {command.user!r}") from None
        except asyncio.QueueFull:
            raise PublishError(f"{command.user!r} has too much to do") from None

    async def run(self) -> Truth:
        """Until the plan's time is up or `stop` is called; then all leave. Raises PublishError."""
        started, cpu = self._clock.now(), time.process_time()
        async with AsyncExitStack() as stack:
            users = [
                await stack.enter_async_context(SyntheticUser(self._server, self._room, plan, self._clock, self._seen))
                for plan in self._plan.users
            ]
            acting = [asyncio.create_task(self._act(user, started)) for user in users]
            ending = asyncio.create_task(self._end(started))
            try:
                await asyncio.wait([*acting, ending], return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*acting, ending):
                    task.cancel()
                results = await asyncio.gather(*acting, ending, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                    raise result
        return Truth(
            started=started,
            ended=self._clock.now(),
            events=tuple(self._events),
            tracks=tuple(track for user in users for track in user.truth()),
            cpu_seconds=time.process_time() - cpu,
        )

    async def _act(self, user: SyntheticUser, started: float) -> None:
        for step in user.plan.steps:
            await asyncio.sleep(started + step.at - self._clock.now())
            await user.do(step)
        commands = self._commands[user.plan.identity]
        while True:
            await user.do(await commands.get())

    async def _end(self, started: float) -> None:
        seconds = self._plan.seconds
        if seconds is None:
            await self._over.wait()
            return
        try:
            async with asyncio.timeout(started + seconds - self._clock.now()):
                await self._over.wait()
        except TimeoutError:
            pass

    def _seen(self, event: Event) -> None:
        self._events.append(event)
        self._observe(event)
