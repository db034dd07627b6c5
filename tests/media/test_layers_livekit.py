"""Simulcast: the layer nearest to what is wanted is received, follows changes, and is paused where none is wanted."""

from __future__ import annotations

import asyncio

import pytest

from cloudrec_contract.secret import Secret
from cloudrec_local.synthetic.plan import Plan, UserPlan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.server import Server as Address
from cloudrec_recorder.h264 import parameter_sets, video_parameters
from cloudrec_recorder.rooms import Changed
from tests.media.room import Robot, Server

pytestmark = pytest.mark.media

PAUSED_SECONDS = 2.0


def width(robot: Robot) -> int:
    """Of the newest keyframe."""
    unit = next(unit for unit in reversed(robot.units("vera")) if unit.keyframe)
    sets = parameter_sets(unit.data)
    assert sets is not None
    return video_parameters(unit.data, sets).width


async def test_the_layer_follows_what_is_wanted(server: Server) -> None:
    status = server.status
    address = Address(status.url, status.api_key, Secret(status.api_secret))
    user = UserPlan(identity="vera", number=1, width=1280, height=720, fps=15, simulcast=True)
    async with SyntheticUsers(address, "layers", Plan(users=(user,))) as users, Robot(server, "layers") as robot:
        await users.published()
        await robot.until(lambda: bool(robot.units("vera")) and width(robot) == 1280)
        changed = robot.last(Changed)
        assert changed is not None
        sid = next(track.sid for track in changed.tracks if track.key.kind == "video")

        robot.room.prefer({sid: (320, 180)})
        await robot.until(lambda: width(robot) < 640)
        robot.room.prefer({sid: (640, 360)})
        await robot.until(lambda: width(robot) == 640)
        robot.room.prefer({})
        await robot.until(lambda: width(robot) == 1280)

        robot.room.prefer({sid: (0, 0)})
        before = -1
        async with asyncio.timeout(20):
            while before != (before := len(robot.units("vera"))):
                await asyncio.sleep(PAUSED_SECONDS)
        robot.room.prefer({sid: (1280, 720)})
        await robot.until(lambda: len(robot.units("vera")) > before + 15)
    times = [unit.time for unit in robot.units("vera")]
    assert times == sorted(times)
