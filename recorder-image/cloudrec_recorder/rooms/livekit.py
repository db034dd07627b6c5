"""The LiveKit connector: a hidden, subscribe-only robot in one room.

One `Connection` is one join; `LiveKitRoom` makes a new one whenever the last is lost, until its deadline. Media goes
straight from the connection's sockets to the sink.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Set

from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.capture.output import HOLD_SECONDS
from cloudrec_recorder.capture.receiver import MediaReceiver
from cloudrec_recorder.media import MediaSink, TrackKey
from cloudrec_recorder.rooms import Changed, Joined, Left, RoomEvent, Size, Unreachable
from cloudrec_recorder.rooms.events import EventQueue
from cloudrec_recorder.rooms.livekit_connection import Connection
from cloudrec_recorder.rooms.livekit_state import Rejoin

log = logging.getLogger(__name__)

JOIN_DEADLINE_SECONDS = 300.0
REJOIN_DEADLINE_SECONDS = 60.0
LEAVE_SECONDS = 5.0
STABLE_SECONDS = 10.0
"""A connection that stood for so long ends a loss; before, the deadline and the backoff go on."""
_BACKOFF_FIRST = 0.25
_BACKOFF_MAX = 5.0
_BACKOFF_EMPTY = 1.0
"""Most seconds between two looks for a room that is not there: its first user may come at any time."""


class LiveKitRoom:
    """A `Room` on a LiveKit server.

    `url`: the server's base URL (ws, wss, http, https). `token`: gives the room token as it is now, called at each
    join. `sink`: gets the media. `clock`: the process's one clock. After a loss it rejoins for `rejoin_deadline`
    seconds (then `Left(100)`); the first join is tried for `join_deadline` seconds (then `Left(None)`). A new track
    waits for its first sender report for `hold` seconds.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        sink: MediaSink,
        clock: TaskClock,
        *,
        rejoin_deadline: float = REJOIN_DEADLINE_SECONDS,
        join_deadline: float = JOIN_DEADLINE_SECONDS,
        hold: float = HOLD_SECONDS,
    ) -> None:
        self._url = url
        self._token = token
        self._sink = sink
        self._clock = clock
        self._rejoin_deadline = rejoin_deadline
        self._join_deadline = join_deadline
        self._hold = hold
        self._sources = itertools.count(1)
        self._wanted: frozenset[str] = frozenset()
        self._sizes: dict[str, Size] = {}
        self._stop = asyncio.Event()
        self._finished = asyncio.Event()
        self._connection: Connection | None = None
        self._refreshed: str | None = None
        self._offsets: dict[str, float] = {}

    async def events(self) -> AsyncIterator[RoomEvent]:
        """Join, and tell what happens until `Left`. May be iterated once."""
        queue = EventQueue()
        runner = asyncio.create_task(self._run(queue.put), name="livekit-room")
        runner.add_done_callback(lambda _: queue.close())
        try:
            while (event := await queue.get()) is not None:
                yield event
            await runner  # what it died of, if it did
        finally:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)

    def subscribe(self, sids: Set[str]) -> None:
        """Receive exactly these tracks."""
        self._wanted = frozenset(sids)
        if self._connection is not None:
            self._connection.subscribe(self._wanted)

    def prefer(self, sizes: Mapping[str, Size]) -> None:
        """Receive the layers of these tracks that are nearest to these sizes."""
        self._sizes = dict(sizes)
        if self._connection is not None:
            self._connection.prefer(self._sizes)

    def request_keyframe(self, key: TrackKey) -> None:
        """Ask the publisher of this track for a keyframe."""
        if self._connection is not None:
            self._connection.receiver.request_keyframe(key)

    async def leave(self) -> None:
        """Leave politely; everything held is delivered before `events` yields `Left(0)`."""
        self._stop.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._finished.wait()

    def clock_offsets(self) -> dict[str, float]:
        """By identity: our wall clock minus the publisher's, in seconds, as last known."""
        if self._connection is not None:
            self._offsets.update(self._connection.clock_offsets())
        return dict(self._offsets)

    async def _run(self, tell: Callable[[RoomEvent], None]) -> None:
        """Join again and again until there is a reason to stop."""
        try:
            tell(await self._stay(tell))
        finally:
            self._finished.set()

    async def _stay(self, tell: Callable[[RoomEvent], None]) -> Left:
        joined = reached = False
        lost_at = self._clock.now()
        delay = _BACKOFF_FIRST
        while True:
            connection = self._connect(tell, rejoined=joined)
            outcome = await connection.run(self._tokens)
            self.clock_offsets()
            self._refreshed = connection.refreshed_token or self._refreshed
            now = self._clock.now()
            if connection.joined_at is not None:
                reached = True
                if not joined or now - connection.joined_at >= STABLE_SECONDS:
                    joined, lost_at, delay = True, now, _BACKOFF_FIRST
            if isinstance(outcome, Left):
                return outcome
            log.warning("not in the room: %s", outcome.message)
            if outcome.emptied:
                if not reached:
                    tell(Joined(rejoined=joined))
                joined = reached = True
                tell(Changed(frozenset(), ()))
                lost_at = now  # an empty room has no deadline but its idle timer
            else:
                reached = False
                tell(Unreachable(outcome.reason, outcome.message))
                if now - lost_at >= (self._rejoin_deadline if joined else self._join_deadline):
                    return _too_late(joined, outcome)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay * random.uniform(0.8, 1.2)):
                    await self._stop.wait()
                return Left(0, "Stopped", "the recording was stopped")
            delay = min(_BACKOFF_EMPTY if outcome.emptied else _BACKOFF_MAX, 2 * delay)

    def _connect(self, tell: Callable[[RoomEvent], None], *, rejoined: bool) -> Connection:
        self._connection = Connection(
            self._url,
            self._clock,
            lambda send: MediaReceiver(self._clock, self._sink, self._sources, send, self._hold),
            tell,
            self._stop,
            rejoined=rejoined,
        )
        self._connection.subscribe(self._wanted)
        self._connection.prefer(self._sizes)
        return self._connection

    def _tokens(self) -> list[str]:
        """Tokens to try, the file's first; the server's own renewal helps when the file is out of date."""
        return list(dict.fromkeys(token for token in (self._token(), self._refreshed) if token))


def _too_late(joined: bool, outcome: Rejoin) -> Left:
    if joined:
        return Left(100, "RejoinTimeout", f"could not rejoin within the deadline: {outcome.message}")
    return Left(None, outcome.reason, f"could not join within the deadline: {outcome.message}")
