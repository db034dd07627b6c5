"""Probe thresholds, and the four ways to ask."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from aiohttp import web

from cloudrec_local.node.probes import Target, Verdict, ask


def target(tmp_path: Path, port: int = 0) -> Target:
    return Target("127.0.0.1", {"web": port}, {"PATH": "/usr/bin:/bin"}, str(tmp_path), lambda word: word)


def verdicts(verdict: Verdict, answers: str) -> list[bool | None]:
    """What holds after each answer (`+` or `-`) that changed something, else None."""
    return [verdict.healthy if verdict.observe(answer == "+") else None for answer in answers]


def test_one_success_makes_healthy_and_three_failures_in_a_row_unhealthy() -> None:
    verdict = Verdict.of({})
    assert verdicts(verdict, "+--+---+") == [True, None, None, None, None, None, False, True]


def test_thresholds_are_the_probes() -> None:
    verdict = Verdict.of({"successThreshold": 2, "failureThreshold": 1})
    assert verdicts(verdict, "-+-++") == [False, None, None, None, True]


def test_a_verdict_is_given_once() -> None:
    assert verdicts(Verdict.of({"failureThreshold": 1}), "----") == [False, None, None, None]


async def test_http(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=int(request.query["status"]), headers={"Location": "/elsewhere"})

    app = web.Application()
    app.router.add_get("/check", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        here = target(tmp_path, port)
        for status, ok in ((200, True), (302, True), (404, False), (500, False)):
            action = {"httpGet": {"path": f"/check?status={status}", "port": "web"}}
            assert (await ask(action, here, 5))[0] is ok
        assert (await ask({"tcpSocket": {"port": port}}, here, 5))[0]
    finally:
        await runner.cleanup()
    assert not (await ask({"tcpSocket": {"port": port}}, here, 5))[0]
    assert not (await ask({"httpGet": {"port": port}}, here, 5))[0]


async def test_exec_tells_its_output(tmp_path: Path) -> None:
    here = target(tmp_path)
    assert await ask({"exec": {"command": ["true"]}}, here, 5) == (True, "")
    assert await ask({"exec": {"command": ["sh", "-c", "echo no; exit 1"]}}, here, 5) == (False, "no")
    ok, said = await ask({"exec": {"command": ["no-such-program"]}}, here, 5)
    assert not ok
    assert "no-such-program" in said


async def test_exec_that_hangs_is_killed_at_its_timeout(tmp_path: Path) -> None:
    script = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    asked = asyncio.create_task(ask({"exec": {"command": [sys.executable, "-c", script]}}, target(tmp_path), 2))
    assert await asked == (False, "no answer within 2 s")
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_unknown_action_and_port_are_failures(tmp_path: Path) -> None:
    here = target(tmp_path)
    assert (await ask({"grpc": {"port": 1}}, here, 1))[1] == "this node knows no such action: grpc"
    assert not (await ask({"tcpSocket": {"port": "none"}}, here, 1))[0]
