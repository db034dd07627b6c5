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
from pathlib import Path

from cloudrec_contract.conditions import Reason
from cloudrec_recorder.finisher.convertwork import ConvertWork, wall_ms
from cloudrec_recorder.finisher.depot import Depot
from cloudrec_recorder.finisher.drain import Drain
from cloudrec_recorder.finisher.drainwork import DrainWork
from cloudrec_recorder.finisher.settings import HELP, Settings, from_environment
from cloudrec_recorder.logs import configure
from cloudrec_recorder.uploader.kube import Recordings
from cloudrec_recorder.uploader.report import Reporter
from cloudrec_recorder.uploader.resource import follow
from cloudrec_recorder.uploader.settings import SettingsError

logger = logging.getLogger(__name__)


async def run(settings: Settings, scratch: Path) -> str:
    """Until all is done, or SIGTERM or SIGINT. Why it is to be tried again; empty when it is not."""
    stop = threading.Event()
    async with Recordings(settings) as recordings, asyncio.TaskGroup() as group:
        reporter = Reporter(recordings.apply_report)
        background = [group.create_task(reporter.run())]
        stage: ConvertWork | None = None
        if settings.convert is not None:
            stage = ConvertWork(settings, settings.convert, scratch, reporter, stop)
            background.append(group.create_task(follow(recordings, stage.read, stage.changed)))

        def end() -> None:
            stop.set()
            if stage is not None:
                stage.wake()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        try:
            failure = await _stages(settings, scratch, reporter, stage, stop)
        except BaseException:
            end()  # threads at work heed it
            raise
        if not failure and not stop.is_set() and not await reporter.accepted(settings.report_seconds):
            failure = "the last report was not accepted"
        for task in background:
            task.cancel()
    return failure


async def _stages(
    settings: Settings, scratch: Path, reporter: Reporter, stage: ConvertWork | None, stop: threading.Event
) -> str:
    """First what the backup store has, then MP4, AAC and VOD."""
    if settings.backup is not None and settings.backup_credentials is not None:
        backup = Depot(settings.backup, settings.backup_credentials)
        drain = Drain(Depot(settings.store, settings.credentials), backup, scratch, stop, wall_ms)
        tell = reporter.tell if stage is None else stage.board.drained
        failure = await DrainWork(drain, tell, stop, seconds=settings.finish_seconds, place=backup.where).run()
        if failure or stop.is_set():
            return failure
    elif stage is not None:
        stage.board.uploaded()
    return await stage.run() if stage is not None else ""


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
