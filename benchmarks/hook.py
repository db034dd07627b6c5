"""The other end of the callbacks' benchmark, in a process of its own: a receiver; and a bare loop of signed POSTs.

    python -m benchmarks.hook receiver          prints its port, and serves until its standard input ends
    python -m benchmarks.hook bare URL          for each line `N` on its standard input, POSTs N events and prints the
                                                CPU seconds that they took

The receiver answers /hook as `/mode/200`, `/mode/503` or `/mode/hang` said last; `/seen` tells how many different
events were taken with 200, and of how many tasks a try has come, since the mode was said.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from typing import Any, Final

import aiohttp
from aiohttp import web

from benchmarks.figures import processor_time

KEY: Final = "the-benchmark's-own-key"
PARALLEL: Final = 16
"""POSTs at a time, as many as the operator has open for one app."""


class Receiver:
    def __init__(self) -> None:
        self._mode = "200"
        self._taken: set[str] = set()
        self._tasks: set[str] = set()

    async def hook(self, request: web.Request) -> web.Response:
        await request.read()
        key = request.headers["Idempotency-Key"]
        self._tasks.add(key.rsplit("-", 2)[0])
        if self._mode == "hang":
            await asyncio.sleep(3600)
        if self._mode == "200":
            self._taken.add(key)
        return web.Response(status=int(self._mode))

    async def mode(self, request: web.Request) -> web.Response:
        self._mode = request.match_info["mode"]
        self._taken.clear()
        self._tasks.clear()
        return web.Response()

    async def seen(self, request: web.Request) -> web.Response:
        return web.json_response({"taken": len(self._taken), "tasks": len(self._tasks)})


async def serve() -> None:
    receiver = Receiver()
    app = web.Application()
    app.add_routes(
        [
            web.post("/hook", receiver.hook),
            web.post("/mode/{mode}", receiver.mode),
            web.get("/seen", receiver.seen),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def event(number: int) -> dict[str, Any]:
    now = time.time_ns() // 1_000_000
    return {
        "EventGroupId": 3,
        "EventType": 307,
        "CallbackTs": now,
        "EventInfo": {
            "RoomId": "12345",
            "EventTs": str(now // 1000),
            "EventMsTs": now,
            "UserId": "recorder",
            "TaskId": "0b000000-0000-4000-8000-000000000001",
            "Payload": {"FileName": f"{number}.m3u8", "UserId": "alice", "TrackType": "audio", "BeginTimeStamp": now},
        },
    }


async def post(session: aiohttp.ClientSession, url: str, number: int) -> None:
    """As little as a signed POST can be with this client."""
    body = json.dumps(event(number)).encode()
    sign = base64.b64encode(hmac.digest(KEY.encode(), body, hashlib.sha256)).decode()
    headers = {
        "Content-Type": "application/json",
        "SdkAppId": "1400000001",
        "Sign": sign,
        "Idempotency-Key": f"bare-0-{number}",
    }
    async with session.post(url, data=body, headers=headers) as answer:
        await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the receiver answered {answer.status}")


async def bare(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        while line := await asyncio.to_thread(sys.stdin.readline):
            numbers = iter(range(int(line)))
            before = processor_time()

            async def work() -> None:
                for number in numbers:  # noqa: B023 - all of them end before the next line
                    await post(session, url, number)

            async with asyncio.TaskGroup() as group:
                for _ in range(PARALLEL):
                    group.create_task(work())
            print(processor_time() - before, flush=True)


if __name__ == "__main__":
    asyncio.run(serve() if sys.argv[1] == "receiver" else bare(sys.argv[2]))
