"""Parameters of mixed mode: ranges, layouts inside the canvas, colours, URLs, watermarks."""

from __future__ import annotations

from typing import Any

import pytest

from cloudrec_gateway.api.models import CreateCloudRecordingRequest, ModifyCloudRecordingRequest
from cloudrec_gateway.api.parse import parse
from tests.unit.gateway.api.samples import AUDIO, CREATE, LAYOUT, MODIFY, VIDEO, WINDOW, given_at, refused, without

MIXED = {
    **CREATE,
    "RecordParams": {"RecordMode": 2},
    "MixTranscodeParams": {"VideoParams": VIDEO, "AudioParams": AUDIO},
    "MixLayoutParams": LAYOUT,
}
IMAGE = {"WaterMarkUrl": "https://example.com/a.png", **WINDOW}
CHARS = {"Chars": "live", **WINDOW}
MARKS: dict[int, tuple[str, dict[str, Any]]] = {
    0: ("WaterMarkImage", IMAGE),
    1: ("WaterMarkChar", CHARS),
    2: ("WaterMarkTimestamp", {"Pos": 0}),
}


def mixed(path: str, value: Any) -> CreateCloudRecordingRequest:
    return parse(CreateCloudRecordingRequest, given_at(MIXED, path, value))


def mark(kind: int, path: str, value: Any) -> dict[str, Any]:
    """A request with one watermark of that kind, changed."""
    name, block = MARKS[kind]
    entry = {"WaterMarkType": kind, name: given_at(block, path, value)}
    return given_at(MIXED, "MixLayoutParams.WaterMarkList", [entry])


def window(**changes: Any) -> dict[str, Any]:
    return given_at(MIXED, "MixLayoutParams", {"MixLayoutMode": 4, "MixLayoutList": [WINDOW, {**WINDOW, **changes}]})


def test_defaults() -> None:
    request = parse(CreateCloudRecordingRequest, MIXED)
    layout = request.mix_layout_params
    assert layout is not None
    assert (layout.back_ground_color, layout.media_id, layout.place_holder_mode) == ("#000000", 0, 0)
    assert (layout.render_mode, layout.max_resolution_user_align, layout.pure_audio_disable_layout) == (1, 0, False)


RANGES = [
    ("MixTranscodeParams.VideoParams.Fps", 1, 60),
    ("MixTranscodeParams.VideoParams.BitRate", 64000, 8192000),
    ("MixTranscodeParams.AudioParams.SampleRate", 1, 3),
    ("MixTranscodeParams.AudioParams.Channel", 1, 2),
    ("MixTranscodeParams.AudioParams.BitRate", 32000, 128000),
    ("MixLayoutParams.MixLayoutMode", 1, 3),
    ("MixLayoutParams.MediaId", 0, 1),
    ("MixLayoutParams.PlaceHolderMode", 0, 1),
    ("MixLayoutParams.BackgroundImageRenderMode", 0, 3),
    ("MixLayoutParams.RenderMode", 0, 3),
    ("MixLayoutParams.MaxResolutionUserAlign", 0, 1),
]


@pytest.mark.parametrize(("path", "low", "high"), RANGES)
def test_ranges(path: str, low: int, high: int) -> None:
    for value in (low, high):
        mixed(path, value)
    for value in (low - 1, high + 2):
        fault = refused(given_at(MIXED, path, value))
        assert fault.code == "InvalidParameter.OutOfRange"
        assert fault.message.startswith(f"{path}: {value} given; ")


@pytest.mark.parametrize("block", ["VideoParams", "AudioParams"])
def test_transcoding_is_given_whole_or_not_at_all(block: str) -> None:
    names = VIDEO if block == "VideoParams" else AUDIO
    for name in names:
        fault = refused(without(MIXED, f"MixTranscodeParams.{block}.{name}"))
        assert fault.code == "MissingParameter"
        assert fault.message.startswith(f"MixTranscodeParams.{block}.{name}: required")
    parse(CreateCloudRecordingRequest, without(MIXED, f"MixTranscodeParams.{block}"))


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1080, 1920), (1440, 1440), (16, 17)])
def test_canvas_sizes(width: int, height: int) -> None:
    mixed("MixTranscodeParams.VideoParams", {**VIDEO, "Width": width, "Height": height})


