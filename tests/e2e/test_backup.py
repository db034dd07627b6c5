"""A bucket that goes away during a recording and stays away beyond its end, with a backup store, on the whole stack."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.playlist import Playlist, parse
from cloudrec_contract.resources import Attempt, CloudRecordingStatus, Phase
from cloudrec_local.fetch import Objects
from cloudrec_local.processes import MARK, marked
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.plan import standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.verify import verify
from tests.cluster.faulty_front import Front, front
from tests.e2e.task import Cluster, recording
from tests.e2e.test_ends import condition, events

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.timeout(420)]

BACKUP = "backup-of-recordings"


@dataclass
class Stores:
    """A front before the stack's bucket, and a second bucket for the backup."""

    way: Front
    client: Any

    def storage(self) -> dict[str, Any]:
        backup = {"vendor": "S3", "region": "local", "bucket": BACKUP, "credentialsSecretRef": {"name": "bucket"}}
        bucket = {
            "endpoint": self.way.endpoint,
            "bucket": "recordings",
            "prefix": ["backed-up"],
            "credentialsSecretRef": {"name": "bucket"},
            "backup": backup,
        }
        return {"bucket": bucket}

    def in_backup(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=BACKUP).get("Contents", [])
        return [entry["Key"] for entry in found]


@pytest.fixture
async def stores(stack: Stack) -> AsyncIterator[Stores]:
    found = stack.status().bucket
    assert found is not None
    client = boto3.client(
        "s3",
        endpoint_url=found.endpoint,
        region_name="us-east-1",
        aws_access_key_id=found.access_key,
        aws_secret_access_key=found.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BACKUP)
    async with front(found.endpoint) as way:
        yield Stores(way, client)


def reports(reason: Reason) -> Callable[[CloudRecordingStatus], bool]:
    """Whether the first sidecar says so."""

    def told(status: CloudRecordingStatus) -> bool:
        report = status.attempts[0].report if status.attempts else None
        return report is not None and any(condition.reason == reason for condition in report.conditions)

    return told


def finishers(status: CloudRecordingStatus) -> list[Attempt]:
    return [attempt for attempt in status.attempts if attempt.role == "Finish"]


def playlists_of(objects: Objects) -> list[Playlist]:
    return [parse(objects.get(name).decode()) for name in objects.names() if name.endswith(".m3u8")]


def kill(stack: Stack, attempt: Attempt) -> None:
    mark = f"{stack.home.root}#{attempt.pod_uid}/finisher"
    (found,) = [record.pid for record in marked(lambda env: env.get(MARK, "") == mark)]
    os.kill(found, signal.SIGKILL)


async def test_the_backup_takes_over_and_a_killed_finisher_is_followed_until_the_bucket_has_all(
    stack: Stack, stores: Stores, tmp_path: Path
) -> None:
    cluster = Cluster.of(stack)
    await cluster.apply(tmp_path, recording("backed-up", "backed-up", storage=stores.storage()))
    async with SyntheticUsers(cluster.server, "backed-up", standard_plan(1)) as users:
        await users.published()
        await cluster.until("backed-up", lambda status: (status.files or 0) >= 2)
        stores.way.fault = "away"
        status = await cluster.until("backed-up", reports(Reason.BACKUP_IN_USE), 90)
        assert status.phase is Phase.RECORDING
        assert EventType.UPLOAD_ERROR in [kind for kind, _ in events(status)]
        await cluster.run("patch", "crec", "backed-up", "--type", "merge", "-p", '{"spec":{"desiredState":"Stopped"}}')
    status = await cluster.until("backed-up", lambda status: bool(finishers(status)), 120)
    assert status.phase is Phase.FINALIZING
    assert (EventType.UPLOAD_STOP, {"Status": 1}) in events(status)
    truth, reason, message = condition(status, "Uploaded")
    assert (truth, reason) == ("False", Reason.BACKUP_IN_USE)
    assert "files are in the backup store alone" in message
    assert stores.in_backup()

    status = await cluster.until("backed-up", lambda status: any(a.report for a in finishers(status)), 60)
    kill(stack, finishers(status)[0])
    status = await cluster.until("backed-up", lambda status: len(finishers(status)) == 2, 60)
    assert finishers(status)[0].reason == Reason.FINISHER_FAILED
    stores.way.fault = "none"
    status = await cluster.phase("backed-up", Phase.COMPLETED, seconds=150)

    assert condition(status, "Uploaded")[:2] == ("True", Reason.UPLOADED)
    stops = [args for kind, args in events(status) if kind == EventType.UPLOAD_STOP]
    assert stops == [{"Status": 1}, {"Status": 2}]
    assert status.attempt == 0
    assert [a.reason for a in finishers(status)] == [Reason.FINISHER_FAILED, Reason.UPLOADED]
    assert stores.in_backup() == []
    objects = await cluster.objects("backed-up")
    found = await asyncio.to_thread(verify, objects)
    assert found.findings == []
    # In a thread: the front, through which the bucket is read, is in this loop.
    playlists = await asyncio.to_thread(playlists_of, objects)
    assert len(playlists) == 2
    for playlist in playlists:
        assert playlist.ended
        assert not any(segment.discontinuity for segment in playlist.segments)
        assert sum(segment.duration for segment in playlist.segments) > 30  # as long as the bucket was away at least
    await cluster.without_pods("backed-up", 60)
