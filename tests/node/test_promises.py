"""What a real kubelet does to recordings, and what is promised nevertheless."""

from __future__ import annotations

import asyncio

import pytest

from cloudrec_contract.conditions import Reason
from cloudrec_contract.events import EventType
from cloudrec_contract.resources import CloudRecordingStatus, Phase
from tests.node.damage import container_status, exit_code
from tests.node.recorded import USERS, Result, Room

pytestmark = [pytest.mark.media, pytest.mark.cluster]

STEADY_SECONDS = 12.0  # more than one segment
LOST_SECONDS = 0.5
"""Of media before a SIGKILL, at most."""
AGAIN_SECONDS = 5.0
"""From a recorder's death to its successor's first media, on a node that has the image."""


async def test_steady(room: Room) -> None:
    """A recording from kubectl to the bucket; nothing is restarted, and each picture is there once."""
    async with room.recorded():
        await assert_alive(room)
        await asyncio.sleep(STEADY_SECONDS)
        result = await room.finish()
    assert_one_attempt(result)
    assert not result.final.attempts[0].failed
    assert result.final.attempts[0].exit is not None
    assert result.final.attempts[0].exit.code == 0


async def test_uploader_killed(room: Room) -> None:
    """Kubelet starts the sidecar again, and nothing is lost or told twice."""
    async with room.recorded():
        await asyncio.sleep(STEADY_SECONDS / 2)
        await room.damage.kill(await room.pod(), "uploader")
        pod = await room.pod_when(lambda pod: container_status(pod, "uploader")["restartCount"] == 1)
        assert container_status(pod, "uploader")["lastState"]["terminated"]["exitCode"] == 137
        assert "running" in container_status(pod, "recorder")["state"]
        await asyncio.sleep(STEADY_SECONDS / 2)
        result = await room.finish()
    assert_one_attempt(result)
    report = result.final.attempts[0].report
    assert report is not None
    seqs = [event.seq for event in report.events]
    assert len(seqs) == len(set(seqs))
    assert len([event for event in report.events if event.type == EventType.RECORDER_START]) == 1


@pytest.mark.parametrize("how", ["killed", "out-of-memory"])
async def test_recorder_dies(room: Room, how: str) -> None:
    """The sidecar saves what was recorded; a new Pod records on."""
    async with room.recorded():
        await asyncio.sleep(STEADY_SECONDS)
        damage = room.damage.kill if how == "killed" else room.damage.exhaust
        died = await damage(await room.pod(), "recorder")
        pod = await room.pod_when(lambda pod: exit_code(pod, "recorder") is not None)
        assert exit_code(pod, "recorder") == 137
        await room.recording_again(1)
        await asyncio.sleep(STEADY_SECONDS / 2)
        result = await room.finish()
    assert result.final.phase is Phase.COMPLETED
    first, second = result.final.attempts
    assert (first.index, first.failed, first.reason) == (0, True, Reason.RECORDER_FAILED)
    assert first.exit is not None
    assert first.exit.code == 137
    if how == "out-of-memory":
        assert container_status(pod, "recorder")["state"]["terminated"]["reason"] == "OOMKilled"
        assert "OOMKilled" in first.message
    assert (second.index, second.failed) == (1, False)
    assert [e.args for e in result.final.operator_events if e.type == EventType.FAILOVER] == [{"Status": 0}]
    for user in USERS:
        again = max(result.video(user, 1).pictures[0].wall, result.audio(user, 1).sounds[0].wall) - died
        lost = died - min(result.video_end(user), result.audio(user).sounds[-1].end)
        print(f"{user}: {lost:.2f} s before the end were lost, and it was recorded again {again:.2f} s after it")
        assert lost <= LOST_SECONDS
        assert again <= AGAIN_SECONDS
    assert_sound(result)


async def test_evicted(room: Room) -> None:
    """The successor is in the room before the evicted one leaves: no picture is missing."""
    async with room.recorded():
        await asyncio.sleep(STEADY_SECONDS)
        await room.damage.evict(await room.pod())
        await room.recording_again(1)
        await asyncio.sleep(STEADY_SECONDS / 2)
        result = await room.finish()
    assert result.final.phase is Phase.COMPLETED
    first, second = result.final.attempts
    assert (first.index, first.failed, second.index, second.failed) == (0, False, 1, False)
    assert not [event for event in result.final.operator_events if event.type == EventType.FAILOVER]
    for user in USERS:
        assert_unbroken(result, user)
        assert result.audio(user, 1).sounds[0].wall <= result.audio(user).sounds[-1].end
    assert_sound(result)
    assert robot_exits(result.final) == 1


async def assert_alive(room: Room) -> None:
    """The recorder's liveness probe, which kubelet asks late and seldom, says yes in this image."""
    pod = await room.pod()
    (recorder,) = pod["spec"]["containers"]
    probe = recorder["livenessProbe"]["exec"]["command"]
    await room.cluster.run("exec", pod["metadata"]["name"], "-c", recorder["name"], "--", *probe)


def assert_one_attempt(result: Result) -> None:
    """One attempt recorded all of it."""
    assert result.final.phase is Phase.COMPLETED
    assert len(result.final.attempts) == 1
    for user in USERS:
        assert len(result.video(user).segments) >= 2
        assert_unbroken(result, user)
    assert_sound(result)


def assert_unbroken(result: Result, user: str) -> None:
    """Nearly each picture is there from the first to the last: a busy machine's users leave single ones out."""
    pictures = result.pictures(user)
    assert pictures.ratio >= 0.98, pictures
    assert pictures.longest_step <= LOST_SECONDS, pictures


def assert_sound(result: Result) -> None:
    """Every user's picture and sound are there, and nothing can be said against any file."""
    assert {(whose.user, whose.kind) for whose in result.files} == {
        (user, kind) for user in USERS for kind in ("audio", "video")
    }
    assert result.faults() == []


def robot_exits(status: CloudRecordingStatus) -> int:
    """How many events 302 were told."""
    told = [*status.operator_events, *(e for a in status.attempts if a.report for e in a.report.events)]
    return sum(event.type == EventType.RECORDER_STOP for event in told)
