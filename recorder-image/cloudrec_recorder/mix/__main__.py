"""`python -m cloudrec_recorder.mix`: the composer as a process, between its standard input and output.

It ends with the end of what it is told: End, the end of standard input, SIGTERM (as End), or nobody who reads.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import select
import signal
import sys
from collections import deque
from collections.abc import Callable
from typing import Final

from cloudrec_recorder.logs import configure
from cloudrec_recorder.mix import wire
from cloudrec_recorder.mix.composer import Composer

logger = logging.getLogger(__name__)

READ_BYTES: Final = 1 << 18
AHEAD_BYTES: Final = 64 << 20
"""So much is read before it is taken, to see how far composing is behind."""
PIPE_BYTES: Final = 1 << 20
POLL_SECONDS: Final = 0.25
"""How soon SIGTERM is seen when nothing comes."""

NICE: Final = 5
"""Whatever is captured can be composed later; what is not captured is lost."""
GARBAGE_THRESHOLD: Final = 50_000
"""Nearly nothing here is in cycles; looking for them at the default rate costs half a percent."""


class Ends:
    """Messages from one file descriptor, messages to another."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading = reading
        self._writing = writing
        self._splitter = wire.Splitter()
        self._messages: deque[tuple[wire.ToComposer | wire.FromComposer, int]] = deque()
        self._ahead = 0
        self._made = bytearray()
        self._buffer = bytearray(READ_BYTES)
        self.newest = float("-inf")
        """The time of the newest tick that has been read."""
        self._closed = False
        os.set_blocking(reading, False)
        for end in (reading, writing):
            with contextlib.suppress(OSError):  # no pipe, or no more is allowed
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    @property
    def over(self) -> bool:
        """Nothing more will come."""
        return self._closed and not self._messages

    def read(self, timeout: float) -> None:
        """Read what is there; wait for it so many seconds if nothing is. Raises ValueError on nonsense."""
        if not self._messages:
            select.select([self._reading], [], [], timeout)
        while not self._closed and self._ahead < AHEAD_BYTES:
            try:
                size = os.readv(self._reading, [self._buffer])
            except BlockingIOError:
                return
            if not size:
                self._closed = True
                return
            for message in self._splitter.feed(bytes(memoryview(self._buffer)[:size])):
                size = len(message.data) if isinstance(message, wire.Unit | wire.Image) else 0
                self._messages.append((message, size))
                self._ahead += size
                if isinstance(message, wire.Tick):
                    self.newest = max(self.newest, message.now)

    def next(self) -> wire.ToComposer | None:
        """The next message, of those that were read. Raises ValueError when it is one to a recorder."""
        if not self._messages:
            return None
        message, size = self._messages.popleft()
        self._ahead -= size
        if isinstance(message, wire.FromComposer):
            raise ValueError(f"a message that goes the other way: {type(message).__name__}")
        return message

    def put(self, message: wire.FromComposer) -> None:
        self._made += wire.encode(message)

    def write(self) -> None:
        """Write what was put. Raises BrokenPipeError when nobody reads."""
        view = memoryview(bytes(self._made))
        self._made.clear()
        while view:
            view = view[os.write(self._writing, view) :]


def serve(ends: Ends, terminated: Callable[[], bool]) -> None:
    """Take messages until the end."""
    composer: Composer | None = None
    while not ends.over:
        ends.read(POLL_SECONDS)
        if terminated():
            if composer is not None and ends.newest > float("-inf"):
                composer.take(wire.End(ends.newest))
                ends.write()
            return
        while (message := ends.next()) is not None:
            if composer is None:
                if not isinstance(message, wire.Setup):
                    raise ValueError("the first message is not the setup")
                composer = Composer(message, ends.put)
                continue
            composer.newest = ends.newest
            composer.take(message)
            if isinstance(message, wire.End):
                ends.write()
                return
            if isinstance(message, wire.Tick):
                break  # and see what has come meanwhile
        ends.write()


def main() -> int:
    """Entry point; returns the exit code."""
    configure(os.environ.get("CLOUDREC_LOG_LEVEL", "INFO"))
    terminated = False

    def terminate(_number: int, _frame: object) -> None:
        nonlocal terminated
        terminated = True

    os.nice(NICE)
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the recorder's matter
    try:
        serve(Ends(sys.stdin.fileno(), sys.stdout.fileno()), lambda: terminated)
    except BrokenPipeError:
        logger.info("nobody reads any more")
    except ValueError:
        logger.exception("what was told is no message of this place")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
