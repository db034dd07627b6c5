"""`cloudrec publish`: synthetic users in a room, for people to look at."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import click
from pydantic import ValidationError
from rich.console import Console
from rich.live import Live
from rich.table import Table

from cloudrec_contract.secret import Secret
from cloudrec_local.errors import StackError
from cloudrec_local.synthetic.messages import SECRET_VARIABLE
from cloudrec_local.synthetic.plan import Plan, standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.server import PublishError, Server
from cloudrec_local.synthetic.truth import Event, Truth


@click.command()
@click.option("--room", default="demo", show_default=True, help="The room to publish in.")
@click.option("--users", default=2, show_default=True, type=click.IntRange(1, 25), help="How many users.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="For how long [default: until Ctrl-C].")
@click.option("--size", default="640x360", show_default=True, metavar="WxH", help="The picture's size.")
@click.option("--fps", default=15, show_default=True, type=click.IntRange(1, 60), help="Pictures in a second.")
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON file that says who does what and when, in place of --users, --seconds, --size and --fps.",
)
@click.option(
    "--truth", "truth_file", type=click.Path(dir_okay=False, path_type=Path), help="Write what was done to this file."
)
@click.option("--url", envvar="LIVEKIT_URL", help="LiveKit server, ws://… [default: the running stack's].")
@click.option("--key", envvar="LIVEKIT_API_KEY", help="API key of that server [default: the running stack's].")
@click.option("--secret", envvar=SECRET_VARIABLE, help="Its secret; better given as LIVEKIT_API_SECRET.")
@click.option("--name", default="default", show_default=True, help="The stack whose LiveKit server is meant.")
def publish(
    room: str,
    users: int,
    seconds: float | None,
    size: str,
    fps: int,
    plan_file: Path | None,
    truth_file: Path | None,
    url: str | None,
    key: str | None,
    secret: str | None,
    name: str,
) -> None:
    """Let synthetic users join a room and publish camera and microphone.

    Each shows a moving test picture with its number and the time, flashes and beeps at every whole second, and can be
    told from the others by pitch and colour.
    """
    try:
        server = _server(url, key, secret, name)
        plan = _read_plan(plan_file) if plan_file else _plan(users, seconds, size, fps)
        truth = asyncio.run(_show(server, room, plan))
    except PublishError as error:
        raise click.ClickException(str(error)) from None
    except StackError as error:
        raise click.ClickException("\n".join(filter(None, (error.message, error.hint)))) from None
    if truth_file:
        truth_file.write_text(truth.model_dump_json(by_alias=True))


def _server(url: str | None, key: str | None, secret: str | None, name: str) -> Server:
    """What was given, or else the running stack's server."""
    if url and key and secret:
        return Server(url, key, Secret(secret))
    if url or key or secret:
        raise click.UsageError("--url, --key and --secret go together")
    from cloudrec_local.stack import Stack

    livekit = Stack(name).status().livekit
    if livekit is None:
        raise click.UsageError("the running stack has no LiveKit server")
    return Server(livekit.url, livekit.api_key, Secret(livekit.api_secret))


def _plan(users: int, seconds: float | None, size: str, fps: int) -> Plan:
    try:
        width, height = (int(part) for part in size.split("x"))
        return standard_plan(users, seconds, width=width, height=height, fps=fps)
    except ValueError as error:
        raise click.BadParameter(f"{size!r}: {_reason(error)}", param_hint="--size") from None


def _read_plan(file: Path) -> Plan:
    try:
        return Plan.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise click.BadParameter(f"{file}: {error}", param_hint="--plan") from None


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return "not of the form WIDTHxHEIGHT"


async def _show(server: Server, room: str, plan: Plan) -> Truth:
    """Run a plan to its end or to Ctrl-C; show a live table on a terminal, else a line for each event."""
    console = Console()
    if not console.is_terminal:
        return await _run(SyntheticUsers(server, room, plan, lambda event: console.print(str(event))))
    board = _Board(room, plan)
    with Live(get_renderable=board.table, console=console, refresh_per_second=4):
        return await _run(SyntheticUsers(server, room, plan, board.seen))


async def _run(publishing: SyntheticUsers) -> Truth:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with publishing as users:
        ended, stopped = asyncio.create_task(users.finished(None)), asyncio.create_task(stop.wait())
        await asyncio.wait([ended, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if ended.done():
            return ended.result()
        ended.cancel()
        return await users.stop()


class _Board:
    """What is published at the moment, as a small table."""

    def __init__(self, room: str, plan: Plan) -> None:
        self._room, self._plan = room, plan
        self._began = time.monotonic()
        self._state = {user.identity: "joining" for user in plan.users}
        self._tracks: dict[str, dict[str, str]] = {user.identity: {} for user in plan.users}

    def seen(self, event: Event) -> None:
        match event.type:
            case "joined" | "left" | "disconnected":
                self._state[event.user] = event.type
                self._tracks[event.user] = {}
            case "unpublished":
                self._tracks[event.user].pop(f"{event.media} {event.kind}", None)
            case "published" | "muted" | "unmuted":
                mark = " (muted)" if event.type == "muted" else ""
                self._tracks[event.user][f"{event.media} {event.kind}"] = mark

    def table(self) -> Table:
        past = int(time.monotonic() - self._began)
        end = f" of {self._plan.seconds:g} s" if self._plan.seconds else " · Ctrl-C ends it"
        title = f"room {self._room} · {past // 60}:{past % 60:02d}{end}"
        table = Table("user", "", "publishes", title=title, title_justify="left", min_width=60)
        for user in self._plan.users:
            tracks = ", ".join(f"{track}{mark}" for track, mark in self._tracks[user.identity].items())
            table.add_row(user.identity, self._state[user.identity], tracks or "nothing")
        return table


if __name__ == "__main__":
    publish()
