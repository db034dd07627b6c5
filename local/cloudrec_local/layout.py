"""`cloudrec layout`: where each user's picture is in a mixed recording, without a room."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

import click
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cloudrec_contract.layout import Source, Window, arrange
from cloudrec_contract.mix import (
    PIXELS_MAX,
    SIDE_MAX,
    Align,
    BigPicture,
    Layout,
    Mix,
    MixVideo,
    Template,
    WindowMedia,
    outside,
)
from cloudrec_contract.resources import CloudRecordingSpec

from . import layout_drawing as drawing
from .errors import StackError

EPILOG = """
\b
Examples:
  cloudrec layout --users 7                              seven cameras in a grid
  cloudrec layout --template floating --users 18 -o f.png
  cloudrec layout --template screen-share --big ann:aux --user ann --user ann:aux --user ben:audio
  cloudrec layout -f examples/recording-mixed.yaml --users 5
  kubectl get crec lesson -o yaml | cloudrec layout -f -
"""
TEMPLATES = {"grid": Template.GRID, "floating": Template.FLOATING, "screen-share": Template.SCREEN_SHARE}
USERS = 4
"""When nobody is named."""

Media = Literal["main", "aux"]


@click.command(epilog=EPILOG)
@click.option("--template", type=click.Choice(list(TEMPLATES)), help="How windows are arranged.  [default: grid]")
@click.option("--users", type=click.IntRange(0, 100), help="So many users with cameras enter: u1, u2, …")
@click.option(
    "--user",
    "named",
    multiple=True,
    metavar="ID[:aux|:audio]",
    help="This user enters, before those of --users: with the camera on; :aux is the user's shared screen, :audio "
    "sends sound alone. Repeatable, in the order of entry.",
)
@click.option("--size", metavar="WxH", help="Of the canvas, in pixels.  [default: 1280x720]")
@click.option("--big", metavar="ID[:aux]", help="Who has the large window of floating and screen-share.")
@click.option(
    "--align", type=click.Choice([each.lower() for each in Align]), help="The large window's side in screen-share."
)
@click.option("--hide-audio-only", is_flag=True, help="Users who send sound alone have no window.")
@click.option(
    "-f",
    "--file",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Draw the mix of this CloudRecording, watermarks as outlines. Custom layouts come from here. - is stdin.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a picture, .png or .svg, instead of the table.",
)
def layout(
    template: str | None,
    users: int | None,
    named: tuple[str, ...],
    size: str | None,
    big: str | None,
    align: str | None,
    hide_audio_only: bool,
    file: IO[str] | None,
    out: Path | None,
) -> None:
    """Show where each user's picture is in a mixed recording.

    Prints the windows from the back to the front with a sketch, or draws them into a file. It computes what the
    recorder computes, so what is seen here is what will be recorded.
    """
    if out is not None and out.suffix.lower() not in (".png", ".svg"):
        raise click.BadParameter(f"{out.name} ends neither with .png nor with .svg", param_hint="--out")
    if file is not None:
        told = {"template": template, "size": size, "big": big, "align": align, "hide-audio-only": hide_audio_only}
        if given := [f"--{option}" for option, value in told.items() if value]:
            raise click.UsageError(f"{' and '.join(given)}: the file says that; change it there, or leave -f out")
        mix = _read(file)
    else:
        mix = Mix(
            video=_canvas(size or "1280x720"),
            layout=Layout(
                template=TEMPLATES[template or "grid"],
                big_picture=_big(big) if big else None,
                big_picture_align=Align((align or "left").capitalize()),
                hide_audio_only=hide_audio_only,
            ),
        )
    sources = _entered(named, users) if named or users is not None else expected(mix.layout)
    width, height = mix.video.width, mix.video.height
    windows = arrange(mix.layout, width, height, sources)
    drawn = drawing.scene(mix.layout, width, height, windows, mix.watermarks)
    if out is None:
        _print(mix, drawn, windows)
    else:
        try:
            out.write_bytes(drawing.png(drawn) if out.suffix.lower() == ".png" else drawing.svg(drawn).encode())
        except OSError as error:
            raise StackError(f"cannot write {out}: {error.strerror}") from error
        click.echo(f"{out}: {len(windows)} windows on {width} x {height}")
    for note in _notes(mix.layout, sources, windows):
        click.echo(f"Note: {note}", err=True)


# --- who and what ---------------------------------------------------------------------------------------------------


def parse_user(text: str) -> tuple[str, Media, bool]:
    """`ann`, `ann:aux` or `ann:audio` as the id, the media and whether there is a picture."""
    user_id, colon, what = text.rpartition(":")
    if not colon or what not in ("main", "aux", "audio"):
        user_id, what = text, "main"
    if not user_id:
        raise click.BadParameter(f"{text!r} names nobody: give an id, as in ann, ann:aux or ann:audio")
    return user_id, "aux" if what == "aux" else "main", what != "audio"


def _entered(named: Sequence[str], users: int | None) -> list[Source]:
    """In the order in which users are first named; a user's main before its aux."""
    order: dict[str, dict[Media, Source]] = {}
    for text in (*named, *(f"u{number}" for number in range(1, (users or 0) + 1))):
        user_id, media, picture = parse_user(text)
        streams = order.setdefault(user_id, {})
        if media in streams:
            raise click.UsageError(f"{user_id} has {media} twice: the camera (or :audio) and :aux are all a user sends")
        streams[media] = Source(user_id, media, picture)
    media_order: tuple[Media, ...] = ("main", "aux")
    return [streams[media] for streams in order.values() for media in media_order if media in streams]


