"""The recorder's settings: environment variables, each with its unit, default and motive; arguments win over them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudrec_contract.spool import TASK

_DESCRIPTION = """\
Record one room: join it as a hidden robot, write each user's audio and video as HLS segments into the spool, and say in
the spool's journal what was done. The uploader beside it gives the task and takes the files away."""

_EPILOG = """\
environment (arguments win):
  CLOUDREC_SPOOL            folder shared with the uploader (default /spool)
  CLOUDREC_ROOM_TOKEN       file with the room token (default /run/cloudrec/room/token)
  CLOUDREC_TERMINATION_LOG  where the reason of the end is written (default /dev/termination-log)
  CLOUDREC_TASK_TIMEOUT     seconds to wait for the task file (default 900: the uploader checks the bucket first)
  CLOUDREC_DRAIN_TIMEOUT    seconds to wait at the end until all is uploaded (default 3000)
  CLOUDREC_LOG_LEVEL        DEBUG, INFO, WARNING or ERROR (default INFO)

SIGTERM ends the recording: files are closed and handed to the uploader.
exit codes: 0 ended; 1 failed, the termination log says why; 2 bad arguments"""


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds."""

    spool: Path
    task: Path
    token_file: Path
    termination_log: Path
    task_timeout: float
    drain_timeout: float
    log_level: str


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings of a command line. Ends the process with code 2 and a message when something is wrong."""
    parser = argparse.ArgumentParser(
        prog="cloudrec-recorder",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    env = environment.get
    parser.add_argument(
        "--spool", type=Path, metavar="DIR", default=Path(env("CLOUDREC_SPOOL", "/spool")), help="shared folder"
    )
    parser.add_argument("--task", type=Path, metavar="FILE", help="task file (default <spool>/task.json)")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        default=Path(env("CLOUDREC_ROOM_TOKEN", "/run/cloudrec/room/token")),
        help="file with the room token",
    )
    given = parser.parse_args(arguments)

    def seconds(name: str, default: float) -> float:
        text = env(name, str(default))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value <= 86_400:
            parser.error(f"{name} must be a number of seconds from 0 to 86400, not {text!r}")
        return value

    level = env("CLOUDREC_LOG_LEVEL", "INFO").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        parser.error(f"CLOUDREC_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not {level!r}")
    return Settings(
        spool=given.spool,
        task=given.task or given.spool / TASK,
        token_file=given.token_file,
        termination_log=Path(env("CLOUDREC_TERMINATION_LOG", "/dev/termination-log")),
        task_timeout=seconds("CLOUDREC_TASK_TIMEOUT", 900.0),
        drain_timeout=seconds("CLOUDREC_DRAIN_TIMEOUT", 3000.0),
        log_level=level,
    )
