"""Bad networks: what a robot in bad weather records beside one in good weather, from a real LiveKit server."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import av
import pytest

from cloudrec_recorder.capture.ice import BatchedDatagramTransport, open_socket
from cloudrec_recorder.media import AccessUnit
from cloudrec_recorder.rooms import Changed, Joined, Unreachable
from cloudrec_recorder.rooms.livekit_connection import Connection
from tests.media.room import FPS, Robot, Server, User, assert_grows
from tests.media.weather import Weather, rough

pytestmark = pytest.mark.media

SECONDS = 12


@asynccontextmanager
async def robots(server: Server, room: str, weather: Weather | None = None) -> AsyncIterator[tuple[Robot, Robot]]:
    """One that has nothing to fear, and one in this weather."""
    async with Robot(server, room) as sheltered:
        await sheltered.until(lambda: sheltered.last(Joined) is not None)
        tested = Robot(server, room, token=server.token("robot~1", room, robot=True))
        with rough(weather or Weather()):
            await tested.__aenter__()
            await tested.until(lambda: tested.last(Joined) is not None, 40)
        try:
            yield sheltered, tested
        finally:
            await tested.__aexit__()


def missing(found: list[AccessUnit], reference: list[AccessUnit], *, since: float = 0.0) -> tuple[int, int]:
    """How many units of the reference, from the first to the last that both have, were not found; and of how many.

    First and last are units like no other: silence and beeps repeat themselves.
    """
    known = {unit.data for unit in found}
    unique = known & {data for data, times in Counter(unit.data for unit in reference).items() if times == 1}
    both = [index for index, unit in enumerate(reference) if unit.data in unique and unit.time >= since]
    expected = Counter(unit.data for unit in reference[both[0] : both[-1] + 1])
    return sum((expected - Counter(unit.data for unit in found)).values()), sum(expected.values())


def assert_decodes(units: list[AccessUnit]) -> None:
    decoder = av.CodecContext.create("h264", "r")
    decoder.options = {"err_detect": "explode"}
    pictures = [frame for unit in units for frame in decoder.decode(av.Packet(unit.data))]
    assert len(pictures) + len(decoder.decode(None)) == len(units)


def connection(robot: Robot) -> Connection:
    found = robot.room._connection
    assert found is not None
    return found


def sockets(robot: Robot) -> list[BatchedDatagramTransport]:
    peer = connection(robot)._peer
    assert peer is not None
    return list(peer._path._current._transports)


def restarts(robot: Robot) -> int:
    peer = connection(robot)._peer
    assert peer is not None
    return peer.restarts


async def record(tested: Robot, users: list[str], seconds: float = SECONDS) -> None:
    for user in users:
        await tested.until(lambda user=user: len(tested.units(user)) > 5, 40)  # type: ignore[misc]
    await asyncio.sleep(seconds)


async def test_two_of_a_hundred_datagrams_lost(server: Server) -> None:
    weather = Weather(loss=0.02)
    async with (
        robots(server, "loss", weather) as (sheltered, tested),
        User(server, "anna", "loss"),
        User(server, "ben", "loss"),
    ):
        await record(tested, ["anna", "ben"], 25)
        await tested.room.leave()
        await sheltered.room.leave()
    assert weather.count["lost"] > 50
    lost = whole = 0
    for user in ("anna", "ben"):
        assert_grows(tested.units(user))
        assert_decodes(tested.units(user))
        of, all_of = missing(tested.units(user), sheltered.units(user))
        lost, whole = lost + of, whole + all_of
        gone, packets = missing(tested.units(user, "audio"), sheltered.units(user, "audio"))
        assert gone < 0.04 * packets  # sound is not sent again by LiveKit
    assert whole > 40 * FPS
    assert lost <= 0.001 * whole, (lost, whole)


async def test_out_of_order_and_twice(server: Server) -> None:
    # sound alone is 20 ms a datagram: the latest comes 120 ms late, and is waited for
    weather = Weather(duplicates=0.1, reordered=0.1, spread=5)
    async with robots(server, "order", weather) as (sheltered, tested), User(server, "anna", "order"):
        await record(tested, ["anna"])
        weather.reordered = 0.0
        await tested.until(lambda: weather.held == 0)  # what is late when the robot leaves never comes
        await tested.room.leave()
        await sheltered.room.leave()
    assert weather.count["late"] > 50
    assert weather.count["twice"] > 50
    for kind in ("video", "audio"):
        found, reference = tested.units("anna", kind), sheltered.units("anna", kind)
        lost, whole = missing(found, reference)
        assert (lost, whole > 9 * FPS) == (0, True), kind
        assert len(found) <= len(reference) + 2 * FPS  # nothing twice
        assert_grows(found)
    assert_decodes(tested.units("anna"))


async def test_a_storm_passes(server: Server) -> None:
    """A third of all is lost, both ways, for seconds: what comes after it is whole."""
    weather = Weather()
    async with robots(server, "storm", weather) as (sheltered, tested), User(server, "anna", "storm"):
        await record(tested, ["anna"], 2)
        weather.loss, weather.duplicates, weather.reordered = 0.33, 0.1, 0.2
        await asyncio.sleep(5)
        weather.loss = weather.duplicates = weather.reordered = 0.0
        over = tested.clock.now()
        await tested.until(lambda: tested.units("anna")[-1].time > over + 8, 30)
        await tested.room.leave()
        await sheltered.room.leave()
    assert_grows(tested.units("anna"))
    assert_decodes(tested.units("anna"))
    offset = sheltered.clock.epoch_ms / 1000 - tested.clock.epoch_ms / 1000
    lost, whole = missing(tested.units("anna"), sheltered.units("anna"), since=over + 3 - offset)
    assert (lost, whole > 3 * FPS) == (0, True)


async def test_signalling_is_lost_and_ice_restarts_under_the_media(server: Server) -> None:
    async with robots(server, "resume") as (sheltered, tested), User(server, "anna", "resume"):
        await record(tested, ["anna"], 2)
        first = connection(tested)
        before = sockets(tested)
        for times in (1, 2):
            assert first._signal is not None
            first._signal._socket.transport.abort()
            await tested.until(lambda times=times: restarts(tested) == times)  # type: ignore[misc]
            at = tested.clock.now()
            await tested.until(lambda at=at: tested.units("anna")[-1].time > at + 2)  # type: ignore[misc]
        assert connection(tested) is first
        assert not set(before) & set(sockets(tested))
        assert all(transport.is_closing() for transport in before)
        async with User(server, "ben", "resume"):  # the room is still followed
            await tested.until(lambda: len(tested.units("ben")) > FPS)
        await tested.until(lambda: tested.changed.anchors == {"anna"})
        await tested.room.leave()
        await sheltered.room.leave()
    assert [type(event) for event in tested.events].count(Joined) == 1
    assert len({unit.source for unit in tested.units("anna")}) == 1
    lost, whole = missing(tested.units("anna"), sheltered.units("anna"))
    assert (lost, whole > 6 * FPS) == (0, True)
    assert_decodes(tested.units("anna"))


async def test_the_socket_is_another_of_a_sudden(server: Server) -> None:
    """As behind a NAT that forgot the robot: nothing arrives any more, and what is sent comes from another port."""
    async with Robot(server, "port") as robot, User(server, "anna", "port"):
        await record(robot, ["anna"], 2)
        first = connection(robot)
        for transport in sockets(robot):
            with open_socket(transport.get_extra_info("sockname")[0]) as other:
                os.dup2(other.fileno(), transport._sock.fileno())
        at = robot.clock.now()
        await robot.until(lambda: robot.units("anna")[-1].time > at + 12, 40)
        gap = max(b.time - a.time for a, b in itertools.pairwise(robot.units("anna")))
        assert connection(robot) is first  # no need to join again
    assert gap < 12
    assert_grows(robot.units("anna"))
    assert_decodes(robot.units("anna"))


async def test_packets_of_strangers(server: Server) -> None:
    rng = random.Random(3)
    async with robots(server, "strangers") as (sheltered, tested), User(server, "anna", "strangers"):
        await record(tested, ["anna"], 1)
        peer = connection(tested)._peer
        assert peer is not None
        names = [transport.get_extra_info("sockname") for transport in sockets(tested)]
        ports = [name for name in names if len(name) == 2]  # IPv4
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            until = time.monotonic() + 8
            sent = 0
            while time.monotonic() < until:
                for port in ports:
                    first = rng.choice((0, 1, 2, 3, 20, 22, 23, 63, 128, 144, 191, 255))
                    body = rng.choice((rng.randbytes(rng.randint(0, 1400)), b"\xc8\x00\x06" + bytes(24)))
                    stun = b"\x01\x00\x00\x2c\x21\x12\xa4\x42" + rng.randbytes(rng.randint(0, 60))
                    for data in (bytes((first,)) + body, stun, rng.randbytes(3)):
                        stranger.sendto(data, port)
                        sent += 1
                await asyncio.sleep(0.005)
        assert peer.strangers > sent / 10
        await tested.room.leave()
        await sheltered.room.leave()
    lost, whole = missing(tested.units("anna"), sheltered.units("anna"))
    assert (lost, whole > 7 * FPS) == (0, True)
    assert len({unit.source for unit in tested.units("anna")}) == 1
    assert_decodes(tested.units("anna"))


async def test_the_server_dies_while_it_sends(server: Server) -> None:
    """What was received is delivered; what the user sends to the next server goes on in time, and begins anew."""
    async with Robot(server, "dies", rejoin_deadline=60) as robot:
        async with User(server, "anna", "dies"):
            await record(robot, ["anna"], 3)
            await server.stop(kill=True)
            died = robot.clock.now()
            await robot.until(lambda: robot.last(Unreachable) is not None)
            await server.start()
        await robot.until(lambda: Joined(rejoined=True) in robot.events, 40)
        first = robot.units("anna")[-1]
        async with User(server, "anna", "dies"):
            await robot.until(lambda: robot.units("anna")[-1].source != first.source, 30)
            await robot.until(lambda: robot.units("anna")[-1].time > died + 5, 30)
            await record(robot, ["anna"], 2)
    assert isinstance(robot.last(Changed), Changed)
    before = [unit for unit in robot.units("anna") if unit.source == robot.units("anna")[0].source]
    assert -0.5 < died - before[-1].time < 1
    assert_grows(robot.units("anna"))
    for _, units in itertools.groupby(robot.units("anna"), lambda unit: unit.source):
        run = list(units)
        assert run[0].keyframe
        assert_decodes(run)
