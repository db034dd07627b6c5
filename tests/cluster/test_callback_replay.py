"""`cloudrec callbacks` as a program: dead letters in a real status, a real operator, a real receiver.

A letter dies after a day, so it is put into the status as the operator writes it: by server-side apply under its name.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from cloudrec_contract.secret import Secret
from cloudrec_local.home import Home
from cloudrec_local.kubeapi import APPLY, Object
from cloudrec_local.receiver.log import read
from cloudrec_local.receiver.server import Receiver
from cloudrec_operator.api import FIELD_MANAGER
from tests.cluster.operating import World, app, recording, secret

pytestmark = pytest.mark.cluster

KEY = Secret("k3yOfTheApp")
APP = 1400000001
TIMEOUT = 60.0


class Served:
    """The stack's own receiver in a folder of a stack's shape; `url` leads to it."""

    def __init__(self, home: Home, url: str) -> None:
        self.home = home
        self.url = url


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    home = Home(tmp_path / "stacks" / "default")
    home.arrivals.parent.mkdir(parents=True)
    home.state.write_text("{}")
    runner = web.AppRunner(Receiver(KEY, APP, home.arrivals).application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield Served(home, f"http://127.0.0.1:{runner.addresses[0][1]}/callbacks")
    finally:
        await runner.cleanup()


async def cloudrec(*arguments: str, stacks: Path | None = None) -> tuple[int, str, str]:
    """The command as users run it: exit code, stdout, stderr."""
    env = {"PATH": "/usr/bin:/bin", "CLOUDREC_HOME": str(stacks or "/nowhere")}
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloudrec_local.cli", *arguments),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(running.communicate(), TIMEOUT)
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode is not None
    return running.returncode, out.decode(), err.decode()


def dead(task: str, *kinds: int) -> list[Object]:
    args = {301: {"Status": 0}, 303: {"Status": 0}, 304: {"FileList": "a.m3u8"}}
    now = time.time_ns() // 1_000_000
    return [
        {
            "sequence": n,
            "key": f"{task}-0-{n}",
            "type": kind,
            "ts": now - 90_000_000 + n,
            "args": args[kind],
            "error": "HTTP 500",
        }
        for n, kind in enumerate(kinds, 1)
    ]


async def given_up(world: World, name: str, url: str, *kinds: int) -> str:
    """A running recording whose first letters are dead, with no operator about; its task id."""
    await world.furnish()
    await world.apply(secret("hook", key=KEY.reveal()))
    made = app()
    made["spec"]["callback"] = {"url": url, "keySecretRef": {"name": "hook"}, "allowPrivateAddresses": True}
    await world.apply(made)
    async with world.operator():
        await world.apply(recording(name))
        pod = await world.pod(name)
        await world.run_pod(pod["metadata"]["name"])
        found = await world.until(name, lambda o: "callbacks" in o["status"], "callbacks begun")
    task = str(found["metadata"]["uid"])
    found = await world.admin.get(world.path(name))
    status = found["status"]
    for attempt in status["attempts"]:
        attempt.pop("report", None)  # the sidecar's
    letters = dead(task, *kinds)
    status["callbacks"].update(dead=letters, deadLetters=len(letters), watermark=len(letters))
    body = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": {"name": name}, "status": status}
    params = {"fieldManager": FIELD_MANAGER, "force": "true"}
    path = f"{world.path(name)}/status"
    await world.admin.request("PATCH", path, body, content_type=APPLY, params=params)
    return task


async def test_dead_letters_are_shown_and_sent_again(world: World, served: Served) -> None:
    task = await given_up(world, "lost", served.url, 301, 303, 304)
    where = ("-n", world.namespace, "--kubeconfig", str(world.kubeconfig))
    code, out, err = await cloudrec("callbacks", "dead", "lost", *where)
    assert (code, err) == (0, "")
    assert [line.split()[1] for line in out.splitlines()] == ["301", "303", "304"]
    assert out.count("HTTP 500") == 3

    async with world.operator():
        code, out, err = await cloudrec("callbacks", "replay", "lost", *where)
        assert code == 0, out + err
        assert out == "lost: 3 dead letters, events 301, 303, 304\nlost: 3 of 3 delivered\n"
        code, _, err = await cloudrec("callbacks", "replay", "lost", *where)
        assert (code, "has no dead letters" in err) == (1, True)
    arrived = read(served.home.arrivals)
    assert [(one.key, one.answer, one.signature) for one in arrived] == [
        (f"{task}-0-{n}", 200, "good") for n in (1, 2, 3)
    ]
    told = (await world.admin.get(world.path("lost")))["status"]["callbacks"]
    assert told["deadLetters"] == 0

    stacks = served.home.root.parent
    code, out, _ = await cloudrec("callbacks", "tail", "--no-follow", "-n", "2", "--task", task[:8], stacks=stacks)
    assert code == 0
    assert [line.split()[1:3] for line in out.splitlines()] == [["signed", "303"], ["signed", "304"]]
    _, out, _ = await cloudrec("callbacks", "tail", "--no-follow", "--json", "--since", "1h", stacks=stacks)
    assert [json.loads(line)["body"]["EventType"] for line in out.splitlines()] == [301, 303, 304]


async def test_a_receiver_that_is_still_ill(world: World, served: Served) -> None:
    await given_up(world, "ill", served.url.replace("/callbacks", "/elsewhere"), 301, 303)
    where = ("-n", world.namespace, "--kubeconfig", str(world.kubeconfig))
    async with world.operator():
        code, out, _ = await cloudrec("callbacks", "replay", "--all", "--timeout", "3", *where)
        assert code == 1
        assert "0 of 2 delivered, 2 still being tried (last error: " in out
        assert "404" in out


async def test_errors_are_clear(world: World) -> None:
    where = ("-n", world.namespace, "--kubeconfig", str(world.kubeconfig))
    code, _, err = await cloudrec("callbacks", "replay", "nobody", *where)
    assert (code, f"there is no recording 'nobody' in namespace {world.namespace}" in err) == (1, True)
    code, _, err = await cloudrec("callbacks", "replay", "--all", *where)
    assert (code, "none of the 0 recordings" in err) == (1, True)