@pytest.mark.parametrize(("width", "height"), [(1920, 1081), (1441, 1440), (1921, 16), (15, 640), (0, 640)])
def test_no_canvas_sizes(width: int, height: int) -> None:
    fault = refused(given_at(MIXED, "MixTranscodeParams.VideoParams", {**VIDEO, "Width": width, "Height": height}))
    assert fault.code == "InvalidParameter.OutOfRange"
    assert str(width) in fault.message


def test_a_layout_needs_a_mode() -> None:
    fault = refused(given_at(MIXED, "MixLayoutParams", {"MediaId": 0}))
    assert fault.code == "InvalidParameter"
    assert fault.message.startswith("MixLayoutParams.MixLayoutMode: ")


def test_a_custom_layout_needs_windows() -> None:
    fault = refused(given_at(MIXED, "MixLayoutParams", {"MixLayoutMode": 4, "MixLayoutList": []}))
    assert fault.code == "MissingParameter"
    assert fault.message.startswith("MixLayoutParams.MixLayoutList: required")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"Left": 1101}, "Left + Width is 1101 + 180; the canvas is 1280 wide"),
        ({"Top": 401}, "Top + Height is 401 + 320; the canvas is 720 high"),
    ],
)
def test_windows_are_inside_the_canvas(changes: dict[str, int], told: str) -> None:
    fault = refused(window(**changes))
    assert (fault.code, fault.message) == ("InvalidParameter.OutOfRange", f"MixLayoutParams.MixLayoutList.1: {told}")
    parse(CreateCloudRecordingRequest, window(Left=1100, Top=400))


def test_the_canvas_is_the_default_one_without_video_params() -> None:
    body = without(window(Left=180, Top=320), "MixTranscodeParams")
    parse(CreateCloudRecordingRequest, body)
    assert "the canvas is 360 wide" in refused(without(window(Left=181), "MixTranscodeParams")).message


def test_an_odd_canvas_is_a_pixel_smaller() -> None:
    body = given_at(window(Left=1100, Top=400), "MixTranscodeParams.VideoParams", {**VIDEO, "Width": 1281})
    parse(CreateCloudRecordingRequest, body)
    body["MixLayoutParams"]["MixLayoutList"][1]["Left"] = 1101
    assert "the canvas is 1280 wide" in refused(body).message


def test_windows_of_a_template_and_of_a_single_recording_stand_for_nothing() -> None:
    parse(CreateCloudRecordingRequest, given_at(window(Left=1500), "MixLayoutParams.MixLayoutMode", 3))
    parse(CreateCloudRecordingRequest, given_at(window(Left=1500), "RecordParams.RecordMode", 1))
    parse(ModifyCloudRecordingRequest, {**MODIFY, "MixLayoutParams": window(Left=1500)["MixLayoutParams"]})


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("Top", 0, 400),
        ("Left", 0, 1100),
        ("Width", 0, 1280),
        ("Height", 0, 720),
        ("Alpha", 0, 255),
        ("RenderMode", 0, 3),
        ("MediaId", 0, 1),
    ],
)
def test_windows(name: str, low: int, high: int) -> None:
    for value in (low, high):
        parse(CreateCloudRecordingRequest, window(**{name: value}))
    for value in (low - 1, 1921):
        fault = refused(window(**{name: value}))
        assert fault.code == "InvalidParameter.OutOfRange"
        assert fault.message.startswith(f"MixLayoutParams.MixLayoutList.1.{name}: {value} given")


@pytest.mark.parametrize(("name", "entry"), [("MixLayoutList", WINDOW), ("WaterMarkList", {"WaterMarkImage": IMAGE})])
def test_lists_have_25_entries_at_most(name: str, entry: dict[str, Any]) -> None:
    mixed(f"MixLayoutParams.{name}", [entry] * 25)
    fault = refused(given_at(MIXED, f"MixLayoutParams.{name}", [entry] * 26))
    assert fault.code == "InvalidParameter.OutOfRange"
    assert "26 entries given" in fault.message


@pytest.mark.parametrize("colour", ["red", "#fff", "#00000g", "000000", "#000000\n", "#0000000"])
def test_colours(colour: str) -> None:
    fault = refused(given_at(MIXED, "MixLayoutParams.BackGroundColor", colour))
    assert fault.code == "InvalidParameter"
    mixed("MixLayoutParams.BackGroundColor", "#FFa500")


