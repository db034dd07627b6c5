"""Capture against a real LiveKit server: what two users publish with the SDK arrives, and how a stay ends."""

from __future__ import annotations

import asyncio

import pytest
from aioice import Candidate, Connection
from livekit import api

from cloudrec_recorder.capture.ice import BatchedConnection
from cloudrec_recorder.rooms import Changed, Joined, Left, Unreachable
from tests.media.room import FPS, Robot, Server, User, assert_grows

pytestmark = pytest.mark.media


async def test_records_what_is_subscribed(server: Server) -> None:
    async with Robot(server, "r1", lambda key: key.user_id == "anna" or key.kind == "audio") as robot:
        async with User(server, "anna", "r1") as anna, User(server, "ben", "r1"):
            await robot.until(lambda: len(robot.units("anna")) > 8 * FPS)
            first = robot.units("anna")[0]
            frames, pushed, at = len(robot.units("anna")), anna.pushed, robot.clock.now()
            assert robot.changed.anchors == {"anna", "ben"}
        video, audio = robot.units("anna"), robot.units("anna", "audio")
        assert first.keyframe
        assert video[0].data.startswith(b"\x00\x00\x00\x01")
        assert frames <= pushed
        span = video[frames - 1].time - first.time
        assert frames - 1 >= 0.99 * span * FPS
        assert abs(video[frames - 1].time - at) < 0.3
        assert_grows(video)
        assert_grows(audio)
        assert len(audio) >= 0.99 * (audio[-1].time - audio[0].time) * 50
        assert robot.units("ben", "audio")
        assert not robot.units("ben")
        assert robot.sink.lost_seconds == 0
        offsets = robot.room.clock_offsets()
        assert offsets
        assert all(abs(offset) < 0.1 for offset in offsets.values())
        await robot.until(lambda: robot.changed.anchors == frozenset())
    assert robot.events[-1] == Left(0, "Stopped", "the recording was stopped")
    assert isinstance(robot.events[0], Joined)


async def test_media_through_aiortcs_own_sockets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a TURN relay delivers does not pass our sockets; here aioice's own stand in for it."""

    async def gather(self: Connection, component: int, addresses: list[str], timeout: int = 5) -> list[Candidate]:
        return await Connection.get_component_candidates(self, component, ["127.0.0.1"], timeout)

    monkeypatch.setattr(BatchedConnection, "get_component_candidates", gather)
    async with Robot(server, "r0") as robot, User(server, "anna", "r0"):
        await robot.until(lambda: len(robot.units("anna")) > FPS and len(robot.units("anna", "audio")) > 50)
        assert_grows(robot.units("anna"))


async def test_mute_and_rejoin_of_a_publisher(server: Server) -> None:
    async with Robot(server, "r2") as robot:
        async with User(server, "anna", "r2") as anna:
            await robot.until(lambda: len(robot.units("anna")) > FPS)
            anna.video_track.mute()
            await robot.until(lambda: any(t.muted for t in robot.changed.tracks))
            muted_at = robot.clock.now()
            await asyncio.sleep(2)
            anna.video_track.unmute()
            await robot.until(lambda: robot.units("anna")[-1].time > muted_at + 3)
            assert {unit.source for unit in robot.units("anna")} == {robot.units("anna")[0].source}
            gaps = [b.time - a.time for a, b in zip(robot.units("anna"), robot.units("anna")[1:], strict=False)]
            assert max(gaps) > 1.5
        await robot.until(lambda: not robot.changed.tracks)
        before = robot.units("anna")[-1]
        async with User(server, "anna", "r2"):
            await robot.until(lambda: robot.units("anna")[-1].source != before.source)
            await robot.until(lambda: robot.units("anna")[-1].time > before.time + 1)
            again = next(unit for unit in robot.units("anna") if unit.source > before.source)
            assert again.keyframe
            assert again.time > before.time
        assert_grows(robot.units("anna"))


async def test_a_short_track_is_delivered_at_its_end(server: Server) -> None:
    async with Robot(server, "r3") as robot:
        async with User(server, "anna", "r3"):
            await robot.until(lambda: len(robot.changed.tracks) == 2 if robot.last(Changed) else False)
            await asyncio.sleep(1.5)
        await robot.until(lambda: len(robot.units("anna")) > FPS and len(robot.units("anna", "audio")) > 50)


async def test_removed_by_api(server: Server, livekit_api: api.LiveKitAPI) -> None:
    async with Robot(server, "r4") as robot:
        await robot.until(lambda: robot.last(Changed) is not None)
        await livekit_api.room.remove_participant(api.RoomParticipantIdentity(room="r4", identity="robot~0"))
        await robot.until(lambda: robot.last(Left) is not None)
    left = robot.events[-1]
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (1, "RemovedByApi")


async def test_room_deleted_by_api(server: Server, livekit_api: api.LiveKitAPI) -> None:
    async with Robot(server, "r5") as robot:
        await robot.until(lambda: robot.last(Changed) is not None)
        await livekit_api.room.delete_room(api.DeleteRoomRequest(room="r5"))
        await robot.until(lambda: robot.last(Left) is not None)
    left = robot.events[-1]
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (2, "RoomDeleted")


async def test_rejoins_after_an_empty_room_was_closed(server: Server, livekit_api: api.LiveKitAPI) -> None:
    await livekit_api.room.create_room(api.CreateRoomRequest(name="r6", departure_timeout=1))
    async with Robot(server, "r6", rejoin_deadline=0) as robot:
        async with User(server, "anna", "r6"):
            await robot.until(lambda: len(robot.units("anna")) > 0)
        await robot.until(lambda: Joined(rejoined=True) in robot.events, 30)
        async with User(server, "ben", "r6"):
            await robot.until(lambda: len(robot.units("ben")) > 0)


@pytest.mark.parametrize("kill", [False, True])
async def test_rejoins_after_the_server_restarted(server: Server, kill: bool) -> None:
    async with Robot(server, "r7", rejoin_deadline=60) as robot:
        await robot.until(lambda: robot.last(Changed) is not None)
        await server.stop(kill=kill)
        await robot.until(lambda: robot.last(Unreachable) is not None)
        await server.start()
        await robot.until(lambda: Joined(rejoined=True) in robot.events, 30)
        async with User(server, "anna", "r7"):
            await robot.until(lambda: len(robot.units("anna")) > FPS)
            assert robot.changed.anchors == {"anna"}


async def test_gives_up_rejoining_at_the_deadline(server: Server) -> None:
    async with Robot(server, "r8", rejoin_deadline=1) as robot:
        await robot.until(lambda: robot.last(Changed) is not None)
        await server.stop()
        await robot.until(lambda: robot.last(Left) is not None)
    left = robot.events[-1]
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (100, "RejoinTimeout")


async def test_token_refused(server: Server) -> None:
    async with Robot(server, "r9", token="nonsense") as robot:
        await robot.until(lambda: robot.last(Left) is not None)
    left = robot.events[-1]
    assert isinstance(left, Left)
    assert (left.code, left.reason) == (None, "TokenRefused")
    assert "nonsense" not in left.message
