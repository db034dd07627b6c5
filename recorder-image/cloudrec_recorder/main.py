"""`cloudrec-recorder`: the process that records one room."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

from cloudrec_contract.conditions import Reason
from cloudrec_contract.spool import Task
from cloudrec_recorder import settings as settings_module
from cloudrec_recorder.capture.clock import TaskClock
from cloudrec_recorder.logs import configure
from cloudrec_recorder.media import MediaSink
from cloudrec_recorder.recording import Clock, Outcome, hold_seconds
from cloudrec_recorder.rooms import Room
from cloudrec_recorder.rooms.livekit import LiveKitRoom
from cloudrec_recorder.session import Limits, Session
from cloudrec_recorder.settings import Settings
from cloudrec_recorder.tasks import TaskFile

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    settings = settings_module.parse(sys.argv[1:] if arguments is None else arguments, os.environ)
    if settings.standalone is not None:
        from cloudrec_recorder.standalone.command import record  # a Pod needs none of it

        return record(settings.task, settings.standalone, settings.log_level, os.environ)
    formatter = configure(settings.log_level)

    def name_in_logs(task: Task) -> None:
        formatter.fields.update(task=task.task_id, attempt=task.index)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_run(settings, name_in_logs))
    _tell(settings.termination_log, outcome)
    return 1 if outcome.failed else 0


async def _run(settings: Settings, name_in_logs: Callable[[Task], None]) -> Outcome:
    clock = Clock(now=time.monotonic, wall_ms=lambda: time.time_ns() // 1_000_000)
    limits = Limits(task=settings.task_timeout, drain=settings.drain_timeout, hand_over=settings.hand_over_timeout)

    def token() -> str:
        return settings.token_file.read_text().strip()  # the operator renews it

    def make_room(task: Task, sink: MediaSink) -> Room:
        return LiveKitRoom(task.livekit.url, token, sink, TaskClock(task.epoch), hold=hold_seconds(task))

    try:
        session = Session(settings.spool, TaskFile(settings.task), make_room, clock, limits, name_in_logs)
    except OSError as error:
        logger.error("the spool cannot be used: %s", error)
        return Outcome(True, Reason.SPOOL_FAILED, str(error))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, session.go_away, "told to end by SIGTERM")
    loop.add_signal_handler(signal.SIGINT, session.stop, "told to end by SIGINT")
    if settings.metrics_port:
        from cloudrec_recorder.metrics import serve  # few want it, and it takes memory

        try:
            serve(settings.metrics_port, session.figures)
        except OSError as error:
            logger.warning("no metrics: port %d: %s", settings.metrics_port, error.strerror)
    return await session.run()


def _tell(path: Path, outcome: Outcome) -> None:
    """Write the Pod's termination message: at most 4,096 bytes are kept by Kubernetes."""
    message = json.dumps({"reason": outcome.reason, "message": outcome.message[:2000]})
    try:
        path.write_text(message)
    except OSError as error:
        logger.warning("no termination message: %s", error)


if __name__ == "__main__":
    raise SystemExit(main())
