"""What is looked at, and what is done about it that may not be seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cloudrec_operator.api import Api, Object
from cloudrec_operator.errors import api_error
from cloudrec_operator.observe import Observer
from cloudrec_operator.observed import Node, Observed, Pod
from cloudrec_operator.running import Feed
from cloudrec_operator.store import Key, Store
from cloudrec_operator.watch import in_short
from cloudrec_operator.workqueue import WorkQueue
from tests.unit.operator.samples import (
    APP_SPEC,
    BUCKET_VOD,
    NOW,
    SETTINGS,
    SPEC,
    TENCENT_VOD,
    UID,
    VOD_SPEC,
    accepted,
    attempt,
    recording,
)

PODS = "/api/v1/namespaces/school/pods"
EMPTY: Object = {"items": [], "metadata": {}}


class Server:
    """Answers what it was given; anything else is not there. An error is raised."""

    def __init__(self, answers: Mapping[str, Object | Exception | None]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "",
    ) -> Object:
        assert method == "GET"
        self.asked.append(path)
        answer = self.answers.get(path)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            raise api_error(404, "NotFound", path)
        return answer


def raw_pod(index: int, node: str = "n1", **meta: Any) -> Object:
    name = f"lesson-0b9d2-{index}"
    return {
        "metadata": {
            "name": name,
            "namespace": "school",
            "uid": f"uid-{index}",
            "resourceVersion": "5",
            "labels": {"cloudrec.dev/task": UID, "cloudrec.dev/recording": "lesson"},
            "ownerReferences": [{"uid": UID, "controller": True}],
            **meta,
        },
        "spec": {"nodeName": node},
        "status": {"phase": "Running"},
    }


def raw_node(ready: str = "True", name: str = "n1", version: str = "1") -> Object:
    condition = {"type": "Ready", "status": ready, "reason": "Test", "message": "said so"}
    status = {"conditions": [condition], "images": [{"names": ["a"]}]}
    return {"metadata": {"name": name, "uid": "n", "resourceVersion": version}, "status": status}


def observer(server: Server, store: Store | None = None) -> Observer:
    return Observer(Api(server), store or Store(), SETTINGS, lambda: NOW)


async def around(server: Server, *attempts: dict[str, Any], store: Store | None = None) -> Observed:
    rec = recording(status=accepted(attempts=list(attempts)))
    return await observer(server, store).around(rec)


def serving(more: Mapping[str, Object | Exception | None] | None = None) -> Server:
    """The first attempt's Pod on its node, and what is given."""
    return Server({f"{PODS}/lesson-0b9d2-0": raw_pod(0), "/api/v1/nodes/n1": raw_node(), **(more or {})})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (raw_node(), Node()),
        (raw_node("Unknown"), Node("node n1 is not ready: said so")),
        (raw_node("False"), Node("node n1 is not ready: said so")),
        ({"metadata": {"name": "n1"}, "status": {}}, Node("node n1 is not ready: it has not said a word")),
        (None, Node("node n1 does not exist any more", gone=True)),
        (api_error(403, "Forbidden", "nodes are not for you"), Node()),
    ],
)
async def test_the_nodes_of_pods_are_looked_at(answer: Object | Exception | None, expected: Node) -> None:
    server = serving({"/api/v1/nodes/n1": answer})
    assert (await around(server, attempt(0))).nodes == {"n1": expected}


async def test_a_pod_that_is_gone_is_not_asked_for_again() -> None:
    server = serving()
    rec = recording(status=accepted(attempts=[attempt(0), attempt(1), attempt(2, podUID=None)]))
    looking = observer(server)
    assert set((await looking.around(rec)).pods) == {"lesson-0b9d2-0"}
    server.asked.clear()
    await looking.around(rec)
    assert f"{PODS}/lesson-0b9d2-1" not in server.asked
    assert f"{PODS}/lesson-0b9d2-2" in server.asked, "it may be made at any time"


async def test_pods_that_no_attempt_names_are_seen_when_the_status_lost_them() -> None:
    store = Store()
    store.pods.put(raw_pod(3))
    store.pods.put(raw_pod(4, labels={"cloudrec.dev/task": "another"}))
    rec = recording(status=accepted(attempts=[]))
    assert set((await observer(serving(), store).around(rec)).pods) == {"lesson-0b9d2-3"}


