"""An API server in memory, and sample objects."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

from cloudrec_contract.secret import Secret
from cloudrec_gateway.kube.cache import App, Shelf, Task, make_app
from cloudrec_gateway.kube.client import Conflict, NotFound, Object, Unavailable

RECORDINGS = "/apis/cloudrec.dev/v1alpha1/namespaces/school/cloudrecordings"
SECRETS = "/api/v1/namespaces/school/secrets"
UID = "0b9d2c4e-0000-4000-8000-{:012d}"


class FakeKube:
    """`Writes` and `Gets`. What is written goes to `tasks`, as a watch would tell. `before` is called at each call with
    its method and path, and may raise."""

    def __init__(self, tasks: Shelf[Task] | None = None) -> None:
        self.objects: dict[str, Object] = {}
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda method, path: None
        self._tasks = tasks
        self._numbers = itertools.count(1000)

    async def get(self, path: str, seconds: float = 10) -> Object:
        self._call("GET", path)
        return copied(self._there(path))

    async def create(self, path: str, body: Object, seconds: float = 10) -> Object:
        self._call("POST", path)
        place = f"{path}/{body['metadata']['name']}"
        if place in self.objects:
            raise Conflict(409, "AlreadyExists")
        number = next(self._numbers)
        return self._store(place, {**body, "metadata": {**body["metadata"], "uid": UID.format(number)}})

    async def patch(self, path: str, body: Object, seconds: float = 10) -> Object:
        self._call("PATCH", path)
        there = self._there(path)
        if body.get("metadata", {}).get("uid", there["metadata"]["uid"]) != there["metadata"]["uid"]:
            raise Conflict(409, "uid")
        return self._store(path, {**there, "spec": {**there["spec"], **body.get("spec", {})}})

    async def delete(self, path: str, uid: str, version: str, seconds: float = 10) -> None:
        self._call("DELETE", path)
        meta = self._there(path)["metadata"]
        if (meta["uid"], meta["resourceVersion"]) != (uid, version):
            raise Conflict(409, "precondition")
        gone = self.objects.pop(path)
        if self._tasks is not None and path.startswith(RECORDINGS):
            self._tasks.drop(gone)

    def decide(self, name: str, status: Object) -> None:
        """What the operator writes."""
        path = f"{RECORDINGS}/{name}"
        self._store(path, {**self._there(path), "status": status})

    def names(self, collection: str) -> list[str]:
        return [path.rsplit("/", 1)[1] for path in self.objects if path.startswith(f"{collection}/")]

    def _call(self, method: str, path: str) -> None:
        self.calls.append((method, path))
        self.before(method, path)

    def _there(self, path: str) -> Object:
        if path not in self.objects:
            raise NotFound(404, path)
        return self.objects[path]

    def _store(self, path: str, body: Object) -> Object:
        version = str(next(self._numbers))
        self.objects[path] = {**body, "metadata": {**body["metadata"], "resourceVersion": version}}
        if self._tasks is not None and path.startswith(RECORDINGS):
            self._tasks.put(copied(self.objects[path]))
        return copied(self.objects[path])


def copied(found: Object) -> Object:
    return {**found, "metadata": dict(found["metadata"])}


class Times:
    """Raises Unavailable the first `count` times that a call of `method` is made on a path that ends so."""

    def __init__(self, count: int, method: str, end: str = "", error: Exception | None = None) -> None:
        self._count = count
        self._method = method
        self._end = end
        self._error = error or Unavailable(503, "away")

    def __call__(self, method: str, path: str) -> None:
        if method == self._method and path.endswith(self._end) and self._count > 0:
            self._count -= 1
            raise self._error


def accepted(uid: str, phase: str = "Pending") -> Object:
    return {"phase": phase, "taskId": uid, "epoch": 1_700_000_000_000}


def not_accepted(reason: str, phase: str = "Pending", message: str = "why") -> Object:
    condition = {"type": "Accepted", "status": "False", "reason": reason, "message": message}
    return {"phase": phase, "conditions": [{**condition, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}


def recording(name: str = "lesson", status: Object | None = None, app: str = "demo", **meta: Any) -> Object:
    bucket = {"vendor": "AWS", "region": "local", "bucket": "recordings", "credentialsSecretRef": {"name": "b"}}
    return {
        "metadata": {
            "name": name,
            "namespace": "school",
            "uid": UID.format(7),
            "resourceVersion": "7",
            **meta,
        },
        "spec": {"appRef": {"name": app}, "room": {"id": "12345"}, "storage": {"bucket": bucket}},
        "status": status or {},
    }


def raw_app(name: str = "demo", sdk_app_id: int = 1400000001, created: int = 0, **spec: Any) -> Object:
    namespace = spec.pop("namespace", "school")
    livekit = {"url": "ws://livekit.test", "apiKeySecretRef": {"name": "livekit"}}
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "resourceVersion": "1",
            "creationTimestamp": f"2026-01-01T00:00:{created:02d}Z",
        },
        "spec": {
            "sdkAppId": sdk_app_id,
            "room": {"livekit": livekit},
            "api": {"credentialsSecretRef": {"name": f"{name}-keys"}},
            **spec,
        },
    }


def app(name: str = "demo", sdk_app_id: int = 1400000001, created: int = 0, **spec: Any) -> App:
    made = make_app(raw_app(name, sdk_app_id, created, **spec))
    assert made is not None
    return made


def raw_secret(**values: str) -> Object:
    return {"metadata": {}, "data": {key: base64.b64encode(text.encode()).decode() for key, text in values.items()}}


def secrets(**values: str) -> dict[str, Secret]:
    return {key: Secret(text) for key, text in values.items()}
