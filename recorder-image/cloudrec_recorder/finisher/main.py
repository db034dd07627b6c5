"""The finisher's entry point: `cloudrec-finisher`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from cloudrec_contract.conditions import Reason
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.finisher.drain import Drain
from cloudrec_recorder.finisher.settings import HELP, Settings, from_environment
from cloudrec_recorder.finisher.work import Finisher
from cloudrec_recorder.logs import configure
from cloudrec_recorder.uploader.kube import Recordings
from cloudrec_recorder.uploader.report import Reporter
from cloudrec_recorder.uploader.settings import SettingsError

logger = logging.getLogger(__name__)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


async def run(settings: Settings, scratch: Path) -> str:
    """Until all is done, or SIGTERM or SIGINT. Why it is to be tried again; empty when it is not."""
    stop = threading.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    backup = Depot(settings.backup, settings.backup_credentials)
    drain = Drain(Depot(settings.store, settings.credentials), backup, scratch, stop, wall_ms)
    async with Recordings(settings) as recordings, asyncio.TaskGroup() as group:
        reporter = Reporter(recordings.apply_report)
        reporting = group.create_task(reporter.run())
        finisher = Finisher(drain, reporter.tell, stop, seconds=settings.finish_seconds, place=backup.where)
        failure = await finisher.run()
        if not failure and not stop.is_set() and not await reporter.accepted(settings.report_seconds):
            failure = "the last report was not accepted"
        reporting.cancel()
    return failure


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="cloudrec-finisher", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(argv)
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        print(f"cloudrec-finisher: {error}", file=sys.stderr)  # noqa: T201
        return 2
    configure(settings.log_level).fields.update(task=settings.task_id, pod=settings.pod)
    for library in ("boto3", "botocore", "urllib3"):  # they would print headers
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory(prefix="finisher-") as scratch:
            failure = asyncio.run(run(settings, Path(scratch)))
    except Exception as error:
        logger.exception("the finisher ends with an error and has to be started again")
        failure = f"{type(error).__name__}: {error}"
    if failure and settings.termination_log is not None:
        last = {"reason": Reason.FINISHER_FAILED, "message": failure[:1024]}
        settings.termination_log.write_text(json.dumps(last))
    return 1 if failure else 0
