"""A room in one picture: by Tencent's SDK through the gateway, with people who come and go and a layout that changes;
and a recorder that is killed in the middle of it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.mix import BigPicture, Layout, RenderMode, Template
from cloudrec_contract.playlist import parse
from cloudrec_contract.resources import Attempt, Phase
from cloudrec_local.fetch import download
from cloudrec_local.stack import Stack
from cloudrec_local.status import environment
from cloudrec_local.synthetic.plan import Plan, standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from tests.analysis.composed import look, pictures
from tests.chaos.scene import container
from tests.e2e.task import Cluster, named, recording
from tests.e2e.test_gateway import _gone, client, storage, until

pytestmark = [pytest.mark.media, pytest.mark.cluster]

WIDTH, HEIGHT = 1280, 720
GRID = Layout(render_mode=RenderMode.FIT)
FLOATING = Layout(template=Template.FLOATING, render_mode=RenderMode.FIT, big_picture=BigPicture(user_id="user-2"))
CHANGED_SECONDS = 1.0
"""From a Modify, or somebody's coming or going, until the picture shows it."""
OFFSET_SECONDS = 0.060
LOST_SECONDS = 2.0
"""Of everybody's pictures when a composer dies, at most."""


def plan(users: int) -> Plan:
    """They wait outside."""
    made = standard_plan(users, width=640, height=360, fps=30)
    return made.model_copy(update={"users": tuple(user.model_copy(update={"steps": ()}) for user in made.users)})


async def enter(users: SyntheticUsers, *names: str) -> None:
    """One after the other, and with camera and microphone."""
    for name in names:
        await users.do(name, "join")
        await users.do(name, "publish")


async def test_people_come_and_go_and_the_layout_changes(stack: Stack, tmp_path: Path) -> None:
    env, cluster = environment(stack.status()), Cluster.of(stack)
    sdk = client(env)
    mix = {
        "MixTranscodeParams": {
            "VideoParams": {"Width": WIDTH, "Height": HEIGHT, "Fps": 30, "BitRate": 3_000_000, "Gop": 2}
        },
        "MixLayoutParams": {"MixLayoutMode": 3, "RenderMode": 2},
    }
    async with SyntheticUsers(cluster.server, "assembly", plan(3)) as users:
        await enter(users, "user-1", "user-2")
        task = await asyncio.to_thread(sdk.create, "assembly", "recorder-1", "unsigned", storage(env), mix)
        await until(lambda: sdk.describe(task), lambda told: told.Status == "InProgress", 30)
        told = await until(lambda: sdk.describe(task), lambda told: len(told.StorageFileList) == 1, 30)
        await asyncio.sleep(4)
        await enter(users, "user-3")
        came = time.time()
        await asyncio.sleep(4)
        await asyncio.to_thread(
            sdk.modify, task, {}, {"MixLayoutMode": 1, "RenderMode": 2, "MaxResolutionUserId": "user-2"}
        )
        modified = time.time()
        await asyncio.sleep(4)
        await users.do("user-1", "leave")
        left = time.time()
        await asyncio.sleep(4)
        name = await named(cluster, task)
        objects = await cluster.objects(name)
        await asyncio.to_thread(sdk.delete, task)
        await cluster.phase(name, Phase.COMPLETED)
    assert await until(lambda: _gone(sdk, task), bool, 5)

    (file,) = told.StorageFileList
    assert (file.UserId, file.TrackType) == ("", "audio_video")
    assert parse(objects.get(file.FileName).decode()).begin_ms == file.BeginTimeStamp
    download(objects, tmp_path / "files", players=False)
    (playlist,) = (tmp_path / "files").glob("*.m3u8")
    assert playlist.name == file.FileName
    seen = await asyncio.to_thread(look, playlist)
    assert list(seen.recording.faults) == []
    assert not any(segment.discontinuity for segment in seen.recording.segments)
    walls = np.array([picture.wall for picture in seen.recording.pictures])
    assert np.diff(walls) == pytest.approx(1 / 30, abs=1e-3)  # a steady rate, whoever comes and goes

    begun = walls[0]
    scenes = [
        (begun, came, GRID, ("user-1", "user-2")),
        (came, modified, GRID, ("user-1", "user-2", "user-3")),
        (modified, left, FLOATING, ("user-1", "user-2", "user-3")),
        (left, walls[-1], FLOATING, ("user-2", "user-3")),
    ]
    for since, to, layout, who in scenes:
        rects = pictures(layout, WIDTH, HEIGHT, who)
        shown = seen.shows([(rect, int(user[-1])) for rect, user in zip(rects, who, strict=True)])
        good = [on for wall, on in shown if since + 2 * CHANGED_SECONDS < wall < to - CHANGED_SECONDS / 2]
        assert np.mean(good) > 0.95, (layout.template, who)
        first = next(wall for wall, on in shown if on and wall > since - CHANGED_SECONDS)
        if since != begun:
            assert first - since < CHANGED_SECONDS, (layout.template, who)
    rects = pictures(GRID, WIDTH, HEIGHT, ("user-1", "user-2", "user-3"))
    offsets = [abs(at) for user in (2, 3) for at in seen.offsets(rects[user - 1], user)]
    offsets += [abs(at) for at in seen.offsets(pictures(GRID, WIDTH, HEIGHT, ("user-1", "user-2"))[0], 1)]
    assert len(offsets) >= 6
    print(f"A/V offset p95 {np.quantile(offsets, 0.95) * 1000:.0f} ms over {len(offsets)}")
    assert np.quantile(offsets, 0.95) <= OFFSET_SECONDS


