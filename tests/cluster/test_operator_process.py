"""The program itself: `cloudrec-operator` as its Deployment starts it, with its service account's folder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.operating import LEASE, World, eventually, recording

pytestmark = pytest.mark.cluster


@asynccontextmanager
async def started(world: World, **settings: str) -> AsyncIterator[Process]:
    program = Path(sys.executable).parent / "cloudrec-operator"
    env = {**os.environ, "CLOUDREC_NAMESPACE": world.namespace, **settings}
    process = await asyncio.create_subprocess_exec(str(program), env=env, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def test_it_answers_probes_works_and_ends_at_sigterm(world: World) -> None:
    port = free_port()
    folder = await world.service_account()
    async with (
        started(
            world,
            CLOUDREC_SERVICEACCOUNT=str(folder),
            CLOUDREC_HEALTH_HOST="127.0.0.1",
            CLOUDREC_HEALTH_PORT=str(port),
            CLOUDREC_IDENTITY="process",
        ) as process,
        aiohttp.ClientSession() as session,
    ):

        async def healthy() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
                    return answer.status == 200
            except aiohttp.ClientError:
                return False

        await eventually(healthy, "health")
        await world.apply(recording("lesson"))
        await world.pod("lesson")
        assert (await world.admin.get(LEASE))["spec"]["holderIdentity"] == "process"
        process.send_signal(signal.SIGTERM)
        _, logs = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 0
        assert (await world.admin.get(LEASE))["spec"]["holderIdentity"] == ""
        lines = [json.loads(line) for line in logs.decode().splitlines()]
        made = next(line for line in lines if line["message"].startswith("the recorder Pod"))
        assert {"recording", "task", "reason"} <= made.keys()
        token = (folder / "token").read_text()
        assert token not in logs.decode()
        assert "s" * 40 not in logs.decode()


async def test_without_a_way_to_the_cluster_it_says_so(world: World, tmp_path: Path) -> None:
    async with started(world, CLOUDREC_SERVICEACCOUNT=str(tmp_path)) as process:
        _, logs = await asyncio.wait_for(process.communicate(), 15)
        assert process.returncode == 1
        assert "no way to the Kubernetes API" in logs.decode()


async def test_one_that_is_killed_is_followed_by_one_that_sees_what_it_missed(world: World) -> None:
    folder = await world.service_account()
    settings = {"CLOUDREC_SERVICEACCOUNT": str(folder), "CLOUDREC_HEALTH_PORT": "0", "CLOUDREC_LEASE_SECONDS": "3"}
    async with started(world, CLOUDREC_IDENTITY="first", **settings) as process:
        await world.apply(recording("lesson"))
        pod = await world.pod("lesson")
        await world.run_pod(pod["metadata"]["name"])
        await world.phase("lesson", "Starting")
        process.kill()
        await process.wait()
    assert (await world.admin.get(LEASE))["spec"]["holderIdentity"] == "first"
    await world.end_recorder(pod["metadata"]["name"], 137)
    async with started(world, CLOUDREC_IDENTITY="second", **settings):
        successor = await world.successor("lesson", 1, 30)
        assert successor["metadata"]["name"].endswith("-1")
        assert (await world.admin.get(LEASE))["spec"]["holderIdentity"] == "second"
