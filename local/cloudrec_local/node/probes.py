"""Probes and hooks: what is asked of a container, and what follows from the answers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from .rewrite import Rewrite

OUTPUT_LIMIT = 1024


@dataclass
class Verdict:
    """Counts answers until a threshold says something new. Pure.

    `healthy` is what holds now: None until the first verdict.
    """

    success_threshold: int
    failure_threshold: int
    healthy: bool | None = None
    _streak: int = 0
    _last: bool | None = None

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> Verdict:
        return cls(probe.get("successThreshold", 1), probe.get("failureThreshold", 3))

    def observe(self, ok: bool) -> bool:
        """Take one answer; True when `healthy` changed by it."""
        self._streak = self._streak + 1 if ok == self._last else 1
        self._last = ok
        needed = self.success_threshold if ok else self.failure_threshold
        if self._streak < needed or self.healthy == ok:
            return False
        self.healthy = ok
        return True


@dataclass(frozen=True)
class Target:
    """Where a container's actions go: its address and named ports, and how a command in it is run."""

    ip: str
    ports: Mapping[str, int]
    env: Mapping[str, str]
    cwd: str
    rewrite: Rewrite

    def port(self, value: int | str) -> int:
        """A port by number or name. Raises ValueError when the container names none so."""
        if isinstance(value, int):
            return value
        if value in self.ports:
            return self.ports[value]
        return int(value)


async def ask(action: Mapping[str, Any], target: Target, timeout: float) -> tuple[bool, str]:
    """Do one `httpGet`, `tcpSocket`, `exec` or `sleep` action; whether it went well, and what was said when not."""
    try:
        async with asyncio.timeout(timeout):
            if http := action.get("httpGet"):
                return await _http(http, target)
            if tcp := action.get("tcpSocket"):
                _, writer = await asyncio.open_connection(tcp.get("host") or target.ip, target.port(tcp["port"]))
                writer.close()
                return True, ""
            if command := action.get("exec"):
                return await _exec(command["command"], target)
            if pause := action.get("sleep"):
                await asyncio.sleep(pause["seconds"])
                return True, ""
            return False, f"this node knows no such action: {', '.join(action)}"
    except TimeoutError:
        return False, f"no answer within {timeout:g} s"
    except (OSError, ValueError, aiohttp.ClientError) as error:
        return False, str(error) or type(error).__name__


async def _http(http: Mapping[str, Any], target: Target) -> tuple[bool, str]:
    scheme = http.get("scheme", "HTTP").lower()
    path = http.get("path") or "/"
    url = f"{scheme}://{http.get('host') or target.ip}:{target.port(http['port'])}/{path.lstrip('/')}"
    headers = {header["name"]: header["value"] for header in http.get("httpHeaders", [])}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        if 200 <= response.status < 400:
            return True, ""
        return False, f"HTTP probe failed with statuscode: {response.status}"


async def _exec(command: Sequence[str], target: Target) -> tuple[bool, str]:
    process = await asyncio.create_subprocess_exec(
        *map(target.rewrite, command),
        env=dict(target.env),
        cwd=target.cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        output = await process.stdout.read(OUTPUT_LIMIT)
        while await process.stdout.read(65536):
            pass
        code = await process.wait()
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return code == 0, output.decode(errors="replace").strip()
