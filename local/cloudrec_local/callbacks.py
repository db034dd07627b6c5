"""`cloudrec callbacks`: what an app is told of its recordings, and what it could not be told, again."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .errors import StackError
from .home import DEFAULT_NAME, Home, stack_folder
from .receiver.arrivals import NAMES, Arrival, line, matches
from .receiver.log import follow
from .replay import KubeRecordings, Outcome, chosen, kinds, replay

LINES = 10
_AGE = re.compile(r"([0-9]{1,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.group()
def callbacks() -> None:
    """See the events that an app's server is told, and send again what it did not take.

    \b
    cloudrec callbacks tail          what arrives at the stack's receiver, signatures checked
    cloudrec callbacks dead NAME     events of a recording that were given up on, after a day
    cloudrec callbacks replay NAME   send them again, in their order, with the keys that they had
    """


class Age(click.ParamType[int]):
    """`90s`, `10m`, `2h`, `1d`, as seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = _AGE.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no age: 90s, 10m, 2h or 1d", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


def _cluster_options(command: Any) -> Any:
    for option in (
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="A cluster of your own instead of the embedded stack.",
        ),
        click.option("--name", "stack", default=DEFAULT_NAME, show_default=True, help="The embedded stack to ask."),
        click.option("-n", "--namespace", default="default", show_default=True, help="The recording's namespace."),
    ):
        command = option(command)
    return command


@callbacks.command()
@click.option("--name", default=DEFAULT_NAME, show_default=True, envvar="CLOUDREC_STACK", help="Which stack.")
@click.option("-n", "--lines", type=click.IntRange(0), help=f"So many of those that arrived before [{LINES}].")
@click.option("--since", type=Age(), help="Those that arrived before, of this age at most: 90s, 10m, 2h, 1d.")
@click.option("--task", default="", help="Of one task only: its TaskId, or how that begins.")
@click.option("--no-follow", is_flag=True, help="End when what is there has been shown.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, with the whole body of each callback.")
def tail(name: str, lines: int | None, since: int | None, task: str, no_follow: bool, as_json: bool) -> None:
    """Show the callbacks that arrive at the stack's receiver, as they arrive.

    The stack's RecordingApp `demo` has its callbacks sent to a small server that `cloudrec up` starts. It checks each
    one as an app should (docs/callbacks.md) and answers 200, or 401 when the signature is wrong. A line is:

    \b
        12:00:01.234  signed    301 recorder start        5a2f31c0  Status=0
        time          checked   event                     task      its payload

    followed by (try 3) when the operator had to send it so often, and by (repeat 1) when it had been taken before:
    callbacks come at least once, and Idempotency-Key tells which one it is. Ctrl-C ends it.
    """
    home = Home(stack_folder(name))
    if not home.state.exists():
        raise StackError(f"there is no stack called {name!r}", "make one: cloudrec up")
    from_ms = (time.time_ns() // 1_000_000 - since * 1000) if since is not None else 0
    past = LINES if lines is None and since is None else lines
    try:
        for arrival in select(follow(home.arrivals), past, task, from_ms, once=no_follow):
            click.echo(arrival.model_dump_json(by_alias=True) if as_json else _coloured(arrival))
    except KeyboardInterrupt:
        pass


def select(
    arrivals: Iterator[Arrival | None], past: int | None, task: str, since: int, *, once: bool
) -> Iterator[Arrival]:
    """Of what was there (up to the first None) the last `past` that match (None: all); unless `once`, then the rest."""
    kept: deque[Arrival] = deque(maxlen=past)
    for arrival in arrivals:
        if arrival is None:
            break
        if matches(arrival, task, since):
            kept.append(arrival)
    yield from kept
    if not once:
        yield from (one for one in arrivals if one is not None and matches(one, task, since))


def _coloured(arrival: Arrival) -> str:
    text = line(arrival)
    return text if arrival.answer == 200 else click.style(text, fg="red")


@callbacks.command()
@click.argument("recording")
@_cluster_options
def dead(recording: str, namespace: str, stack: str, kubeconfig: Path | None) -> None:
    """Show the events of RECORDING that were given up on: a day of tries without an answer 200."""
    found = chosen(KubeRecordings(_kubeconfig(kubeconfig, stack), namespace), recording, namespace)
    for letter in found[recording].dead:
        when = datetime.fromtimestamp(letter.ts / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        again = "being sent again" if letter.again_since is not None else letter.error
        click.echo(f"{when}  {letter.type} {NAMES.get(letter.type, ''):<16}  {letter.key}  {again}")
    if lost := found[recording].lost:
        click.echo(f"{lost} older ones are not kept any more", err=True)


@callbacks.command("replay")
@click.argument("recording", required=False)
@click.option("--all", "every", is_flag=True, help="Of each recording in the namespace that has any.")
@click.option("--timeout", "seconds", default=60, show_default=True, type=click.IntRange(1), help="Wait so long.")
@_cluster_options
def replay_command(
    recording: str | None, every: bool, seconds: int, namespace: str, stack: str, kubeconfig: Path | None
) -> None:
    """Send the dead letters of RECORDING again.

    An event that the app's server has not answered with 200 for a day is a dead letter: kept in the recording's status
    (the newest 100), counted, and sent no more. Once the server is well again, this has the operator send them once
    more, in their order, with the Idempotency-Key that they had, for another day. It is the same as

    \b
        kubectl annotate crec NAME cloudrec.dev/replay-callbacks="$(date)" --overwrite

    and then waits for the result. Exit code 0: all were delivered. 1: some were not within --timeout; the operator goes
    on trying, and the same command tells how it stands.
    """
    if (recording is None) is not every:
        raise click.UsageError("give either the name of a recording, or --all")
    recordings = KubeRecordings(_kubeconfig(kubeconfig, stack), namespace)
    before = chosen(recordings, recording, namespace)
    for name, standing in before.items():
        more = f"; {standing.lost} older ones are not kept any more" if standing.lost else ""
        click.echo(f"{name}: {_count(len(standing.dead))}, events {kinds(standing.dead)}{more}")
    total = sum(len(standing.dead) for standing in before.values())
    console = Console(stderr=True)
    columns = TextColumn("delivered"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("", total=total)

        def show(found: dict[str, Outcome]) -> None:
            progress.update(bar, completed=sum(one.delivered for one in found.values()))

        found = replay(recordings, before, seconds, show)
    for name, one in found.items():
        click.echo(f"{name}: {tell(one)}")
    if any(one.delivered < one.total for one in found.values()):
        raise SystemExit(1)


def tell(one: Outcome) -> str:
    """The result for people."""
    words = [f"{one.delivered} of {one.total} delivered"]
    if one.trying:
        words.append(f"{one.trying} still being tried")
    if one.dead:
        words.append(f"{one.dead} given up again")
    why = f" (last error: {one.error})" if one.error and one.delivered < one.total else ""
    return ", ".join(words) + why


def _count(number: int) -> str:
    return "1 dead letter" if number == 1 else f"{number} dead letters"


def _kubeconfig(given: Path | None, stack: str) -> Path:
    path = given or Home(stack_folder(stack)).kubeconfig
    if not path.exists():
        raise StackError(f"no stack named {stack!r} is running", "cloudrec up, or --kubeconfig of your cluster")
    return path
