"""What the gateway knows of the cluster: recordings by task id, and the apps; filled by watches and by own writes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from cloudrec_contract.resources import CloudRecordingStatus, RecordingAppSpec
from cloudrec_gateway.api import describe
from cloudrec_gateway.api.models import DescribeCloudRecordingResponse
from cloudrec_gateway.kube.client import Object

log = logging.getLogger(__name__)


class Key(NamedTuple):
    namespace: str
    name: str


class Task:
    """A version of a CloudRecording, as the API server gave it; what is made of it is made once.

    `status`, `known` and `told` raise pydantic.ValidationError when it is of another version of the contract.
    """

    def __init__(self, raw: Object) -> None:
        self.raw = raw
        meta = raw["metadata"]
        self.key = Key(meta["namespace"], meta["name"])
        self.uid: str = meta["uid"]
        self.version: str = meta["resourceVersion"]
        self.app = Key(meta["namespace"], raw["spec"]["appRef"]["name"])
        self._known: describe.Task | None = None
        self._told: DescribeCloudRecordingResponse | None = None

    @cached_property
    def status(self) -> CloudRecordingStatus:
        return CloudRecordingStatus.model_validate(self.raw.get("status") or {})

    def known(self, sdk_app_id: int) -> describe.Task:
        """As the API knows it. `sdk_app_id`: its app's, which never changes."""
        if self._known is None:
            self._known = describe.Task.parse(self.raw, sdk_app_id)
        return self._known

    def told(self, known: describe.Task) -> DescribeCloudRecordingResponse:
        """What Describe answers; `known` is its own."""
        if self._told is None:
            self._told = describe.described(known)
        return self._told


@dataclass(frozen=True, eq=False)
class App:
    """A RecordingApp that has `api` in its spec."""

    key: Key
    uid: str
    created: datetime
    version: str
    spec: RecordingAppSpec


T = TypeVar("T", Task, App)


class Shelf(Generic[T]):
    """The objects of one kind. An older version never replaces a newer one; whoever waits is woken by each change."""

    def __init__(self, make: Callable[[Object], T | None]) -> None:
        self._make: Callable[[Object], T | None] = make
        self._by_key: dict[Key, T] = {}
        self._by_uid: dict[str, T] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._heard: list[Callable[[], None]] = []
        self.synced = False

    def get(self, key: Key) -> T | None:
        return self._by_key.get(key)

    def by_uid(self, uid: str) -> T | None:
        return self._by_uid.get(uid)

    def all(self) -> list[T]:
        return list(self._by_key.values())

    def on_change(self, heard: Callable[[], None]) -> None:
        """Have `heard` called after each change."""
        self._heard.append(heard)

    # --- as a Sink --------------------------------------------------------------------------------------------------

    def replace(self, objects: list[Object]) -> None:
        there = {_key(found) for found in objects}
        for key in self._by_key.keys() - there:
            self._forget(key)
        for found in objects:
            self._keep(found)
        self.synced = True
        self._changed()

    def put(self, found: Object) -> None:
        self._keep(found)
        self._changed()

    def drop(self, gone: Object) -> None:
        known = self._by_key.get(_key(gone))
        if known is not None and known.uid == gone["metadata"]["uid"]:
            self._forget(_key(gone))
            self._changed()

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def until(self, holds: Callable[[], bool], deadline: float) -> bool:
        """Wait until `holds`, looked at now and after each change; False at `deadline`, of the loop's clock."""
        loop = asyncio.get_running_loop()
        while not holds():
            left = deadline - loop.time()
            if left <= 0:
                return False
            change = loop.create_future()
            self._waiting.add(change)
            try:
                async with asyncio.timeout(left):
                    await change
            except TimeoutError:
                return holds()
            finally:
                self._waiting.discard(change)
        return True

    # ----------------------------------------------------------------------------------------------------------------

    def _keep(self, found: Object) -> None:
        key = _key(found)
        known = self._by_key.get(key)
        if known is not None and _number(found["metadata"]["resourceVersion"]) < _number(known.version):
            return
        found["metadata"].pop("managedFields", None)
        self._forget(key)
        made = self._make(found)
        if made is not None:
            self._by_key[key] = made
            self._by_uid[made.uid] = made

    def _forget(self, key: Key) -> None:
        known = self._by_key.pop(key, None)
        if known is not None:
            self._by_uid.pop(known.uid, None)

    def _changed(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for change in waiting:
            if not change.done():
                change.set_result(None)
        for heard in self._heard:
            heard()


def _key(found: Object) -> Key:
    return Key(found["metadata"]["namespace"], found["metadata"]["name"])


def _number(version: str) -> int:
    """resourceVersions of one resource compare as numbers (KEP-5504)."""
    return int(version) if version.isdigit() else 0


def make_app(found: Object) -> App | None:
    """None for an app that the gateway does not serve."""
    meta = found["metadata"]
    if not found.get("spec", {}).get("api"):
        return None
    try:
        spec = RecordingAppSpec.model_validate(found["spec"])
    except ValidationError as invalid:
        places = "; ".join(".".join(map(str, e["loc"])) for e in invalid.errors(include_input=False)[:3])
        log.warning("RecordingApp %s/%s is left out: %s", meta["namespace"], meta["name"], places)
        return None
    created = datetime.fromisoformat(meta["creationTimestamp"])
    return App(_key(found), meta["uid"], created, meta["resourceVersion"], spec)


class Cache:
    """Recordings and apps of the namespaces that are watched."""

    def __init__(self) -> None:
        self.tasks: Shelf[Task] = Shelf(Task)
        self.apps: Shelf[App] = Shelf(make_app)

    def missing(self) -> str:
        """What has not been read yet; empty when all has."""
        if not self.apps.synced:
            return "RecordingApps have not been read yet"
        return "" if self.tasks.synced else "CloudRecordings have not been read yet"