@pytest.mark.parametrize(
    ("namespace", "expected"),
    [
        ({"metadata": {"name": "school"}}, False),
        ({"metadata": {"name": "school", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, True),
        (None, True),
        (api_error(403, "Forbidden", ""), False),
    ],
)
async def test_a_pod_that_goes_has_its_namespace_looked_at(namespace: Any, expected: bool) -> None:
    leaving = raw_pod(0, deletionTimestamp="2026-01-01T00:00:00Z")
    server = serving({f"{PODS}/lesson-0b9d2-0": leaving, "/api/v1/namespaces/school": namespace})
    assert (await around(server, attempt(0))).namespace_ends is expected
    calm = serving({"/api/v1/namespaces/school": namespace})
    assert not (await around(calm, attempt(0))).namespace_ends
    assert "/api/v1/namespaces/school" not in calm.asked


async def test_the_namespace_of_a_finishers_pod_is_looked_at_although_the_recording_was_stopped() -> None:
    finisher = {"pod": "lesson-0b9d2-f0", "role": "Finish"}
    leaving = raw_pod(0, name="lesson-0b9d2-f0", deletionTimestamp="2026-01-01T00:00:00Z")
    there = {f"{PODS}/lesson-0b9d2-f0": leaving, "/api/v1/namespaces/school": None}
    both = [attempt(0, ago=9), attempt(0, **{**finisher, "podUID": "uid-0"})]
    stopped = recording({**SPEC, "desiredState": "Stopped"}, accepted(attempts=both))
    assert (await observer(serving(there)).around(stopped)).namespace_ends
    deleted = replace(stopped, deleted_at=NOW)
    server = serving(there)
    assert not (await observer(server).around(deleted)).namespace_ends
    assert "/api/v1/namespaces/school" not in server.asked


@pytest.mark.parametrize(
    ("spec", "app", "read"),
    [
        (SPEC, BUCKET_VOD, ["bucket-keys", "livekit-keys"]),
        (VOD_SPEC, BUCKET_VOD, ["livekit-keys", "spool-keys", "vod-keys"]),
        (VOD_SPEC, TENCENT_VOD, ["cam-keys", "livekit-keys", "spool-keys"]),
        (VOD_SPEC, APP_SPEC, ["livekit-keys"]),
        (SPEC, None, []),
    ],
)
async def test_the_secrets_that_a_recording_goes_by_are_read(spec: Any, app: Any, read: list[str]) -> None:
    secrets = "/api/v1/namespaces/school/secrets/"
    group = "/apis/cloudrec.dev/v1alpha1/namespaces/school"
    known = {f"{secrets}{name}": {"metadata": {"name": name}, "data": {}} for name in read}
    metadata = {"name": "demo", "namespace": "school", "uid": "a", "resourceVersion": "1"}
    there = {"metadata": metadata, "spec": app} if app else None
    lists: dict[str, Object | None] = {f"{group}/recordingapps/demo": there, f"{group}/cloudrecordings": EMPTY}
    server = Server({**known, **lists})
    seen = await observer(server).around(recording(spec))
    assert sorted(path.removeprefix(secrets) for path in server.asked if path.startswith(secrets)) == read
    found = (seen.app_secret, seen.bucket_secret, seen.backup_secret, seen.vod_secret)
    assert sorted(one.name for one in found if one is not None) == read


def test_a_disruption_is_read_from_the_pod() -> None:
    raw = raw_pod(0)
    target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    raw["status"]["conditions"] = [target]
    assert (Pod.parse(raw).disruption, Pod.parse(raw).leaving, Pod.parse(raw).node) == (
        "EvictionByEvictionAPI",
        True,
        "n1",
    )
    target["status"] = "False"
    assert not Pod.parse(raw).leaving


async def test_a_nodes_news_reach_the_recordings_on_it_and_heartbeats_nobody() -> None:
    store, queue = Store(), WorkQueue[Key]()
    feed = Feed(store, queue)
    feed.leading = True
    feed.take("pods", "ADDED", raw_pod(0))
    feed.take("pods", "ADDED", raw_pod(1, node="n2", labels={"cloudrec.dev/recording": "other"}))

    async def woken() -> set[str]:
        found = set()
        while len(queue):
            key = await queue.get()
            assert key is not None
            found.add(key.name)
            queue.done(key)
        return found

    assert await woken() == {"lesson", "other"}
    feed.take("nodes", "ADDED", in_short(raw_node()))
    assert await woken() == {"lesson"}
    feed.take("nodes", "MODIFIED", in_short(raw_node(version="2")))
    assert await woken() == set()
    feed.take("nodes", "MODIFIED", in_short(raw_node("Unknown", version="3")))
    assert await woken() == {"lesson"}
    feed.take("nodes", "DELETED", in_short(raw_node("Unknown", version="4")))
    assert await woken() == {"lesson"}


def test_a_node_is_kept_in_short() -> None:
    assert "images" not in in_short(raw_node())["status"]
