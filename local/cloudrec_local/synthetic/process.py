"""Synthetic users in a process of their own: the SDK's threads, logs and exit handlers stay out of the caller's.

`child` is its other half; `messages` says what they speak.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from pydantic import ValidationError

from cloudrec_contract.model import Model
from cloudrec_local.synthetic.messages import (
    LONGEST_LINE,
    SECRET_VARIABLE,
    ErrorMessage,
    EventMessage,
    TruthMessage,
    decode,
    encode,
)
from cloudrec_local.synthetic.plan import Action, Command, Kind, Media, Plan
from cloudrec_local.synthetic.server import DEADLINE_SECONDS, PublishError, Server
from cloudrec_local.synthetic.truth import Event, EventType, Truth

_STOP_SECONDS = DEADLINE_SECONDS + 10

_RESULT: dict[Action, EventType] = {
    "join": "joined",
    "leave": "left",
    "publish": "published",
    "unpublish": "unpublished",
    "mute": "muted",
    "unmute": "unmuted",
}


_T = TypeVar("_T")


class SyntheticUsers:
    """The users of one plan in a child process. An async context manager; leaving it ends the child.

    Every wait raises PublishError when the child failed, and TimeoutError when its deadline is over.
    """

    def __init__(
        self, server: Server, room: str, plan: Plan, observe: Callable[[Event], None] = lambda event: None
    ) -> None:
        self._server, self._room, self._plan, self._observe = server, room, plan, observe
        self.events: list[Event] = []
        self._error: str | None = None
        self._truth: Truth | None = None
        self._news = asyncio.Condition()
        self._over = False
        self._log: deque[str] = deque(maxlen=40)
        self._child: asyncio.subprocess.Process | None = None
        self._readers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> SyntheticUsers:
        self._child = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "cloudrec_local.synthetic.child",
                self._server.url,
                self._server.api_key,
                self._room,
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for the caller, who then has the users leave
            env={**os.environ, SECRET_VARIABLE: self._server.api_secret.reveal()},
        )
        self._readers = [asyncio.create_task(self._read()), asyncio.create_task(self._read_log())]
        await self._send(self._plan)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        child = self._running()
        try:
            self._close_input()
            async with asyncio.timeout(_STOP_SECONDS):
                await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
            await asyncio.gather(*self._readers)
            await child.wait()

    async def wait(
        self,
        event: EventType,
        user: str | None = None,
        media: Media | None = None,
        kind: Kind | None = None,
        *,
        since: int = 0,
        timeout: float = DEADLINE_SECONDS,
    ) -> Event:
        """The first such event at or after place `since` of `events`; None matches everything."""

        def found() -> Event | None:
            for seen in self.events[since:]:
                if (
                    seen.type == event
                    and user in (None, seen.user)
                    and media in (None, seen.media)
                    and kind in (None, seen.kind)
                ):
                    return seen
            return None

        return await self._until(found, timeout)

    async def published(self, timeout: float = DEADLINE_SECONDS) -> None:
        """Until every user of the plan that joins and publishes at its beginning sends all it should."""
        for user in self._plan.users:
            for step in user.steps:
                if step.do == "publish" and step.at == 0:
                    for kind in step.kinds:
                        await self.wait("published", user.identity, step.media, kind, timeout=timeout)

    async def do(
        self,
        user: str,
        action: Action,
        media: Media = "main",
        kind: Kind | None = None,
        *,
        timeout: float = DEADLINE_SECONDS,
    ) -> Event:
        """Have a user do something now that its plan's steps are done; returns the last event that came of it."""
        since = len(self.events)
        command = Command(user=user, do=action, media=media, kind=kind)
        await self._send(command)
        if action in ("join", "leave"):
            return await self.wait(_RESULT[action], user, since=since, timeout=timeout)
        for each in command.kinds:
            event = await self.wait(_RESULT[action], user, media, each, since=since, timeout=timeout)
        return event

    async def stop(self) -> Truth:
        """Have all users leave; what they did."""
        self._close_input()
        return await self.finished(_STOP_SECONDS)

    async def finished(self, timeout: float | None) -> Truth:
        """What the users did, once the plan's time is up; `timeout` None for a plan without end."""
        return await self._until(lambda: self._truth, timeout)

    async def _until(self, found: Callable[[], _T | None], timeout: float | None) -> _T:
        async with asyncio.timeout(timeout), self._news:
            while (result := found()) is None:
                if self._over:
                    raise PublishError(self._error or "the publisher ended early:\n" + "\n".join(self._log))
                await self._news.wait()
        return result

    async def _read(self) -> None:
        child = self._running()
        assert child.stdout is not None
        try:
            async for line in child.stdout:
                message = decode(line)
                async with self._news:
                    match message:
                        case EventMessage():
                            self.events.append(message.event)
                            self._observe(message.event)
                        case ErrorMessage():
                            self._error = message.message
                        case TruthMessage():
                            self._truth = message.truth
                    self._news.notify_all()
        except ValidationError as error:
            self._error = f"the publisher said what is no message: {error}"
        async with self._news:
            self._over = True
            self._news.notify_all()

    async def _read_log(self) -> None:
        child = self._running()
        assert child.stderr is not None
        async for line in child.stderr:
            self._log.append(line.decode(errors="replace").rstrip())

    async def _send(self, message: Model) -> None:
        child = self._running()
        assert child.stdin is not None
        child.stdin.write(encode(message))
        with contextlib.suppress(ConnectionError):  # then the child has ended, and the next wait says why
            await child.stdin.drain()

    def _close_input(self) -> None:
        child = self._running()
        assert child.stdin is not None
        child.stdin.close()

    def _running(self) -> asyncio.subprocess.Process:
        if self._child is None:
            raise RuntimeError("enter the context first")
        return self._child
