"""`cloudrec layout`: who is drawn where, files, and what is said to a wrong call."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from cloudrec_contract.layout import Source
from cloudrec_contract.mix import BigPicture, Layout, MixWindow, Template, WindowMedia
from cloudrec_local.cli import main
from cloudrec_local.home import example
from cloudrec_local.layout import expected, parse_user

SVG = "{http://www.w3.org/2000/svg}"
SPEC: dict[str, Any] = {
    "appRef": {"name": "demo"},
    "room": {"id": "1"},
    "storage": {"bucket": {"endpoint": "http://s3", "bucket": "rec", "credentialsSecretRef": {"name": "bucket"}}},
}
CUSTOM = {
    "template": "Custom",
    "windows": [
        {"left": 0, "top": 0, "width": 1280, "height": 720, "userId": "teacher", "media": "Aux"},
        {"left": 960, "top": 0, "width": 320, "height": 180, "opacity": 128, "layer": 1},
    ],
}


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["layout", *arguments], input=stdin, env={"COLUMNS": "120"})


def resource(**mix: Any) -> str:
    return yaml.safe_dump({"kind": "CloudRecording", "spec": {**SPEC, "mode": "Mixed", "mix": mix}})


def rows(output: str) -> list[list[str]]:
    """The table's lines, which begin with a number."""
    return [line.split() for line in output.splitlines() if line.strip()[:1].isdigit()]


def test_the_table_has_the_recorders_own_numbers() -> None:
    done = run("--users", "5", "--template", "screen-share", "--big", "u1")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("ScreenShare on 1280 x 720, from the back to the front\n")
    assert rows(done.output) == [
        ["1", "u1", "0", "0", "1024", "720", "crop"],
        ["2", "u2", "1024", "0", "256", "180", "crop"],
        ["3", "u3", "1024", "180", "256", "180", "crop"],
        ["4", "u4", "1024", "360", "256", "180", "crop"],
        ["5", "u5", "1024", "540", "256", "180", "crop"],
    ]


def test_users_enter_in_their_order_and_main_before_aux() -> None:
    done = run("--user", "ben:aux", "--user", "ann:audio", "--user", "ben", "--users", "1", "--size", "640x360")
    assert [row[1:] for row in rows(done.output)] == [
        ["ben", "0", "0", "320", "180", "crop"],
        ["ben", "(screen)", "320", "0", "320", "180", "crop"],
        ["ann", "0", "180", "320", "180", "crop,", "no", "picture"],
        ["u1", "320", "180", "320", "180", "crop"],
    ]
    hidden = run("--user", "ann:audio", "--users", "1", "--hide-audio-only")
    assert [row[1] for row in rows(hidden.output)] == ["u1"]
    assert "Note: without a window: ann\n" in hidden.stderr


def test_the_sketch_shows_windows_and_background() -> None:
    lines = run("--users", "2", "--size", "640x320", "--template", "screen-share").stdout.splitlines()[-19:]
    assert len({len(line) for line in lines}) == 1
    assert lines[0].endswith("+-------------+")
    assert lines[1].endswith("|u1           |")
    assert lines[6].endswith("|u2           |")
    assert lines[-1] == "\N{MIDDLE DOT}" * 76


def test_a_large_picture_that_is_away_is_told() -> None:
    done = run("--users", "2", "--template", "floating", "--big", "ann:aux")
    assert rows(done.output)[0][1] == "u1"
    assert "Note: ann:aux is to be large and is not there: add --user ann:aux to see it" in done.stderr


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("ann", ("ann", "main", True)),
        ("ann:main", ("ann", "main", True)),
        ("ann:aux", ("ann", "aux", True)),
        ("ann:audio", ("ann", "main", False)),
        ("a:b", ("a:b", "main", True)),
        ("[red]", ("[red]", "main", True)),
    ],
)
def test_users(text: str, parsed: tuple[str, str, bool]) -> None:
    assert parse_user(text) == parsed
    assert rows(run("--user", text).output)[0][1] == parsed[0]


def test_nobody_named_is_everybody_of_the_layout_and_some_more() -> None:
    assert [each.user_id for each in expected(Layout())] == ["u1", "u2", "u3", "u4"]
    big = Layout(template=Template.FLOATING, big_picture=BigPicture(user_id="ann", media=WindowMedia.AUX))
    assert expected(big)[:2] == [Source("ann", "aux", True), Source("u1", "main", True)]
    place: dict[str, Any] = {"left": 0, "top": 0, "width": 2, "height": 2}
    windows = [MixWindow(**place, user_id="ann"), MixWindow(**place, media=WindowMedia.AUX), MixWindow(**place)]
    assert expected(Layout(template=Template.CUSTOM, windows=windows)) == [
        Source("ann", "main", True),
        Source("u1", "aux", True),
        Source("u2", "main", True),
    ]


# --- files ----------------------------------------------------------------------------------------------------------


def test_the_mix_of_a_recording() -> None:
    done = run("-f", "-", stdin=resource(layout=CUSTOM))
    assert done.exit_code == 0, done.output
    assert [row[1:] for row in rows(done.output)] == [
        ["teacher", "(screen)", "0", "0", "1280", "720", "crop"],
        ["u1", "960", "0", "320", "180", "crop,", "opacity", "128"],
    ]
    done = run("-f", "-", "--user", "bo:audio", stdin=resource(layout=CUSTOM))
    assert [row[1] for row in rows(done.output)] == ["bo"]


