"""MP4 and AAC files, and VOD, on the whole stack: made after the end by a finisher Pod, judged by what is in them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudrec_contract import naming
from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.finish import LEDGER
from cloudrec_contract.resources import Attempt, CloudRecordingStatus, Phase
from cloudrec_local.playback.decode import Recording, load_file
from cloudrec_local.processes import MARK, marked
from cloudrec_local.stack import Stack
from cloudrec_local.status import environment
from cloudrec_local.synthetic.plan import Plan, Step, UserPlan, standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.sound import beep_hz
from cloudrec_local.synthetic.truth import Truth
from tests.analysis import content
from tests.analysis.ffprobe import ffprobe_warnings
from tests.e2e.task import Cluster, named, recording
from tests.e2e.test_ends import condition, events
from tests.e2e.test_gateway import client, storage, until

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.timeout(300)]

OFFSET_MS = 60
SDK_APP_ID = 1400000001


def mp4(room: str, user: str, media: str = "main") -> str:
    return f"{SDK_APP_ID}_{naming.encode_id(room)}__UserId_s_{naming.encode_id(user)}__UserId_e_{media}.mp4"


def finishers(status: CloudRecordingStatus) -> list[Attempt]:
    return [attempt for attempt in status.attempts if attempt.role == "Finish"]


async def kill(stack: Stack, attempt: Attempt, container: str, seconds: float = 30) -> float:
    """SIGKILL its process as soon as there is one; when."""
    mark = f"{stack.home.root}#{attempt.pod_uid}/{container}"
    deadline = time.monotonic() + seconds
    while not (found := [record.pid for record in marked(lambda env: env.get(MARK, "") == mark)]):
        assert time.monotonic() < deadline, f"{container} of {attempt.pod} does not run"
        await asyncio.sleep(0.05)
    os.kill(found[0], signal.SIGKILL)
    return time.time()


def told_of(status: CloudRecordingStatus, event: EventType) -> list[dict[str, Any]]:
    return [args for kind, args in events(status) if kind == event]


def read(get: Callable[[], bytes], message: dict[str, Any], path: Path) -> Recording:
    """A file, decoded, by its times in an event; ffprobe has nothing to say of it."""
    path.write_bytes(get())
    if path.suffix == ".mp4":  # of AAC it says that its length is a guess
        assert ffprobe_warnings(path) == []
    file = load_file(path, message["StartTimeStamp"] / 1000)
    assert file.faults == []
    first = min([picture.wall for picture in file.pictures[:1]] + [sound.wall for sound in file.sounds[:1]])
    last = max([picture.wall for picture in file.pictures[-1:]] + [sound.end for sound in file.sounds[-1:]])
    assert message["EndTimeStamp"] - message["StartTimeStamp"] == pytest.approx((last - first) * 1000, abs=150)
    return file


def in_step(file: Recording, truth: Truth, user: str) -> None:
    offsets = content.av_offset(truth, file, file, user)
    print(f"{user}: A/V offset p95 {content.percentile(offsets, 0.95):.0f} ms over {len(offsets)}")
    assert len(offsets) >= 5
    assert content.percentile(offsets, 0.95) <= OFFSET_MS


async def test_the_files_of_a_recorder_that_was_killed_are_one_mp4_in_time(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    sharing = (Step(do="join"), Step(do="publish"), Step(at=3, do="publish", media="aux"))
    plan = Plan(
        users=(UserPlan(identity="ann", number=1, steps=sharing), UserPlan(identity="ben", number=2, codec="VP8")),
        seconds=26,
    )
    await cluster.apply(tmp_path, recording("whole", "whole", output={"formats": ["HLS", "MP4"]}))
    await cluster.phase("whole", Phase.IDLE)
    async with SyntheticUsers(cluster.server, "whole", plan) as users:
        await users.published()
        status = await cluster.until("whole", lambda status: (status.files or 0) >= 5)
        await asyncio.sleep(5)
        killed = await kill(stack, status.attempts[0], "recorder")
        await cluster.until("whole", lambda s: any(a.index == 1 and a.report and a.report.files for a in s.attempts))
        truth = await users.finished(timeout=60)
    status = await cluster.stop("whole")
    assert status.phase is Phase.COMPLETED
    assert condition(status, "Converted")[:2] == ("True", Reason.REMUXED)
    (told,) = told_of(status, EventType.MP4_STOP)
    expected = {mp4("whole", "ann"), mp4("whole", "ann", "aux"), mp4("whole", "ben")}
    assert told["Status"] == 0
    assert set(told["FileList"]) == expected
    order = [kind for kind, _ in events(status)]
    assert order.index(EventType.UPLOAD_STOP) < order.index(EventType.MP4_STOP)
    objects = await cluster.objects("whole")
    assert expected | {LEDGER} < set(await asyncio.to_thread(objects.names))
    assert len(told["FileMessage"]) == len(expected)
    for one in told["FileMessage"]:
        name, user, media = one["FileName"], one["UserId"], one["MediaId"]
        file = await asyncio.to_thread(read, lambda name=name: objects.get(name), one, tmp_path / name)
        frames = content.frame_ratio(truth, file, user, media)
        assert frames.foreign == frames.duplicated == ()
        (hole,) = [
            content.Gap(a.wall, b.wall)
            for a, b in zip(file.pictures, file.pictures[1:], strict=False)
            if b.wall - a.wall > 0.4
        ]
        print(f"{user} {media}: nothing for {hole.seconds:.2f} s, from {hole.start - killed:.2f} s after the kill")
        assert hole.start - killed >= -0.6
        assert hole.seconds < 8
        if media == "main":
            in_step(file, truth, user)
    arrived = await cluster.callbacks("whole")
    assert [one.payload["FileList"] for one in arrived if one.type == EventType.MP4_STOP] == [told["FileList"]]


async def test_a_mixed_recording_as_mp4_alone_though_its_finisher_is_killed(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    mix = {"video": {"width": 640, "height": 360, "fps": 15, "bitRate": 800000, "gopSeconds": 2}}
    wanted = recording("alone", "alone", mode="Mixed", mix=mix, output={"formats": ["MP4"]})
    async with SyntheticUsers(cluster.server, "alone", standard_plan(2)) as users:
        await users.published()
        await cluster.apply(tmp_path, wanted)
        await cluster.phase("alone", Phase.RECORDING)
        await asyncio.sleep(6)
        await cluster.run("patch", "crec", "alone", "--type", "merge", "-p", '{"spec":{"desiredState":"Stopped"}}')
    status = await cluster.until("alone", lambda s: any(a.pod_uid for a in finishers(s)))
    await kill(stack, finishers(status)[0], "finisher")
    status = await cluster.phase("alone", Phase.COMPLETED)
    first, second = finishers(status)
    assert (first.reason, second.failed) == (Reason.FINISHER_FAILED, False)
    (told,) = told_of(status, EventType.MP4_STOP)
    name = f"{SDK_APP_ID}_{naming.encode_id('alone')}.mp4"
    assert (told["Status"], told["FileList"]) == (0, [name])
    objects = await cluster.objects("alone")
    assert sorted(await asyncio.to_thread(objects.names)) == sorted([name, LEDGER])
    (one,) = told["FileMessage"]
    assert (one["UserId"], one["MediaId"], one["TrackType"]) == ("", "mix", "audio_video")
    file = await asyncio.to_thread(read, lambda: objects.get(name), one, tmp_path / name)
    assert (file.kind, file.pictures[0].width) == ("audio_video", 640)
    assert len(file.pictures) > 5 * 15


async def test_sound_alone_by_the_sdk_and_no_hls_is_left(stack: Stack, tmp_path: Path) -> None:
    env, cluster = environment(stack.status()), Cluster.of(stack)
    sdk = client(env)
    async with SyntheticUsers(cluster.server, "spoken", standard_plan(2)) as users:
        await users.published()
        task = await asyncio.to_thread(
            sdk.create, "spoken", "recorder-aac", "unsigned", storage(env, "aac"), output_format=4
        )
        await until(lambda: sdk.describe(task), lambda told: len(told.StorageFileList) == 4, 30)
        await asyncio.sleep(6)
        name = await named(cluster, task)
        objects = await cluster.objects(name)
        await asyncio.to_thread(sdk.delete, task)
        status = await cluster.phase(name, Phase.COMPLETED)
    (told,) = told_of(status, EventType.MP4_STOP)
    assert told["Status"] == 0
    assert sorted(await asyncio.to_thread(objects.names)) == sorted([*told["FileList"], LEDGER])
    assert len(told["FileList"]) == 2
    assert all(file.endswith("_main.aac") for file in told["FileList"])
    for one in told["FileMessage"]:
        file = await asyncio.to_thread(
            read, lambda one=one: objects.get(one["FileName"]), one, tmp_path / one["FileName"]
        )
        assert file.kind == "audio"
        assert len(content.beeps(file, beep_hz(int(one["UserId"][-1])))) >= 5


async def test_vod_gives_every_user_an_address_to_play_from(stack: Stack, tmp_path: Path) -> None:
    cluster = Cluster.of(stack)
    vod = {"sessionContext": "für später", "userDefineRecordId": "lesson-7"}
    await cluster.apply(tmp_path, recording("on-demand", "on-demand", storage={"vod": vod}))
    await cluster.phase("on-demand", Phase.IDLE)
    async with SyntheticUsers(cluster.server, "on-demand", standard_plan(2)) as users:
        await users.published()
        await cluster.phase("on-demand", Phase.RECORDING)
        await asyncio.sleep(8)
        status = await cluster.stop("on-demand")
        truth = await users.stop()
    assert status.phase is Phase.COMPLETED
    assert condition(status, "Converted")[0] == "True"
    kinds = {kind for kind, _ in events(status)}
    silent = {EventType.UPLOAD_START, EventType.FILE_INFO, EventType.UPLOAD_STOP, EventType.FILE_SLICE}
    assert not kinds & {*silent, EventType.MP4_STOP}
    assert told_of(status, EventType.VOD_STOP) == [{"Status": 0}]
    commits = told_of(status, EventType.VOD_COMMIT)
    assert {one["TencentVod"]["UserId"] for one in commits} == {"user-1", "user-2"}
    for one in commits:
        told = one["TencentVod"]
        assert one["Status"] == 0
        assert (told["MediaId"], told["TrackType"]) == ("main", "audio_video")
        assert told["CacheFile"].startswith("lesson-7__UserDefine_u_")
        file = await asyncio.to_thread(
            read, lambda told=told: fetched(told["VideoUrl"]), told, tmp_path / told["FileId"]
        )
        in_step(file, truth, told["UserId"])
    objects = await cluster.objects("on-demand")
    assert await asyncio.to_thread(objects.names) == [LEDGER]


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        body: bytes = answer.read()
        return body
