"""`cloudrec merge`: a user's sound and pictures, recorded apart, as MP4 files; with the options of TRTC's script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cloudrec_contract.playlist import parse
from cloudrec_recorder.convert.engine import NONE, Converted, NoSpace, Orders, to_mp4
from cloudrec_recorder.convert.plan import Fault, plan
from cloudrec_recorder.convert.source import FolderSource, Missing, Source

from .errors import StackError
from .merge_plan import FPS_LEAST, FPS_MOST, PLAYERS, Audio, Job, Mode, Wanted, jobs, left_out

OK, SKIPPED, NOTHING = 0, 1, 2

EPILOG = f"""
\b
Files (UserId is the encoded one of the recorded files' names):
  <UserId>_<timestamp>_av.mp4    of a section that begins then (-m 0)
  <UserId>_av.mp4                of a user (-m 1)
  …_aux.mp4, …_main.mp4          the pictures that the sound is not merged with

\b
Examples:
  cloudrec fetch demo --out recording && cloudrec merge -f recording
  cloudrec merge -f recording -m 1 -s       one file a user, without the blanks
  cloudrec merge -f recording -a 1          who has shared a screen only: the sound with the screen
  cloudrec merge -f recording -r 640 360    everything in 640x360, with 15 pictures a second
  cloudrec merge --task demo -o merged      straight from the bucket of a recording

\b
Exit codes:
  {OK}  all was merged
  {SKIPPED}  something was skipped, or it failed half-way: it was named
  {NOTHING}  wrong use, or there is nothing to be merged
"""


@click.command(epilog=EPILOG)
@click.option("-f", "folder", metavar="DIR", help="Folder of the recorded files, or s3://BUCKET/PREFIX of the stack.")
@click.option("--task", metavar="NAME", help="Instead of -f: a CloudRecording, read from its own bucket.")
@click.option(
    "-m", "mode", type=click.IntRange(0, 1), default=0, show_default=True, help="0: a file a section. 1: a file a user."
)
@click.option("-s", "drop_blanks", is_flag=True, help="With -m 1: leave out the blanks between sections.")
@click.option(
    "-a",
    "audio",
    type=click.IntRange(0, 2),
    default=0,
    show_default=True,
    help="Sound goes with 0: the main stream. 1: the main stream, or aux where there is none. 2: aux.",
)
@click.option(
    "-p", "fps", type=int, help=f"Pictures a second, {FPS_LEAST} to {FPS_MOST}; 15 with -r. Everything is encoded anew."
)
@click.option("-r", "size", type=(int, int), metavar="W H", help="Width and height. Everything is encoded anew.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder for the MP4 files. Default: DIR, or here.")
@click.option("-n", "--namespace", default="default", show_default=True, help="With --task: its namespace.")
@click.option("--name", "stack_name", default="default", show_default=True, help="The embedded stack to ask.")
@click.pass_context
def merge(
    ctx: click.Context,
    folder: str | None,
    task: str | None,
    mode: int,
    drop_blanks: bool,
    audio: int,
    fps: int | None,
    size: tuple[int, int] | None,
    out: Path | None,
    namespace: str,
    stack_name: str,
) -> None:
    """Merge the sound and the pictures of each user into MP4 files.

    A section ends where nothing of a user was recorded for more than 15 seconds. Files of all attempts (ha1_…) are
    joined. Shorter breaks stay: silence, and the last picture. Without -p and -r nothing is encoded anew unless it must
    be, such as pictures that change their size; then it says so.
    """
    if (folder is None) == (task is None):
        raise click.UsageError("give either -f or --task")
    if size is not None and (min(size) < 16 or max(size) > 7680 or size[0] % 2 or size[1] % 2):
        raise click.UsageError("-r: width and height are even numbers from 16 to 7680")
    wanted = Wanted(Mode(mode), drop_blanks, Audio(audio), fps, size)
    try:
        source = _source(folder, task, namespace, stack_name)
        target = out or (Path(folder) if folder is not None and not folder.startswith("s3://") else Path())
        target.mkdir(parents=True, exist_ok=True)
        ctx.exit(run(source, target, wanted, Console(stderr=True)))
    except (NoSpace, OSError) as error:
        raise StackError(str(error)) from error


def _source(folder: str | None, task: str | None, namespace: str, stack_name: str) -> Source:
    if folder is not None and not folder.startswith("s3://"):
        if not Path(folder).is_dir():
            raise click.UsageError(f"there is no folder {folder}")
        return FolderSource(Path(folder))
    from .merge_source import prefix_source, task_source  # what they import takes seconds

    return prefix_source(folder, stack_name) if folder is not None else task_source(task or "", namespace, stack_name)


def run(source: Source, target: Path, wanted: Wanted, console: Console) -> int:
    """Make all files; the exit code. Files are told on standard output, all else on the console."""
    sizes = source.sizes()
    playlists, unread = _playlists(source, sizes)
    planned = plan(playlists, sizes)
    faults = [*unread, *left_out(sizes, _named(playlists), planned)]
    todo = jobs(planned.streams, wanted)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    made = 0
    with Progress(*columns, console=console, transient=True) as bar:
        for job in todo:
            line = bar.add_task(job.name)
            orders = Orders(partial(_name, job), NONE, wanted.encoding, partial(_advance, bar, line))
            done = to_mp4(job.stream, source, target, orders)
            bar.remove_task(line)
            made += len(done.files)
            faults += [fault for fault in done.faults if fault not in faults]
            _tell(done)
    for fault in faults:
        console.print(f"skipped {fault.file}: {fault.reason}", style="yellow", highlight=False, soft_wrap=True)
    if not made:
        console.print("there is nothing to be merged", style="red")
        return NOTHING
    return SKIPPED if faults else OK


def _name(job: Job, _: int | None) -> str:
    return job.name


def _advance(bar: Progress, line: TaskID, done: int, total: int) -> None:
    bar.update(line, completed=done, total=total)


def _tell(done: Converted) -> None:
    how = f"encoded anew: {', '.join(done.reencoded)}" if done.reencoded else "as recorded"
    for file in done.files:
        click.echo(f"{file.path}  {file.seconds:.1f} s, {how}")


def _playlists(source: Source, sizes: Mapping[str, int]) -> tuple[dict[str, bytes], list[Fault]]:
    """Their texts by name, and those that cannot be read."""
    found: dict[str, bytes] = {}
    faults: list[Fault] = []
    for name in sizes:
        if name.endswith(".m3u8") and not name.startswith((PLAYERS, ".")):
            try:
                found[name] = source.read(name)
            except Missing as missing:
                faults.append(Fault(name, str(missing)))
    return found, faults


def _named(playlists: Mapping[str, bytes]) -> set[str]:
    found = set(playlists)
    for text in playlists.values():
        try:
            found |= {segment.name for segment in parse(text.decode()).segments}
        except ValueError:
            continue
    return found