def test_the_example_can_be_drawn(tmp_path: Path) -> None:
    out = tmp_path / "mixed.svg"
    done = run("-f", str(example("recording-mixed.yaml")), "--users", "5", "-o", str(out))
    assert done.exit_code == 0, done.output
    assert done.output == f"{out}: 5 windows on 1280 x 720\n"


def test_svg_has_each_window_where_it_is_and_watermarks_as_outlines(tmp_path: Path) -> None:
    marks = [
        {"image": {"url": "https://example.com/a.png", "left": 10, "top": 20, "width": 30, "height": 40}},
        {"text": {"text": "课 <1>\x01", "left": 0, "top": 600, "width": 200, "height": 50}},
        {"timestamp": {"position": "BottomRight"}},
    ]
    out = tmp_path / "a.svg"
    done = run("-f", "-", "-o", str(out), stdin=resource(layout=CUSTOM, watermarks=marks))
    assert done.exit_code == 0, done.output
    drawn = ET.fromstring(out.read_text())
    found = [
        tuple(int(each.get(side, 0)) for side in ("x", "y", "width", "height")) for each in drawn.iter(f"{SVG}rect")
    ]
    assert found[:5] == [
        (0, 0, 1280, 720),
        (0, 0, 1280, 720),
        (960, 0, 320, 180),
        (10, 20, 30, 40),
        (0, 600, 200, 50),
    ]
    assert found[5][0] + found[5][2] <= 1280
    assert [each.get("fill") for each in drawn.iter(f"{SVG}rect")][3:] == ["none"] * 3
    texts = [each.text for each in drawn.iter(f"{SVG}text")]
    assert texts[:4] == ["teacher (screen)", "u1", "image", "课 <1>\N{REPLACEMENT CHARACTER}"]


def test_png_has_each_window_where_it_is(tmp_path: Path) -> None:
    out = tmp_path / "a.PNG"
    layout = {"template": "ScreenShare", "backgroundColor": "#102030", "bigPicture": {"userId": "away"}}
    done = run("-f", "-", "-o", str(out), "--users", "2", stdin=resource(layout=layout))
    assert done.exit_code == 0, done.output
    picture = Image.open(io.BytesIO(out.read_bytes()))
    assert picture.size == (1280, 720)
    background, first, second = (picture.getpixel(place) for place in ((1023, 100), (1270, 90), (1270, 270)))
    assert background == (0x10, 0x20, 0x30)
    assert len({background, first, second}) == 3
    edges = ((1024, 170), (1279, 179), (1023, 170), (1270, 360))
    assert [picture.getpixel(place) for place in edges] == [first, first, background, background]


def test_transparent_windows_let_what_is_behind_through(tmp_path: Path) -> None:
    seen = []
    for opacity in (0, 128, 255):
        window = {"left": 0, "top": 0, "width": 100, "height": 720, "opacity": opacity}
        layout = {"template": "Custom", "windows": [window], "backgroundColor": "#000000"}
        out = tmp_path / f"{opacity}.png"
        assert run("-f", "-", "-o", str(out), stdin=resource(layout=layout)).exit_code == 0
        pixel = Image.open(out).getpixel((50, 700))
        assert isinstance(pixel, tuple)
        seen.append(pixel[0])
    assert seen[0] == 0
    assert seen[1] == pytest.approx(seen[2] / 2, abs=2)


# --- wrong calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "stdin", "told"),
    [
        (["--size", "big"], None, "give width and height as in 1280x720"),
        (["--size", "1281x720"], None, "even sides of 16 to 1920"),
        (["--size", "1920x1082"], None, "too large for a canvas"),
        (["--template", "custom"], None, "'grid', 'floating', 'screen-share'"),
        (["--user", "ann", "--user", "ann:audio"], None, "ann has main twice"),
        (["--user", ":aux"], None, "names nobody"),
        (["-o", "a.gif"], None, "neither with .png nor with .svg"),
        (["-o", "/no/such/folder/a.svg"], None, "cannot write /no/such/folder/a.svg"),
        (["-f", "-", "--big", "ann"], "", "--big: the file says that"),
        (["-f", "-"], "kind: Pod", "has no CloudRecording in it"),
        (["-f", "-"], "a: [", "is not YAML"),
        (["-f", "-"], yaml.safe_dump({"kind": "CloudRecording", "spec": SPEC}), "only one of mode: Mixed has a layout"),
        (["-f", "-"], resource(layout={"template": "Star"}), "spec.mix.layout.template: Input should be 'Grid'"),
        (["-f", "-"], resource(layout={"template": "Custom"}), "windows are for the template Custom"),
        (["-f", "-"], resource(video={"width": 640}, layout=CUSTOM), "mix.layout.windows[0] reaches beyond the canvas"),
    ],
)
def test_wrong_calls_are_told_what_is_right(arguments: list[str], stdin: str | None, told: str) -> None:
    done = run(*arguments, stdin=stdin)
    assert done.exit_code != 0
    assert told in " ".join(done.output.split())
    assert "Traceback" not in done.output
