"""`cloudrec demo`: the main job in one command, with nothing pretended.

It brings the stack up (or joins the running one), lets two synthetic users talk, applies `examples/recording.yaml` with
kubectl, watches, stops, plays the files, judges them, and looks at the callbacks that arrived. What it started
itself it takes away again; the files stay.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cloudrec_contract.events import EventType
from cloudrec_contract.resources import CloudRecordingStatus, Phase
from cloudrec_contract.secret import Secret
from cloudrec_local.check import FileReport, check_files
from cloudrec_local.errors import StackError
from cloudrec_local.fetch import PLAYER_PREFIX, Objects, download, objects_of
from cloudrec_local.home import DEFAULT_NAME, example, invocation
from cloudrec_local.receiver.arrivals import NAMES, accepted
from cloudrec_local.receiver.log import read
from cloudrec_local.stack import Stack
from cloudrec_local.status import StackStatus
from cloudrec_local.synthetic.plan import Plan, standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.server import PublishError, Server

ROOM = "demo"
START_SECONDS = 120
STOP_SECONDS = 120
TELL_SECONDS = 60
PERIOD = 0.5
MISSING_PART = 0.01
SHORT_SECONDS = 1.0
WANTED_EVENTS = {
    EventType.UPLOAD_START,
    EventType.RECORDER_START,
    EventType.FILE_SLICE,
    EventType.FILE_INFO,
    EventType.RECORDER_STOP,
    EventType.UPLOAD_STOP,
}


@dataclass(frozen=True)
class Kubectl:
    """kubectl with the stack's kubeconfig; every call has a deadline."""

    path: Path
    kubeconfig: Path

    def __call__(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [str(self.path), "--kubeconfig", str(self.kubeconfig), "--request-timeout=20s", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check and done.returncode:
            raise StackError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def recording(self, name: str) -> dict[str, Any] | None:
        """The resource, or None when there is none."""
        text = self("get", "crec", name, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return found


@click.command()
@click.option("--seconds", default=20, show_default=True, type=click.IntRange(5, 3600), help="How long to record.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the recording [default: recordings/demo-<time>].",
)
@click.option("--name", default=DEFAULT_NAME, show_default=True, help="The stack to make or to join.")
def demo(seconds: int, out: Path | None, name: str) -> None:
    """Make one whole recording: stack, two users, 20 seconds, check, files.

    The first run builds Kubernetes and LiveKit (about ten minutes on two cores); later runs take about a minute. Exit
    code 0 means that every file was there, complete, and showed and said what the two users showed and said.
    """
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    out = out or Path("recordings") / f"demo-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if out.exists() and any(out.iterdir()):
        raise click.UsageError(f"{out} is not empty")
    stack = Stack(name)
    joined = stack.home.state.exists()
    console.print(f"[bold]1. Stack[/]  {'joining the running one' if joined else 'making one on loopback'}")
    status = stack.up(lambda line: console.print(f"   {line}", style="dim"))
    try:
        good = asyncio.run(_demo(console, status, seconds, out))
    except PublishError as error:
        raise StackError(f"the synthetic users failed: {error}") from error
    finally:
        if not joined:
            console.print("\n[dim]taking the stack down; the files stay[/]")
            stack.down()
    if not good:
        raise StackError("the recording is not what it should be: see the table above")
    _what_next(console, out, joined)


async def _demo(console: Console, status: StackStatus, seconds: int, out: Path) -> bool:
    kubernetes, livekit = status.kubernetes, status.livekit
    if kubernetes is None or livekit is None:
        raise StackError("this stack has no Kubernetes or no LiveKit", "cloudrec demo --name another")
    kubectl = Kubectl(kubernetes.kubectl, kubernetes.kubeconfig)
    manifest = example("recording.yaml")
    recording = str(yaml.safe_load(manifest.read_text())["metadata"]["name"])
    await asyncio.to_thread(_make_room, kubectl, recording)

    console.print(f"[bold]2. Users[/]  two people join the room {ROOM!r} and publish camera and microphone")
    server = Server(livekit.url, livekit.api_key, Secret(livekit.api_secret))
    plan = standard_plan(2)
    async with SyntheticUsers(server, ROOM, plan) as users:
        await users.published()
        console.print(f"[bold]3. Record[/]  kubectl apply -f {_short(manifest)}")
        try:
            await asyncio.to_thread(kubectl, "apply", "-f", str(manifest))
            objects = await asyncio.to_thread(objects_of, kubernetes.kubeconfig, "default", recording)
            await _watch(console, kubectl, recording, objects, seconds)
            console.print(f"[bold]4. Stop[/]  kubectl patch crec {recording} … desiredState: Stopped")
            patch = '{"spec":{"desiredState":"Stopped"}}'
            await asyncio.to_thread(kubectl, "patch", "crec", recording, "--type", "merge", "-p", patch)
            final = await _ended(kubectl, recording)
            final = await _told(kubectl, recording, final)
        except BaseException:  # Ctrl-C too: a recording of ours must not go on in a stack that was there before
            kubectl("delete", "crec", recording, "--wait=false", "--ignore-not-found", check=False)
            raise
        await users.stop()
    console.print(f"[bold]5. Check[/]  every file, decoded and looked into, from {objects.where}")
    await asyncio.to_thread(download, objects, out)
    good = _judge(console, out, final, plan, seconds)
    return _judge_callbacks(console, final, status) and good


def _make_room(kubectl: Kubectl, recording: str) -> None:
    """An earlier demo's finished resource goes (its files stay); one that still records is its owner's."""
    found = kubectl.recording(recording)
    if found is None:
        return
    phase = CloudRecordingStatus.model_validate(found.get("status", {})).phase
    if phase is None or not phase.terminal:
        raise StackError(
            f"a recording called {recording!r} is there already, in phase {phase or 'Pending'}",
            f"stop it (cloudrec kubectl delete crec {recording}), or use another stack: cloudrec demo --name other",
        )
    kubectl("delete", "crec", recording, "--wait=true", "--timeout=30s")


async def _watch(console: Console, kubectl: Kubectl, name: str, objects: Objects, seconds: int) -> None:
    """Show the recording's progress until it has recorded for `seconds`."""
    began = time.monotonic()
    recording_since: float | None = None
    last = ""
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        while True:
            status = await _status(kubectl, name)
            names = await asyncio.to_thread(objects.names)
            now = time.monotonic()
            if status.phase is Phase.RECORDING and recording_since is None:
                recording_since = now
            recorded = now - recording_since if recording_since is not None else 0.0
            if console.is_terminal:
                live.update(_board(status, names, recorded, seconds))
            elif (line := _line(status, names)) != last:
                console.print(f"   {now - began:5.1f} s  {line}")
                last = line
            if status.phase is not None and status.phase.terminal:
                raise StackError(f"the recording ended early: {_reasons(status)}")
            if recording_since is None and now - began > START_SECONDS:
                raise StackError(f"no media was recorded after {START_SECONDS} s: {_reasons(status)}")
            if recorded >= seconds:
                return
            await asyncio.sleep(PERIOD)


def _line(status: CloudRecordingStatus, names: list[str]) -> str:
    segments = sum(name.endswith(".ts") for name in names)
    return f"{status.phase or 'Pending'}: {status.files or 0} tracks, {segments} segments in the bucket"


def _board(status: CloudRecordingStatus, names: list[str], recorded: float, seconds: int) -> Group:
    width = 30
    done = min(width, int(width * recorded / seconds))
    bar = Text.assemble("   ", ("━" * done, "green"), ("━" * (width - done), "bright_black"))
    bar.append(f"  {min(recorded, seconds):4.1f} of {seconds} s")
    return Group(Text(f"   {_line(status, names)}"), bar)


async def _status(kubectl: Kubectl, name: str) -> CloudRecordingStatus:
    found = await asyncio.to_thread(kubectl.recording, name)
    if found is None:
        raise StackError(f"somebody deleted the recording {name!r}")
    return CloudRecordingStatus.model_validate(found.get("status", {}))


async def _ended(kubectl: Kubectl, name: str) -> CloudRecordingStatus:
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        status = await _status(kubectl, name)
        if status.phase is not None and status.phase.terminal:
            return status
        if time.monotonic() > deadline:
            raise StackError(f"not Completed after {STOP_SECONDS} s: {status.phase}, {_reasons(status)}")
        await asyncio.sleep(PERIOD)


async def _told(kubectl: Kubectl, name: str, status: CloudRecordingStatus) -> CloudRecordingStatus:
    """The status once every callback is settled."""
    deadline = time.monotonic() + TELL_SECONDS
    while status.callbacks is None or status.callbacks.settled_at is None:
        if time.monotonic() > deadline:
            said = status.callbacks.last_error if status.callbacks else "the app names none"
            raise StackError(f"not all callbacks were delivered after {TELL_SECONDS} s: {said or 'no error'}")
        await asyncio.sleep(PERIOD)
        status = await _status(kubectl, name)
    return status


def _reasons(status: CloudRecordingStatus) -> str:
    bad = [f"{c.type}: {c.reason} {c.message}" for c in status.conditions if c.status == "False"]
    return "; ".join(bad) or "no condition says why"


def _judge(console: Console, out: Path, status: CloudRecordingStatus, plan: Plan, seconds: int) -> bool:
    """Print a row for each file and the events; whether all of it is as it should be."""
    numbers = {user.identity: user.number for user in plan.users}
    playlists = [path.name for path in out.glob("*.m3u8") if not path.name.startswith(PLAYER_PREFIX)]
    reports = check_files(playlists, lambda name: (out / name).read_bytes(), numbers)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "user", "track", "seconds", "segments", "content", "size", "seen and heard"):
        table.add_column(heading)
    problems = [] if status.phase is Phase.COMPLETED else [f"phase {status.phase}: {_reasons(status)}"]
    for report in reports:
        wrong = _faults(report, seconds)
        table.add_row(
            "[red]✗[/]" if wrong else "[green]✓[/]",
            report.user,
            f"{report.media} {report.kind}",
            f"{report.seconds:.2f}",
            str(report.segments),
            f"{report.codec} {report.resolution}".strip(),
            f"{report.size / 1024:.0f} KiB",
            "; ".join(wrong) or (f"{report.frames} pictures, none missing" if report.frames else "its own beep"),
        )
        problems += [f"{report.user} {report.kind}: {text}" for text in wrong]
    console.print(table)
    expected = {(user, kind) for user in numbers for kind in ("audio", "video")}
    if missing := expected - {(report.user, report.kind) for report in reports}:
        problems.append(f"no file of {sorted(missing)}")
    for text in problems:
        console.print(f"   [red]✗ {text}[/]")
    return not problems


def _judge_callbacks(console: Console, status: CloudRecordingStatus, stack: StackStatus) -> bool:
    """Print which callbacks the stack's receiver took; whether none was missing, unsigned or out of its order."""
    if stack.receiver is None:
        raise StackError("this stack has no receiver of callbacks", "cloudrec demo --name another")
    arrived = [one for one in read(stack.receiver.arrivals) if one.task == status.task_id]
    taken = accepted(arrived, status.task_id or "")
    counts = Counter(arrival.type for arrival in taken)
    told = [f"{count} × {kind} {NAMES.get(kind, '?')}" for kind, count in sorted(counts.items())]
    console.print(f"   callbacks that arrived: {', '.join(told) or 'none'}", style="dim")
    problems = [f"a callback was answered {one.answer}: {one.fault}" for one in arrived if one.fault]
    if absent := WANTED_EVENTS - set(counts):
        problems.append(f"callbacks missing: {', '.join(f'{kind.value}' for kind in sorted(absent))}")
    if (places := [one.sequence or 0 for one in taken]) != sorted(places):
        problems.append(f"callbacks came out of order: {[one.type for one in taken]}")
    for text in problems:
        console.print(f"   [red]✗ {text}[/]")
    if not problems:
        console.print(f"   [green]✓[/] {len(taken)} callbacks, each signed, in the task's order")
    return not problems


def _faults(report: FileReport, seconds: int) -> list[str]:
    wrong = list(report.faults)
    if report.recognised is False:
        wrong.append("its user was not recognised")
    if report.missing > MISSING_PART * report.frames:
        wrong.append(f"{report.missing} pictures missing")
    if report.seconds < seconds - SHORT_SECONDS:
        wrong.append(f"only {report.seconds:.1f} of {seconds} s")
    return wrong


def _what_next(console: Console, out: Path, joined: bool) -> None:
    player = min(out.glob(f"{PLAYER_PREFIX}*.m3u8"))
    further = (
        f"{invocation()} kubectl describe crec demo" if joined else "make up, then README.md, “Your first recording”"
    )
    console.print(f"\n[bold green]Recorded.[/] The files are in {_short(out)}")
    console.print(f"  play a user's picture and sound   ffplay {_short(player)}")
    console.print(f"  an MP4 file of each user          {invocation()} merge -f {_short(out)}")
    console.print("  one playlist per user and kind    named as TRTC names them; all on one time line")
    console.print(f"  go on                             {further}")


def _short(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
