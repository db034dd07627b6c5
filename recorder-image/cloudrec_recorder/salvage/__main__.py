"""`python -m cloudrec_recorder.salvage SPOOL`. Exit status: 0 done; 1 the disk failed, it may be run again."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from cloudrec_recorder.logs import configure
from cloudrec_recorder.salvage.spool import salvage

logger = logging.getLogger("cloudrec_recorder.salvage")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m cloudrec_recorder.salvage",
        description="Close what a dead recorder left open in its spool, and end its journal.",
        allow_abbrev=False,
    )
    parser.add_argument("spool", type=Path, metavar="SPOOL", help="the folder that the recorder wrote to")
    given = parser.parse_args(arguments)
    configure(os.environ.get("CLOUDREC_LOG_LEVEL") or "INFO")
    begun = time.monotonic()
    try:
        saved = salvage(given.spool, lambda: time.time_ns() // 1_000_000)
    except OSError as error:
        logger.error("the spool cannot be salvaged: %s", error)
        return 1
    logger.info("%d segments are salvaged in %.2f s", saved, time.monotonic() - begun)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
