"""Having a dead recorder's spool salvaged, by a child: it reads files that a process full of strangers' media wrote."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cloudrec_contract.spool import ALIVE

logger = logging.getLogger(__name__)

ALIVE_SECONDS: Final = 5.0
"""A recorder that lives has touched its heartbeat within this time: it does so every 2 s."""
TRIES: Final = 3
BETWEEN_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.1


class SalvageFailed(Exception):
    """The message says why."""


async def recorder_lives(spool: Path, wall: Callable[[], float] = time.time) -> bool:
    """Whether the recorder touches its heartbeat: this sidecar alone was told to go then.

    At once when the heartbeat is old; else it is watched for `ALIVE_SECONDS`.
    """
    beat = _beat(spool)
    if beat is None or not 0 <= wall() - beat < ALIVE_SECONDS:
        return False
    until = time.monotonic() + ALIVE_SECONDS
    while time.monotonic() < until:
        await asyncio.sleep(_POLL_SECONDS)
        if _beat(spool) != beat:
            return True
    return False


def _beat(spool: Path) -> float | None:
    try:
        return (spool / ALIVE).lstat().st_mtime
    except FileNotFoundError:
        return None


async def salvage(spool: Path, seconds: float) -> None:
    """Run the program to its end, some times if need be, in so many seconds. Raises SalvageFailed."""
    failure = "nothing was tried"
    try:
        async with asyncio.timeout(seconds):
            for number in range(TRIES):
                if number:
                    await asyncio.sleep(BETWEEN_SECONDS)  # an upload may make room on a full disk
                code = await _run(spool)
                if code == 0:
                    return
                failure = f"it ended with code {code}"
                logger.warning("salvage failed: %s", failure)
    except TimeoutError:
        failure = f"it was not done in {seconds:.0f} s"
    except OSError as error:
        failure = f"it could not be run: {error}"
    raise SalvageFailed(failure)


async def _run(spool: Path) -> int:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cloudrec_recorder.salvage", str(spool), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        return await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
