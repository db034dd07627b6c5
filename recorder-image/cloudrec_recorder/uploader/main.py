"""The sidecar's entry point: `cloudrec-uploader`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import time

from cloudrec_contract.resources import OutputFormat
from cloudrec_contract.spool import DRAINED, TASK
from cloudrec_recorder.logs import configure
from cloudrec_recorder.uploader.engine import Engine
from cloudrec_recorder.uploader.kube import Recordings, Resource
from cloudrec_recorder.uploader.report import Reporter
from cloudrec_recorder.uploader.resource import Wishes, follow, wishes
from cloudrec_recorder.uploader.s3 import S3Store
from cloudrec_recorder.uploader.salvaging import recorder_lives, salvage
from cloudrec_recorder.uploader.settings import HELP, Settings, SettingsError, from_environment
from cloudrec_recorder.uploader.store import Store
from cloudrec_recorder.uploader.taskfile import TaskFile

logger = logging.getLogger(__name__)


async def run(settings: Settings, store: Store, backup: Store | None, recordings: Recordings) -> None:
    """Upload and report until SIGTERM or SIGINT, and then until all is dealt with."""
    task_file = TaskFile(settings.spool / TASK, settings.task)
    reporter = Reporter(recordings.apply_report)

    async def end_journal() -> bool:
        if await recorder_lives(settings.spool):
            return False
        await salvage(settings.spool, settings.salvage_seconds)
        return True

    engine = Engine(
        settings.spool,
        store,
        task_file,
        reporter.tell,
        give_up_seconds=settings.give_up_seconds,
        backup=backup,
        backup_seconds=settings.backup_seconds,
        high_water=settings.high_water,
        salvage=end_journal,
        vod=settings.convert is not None and settings.convert.vod is not None,
    )

    def changed(now: Wishes) -> None:
        if now.gone:
            logger.info("the resource is gone: the recording stops")
            reporter.resource_gone()
        task_file.change(now.desired, now.subscribe, now.mix, superseded=now.superseded, replaced=now.replaced)
        engine.acknowledge(now.acked)
        if now.declared:
            reporter.declared()

    async def let_recorder_go() -> None:
        await engine.finished.wait()
        if not await reporter.accepted(settings.report_seconds):
            logger.warning("the last report is not accepted yet; the recorder is let go all the same")
        (settings.spool / DRAINED).touch()
        logger.info("all is uploaded: the recorder may go")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, engine.leave)

    def read(resource: Resource | None) -> Wishes:
        return wishes(resource, settings.task.task_id, settings.pod, settings.pod_uid)

    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(follow(recordings, read, changed)),
            group.create_task(reporter.run()),
            group.create_task(let_recorder_go()),
        ]
        await engine.run()
        await _last_words(settings, engine, reporter)
        for task in background:
            task.cancel()


async def _last_words(settings: Settings, engine: Engine, reporter: Reporter) -> None:
    """Before the process ends, have the last report accepted: for long while the API server is away, for a while when
    it will not have it."""
    deadline = time.monotonic() + settings.give_up_seconds
    while not await reporter.accepted(settings.report_seconds):
        if not reporter.away or time.monotonic() > deadline:
            logger.warning("the last report is not accepted")
            return


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="cloudrec-uploader", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args(argv)
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        print(f"cloudrec-uploader: {error}", file=sys.stderr)  # noqa: T201
        return 2
    configure(settings.log_level).fields.update(
        task=settings.task.task_id, attempt=settings.task.index, pod=settings.pod
    )
    for library in ("boto3", "botocore", "urllib3"):  # they would print headers
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        asyncio.run(_run(settings))
    except Exception:
        logger.exception("the uploader ends with an error and has to be started again")
        return 1
    return 0


async def _run(settings: Settings) -> None:
    convert = settings.convert
    store = S3Store(
        settings.store,
        settings.credentials,
        reads=convert is not None,
        removes=convert is not None and (convert.vod is not None or OutputFormat.HLS not in convert.formats),
    )
    backup = None
    if settings.backup is not None and settings.backup_credentials is not None:
        backup = S3Store(settings.backup, settings.backup_credentials)
    async with Recordings(settings) as recordings:
        await run(settings, store, backup, recordings)


if __name__ == "__main__":
    sys.exit(main())
