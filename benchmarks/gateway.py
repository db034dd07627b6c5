"""CPU time and latency of a signed DescribeCloudRecording, over HTTP, with the recording in memory.

Beside it a bare endpoint of the same framework (Starlette), in the same server, returns the same bytes to everybody and
looks at nothing. Both take turns in processes of their own. Every request is signed with TC3-HMAC-SHA256 and has the
headers of the Python SDK. The gateway is whole but for the API server: its cache was filled before.

  per_cpu_second  requests that a CPU second of the server's process serves, with 8 connections that never rest
  ratio           of these, gateway/bare, the median of the rounds' ratios
  p50_ms, p99_ms  time to the answer while both get half the requests a second that the gateway can serve
  p99_ratio       gateway/bare, the median of the rounds' ratios
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import serving
from benchmarks.figures import alternate, ratio, report
from benchmarks.pod import percentile
from cloudrec_gateway.wire.call import VERSION
from cloudrec_gateway.wire.tc3 import signing_key

TARGETS: Final = {"ratio": 0.4, "p99_ratio": 3.0}
CONNECTIONS: Final = 8
REQUESTS: Final = 256
"""Different ones, sent over and over: what a server might remember of one request does not help."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_END_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Server:
    pid: int
    port: int
    answer: bytes

    def processor_time(self) -> float:
        """CPU seconds so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one run: requests answered, the server's CPU seconds, seconds, and each request's ms."""

    count: int
    cpu: float
    seconds: float
    times: list[float]


@contextmanager
def server(kind: str) -> Iterator[Server]:
    """`gateway` or `bare`, in a process of its own that ends with the block."""
    command = (sys.executable, "-m", "benchmarks.serving", kind)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            if not first:
                raise RuntimeError(f"no server: {' '.join(command)}")
            line = json.loads(first)
            yield Server(process.pid, line["port"], line["answer"].encode())
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def signed_request(port: int, now: int) -> bytes:
    """A query as the Python SDK sends it; no two are alike."""
    host = f"127.0.0.1:{port}"
    trace = str(uuid.uuid4())
    body = json.dumps({"SdkAppId": serving.SDK_APP_ID, "TaskId": serving.TASK_ID, "RecorderKey": trace}).encode()
    date = time.strftime("%Y-%m-%d", time.gmtime(now))
    payload = hashlib.sha256(body).hexdigest()
    canonical = f"POST\n/\n\ncontent-type:application/json\nhost:{host}\n\ncontent-type;host\n{payload}"
    scope = f"{date}/trtc/tc3_request"
    text = f"TC3-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    mac = signing_key(serving.SECRET_KEY, date, "trtc").copy()
    mac.update(text.encode())
    headers = {
        "User-Agent": "python-requests/2.32",
        "Accept-Encoding": "gzip, deflate",
        "Accept": "*/*",
        "Connection": "Keep-Alive",
        "X-TC-TraceId": trace,
        "Content-Type": "application/json",
        "Host": host,
        "X-TC-Action": "DescribeCloudRecording",
        "X-TC-RequestClient": "SDK_PYTHON_3.1.177",
        "X-TC-Timestamp": str(now),
        "X-TC-Version": VERSION,
        "X-TC-Region": "ap-guangzhou",
        "X-TC-Language": "zh-CN",
        "Authorization": f"TC3-HMAC-SHA256 Credential={serving.SECRET_ID}/{scope}, "
        f"SignedHeaders=content-type;host, Signature={mac.hexdigest()}",
        "Content-Length": str(len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + body


class Connection(asyncio.Protocol):
    """Sends one request at a time and tells when its answer is whole."""

    def __init__(self, size: int) -> None:
        self._size = size  # of every answer's body
        self._buffer = b""
        self._answered: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head >= 0 and len(self._buffer) >= head + 4 + self._size and self._answered is not None:
            self._answered.set_result(self._buffer[head + 4 :])
            self._buffer = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionError("the server closed the connection"))

    async def ask(self, request: bytes) -> bytes:
        """The answer's body."""
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answered

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


async def load(target: Server, seconds: float, rate: float | None) -> Load:
    """Ask for so many seconds: as fast as it goes, or `rate` times a second at moments that were set before."""
    requests = [signed_request(target.port, int(time.time())) for _ in range(REQUESTS)]
    loop = asyncio.get_running_loop()
    times: list[float] = []
    connections = [
        (await loop.create_connection(lambda: Connection(len(target.answer)), "127.0.0.1", target.port))[1]
        for _ in range(CONNECTIONS)
    ]
    moments = iter(range(1 << 62))
    begin, cpu = loop.time(), target.processor_time()

    async def work(connection: Connection) -> None:
        for number in moments:
            start = loop.time()
            if rate is not None:
                due = begin + number / rate
                await asyncio.sleep(due - start)
                start = due
            if start - begin > seconds:
                return
            answer = await connection.ask(requests[number % REQUESTS])
            times.append(1000 * (loop.time() - start))
            if b'"Status":"InProgress"' not in answer:
                raise AssertionError(f"another answer: {answer!r}")

    try:
        async with asyncio.timeout(seconds + _END_SECONDS), asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(work(connection))
        return Load(len(times), target.processor_time() - cpu, loop.time() - begin, times)
    finally:
        for connection in connections:
            connection.close()


def summary(full: dict[str, list[Load]], half: dict[str, list[Load]]) -> dict[str, object]:
    """What is reported: runs at full load and at half load, by server."""
    rates = {name: [each.count / each.cpu for each in loads] for name, loads in full.items()}
    p99 = {name: [percentile(each.times, 0.99) for each in loads] for name, loads in half.items()}
    return {
        "per_cpu_second": {name: round(median(each)) for name, each in rates.items()},
        "ratio": round(ratio(rates["gateway"], rates["bare"]), 3),
        "half_load_per_second": round(median(each.count / each.seconds for each in half["gateway"])),
        "p50_ms": {name: round(median(median(each.times) for each in loads), 3) for name, loads in half.items()},
        "p99_ms": {name: round(median(each), 3) for name, each in p99.items()},
        "p99_ratio": round(ratio(p99["gateway"], p99["bare"]), 3),
        "targets": TARGETS,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="runs of each kind (7)")
    parser.add_argument("--time", type=float, default=3.0, help="seconds of a run (3)")
    parser.add_argument("--quick", action="store_true", help="one round of a second: does it still run?")
    options = parser.parse_args(arguments)
    rounds, seconds = (1, 1.0) if options.quick else (options.rounds, options.time)
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(server(kind)) for kind in ("gateway", "bare")}

        def runs(rate: float | None) -> dict[str, list[Load]]:
            kinds = {
                kind: lambda target=target: asyncio.run(load(target, seconds, rate)) for kind, target in servers.items()
            }
            return alternate(kinds, rounds)

        asyncio.run(load(servers["gateway"], 0.5, None))
        asyncio.run(load(servers["bare"], 0.5, None))
        full = runs(None)
        able = median(each.count / each.seconds for each in full["gateway"])
        half = runs(able / 2)
    report("gateway", summary(full, half))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
