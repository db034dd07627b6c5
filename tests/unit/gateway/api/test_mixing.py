"""Mixed mode's parameters as spec.mix, and Modify's patch of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from cloudrec_contract.mix import Layout
from cloudrec_contract.resources import CloudRecordingSpec
from cloudrec_gateway.api import mapping
from cloudrec_gateway.api.models import CreateCloudRecordingRequest, ModifyCloudRecordingRequest
from cloudrec_gateway.api.parse import parse
from cloudrec_gateway.errors import ApiFault
from tests.unit.gateway.api.samples import AUDIO, CREATE, LAYOUT, MODIFY, VIDEO, WINDOW, given_at, merged, refused

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MIXED = given_at(CREATE, "RecordParams.RecordMode", 2)
LOGO = "https://example.com/logo.png"
FULL_LAYOUT = {
    "MixLayoutMode": 4,
    "MixLayoutList": [
        {
            "Top": 1,
            "Left": 2,
            "Width": 30,
            "Height": 40,
            "UserId": "anna",
            "Alpha": 55,
            "RenderMode": 3,
            "MediaId": 1,
            "ImageLayer": -7,
            "SubBackgroundImage": LOGO,
        },
        WINDOW,
    ],
    "BackGroundColor": "#FFa500",
    "MaxResolutionUserId": "ben",
    "MediaId": 1,
    "BackgroundImageUrl": LOGO,
    "PlaceHolderMode": 1,
    "BackgroundImageRenderMode": 0,
    "DefaultSubBackgroundImage": LOGO,
    "WaterMarkList": [
        {"WaterMarkImage": {"WaterMarkUrl": LOGO, "Top": 1, "Left": 2, "Width": 3, "Height": 4}},
        {"WaterMarkType": 1, "WaterMarkChar": {"Top": 1, "Left": 2, "Width": 3, "Height": 4, "Chars": "课 1"}},
        {"WaterMarkType": 2, "WaterMarkTimestamp": {"Pos": 3, "TimeZone": -5, "Font": "SourceHanSans"}},
    ],
    "RenderMode": 2,
    "MaxResolutionUserAlign": 1,
    "PureAudioDisableLayout": True,
}
PLACE = {"left": 2, "top": 1, "width": 3, "height": 4}


def spec(body: dict[str, Any]) -> dict[str, Any]:
    request = parse(CreateCloudRecordingRequest, body)
    found: dict[str, Any] = mapping.recording(request, name="rec-1", namespace="school", app="demo", now=NOW)["spec"]
    return found


def mix(path: str, value: Any) -> dict[str, Any]:
    found: dict[str, Any] = spec(given_at(MIXED, path, value))["mix"]
    return found


def modified(before: dict[str, Any], **params: Any) -> dict[str, Any]:
    """The spec after a Modify."""
    request = parse(ModifyCloudRecordingRequest, {**MODIFY, **params})
    patch = mapping.modified(request, CloudRecordingSpec.model_validate(before))
    after: dict[str, Any] = merged({"spec": before}, patch)["spec"]
    return after


def test_the_least_request_has_the_published_defaults() -> None:
    found = spec(MIXED)
    assert found["mode"] == "Mixed"
    assert found["mix"] == {
        "video": {"width": 360, "height": 640, "fps": 15, "bitRate": 550_000, "gopSeconds": 10},
        "audio": {"sampleRate": 48_000, "channels": 2, "bitRate": 64_000},
        "layout": Layout().wire(),
        "watermarks": [],
        "fill": "LastFrame",
    }
    assert (Layout().template, Layout().background_color, Layout().render_mode) == ("Grid", "#000000", "Crop")
    layout = given_at(MIXED, "MixLayoutParams", LAYOUT)
    assert spec(layout) == found, "the defaults of a block that is given are those of one that is not"


def test_a_single_recording_has_no_mix() -> None:
    assert "mix" not in spec(given_at(CREATE, "MixLayoutParams", FULL_LAYOUT))


def test_transcoding() -> None:
    video = {**VIDEO, "Width": 1281, "Height": 721, "Fps": 30, "BitRate": 2_000_000, "Gop": 2}
    assert mix("MixTranscodeParams.VideoParams", video)["video"] == {
        "width": 1280,
        "height": 720,
        "fps": 30,
        "bitRate": 2_000_000,
        "gopSeconds": 2,
    }
    for number, rate in ((1, 48_000), (2, 44_100), (3, 16_000)):
        audio = {**AUDIO, "SampleRate": number, "Channel": 1, "BitRate": 32_000}
        found = mix("MixTranscodeParams.AudioParams", audio)
        assert found["audio"] == {"sampleRate": rate, "channels": 1, "bitRate": 32_000}
        assert found["video"]["width"] == 360


def test_fill_and_what_is_recorded() -> None:
    assert mix("RecordParams.FillType", 1)["fill"] == "Black"
    found = spec(given_at(given_at(MIXED, "RecordParams.StreamType", 1), "RecordParams.MediaId", 2))
    assert (found["streams"]["kind"], found["streams"]["media"]) == ("Audio", "Aux")


def test_mixed_is_always_merged() -> None:
    assert spec(given_at(MIXED, "RecordParams.AvMerge", 1)) == spec(MIXED)


@pytest.mark.parametrize(("number", "template"), [(1, "Floating"), (2, "ScreenShare"), (3, "Grid")])
def test_templates(number: int, template: str) -> None:
    layout = mix("MixLayoutParams", {**FULL_LAYOUT, "MixLayoutMode": number})["layout"]
    assert (layout["template"], layout["windows"]) == (template, [])


def test_every_parameter_of_a_layout_has_its_place() -> None:
    found = mix("MixLayoutParams", FULL_LAYOUT)
    assert found["layout"] == {
        "template": "Custom",
        "windows": [
            {
                "left": 2,
                "top": 1,
                "width": 30,
                "height": 40,
                "userId": "anna",
                "media": "Aux",
                "opacity": 200,
                "renderMode": "Smart",
                "layer": -7,
                "placeholder": LOGO,
            },
            {
                "left": 0,
                "top": 0,
                "width": 180,
                "height": 320,
                "media": "Main",
                "opacity": 255,
                "renderMode": "Crop",
                "layer": 0,
            },
        ],
        "bigPicture": {"userId": "ben", "media": "Aux"},
        "bigPictureAlign": "Right",
        "renderMode": "Fit",
        "hideAudioOnly": True,
        "backgroundColor": "#FFa500",
        "backgroundImage": LOGO,
        "backgroundRenderMode": "Stretch",
        "placeholders": True,
        "placeholderImage": LOGO,
    }
    assert found["watermarks"] == [
        {"image": {"url": LOGO, **PLACE}},
        {"text": {**PLACE, "text": "课 1", "fontSize": 14, "color": "#FFFFFF", "font": "Tencent"}},
        {"timestamp": {"position": "BottomRight", "timeZone": -5, "font": "SourceHanSans"}},
    ]


def test_blocks_of_a_watermark_that_are_not_its_types_have_no_effect() -> None:
    every = {name: block for mark in FULL_LAYOUT["WaterMarkList"] for name, block in mark.items()}  # type: ignore[attr-defined]
    for kind, name in enumerate(("image", "text", "timestamp")):
        layout = {**LAYOUT, "WaterMarkList": [{**every, "WaterMarkType": kind}]}
        (mark,) = mix("MixLayoutParams", layout)["watermarks"]
        assert list(mark) == [name]


def test_text_watermarks() -> None:
    chars = {**WINDOW, "Chars": "x", "FontSize": 40, "FontColor": "#112233", "BackGroundColor": "#445566"}
    layout = {**LAYOUT, "WaterMarkList": [{"WaterMarkType": 1, "WaterMarkChar": {**chars, "Font": "SourceHanSans"}}]}
    (mark,) = mix("MixLayoutParams", layout)["watermarks"]
    assert (mark["text"]["fontSize"], mark["text"]["color"], mark["text"]["backgroundColor"], mark["text"]["font"]) == (
        40,
        "#112233",
        "#445566",
        "SourceHanSans",
    )


@pytest.mark.parametrize(
    ("number", "position"),
    list(enumerate(["TopLeft", "TopRight", "BottomLeft", "BottomRight", "TopCenter", "BottomCenter", "Center"])),
)
def test_timestamp_positions(number: int, position: str) -> None:
    layout = {**LAYOUT, "WaterMarkList": [{"WaterMarkType": 2, "WaterMarkTimestamp": {"Pos": number}}]}
    (mark,) = mix("MixLayoutParams", layout)["watermarks"]
    assert mark["timestamp"] == {"position": position, "timeZone": 8, "font": "Tencent"}


def test_a_long_room_id_can_be_mixed_where_no_users_file_can_be_named() -> None:
    """A user's file has the user's id in its name, too."""
    room = {**CREATE, "RoomIdType": 0, "RoomId": "教" * 45}
    assert refused(room).code == "InvalidParameter.RoomId"
    assert spec(given_at(room, "RecordParams.RecordMode", 2))["room"]["id"] == "教" * 45
    longer = {**room, "RoomId": "教" * 60, "RecordParams": {"RecordMode": 2}}
    assert refused(longer).code == "InvalidParameter.RoomId"


_LETTERS = st.text("ab1-._~:/?#[]@!&()*+,%=", max_size=12)


@given(
    st.builds(
        "http{}://{}/{}.{}{}".format,
        st.sampled_from(["", "s"]),
        st.just("example.com:80") | _LETTERS,
        _LETTERS,
        st.sampled_from(["png", "JPG", "jpeg"]),
        st.just("") | st.tuples(st.sampled_from("?#"), _LETTERS).map("".join),
    )
)
def test_every_image_that_is_let_through_is_taken_by_the_api_server(url: str) -> None:
    try:
        layout = {**LAYOUT, "BackgroundImageUrl": url}
        request = parse(CreateCloudRecordingRequest, given_at(MIXED, "MixLayoutParams", layout))
    except ApiFault:
        event("refused")
        return
    event("taken")
    found = mapping.recording(request, name="rec-1", namespace="school", app="demo", now=NOW)["spec"]
    assert CloudRecordingSpec.model_validate(found).mix is not None


# --- Modify ---------------------------------------------------------------------------------------------------------


def test_modify_replaces_layout_and_watermarks_whole() -> None:
    before = spec(given_at(MIXED, "MixLayoutParams", FULL_LAYOUT))
    after = modified(before, MixLayoutParams={"MixLayoutMode": 1, "MaxResolutionUserId": "carla"})
    assert after["mix"].pop("layout") == {
        **Layout().wire(),
        "template": "Floating",
        "bigPicture": {"userId": "carla", "media": "Main"},
    }
    assert after["mix"].pop("watermarks") == []
    del before["mix"]["layout"], before["mix"]["watermarks"]
    assert after == before, "all else stays"


def test_a_modify_that_leaves_the_layout_out_sets_it_back() -> None:
    before = spec(given_at(MIXED, "MixLayoutParams", FULL_LAYOUT))
    assert modified(before)["mix"] == spec(MIXED)["mix"]
    assert modified(spec(MIXED), MixLayoutParams=FULL_LAYOUT)["mix"] == before["mix"]


def test_modify_replaces_the_subscription_of_a_mixed_recording_too() -> None:
    after = modified(spec(MIXED), SubscribeStreamUserIds={"SubscribeAudioUserIds": ["9"]})
    assert after["streams"]["subscribe"] == {"audio": {"include": ["9"]}}


def test_modify_checks_the_windows_against_the_recordings_own_canvas() -> None:
    before = spec(given_at(MIXED, "MixTranscodeParams.VideoParams", {**VIDEO, "Width": 640, "Height": 360}))
    window = {**WINDOW, "Left": 460, "Top": 40}
    assert modified(before, MixLayoutParams={"MixLayoutMode": 4, "MixLayoutList": [window]})
    image = {"WaterMarkImage": {**WINDOW, "WaterMarkUrl": LOGO, "Top": 41}}
    for params, told in (
        (
            {"MixLayoutMode": 4, "MixLayoutList": [window, {**window, "Left": 461}]},
            "MixLayoutParams.MixLayoutList.1: Left + Width is 461 + 180; the canvas is 640 wide",
        ),
        (
            {**LAYOUT, "WaterMarkList": [image]},
            "MixLayoutParams.WaterMarkList.0.WaterMarkImage: Top + Height is 41 + 320; the canvas is 360 high",
        ),
    ):
        with pytest.raises(ApiFault) as caught:
            modified(before, MixLayoutParams=params)
        assert (caught.value.code, caught.value.message) == ("InvalidParameter.OutOfRange", told)