def expected(wanted: Layout) -> list[Source]:
    """Whom to show when nobody is named: everybody of the layout, and as many others as make sense."""
    keys: dict[tuple[str, Media], None] = {}
    if wanted.big_picture:
        keys[wanted.big_picture.user_id, _media(wanted.big_picture.media)] = None
    for window in wanted.windows:
        if window.user_id:
            keys[window.user_id, _media(window.media)] = None
    free = [_media(window.media) for window in wanted.windows if not window.user_id]
    if wanted.template is not Template.CUSTOM:
        free = ["main"] * (USERS - len(keys))
    for number, media in enumerate(free, 1):
        keys[f"u{number}", media] = None
    return [Source(user_id, media, True) for user_id, media in keys]


def _media(media: WindowMedia) -> Media:
    return "aux" if media is WindowMedia.AUX else "main"


def _big(text: str) -> BigPicture:
    user_id, media, _ = parse_user(text)
    return BigPicture(user_id=user_id, media=WindowMedia.AUX if media == "aux" else WindowMedia.MAIN)


def _canvas(text: str) -> MixVideo:
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    if not found:
        raise click.BadParameter(f"{text!r} is no size: give width and height as in 1280x720", param_hint="--size")
    width, height = int(found[1]), int(found[2])
    allowed = f"even sides of 16 to {SIDE_MAX} and at most 1920 x 1080 pixels in all"
    if width % 2 or height % 2 or not (16 <= width <= SIDE_MAX and 16 <= height <= SIDE_MAX):
        raise click.BadParameter(f"{text} is no canvas: it has {allowed}", param_hint="--size")
    if width * height > PIXELS_MAX:
        raise click.BadParameter(f"{text} is too large for a canvas: it has {allowed}", param_hint="--size")
    return MixVideo(width=width, height=height)


def _read(file: IO[str]) -> Mix:
    """The mix of the first CloudRecording in the file."""
    try:
        documents = [each for each in yaml.safe_load_all(file) if isinstance(each, dict)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StackError(f"{file.name} is not YAML: {error}") from error
    resource = next((each for each in documents if each.get("kind") == "CloudRecording"), None)
    if resource is None:
        raise StackError(f"{file.name} has no CloudRecording in it", "cloudrec layout -f examples/recording-mixed.yaml")
    try:
        spec = CloudRecordingSpec.model_validate(resource.get("spec"))
    except ValidationError as error:
        faults = "\n".join(f"  {_place(each['loc'])}: {each['msg']}" for each in error.errors())
        raise StackError(f"the CloudRecording in {file.name} is not valid:\n{faults}") from error
    if spec.mix is None:
        message = f"the CloudRecording in {file.name} has no mix: only one of mode: Mixed has a layout"
        raise StackError(message, "write mode: Mixed and mix: {} into its spec")
    if bool(spec.mix.layout.windows) != (spec.mix.layout.template is Template.CUSTOM):
        raise StackError("windows are for the template Custom, which needs one at least")
    if beyond := outside(spec.mix):
        raise StackError("\n".join(f"mix.{each}" for each in beyond))
    return spec.mix


def _place(path: Sequence[int | str]) -> str:
    text = "spec"
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


# --- output ---------------------------------------------------------------------------------------------------------


def _notes(wanted: Layout, sources: Sequence[Source], windows: Sequence[Window]) -> list[str]:
    notes = []
    big = wanted.big_picture
    if big and not any((each.user_id, each.media) == (big.user_id, _media(big.media)) for each in sources):
        user = f"{big.user_id}{':aux' if big.media is WindowMedia.AUX else ''}"
        notes.append(f"{user} is to be large and is not there: add --user {user} to see it")
    shown = {window.source for window in windows}
    if without := [each for each in sources if each not in shown]:
        names = ", ".join(each.user_id + (":aux" if each.media == "aux" else "") for each in without)
        notes.append(f"without a window: {names}")
    return notes


def _print(mix: Mix, drawn: drawing.Scene, windows: Sequence[Window]) -> None:
    console = Console()
    video = mix.video
    console.print(
        f"{mix.layout.template} on {video.width} x {video.height}, from the back to the front\n", highlight=False
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("user")
    for title in ("left", "top", "width", "height"):
        table.add_column(title, justify="right")
    table.add_column("")
    for number, window in enumerate(windows, 1):
        place = map(str, (window.left, window.top, window.width, window.height))
        table.add_row(str(number), escape(drawing.name(window)), *place, _how(window))
    console.print(table, highlight=False)
    console.print()
    console.print(drawing.sketch(drawn), highlight=False, markup=False, soft_wrap=True)


def _how(window: Window) -> str:
    opacity = "" if window.opacity == 255 else f"opacity {window.opacity}"
    return ", ".join(filter(None, (window.render_mode.lower(), opacity, drawing.note(window))))
