"""The operator's logs: the recording and the task in each line where they are known, and little of kopf."""

from __future__ import annotations

import logging

from cloudrec_contract import logs

_KOPF_FIELDS = ("settings", "k8s_skip")


def configure(level: str) -> None:
    """Log to standard error from now on."""
    logs.configure(level, without=_KOPF_FIELDS)
    # kopf tells of each event it has handled; that is ours to say.
    for noisy in ("kopf", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # Signals are the main thread's: kopf, in a thread of its own, warns that it gets none.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
