"""Logs of the Pod's two processes, each line with the task and the attempt once they are known."""

from __future__ import annotations

import logging

from cloudrec_contract import logs


def configure(level: str) -> logs.JsonFormatter:
    """Log to standard error from now on; the formatter is returned so that fields can be added."""
    formatter = logs.configure(level)
    for chatty in ("aioice", "aiortc", "libav"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return formatter
