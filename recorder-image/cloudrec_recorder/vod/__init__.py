"""Recordings for video on demand: a finished file is brought to a backend, which gives it an id and an address.

    VodError
    ├── VodUnreachable     no answer, 5xx, throttling: try again later
    └── VodRefused         keys, rights, parameters, a file that is not there: trying again is useless

What `Media.fetch` raises passes through as it is: it is no fault of VOD.
"""

from __future__ import annotations

from pathlib import Path

from cloudrec_contract.finish import VodTask
from cloudrec_recorder.vod.bucket import BucketBackend
from cloudrec_recorder.vod.interface import Backend, Committed, Media, VodError, VodRefused, VodUnreachable
from cloudrec_recorder.vod.tencent import AccountBackend

__all__ = ["Backend", "Committed", "Media", "VodError", "VodRefused", "VodUnreachable", "backend"]


def backend(task: VodTask, task_id: str, credentials: Path) -> Backend:
    """`credentials`: folder of the backend's Secret (bucket: accessKey, secretKey; tencent: secretId, secretKey), read
    at each commit."""
    if task.store is not None:
        return BucketBackend(task.store, task.options, task_id, credentials)
    if task.account is not None:
        return AccountBackend(task.account, task.options, credentials)
    raise ValueError("neither a store nor an account is given for VOD")
