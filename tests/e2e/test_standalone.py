"""A recording without a cluster, as somebody at a terminal makes it: the example's task, a folder, Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path

import pytest
import pytest_asyncio

from cloudrec_contract.secret import Secret
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.plan import standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.server import Server
from cloudrec_local.synthetic.sound import beep_hz
from tests.analysis import content, structure
from tests.analysis.ffprobe import ffprobe_warnings
from tests.analysis.files import Whose, read_folder

pytestmark = [pytest.mark.media, pytest.mark.asyncio(loop_scope="module")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "task.yaml"
APART = "room: demo\nsegmentSeconds: 3\nstreams: {subscribe: {video: {include: ['user-1']}}}\n"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Terminal:
    """A command that runs on a terminal of 100 columns; `seen` is all that it wrote, without the control sequences."""

    process: subprocess.Popen[bytes]
    screen: int
    raw: bytearray = field(default_factory=bytearray)

    @property
    def seen(self) -> str:
        return _ESCAPE.sub("", self.raw.decode(errors="replace"))

    def read(self) -> None:
        try:
            self.raw += os.read(self.screen, 65536)
        except OSError:  # nobody has the terminal any more
            asyncio.get_running_loop().remove_reader(self.screen)

    async def until(self, good: Callable[[], bool], seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not good():
            assert time.monotonic() < deadline, self.seen[-3000:]
            await asyncio.sleep(0.05)

    async def ended(self, seconds: float = 30) -> int:
        await self.until(lambda: self.process.poll() is not None, seconds)
        await asyncio.sleep(0)
        assert self.process.returncode is not None
        return self.process.returncode


def environment(server: Server, **more: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("LIVEKIT_", "CLOUDREC_"))},
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret.reveal(),
        "TERM": "xterm",
        **more,
    }


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cloudrec_recorder.main", *map(str, arguments)]


@contextmanager
def terminal(server: Server, *arguments: object) -> Iterator[Terminal]:
    screen, inside = pty.openpty()
    ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        command(*arguments), stdin=inside, stdout=inside, stderr=inside, env=environment(server), start_new_session=True
    )
    os.close(inside)
    made = Terminal(process, screen)
    loop = asyncio.get_running_loop()
    loop.add_reader(screen, made.read)
    try:
        yield made
    finally:
        loop.remove_reader(screen)
        process.kill()
        process.wait()
        os.close(screen)


async def run(server: Server, *arguments: object, **more: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a recorder that is no terminal's."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        env=environment(server, **more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture(scope="module")
def server(livekit_stack: Stack) -> Server:
    status = livekit_stack.status().livekit
    assert status is not None
    return Server(status.url, status.api_key, Secret(status.api_secret))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def users(server: Server) -> AsyncIterator[SyntheticUsers]:
    async with SyntheticUsers(server, "demo", standard_plan(2, width=320, height=180)) as users:
        await users.published()
        yield users


async def test_the_example_on_a_terminal_until_ctrl_c(users: SyntheticUsers, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "recording"
    with terminal(server, "--task", EXAMPLE, "--out", out) as shown:
        for user in ("user-1", "user-2"):
            row = re.compile(user + r" +main both +H264 320×180")
            await shown.until(lambda row=row: row.search(shown.seen) is not None)
        assert "Recording  room demo" in shown.seen
        await shown.until(lambda: len(list(out.glob("*.m3u8"))) == 2)  # of the first segments, while it goes on
        assert not any("ENDLIST" in path.read_text() for path in out.glob("*.m3u8"))
        assert re.search(r"[1-9][0-9]* kb/s", shown.seen)
        shown.process.send_signal(signal.SIGINT)
        assert await shown.ended() == 0
        await shown.until(lambda: "ended  stopped by Ctrl-C" in shown.seen)
    assert "ffplay" in shown.seen
    assert shown.raw.rfind(b"\x1b[?25h") > shown.raw.rfind(b"\x1b[?25l")  # the cursor is back
    assert {path.suffix for path in out.iterdir()} == {".m3u8", ".ts", ".json"}
    recordings = await asyncio.to_thread(read_folder, out)
    assert set(recordings) == {Whose(user, "main", "audio_video") for user in ("user-1", "user-2")}
    for path in out.glob("*.m3u8"):
        assert path.read_text().endswith("#EXT-X-ENDLIST\n")
        assert await asyncio.to_thread(ffprobe_warnings, path) == []
    for recording in recordings.values():
        assert not recording.faults
        assert recording.seconds > 9
        numbers = [picture.code.frame for picture in recording.pictures if picture.code is not None]
        assert len(numbers) == len(recording.pictures)
        assert (numbers[-1] - numbers[0]) % 4096 + 1 - len(numbers) <= 2


async def test_without_a_terminal_and_for_some_seconds(users: SyntheticUsers, server: Server, tmp_path: Path) -> None:
    task = tmp_path / "task.yaml"
    task.write_text(APART)
    out = tmp_path / "recording"
    code, told, log = await run(server, "--task", task, "--out", out, "--stop-after", "9")
    assert code == 0, told + log
    assert re.search(r"\d:\d\d user-1 main video: H264 320×180", told)
    assert "ended  stopped after 9 s" in told
    assert server.api_secret.reveal() not in told + log
    recordings = await asyncio.to_thread(read_folder, out)
    assert set(recordings) == {
        Whose("user-1", "main", "video"),
        Whose("user-1", "main", "audio"),
        Whose("user-2", "main", "audio"),
    }
    for recording in recordings.values():
        assert not recording.faults
        assert len(recording.segments) >= 2
        assert not structure.broken_joints(recording, 40)
    video, audio = (recordings[Whose("user-1", "main", kind)] for kind in ("video", "audio"))
    assert structure.epoch_spread(recordings.values()) < 2
    flashes, beeps = content.flashes(video), content.beeps(audio, beep_hz(1))
    assert len(flashes) >= 4
    assert all(min(abs(flash - beep) for beep in beeps) < 0.1 for flash in flashes[1:-1])
    again = await run(server, "--task", task, "--out", out)
    assert again[0] == 2
    assert "holds a recording already" in again[2]


async def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    with terminal(server, "--task", EXAMPLE, "--out", tmp_path / "out", "--url", "ws://127.0.0.1:1") as shown:
        await shown.until(lambda: "LiveKitUnreachable" in shown.seen)
        shown.process.send_signal(signal.SIGTERM)
        assert await shown.ended() == 0
    assert not (tmp_path / "out" / ".cloudrec").exists()


async def test_a_refused_key(server: Server, tmp_path: Path) -> None:
    code, told, log = await run(server, "--task", EXAMPLE, "--out", tmp_path / "out", LIVEKIT_API_SECRET="wrong" * 8)
    assert code == 1
    assert "failed  TokenRefused" in told
    assert "is the API key (or the token) the one of this server?" in told
    assert "wrongwrong" not in told + log
