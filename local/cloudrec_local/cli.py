"""The command `cloudrec`: the embedded stack, synthetic users and a whole recording, from a terminal or a script."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from importlib import import_module, metadata
from types import FrameType
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table

from .errors import StackError
from .home import DEFAULT_NAME, invocation
from .state import PARTS
from .status import StackStatus, environment

EPILOG_UP = """
\b
Settings (environment):
  CLOUDREC_HOME            folder that holds the stacks [~/.local/state/cloudrec]
  CLOUDREC_CACHE           folder for the built servers [~/.cache/cloudrec]
  CLOUDREC_KEEP_GO_CACHE   1: keep Go's caches after a build (5 GB)
  CLOUDREC_KUBE_BINARY     use this program instead of building Kubernetes
  CLOUDREC_LIVEKIT_BINARY  use this program instead of building LiveKit
"""


class _Commands(click.Group):
    """Commands of other modules are imported when they are called; a StackError ends with its sentence and its hint."""

    elsewhere = {
        "publish": "cloudrec_local.publish:publish",
        "fetch": "cloudrec_local.fetch:fetch",
        "merge": "cloudrec_local.merge:merge",
        "verify": "cloudrec_local.verify:command",
        "demo": "cloudrec_local.demo:demo",
        "layout": "cloudrec_local.layout:layout",
        "callbacks": "cloudrec_local.callbacks:callbacks",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self.elsewhere]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if place := self.elsewhere.get(cmd_name):
            module, _, attribute = place.partition(":")
            command = getattr(import_module(module), attribute)
            assert isinstance(command, click.Command)
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StackError as error:
            click.secho(f"Error: {error.message}", fg="red", err=True)
            if error.hint:
                click.echo(f"Try:   {error.hint}", err=True)
            ctx.exit(1)


def _name_option(command: Any) -> Any:
    return click.option(
        "--name",
        default=DEFAULT_NAME,
        show_default=True,
        envvar="CLOUDREC_STACK",
        help="Which stack; several run side by side. Also $CLOUDREC_STACK.",
    )(command)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("cloudrec"), prog_name="cloudrec")
def main() -> None:
    """Record WebRTC rooms on a Kubernetes that runs on this machine, without root and without containers.

    \b
    cloudrec demo              one whole recording, made from nothing, and gone again
    cloudrec up                a stack to play with: Kubernetes, LiveKit, a bucket, the operator, the TRTC API
    cloudrec publish           two people in a room
    cloudrec kubectl apply -f examples/recording.yaml
    cloudrec kubectl get crec  watch it being recorded
    cloudrec callbacks tail    the events that its app is told, as they arrive
    cloudrec merge             each user's sound and pictures of a recording as one MP4 file
    cloudrec layout            how a composed picture will look, without a room
    cloudrec down              everything gone
    """
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(number: int, _: FrameType | None) -> NoReturn:
    """SIGTERM unwinds like Ctrl-C, so that a half-made stack is taken away."""
    raise SystemExit(128 + number)


@main.command(epilog=EPILOG_UP)
@_name_option
@click.option(
    "--only",
    "parts",
    multiple=True,
    type=click.Choice(PARTS),
    help="Only this part, with what it needs; repeatable. Default: everything.",
)
def up(name: str, parts: tuple[Any, ...]) -> None:
    """Make the stack, or join and mend a running one.

    The first time, Kubernetes and LiveKit are built from their sources (minutes) and kept in the cache; after that a
    stack is there within seconds. It goes on running when this command has ended: `cloudrec down` ends it.
    """
    from .stack import Stack

    errors = Console(stderr=True)
    status = Stack(name, components=parts or PARTS).up(lambda line: errors.print(f"• {line}", highlight=False))
    _show(status)


@main.command()
@_name_option
def down(name: str) -> None:
    """End the stack and remove all of it: processes, settings, logs, and the recordings in its bucket."""
    from .stack import Stack

    existed = Stack(name).down()
    click.echo(f"stack {name!r} is gone" if existed else f"there was no stack {name!r}")


@main.command()
@_name_option
@click.option("--json", "as_json", is_flag=True, help="Every address, credential and path, for scripts.")
@click.option("--env", "as_env", is_flag=True, help='The variables of examples/sdk_python.py: eval "$(… --env)".')
def status(name: str, as_json: bool, as_env: bool) -> None:
    """What runs, where it is and how to use it. Exit code 1 when there is no stack or a part of it is dead."""
    from .stack import Stack

    found = Stack(name).status()
    if as_json:
        click.echo(found.model_dump_json(indent=2, by_alias=True))
    elif as_env:
        for variable, value in environment(found).items():
            click.echo(f"export {variable}={shlex.quote(value)}")
    else:
        _show(found)
    if not found.running:
        raise SystemExit(1)


@main.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
)
@_name_option
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def kubectl(name: str, arguments: tuple[str, ...]) -> None:
    """Run kubectl on the stack: cloudrec kubectl get pods."""
    from .stack import Stack

    kubernetes = Stack(name).status().kubernetes
    if kubernetes is None:
        raise StackError(f"the stack {name!r} has no Kubernetes")
    environ = {**os.environ, "KUBECONFIG": str(kubernetes.kubeconfig)}
    sys.stdout.flush()
    os.execve(kubernetes.kubectl, [str(kubernetes.kubectl), *arguments], environ)  # noqa: S606


def _show(found: StackStatus) -> None:
    console = Console()
    table = Table(box=None, show_header=False, pad_edge=False)
    dead = [name for name, component in found.components.items() if not component.running]
    table.add_row("stack", f"{found.name}, " + (f"dead: {', '.join(dead)} (cloudrec up)" if dead else "running"))
    if kubernetes := found.kubernetes:
        table.add_row("kubernetes", kubernetes.server)
        table.add_row("", f"export KUBECONFIG={kubernetes.kubeconfig}")
    if livekit := found.livekit:
        table.add_row("livekit", f"{livekit.url}  key {livekit.api_key}")
    if bucket := found.bucket:
        table.add_row("bucket", f"{bucket.endpoint}/{bucket.bucket}")
    if gateway := found.gateway:
        table.add_row("trtc api", f"http://{gateway.endpoint}  SdkAppId {gateway.sdk_app_id}")
        table.add_row("", f"SecretId {gateway.secret_id}")
        table.add_row("", f"SecretKey {gateway.secret_key}")
    if receiver := found.receiver:
        table.add_row("callbacks", f"{receiver.url}  shown by {invocation()} callbacks tail")
    table.add_row("logs", str(found.logs))
    console.print(table, highlight=False, soft_wrap=True)
    if found.kubernetes and found.livekit and not dead:
        call = invocation()
        console.print(
            f"\nNext: {call} publish, and in another terminal: {call} kubectl apply -f examples/recording.yaml",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
