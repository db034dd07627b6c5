"""What a finisher is told of the files that it is to make, and what it keeps in the bucket. Pure.

All finishers of a task go on with one ledger, an object beside the recording's files: what is stored, and which events
were said of it. So one that was killed is followed by another that repeats nothing.
"""

from __future__ import annotations

from typing import Final

from pydantic import ConfigDict, Field

from cloudrec_contract.model import Lenient
from cloudrec_contract.naming import FileNames
from cloudrec_contract.resources import (
    AppStorage,
    EventFact,
    Mode,
    OutputFormat,
    Prefix,
    Room,
    Vod,
    VodBucket,
)
from cloudrec_contract.spool import ObjectStore
from cloudrec_contract.storage import object_store

LEDGER: Final = "outputs.json"
DAY: Final = 86_400


class VodStore(Lenient):
    """The backend `bucket`. `expiring`: the key prefix under which everything is deleted after `expire_days`; empty
    when nothing is."""

    store: ObjectStore
    public_url: str | None = None
    presign_seconds: int = 604800
    expiring: str = ""
    expire_days: int = 0


class VodAccount(Lenient):
    """The backend `tencent`."""

    region: str
    endpoint: str
    upload_endpoint: str | None = None
    sub_app_id: int | None = None


class VodTask(Lenient):
    """Exactly one of `store` and `account`."""

    options: Vod
    store: VodStore | None = None
    account: VodAccount | None = None


class ConvertTask(Lenient):
    """`formats`: what there is to be in the end; without HLS among them it goes. `vod` None: the files stay in the
    recording's own bucket."""

    sdk_app_id: int
    room: Room
    mode: Mode
    formats: list[OutputFormat]
    max_file_minutes: int = 1440
    vod: VodTask | None = None

    @property
    def names(self) -> FileNames:
        return FileNames(self.sdk_app_id, self.room.id, self.room.type)


class StoredFile(Lenient):
    """One file under its final name: `start`, `end` in ms since the Unix epoch. `file_id`, `url`: what VOD gave it."""

    name: str
    bytes: int
    start: int
    end: int
    file_id: str = ""
    url: str = ""


class Output(Lenient):
    """All files of one format of one user's main or aux, or of the mixed recording (`user_id` empty, `media` mix).

    `reencoded`: why something was encoded anew, empty when nothing was. `faults`: what is not in it, or why it could
    not be made or stored. `notes`: what else is to be known of its files. It is written as it comes about.
    """

    model_config = ConfigDict(frozen=False)

    user_id: str
    media: str
    format: OutputFormat
    kind: str
    files: list[StoredFile] = []
    reencoded: list[str] = []
    faults: list[str] = []
    notes: list[str] = []
    failed: bool = False


class Ledger(Lenient):
    """`events` are numbered from 1 without gaps. `done`: nothing is to be made any more.

    `making`: what is stored so far of an output that is not whole. `sessions`: by file name the token of an upload to
    VOD whose end is not known. It is written as it comes about.
    """

    model_config = ConfigDict(frozen=False)

    task_id: str
    outputs: list[Output] = []
    making: Output | None = None
    sessions: dict[str, str] = {}
    events: list[EventFact] = []
    done: bool = Field(False)


def vod_store(bucket: VodBucket, options: Vod, app: AppStorage, task_id: str) -> VodStore:
    """Where files go that are played from a bucket. Raises ValueError when its endpoint is not known."""
    days = -(-options.expire_seconds // DAY)
    folders: list[Prefix] = [*bucket.prefix, f"expire-{days}d"] if days else list(bucket.prefix)
    return VodStore(
        store=object_store(bucket.model_copy(update={"prefix": folders}), app, task_id),
        public_url=bucket.public_url,
        presign_seconds=bucket.presign_seconds,
        expiring="/".join(folders) + "/" if days else "",
        expire_days=days,
    )
