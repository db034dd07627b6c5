"""CPU time of a delivered callback, its confirmation in the status included, and memory while a receiver is dead.

The operator is the real program, in a process of its own, before a real API server; so is everything between an event
in a recording's status and its number in `acked`. Only its process is counted. A round: the receiver refuses while the
events are reported, then takes them, until all are confirmed. Beside it a bare loop POSTs as many signed events with
the same HTTP client (aiohttp) to the same receiver, as many at a time. Both take turns.

  us_per_event  CPU microseconds of an event, by kind
  ratio         of these, operator/bare, the median of the rounds' ratios
  waiting_mb    what the operator holds (PSS) while the receiver hangs and each task has events for it, less what it
                held before, with the same recordings, when nothing was waiting
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import Final

import aiohttp

from benchmarks.delivering import Desk, Hook, Operator, Task, desk
from benchmarks.figures import ratio, report

TARGETS: Final = {"ratio": 4.0, "waiting_mb": 50}
TASKS: Final = 200
EVENTS: Final = 30
WAITING: Final = 1000
WAITING_EVENTS: Final = 5
_DEADLINE: Final = 300.0
_WAIT_SECONDS: Final = 45.0
"""How long the receiver is dead before memory is looked at."""


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    command = (sys.executable, "-m", "benchmarks.hook", "receiver")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = int(await asyncio.to_thread(process.stdout.readline))
            async with aiohttp.ClientSession() as session:
                yield Hook(port, session)
        finally:
            process.kill()


class Bare:
    """The bare loop's process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    async def post(self, count: int) -> float:
        """CPU seconds that so many events took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"%d\n" % count)
        self._process.stdin.flush()
        return float(await asyncio.to_thread(self._process.stdout.readline))


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[Bare]:
    command = (sys.executable, "-m", "benchmarks.hook", "bare", url)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield Bare(process)
        finally:
            process.kill()


async def delivery(world: Desk, operator: Operator, receiver: Hook, tasks: Sequence[Task], events: int) -> float:
    """CPU seconds from when the receiver takes the events of these tasks until all are confirmed."""
    await receiver.mode("503")
    await world.happen(tasks, events)
    async with asyncio.timeout(_DEADLINE):
        while (await receiver.seen())["tasks"] < len(tasks):
            await asyncio.sleep(0.5)
    await operator.quiet(_DEADLINE)
    before = operator.processor_time()
    await receiver.mode("200")
    async with asyncio.timeout(_DEADLINE):
        while (await receiver.seen())["taken"] < len(tasks) * events:
            await asyncio.sleep(0.2)
        while not await world.confirmed(tasks):
            await asyncio.sleep(0.5)
    await operator.quiet(_DEADLINE)
    return operator.processor_time() - before


async def waiting(world: Desk, operator: Operator, receiver: Hook, events: int) -> tuple[float, float]:
    """The operator's memory, MB: with nothing to deliver, and with every task waiting for a receiver that hangs."""
    await operator.quiet(_DEADLINE)
    before = operator.memory()
    await receiver.mode("hang")
    await world.happen(world.tasks, events)
    await asyncio.sleep(_WAIT_SECONDS)
    return before / 1e6, operator.memory() / 1e6


async def measure(rounds: int, tasks: int, events: int, many: int) -> dict[str, object]:
    async with (
        hook() as receiver,
        desk(f"{receiver.base}/hook") as (world, operator),
        bare(f"{receiver.base}/hook") as loop,
    ):
        await world.record(tasks)
        seconds: dict[str, list[float]] = {"operator": [], "bare": []}
        some = list(world.tasks)
        await delivery(world, operator, receiver, some, events)
        await loop.post(tasks * events // 4)
        for number in range(rounds):
            seconds["operator"].append(await delivery(world, operator, receiver, some, events))
            seconds["bare"].append(await loop.post(tasks * events))
            ours, theirs = (1e6 * each[-1] / (tasks * events) for each in seconds.values())
            print(f"round {number + 1}: {ours:.0f} us an event, bare {theirs:.0f}", file=sys.stderr, flush=True)
        await world.record(many - tasks)
        held = await waiting(world, operator, receiver, WAITING_EVENTS)
    return summary(seconds, tasks * events, held)


def summary(seconds: dict[str, list[float]], count: int, held: tuple[float, float]) -> dict[str, object]:
    """What is reported: CPU seconds of each round of `count` events, by kind; memory in MB before and while waiting."""
    return {
        "us_per_event": {kind: round(1e6 * median(each) / count) for kind, each in seconds.items()},
        "ratio": round(ratio(seconds["operator"], seconds["bare"]), 2),
        "memory_mb": {"base": round(held[0], 1), "waiting": round(held[1], 1)},
        "waiting_mb": round(held[1] - held[0], 1),
        "targets": TARGETS,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.callbacks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind (5)")
    parser.add_argument("--tasks", type=int, default=TASKS, help=f"recordings that have events ({TASKS})")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"events of each in a run ({EVENTS})")
    parser.add_argument("--waiting", type=int, default=WAITING, help=f"recordings for the memory ({WAITING})")
    parser.add_argument("--quick", action="store_true", help="one round with a few recordings: does it still run?")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.tasks, options.waiting = 1, 10, 20

    async def measured() -> dict[str, object]:
        work = asyncio.ensure_future(measure(options.rounds, options.tasks, options.events, options.waiting))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)  # what it started ends with it
        return await work

    figures = asyncio.run(measured())
    report("callbacks", figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
