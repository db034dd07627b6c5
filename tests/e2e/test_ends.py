"""How recordings end, and why they do not begin, on the whole stack: phase, condition and `kubectl describe`."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import CloudRecordingStatus, Phase
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.plan import standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from tests.e2e.task import NAMESPACE, Cluster, recording

pytestmark = [pytest.mark.media, pytest.mark.cluster]


def condition(status: CloudRecordingStatus, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition; fails when it is not there."""
    (found,) = [c for c in status.conditions if c.type == kind]
    return found.status, found.reason, found.message


def has_reason(*reasons: Reason) -> Any:
    return lambda status: any(c.reason in reasons for c in status.conditions)


def secret(name: str, **values: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "data": data}


def app(name: str, url: str, keys: str) -> dict[str, Any]:
    return {
        "apiVersion": "cloudrec.dev/v1alpha1",
        "kind": "RecordingApp",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"sdkAppId": 1400000002, "room": {"livekit": {"url": url, "apiKeySecretRef": {"name": keys}}}},
    }


def events(status: CloudRecordingStatus) -> list[tuple[int, dict[str, Any]]]:
    told = [*status.operator_events]
    for attempt in status.attempts:
        told += attempt.report.events if attempt.report else []
    return [(event.type, event.args) for event in told]


async def test_a_refused_token_fails_at_once(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    await cluster.apply(tmp_path, secret("wrong-livekit", apiKey="nobody", apiSecret="x" * 40))
    made = app("refusing", cluster.server.url, "wrong-livekit")
    made["spec"]["storage"] = await _endpoints(cluster)
    await cluster.apply(tmp_path, made)
    await cluster.apply(tmp_path, recording("refused", "r", appRef={"name": "refusing"}))
    status = await cluster.phase("refused", Phase.FAILED)
    assert condition(status, "RecorderReady")[:2] == ("False", Reason.TOKEN_REFUSED)
    assert "TokenRefused" in await cluster.run("describe", "crec", "refused")
    assert (EventType.RECORDER_START, {"Status": 1}) in events(status)


async def test_a_refused_bucket_key_fails_at_once(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    await cluster.apply(tmp_path, secret("wrong-bucket", accessKey="AKnobody", secretKey="nothing"))
    made = recording("keyless", "r")
    made["spec"]["storage"]["bucket"]["credentialsSecretRef"]["name"] = "wrong-bucket"
    await cluster.apply(tmp_path, made)
    status = await cluster.phase("keyless", Phase.FAILED)
    state, reason, message = condition(status, "Uploaded")
    assert (state, reason) == ("False", Reason.BUCKET_REFUSED)
    assert "InvalidAccessKeyId" in message
    assert "BucketRefused" in await cluster.run("describe", "crec", "keyless")
    told = events(status)
    assert (EventType.UPLOAD_START, {"Status": 1}) in told
    assert any(kind == EventType.UPLOAD_ERROR and args["Code"] == "InvalidAccessKeyId" for kind, args in told)


async def test_an_unreachable_livekit_is_told_and_tried_again(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    made = app("away", "ws://127.0.0.1:1", "livekit")
    made["spec"]["storage"] = await _endpoints(cluster)
    await cluster.apply(tmp_path, made)
    await cluster.apply(tmp_path, recording("unreachable", "r", appRef={"name": "away"}))
    status = await cluster.until("unreachable", has_reason(Reason.LIVEKIT_UNREACHABLE))
    assert status.phase is Phase.STARTING
    assert "LiveKitUnreachable" in await cluster.run("describe", "crec", "unreachable")
    status = await cluster.stop("unreachable")
    assert status.phase is Phase.COMPLETED


async def test_nobody_in_the_room_is_idle_and_then_the_end(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    await cluster.apply(tmp_path, recording("lonely", "nobody here", maxIdleSeconds=5))
    await cluster.phase("lonely", Phase.IDLE)
    status = await cluster.phase("lonely", Phase.COMPLETED)
    assert (EventType.RECORDER_STOP, {"LeaveCode": 99}) in events(status)
    assert (EventType.UPLOAD_STOP, {"Status": 0}) in events(status)
    assert status.files == 0
    await cluster.without_pods("lonely")


async def test_a_second_task_of_the_same_robot_ends_the_first_and_records_on(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    await cluster.apply(tmp_path, recording("older", "twice"))
    async with SyntheticUsers(cluster.server, "twice", standard_plan(1)) as users:
        await users.published()
        await cluster.phase("older", Phase.RECORDING)
        await cluster.apply(tmp_path, recording("newer", "twice"))
        older = await cluster.phase("older", Phase.COMPLETED)
        assert (EventType.RECORDER_STOP, {"LeaveCode": 101}) in events(older)
        assert condition(older, "RecorderReady")[:2] == ("False", Reason.REPEATED_ENTRY)
        await cluster.phase("newer", Phase.RECORDING)
        await cluster.until("newer", lambda status: (status.files or 0) >= 2)
        newer = await cluster.stop("newer")
    assert newer.phase is Phase.COMPLETED
    assert (EventType.RECORDER_STOP, {"LeaveCode": 0}) in events(newer)
    objects = await cluster.objects("newer")
    left = next(
        event.ts
        for attempt in older.attempts
        if attempt.report
        for event in attempt.report.events
        if event.type == EventType.RECORDER_STOP
    )
    playlists = [parse(objects.get(name).decode()) for name in objects.names() if name.endswith(".m3u8")]
    assert len(playlists) == 2
    for playlist in playlists:
        last = playlist.segments[-1]
        assert last.start_ms + last.duration * 1000 > left + 2000


async def test_deletion_flushes_before_it_lets_go(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    await cluster.apply(tmp_path, recording("deleted", "deleted"))
    objects = await cluster.objects("deleted")
    async with SyntheticUsers(cluster.server, "deleted", standard_plan(1)) as users:
        await users.published()
        await cluster.phase("deleted", Phase.RECORDING)
        await cluster.run("delete", "crec", "deleted", "--wait=true", "--timeout=60s")
    names = objects.names()
    playlists = [name for name in names if name.endswith(".m3u8")]
    assert len(playlists) == 2
    for name in playlists:
        playlist = parse(objects.get(name).decode())
        assert playlist.ended
        assert playlist.segments
        assert {segment.name for segment in playlist.segments} <= set(names)
    await cluster.without_pods("deleted")


async def test_a_change_of_the_subscription_is_followed(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    only = {"subscribe": {"audio": {"include": ["user-1"]}, "video": {"include": ["user-1"]}}}
    await cluster.apply(tmp_path, recording("choosy", "choosy", streams=only))
    async with SyntheticUsers(cluster.server, "choosy", standard_plan(2)) as users:
        await users.published()
        await cluster.until("choosy", lambda status: (status.files or 0) >= 2)
        patch = '{"spec":{"streams":{"subscribe":{"audio":null,"video":{"include":["user-2"]}}}}}'
        await cluster.run("patch", "crec", "choosy", "--type", "merge", "-p", patch)
        await cluster.until("choosy", lambda status: (status.files or 0) >= 4)
        status = await cluster.stop("choosy")
    report = status.attempts[0].report
    assert report is not None
    began = {(file.user_id, file.kind): file.begin_time_stamp for file in report.files}
    assert set(began) == {(user, kind) for user in ("user-1", "user-2") for kind in ("audio", "video")}
    assert min(began["user-2", "audio"], began["user-2", "video"]) > max(
        began["user-1", "audio"], began["user-1", "video"]
    )


async def _endpoints(cluster: Cluster) -> dict[str, Any]:
    """Where the stack's bucket is, as the sample app says."""
    storage: dict[str, Any] = json.loads(await cluster.run("get", "rapp", "demo", "-o", "json"))["spec"]["storage"]
    return storage
