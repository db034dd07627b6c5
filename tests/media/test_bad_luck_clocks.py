"""Publishers whose clocks are wrong, jump, or whose SSRCs are another's: each user's time line is ours all the same."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from aioice import ice

from cloudrec_recorder.media import AccessUnit
from tests.media.room import Robot, Server, assert_grows
from tests.media.wild import AUDIO_RATE, FPS, VIDEO_RATE, Lies, WildPublisher

pytestmark = pytest.mark.media


@pytest.fixture(autouse=True)
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves out the only address that the server has."""
    there = ice.get_host_addresses
    monkeypatch.setattr(ice, "get_host_addresses", lambda **families: ["127.0.0.1", *there(**families)])


def steady(units: list[AccessUnit], every: float, tolerance: float) -> bool:
    steps = [b.time - a.time for a, b in itertools.pairwise(units) if a.source == b.source]
    return bool(steps) and max(abs(step - every) for step in steps) < tolerance


async def test_clocks_a_hundred_seconds_off_and_the_same_ssrcs(server: Server) -> None:
    """Both send under the same SSRCs: the server gives the robot others."""
    ssrcs = (0x11111111, 0x22222222)
    slow, fast = Lies(clock=-100, ppm=-200, ssrcs=ssrcs), Lies(clock=100, ppm=200, ssrcs=ssrcs)
    async with (
        Robot(server, "clocks") as robot,
        WildPublisher(server, "slow", "clocks", slow),
        WildPublisher(server, "fast", "clocks", fast),
    ):
        for user in ("slow", "fast"):
            await robot.until(lambda user=user: len(robot.units(user)) > 12 * FPS, 40)  # type: ignore[misc]
        now = robot.clock.now()
        offsets = robot.room.clock_offsets()
    assert offsets["slow"] == pytest.approx(100, abs=0.2)
    assert offsets["fast"] == pytest.approx(-100, abs=0.2)
    for user in ("slow", "fast"):
        video, audio = robot.units(user), robot.units(user, "audio")
        assert_grows(video)
        assert_grows(audio)
        assert len({unit.source for unit in video}) == len({unit.source for unit in audio}) == 1
        assert steady(video[FPS:], 1 / FPS, 0.03)
        assert steady(audio[50:], 0.02, 0.03)
        before = [unit for unit in video if unit.time < now]
        assert abs(before[-1].time - now) < 0.3
        assert len(before) >= 0.99 * (before[-1].time - before[0].time) * FPS
        assert abs(video[-1].time - audio[-1].time) < 0.3


def jump(seconds: float) -> dict[str, int]:
    return {"video": round(seconds * VIDEO_RATE), "audio": round(seconds * AUDIO_RATE)}


async def test_rtp_time_jumps_an_hour_ahead(server: Server) -> None:
    lies = Lies()
    room = "jump"
    async with Robot(server, room) as robot, WildPublisher(server, "anna", room, lies):
        await robot.until(lambda: len(robot.units("anna")) > 7 * FPS, 40)
        at = robot.clock.now()
        lies.jump = jump(3600)
        await robot.until(lambda: bool(robot.units("anna")) and robot.units("anna")[-1].time > at + 8, 40)
        await asyncio.sleep(0.5)
        now = robot.clock.now()
    for kind, every in (("video", 1 / FPS), ("audio", 0.02)):
        units = robot.units("anna", kind)
        assert_grows(units)
        assert len({unit.source for unit in units}) <= 3
        before = [unit for unit in units if unit.time < now]
        assert abs(before[-1].time - now) < 0.5
        gaps = [b.time - a.time for a, b in itertools.pairwise(units)]
        assert max(gaps) < 1.5, kind
        assert len(before) >= 0.9 * (before[-1].time - before[0].time) / every


async def test_rtp_time_jumps_an_hour_back(server: Server) -> None:
    """LiveKit sends nothing on until it is put right; others do not notice."""
    lies = Lies()
    async with (
        Robot(server, "back") as robot,
        WildPublisher(server, "anna", "back", lies),
        WildPublisher(server, "ben", "back", Lies()),
    ):
        await robot.until(lambda: all(len(robot.units(user)) > 7 * FPS for user in ("anna", "ben")), 40)
        lies.jump = jump(-3600)
        await asyncio.sleep(8)
        lies.jump = None
        at = robot.clock.now()
        await robot.until(lambda: robot.units("anna")[-1].time > at + 4, 40)
        assert abs(robot.units("anna")[-1].time - robot.clock.now()) < 0.5
    for user in ("anna", "ben"):
        assert_grows(robot.units(user))
        assert_grows(robot.units(user, "audio"))
    assert steady(robot.units("ben")[FPS:], 1 / FPS, 0.03)
    assert len({unit.source for unit in robot.units("ben")}) == 1