async def test_a_composer_and_then_its_recorder_are_killed(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    mix = {
        "video": {"width": 640, "height": 360, "fps": 30, "gopSeconds": 2},
        "layout": {"renderMode": "Fit"},
    }
    async with SyntheticUsers(cluster.server, "fragile", plan(2)) as users:
        await enter(users, "user-1", "user-2")
        await cluster.apply(tmp_path, recording("fragile", "fragile", mode="Mixed", mix=mix))
        await cluster.phase("fragile", Phase.RECORDING)
        await asyncio.sleep(4)
        uid = (await cluster.status("fragile")).attempts[0].pod_uid
        assert uid is not None
        recorder = container(uid, "recorder").pid
        os.kill(composer_of(recorder), signal.SIGKILL)
        fell = time.time()
        await cluster.until("fragile", lambda s: "ComposerFailed" in reasons(s.attempts[0]))
        await asyncio.sleep(5)
        killed = time.time()
        os.kill(recorder, signal.SIGKILL)
        await cluster.until("fragile", lambda s: any(a.index == 1 and a.report and a.report.files for a in s.attempts))
        await asyncio.sleep(3)
        status = await cluster.stop("fragile")
    assert status.phase is Phase.COMPLETED
    assert len(status.attempts) == 2
    download(await cluster.objects("fragile"), tmp_path / "files", players=False)
    first, second = sorted((tmp_path / "files").glob("*.m3u8"), key=lambda path: path.name.startswith("ha1_"))
    assert second.name == f"ha1_{first.name}"
    before, after = await asyncio.to_thread(look, first), await asyncio.to_thread(look, second)
    rects = pictures(GRID, 640, 360, ("user-1", "user-2"))
    for part in (before, after):
        assert list(part.recording.faults) == []
        shown = part.shows([(rects[0], 1), (rects[1], 2)])
        good = [wall for wall, on in shown if on]
        missed = max(np.diff([good[0], *good]))
        print(f"without the users' pictures for {missed:.2f} s")
        assert missed <= LOST_SECONDS
    lost = killed - before.recording.pictures[-1].wall
    back = after.recording.pictures[0].wall - killed
    print(f"recorder killed: {lost:.2f} s lost before, recording again after {back:.2f} s")
    segments = [(segment.name, segment.declared, segment.discontinuity) for segment in before.recording.segments]
    print(f"the composer was killed {killed - fell:.2f} s before; {segments}")
    assert [broken for *_, broken in segments].count(True) == 1
    assert lost <= 0.5


async def test_an_evicted_pod_hands_over_without_a_gap(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    mix = {"video": {"width": 640, "height": 360, "fps": 15, "gopSeconds": 2}, "layout": {"renderMode": "Fit"}}
    async with SyntheticUsers(cluster.server, "moving", plan(2)) as users:
        await enter(users, "user-1", "user-2")
        await cluster.apply(tmp_path, recording("moving", "moving", mode="Mixed", mix=mix))
        await cluster.phase("moving", Phase.RECORDING)
        await asyncio.sleep(4)
        (pod,) = await cluster.pods("moving")
        await cluster.run("delete", "pod", pod["metadata"]["name"], "--wait=false")
        await cluster.until("moving", lambda s: any(a.index == 1 and a.report and a.report.files for a in s.attempts))
        await asyncio.sleep(8)
        status = await cluster.stop("moving")
    assert status.phase is Phase.COMPLETED
    assert status.attempts[0].reason == Reason.HANDED_OVER
    assert not status.attempts[0].failed
    download(await cluster.objects("moving"), tmp_path / "files", players=False)
    first, second = sorted((tmp_path / "files").glob("*.m3u8"), key=lambda path: path.name.startswith("ha1_"))
    before, after = await asyncio.to_thread(look, first), await asyncio.to_thread(look, second)
    rects = pictures(GRID, 640, 360, ("user-1", "user-2"))
    good = []
    for part in (before, after):
        assert list(part.recording.faults) == []
        good += [wall for wall, on in part.shows([(rects[0], 1), (rects[1], 2)]) if on]
    good.sort()
    assert max(np.diff(good)) < 0.5
    assert status.attempts[1].report is not None
    assert [event.type for event in status.attempts[1].report.events].count(EventType.RECORDER_STOP) == 1


def composer_of(recorder: int) -> int:
    """The recorder's child that composes."""
    for pid in map(int, Path(f"/proc/{recorder}/task/{recorder}/children").read_text().split()):
        if b"cloudrec_recorder.mix" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise ProcessLookupError(f"{recorder} has no composer")


def reasons(attempt: Attempt) -> list[str]:
    return [condition.reason for condition in attempt.report.conditions] if attempt.report else []