GOOD_URLS = [
    "https://example.com/a.png",
    "http://10.0.0.1:8080/x/y.JPG",
    "https://[::1]/a.jpeg?width=5&x=(1)",
    "https://user:secret@example.com/%E6%95%99.png",
]
BAD_URLS = {
    "ftp://example.com/a.png": "",
    "example.com/a.png": "",
    "https:///a.png": "",
    "https://exa mple.com/a.png": "",
    "https://example.com/ä.png": "",
    "https://example.com/a.png\n": "",
    "https://example.com/'a.png": "",
    "https://example.com:port/a.png": "",
    "https://[::1/a.png": "",
    "https://example.com/" + "a" * 2050 + ".png": "",
    "https://example.com/a.gif": "InvalidParameter.CheckSuffixFailed",
    "https://example.com/a": "InvalidParameter.CheckSuffixFailed",
    "https://example.com/?a.png": "InvalidParameter.CheckSuffixFailed",
}


@pytest.mark.parametrize("url", GOOD_URLS)
def test_urls(url: str) -> None:
    for path in ("BackgroundImageUrl", "DefaultSubBackgroundImage"):
        mixed(f"MixLayoutParams.{path}", url)
    parse(CreateCloudRecordingRequest, window(SubBackgroundImage=url))
    parse(CreateCloudRecordingRequest, mark(0, "WaterMarkUrl", url))


@pytest.mark.parametrize(("url", "code"), BAD_URLS.items())
def test_no_urls(url: str, code: str) -> None:
    fault = refused(given_at(MIXED, "MixLayoutParams.BackgroundImageUrl", url))
    assert fault.code == (code or "InvalidParameter.BackgroundImageUrl")
    assert fault.message.startswith("MixLayoutParams.BackgroundImageUrl: ")
    for body in (
        given_at(MIXED, "MixLayoutParams.DefaultSubBackgroundImage", url),
        window(SubBackgroundImage=url),
        mark(0, "WaterMarkUrl", url),
    ):
        assert refused(body).code == (code or "InvalidParameter")


# --- watermarks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_a_watermark_has_the_block_of_its_type(kind: int) -> None:
    path = "MixLayoutParams.WaterMarkList"
    others = {name: block for other, (name, block) in MARKS.items() if other != kind}
    fault = refused(given_at(MIXED, path, [{"WaterMarkType": kind, **others}]))
    assert fault.code == "MissingParameter"
    assert fault.message == f"{path}.0.{MARKS[kind][0]}: required when WaterMarkType is {kind}"
    mixed(path, [{"WaterMarkType": kind, **others, MARKS[kind][0]: MARKS[kind][1]}])


def test_a_watermark_is_an_image_when_nothing_is_said() -> None:
    assert "WaterMarkImage" in refused(given_at(MIXED, "MixLayoutParams.WaterMarkList", [{}])).message


@pytest.mark.parametrize(
    ("kind", "path", "bad", "good"),
    [
        (0, "Top", -1, 0),
        (0, "Top", 2561, 400),
        (0, "Left", 1101, 1100),
        (0, "Height", 721, 720),
        (1, "Top", 2561, 2560),
        (1, "FontSize", 0, 14),
        (1, "Font", "Arial", "SourceHanSans"),
        (2, "Pos", 7, 6),
        (2, "Pos", -1, 0),
        (2, "TimeZone", 15, 14),
        (2, "TimeZone", -13, -12),
        (2, "Font", "Arial", "Tencent"),
    ],
)
def test_watermarks(kind: int, path: str, bad: Any, good: Any) -> None:
    parse(CreateCloudRecordingRequest, mark(kind, path, good))
    fault = refused(mark(kind, path, bad))
    assert fault.code == "InvalidParameter.OutOfRange"
    assert fault.message.startswith("MixLayoutParams.WaterMarkList.0.")


@pytest.mark.parametrize(
    ("kind", "name"), [(0, "WaterMarkUrl"), (0, "Top"), (0, "Width"), (1, "Chars"), (1, "Left"), (2, "Pos")]
)
def test_what_a_watermark_needs(kind: int, name: str) -> None:
    fault = refused(mark(kind, name, None))
    assert fault.code == "MissingParameter"
    assert name in fault.message


def test_text_colours() -> None:
    parse(CreateCloudRecordingRequest, mark(1, "BackGroundColor", ""))
    parse(CreateCloudRecordingRequest, mark(1, "BackGroundColor", "#123456"))
    assert refused(mark(1, "FontColor", "white")).code == "InvalidParameter"
