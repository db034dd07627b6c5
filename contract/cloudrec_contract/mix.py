"""Mixed mode's part of a CloudRecording: canvas, sound, layout, watermarks.

Positions and sizes are pixels of the canvas from its top left corner; colours are `#RRGGBB`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from cloudrec_contract.model import Model, cel, frozen

WINDOWS_MAX = 25
WATERMARKS_MAX = 25
SIDE_MAX = 1920
PIXELS_MAX = 1920 * 1080

Side = Annotated[int, Field(ge=16, le=SIDE_MAX, multiple_of=2)]
OnCanvas = Annotated[int, Field(ge=0, le=SIDE_MAX)]
OnImage = Annotated[int, Field(ge=0, le=2560)]
Colour = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]
ImageUrl = Annotated[
    str,
    Field(
        pattern=r"^https?://[a-zA-Z0-9._~:@!&()*+,%=\[\]-]+/[a-zA-Z0-9._~:/@!&()*+,%=\[\]-]*"
        r"\.([jJ][pP][eE]?[gG]|[pP][nN][gG])([?#]\S*)?$",
        max_length=2060,
        description="http(s) address of a JPEG or PNG of at most 5 MB and 2048 pixels a side",
    ),
]
UserId = Annotated[str, Field(min_length=1, max_length=128)]


class MixVideo(Model):
    """The composed picture. It has this size and frame rate whatever the users send."""

    width: Side = 1280
    height: Side = 720
    fps: int = Field(15, ge=1, le=60, description="frames a second")
    bit_rate: int = Field(1_500_000, ge=64_000, le=8_192_000, description="bits a second")
    gop_seconds: int = Field(10, ge=1, le=3600, description="at most so long from keyframe to keyframe")

    model_config = ConfigDict(
        json_schema_extra=cel(
            (f"self.width * self.height <= {PIXELS_MAX}", "width x height is more than 1920 x 1080 pixels")
        )
    )


class MixAudio(Model):
    """The mixed sound."""

    sample_rate: Literal[48000, 44100, 16000] = 48000
    channels: int = Field(2, ge=1, le=2)
    bit_rate: int = Field(64_000, ge=32_000, le=128_000, description="bits a second")


class Template(StrEnum):
    """How windows are arranged. `Custom`: by `windows`."""

    GRID = "Grid"
    FLOATING = "Floating"
    SCREEN_SHARE = "ScreenShare"
    CUSTOM = "Custom"


class RenderMode(StrEnum):
    """How a picture fills its window: `Stretch` distorts it, `Crop` cuts off what is too much, `Fit` shows all of it
    with bars, `Smart` cuts off a fifth of a side at most and has bars for the rest."""

    STRETCH = "Stretch"
    CROP = "Crop"
    FIT = "Fit"
    SMART = "Smart"


class WindowMedia(StrEnum):
    """Camera (Main) or screen share (Aux)."""

    MAIN = "Main"
    AUX = "Aux"


class Align(StrEnum):
    LEFT = "Left"
    RIGHT = "Right"


class MixWindow(Model):
    """A window of the custom layout. Without a user it takes the next in the order of entry that no other window
    names."""

    left: OnCanvas
    top: OnCanvas
    width: OnCanvas
    height: OnCanvas
    user_id: UserId | None = None
    media: WindowMedia = WindowMedia.MAIN
    opacity: int = Field(255, ge=0, le=255, description="255 hides what is behind, 0 shows nothing of the window")
    render_mode: RenderMode = RenderMode.CROP
    layer: int = Field(0, description="of windows that overlap the one with the lower number is behind")
    placeholder: ImageUrl | None = Field(None, description="instead of the layout's")


class BigPicture(Model):
    """Who has the large window of Floating and ScreenShare."""

    user_id: UserId
    media: WindowMedia = WindowMedia.MAIN


class Layout(Model):
    """Where everybody's picture is. Can be changed while recording; it applies with the next frame."""

    template: Template = Template.GRID
    windows: list[MixWindow] = Field([], max_length=WINDOWS_MAX, description="of the Custom template")
    big_picture: BigPicture | None = Field(
        None,
        description="left out: in Floating the first to enter, in ScreenShare the background is in the large window",
    )
    big_picture_align: Align = Field(Align.LEFT, description="the large window's side in ScreenShare")
    render_mode: RenderMode = Field(RenderMode.CROP, description="of all windows but Custom's")
    hide_audio_only: bool = Field(False, description="users without a picture have no window in the templates")
    background_color: Colour = "#000000"
    background_image: ImageUrl | None = None
    background_render_mode: RenderMode = RenderMode.CROP
    placeholders: bool = Field(
        False, description="show a placeholder in windows whose user is named and sends no picture"
    )
    placeholder_image: ImageUrl | None = Field(None, description="in windows that have no picture to show")

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "(self.template == 'Custom') == (has(self.windows) && size(self.windows) > 0)",
                "windows are for the template Custom, which needs one at least",
            )
        )
    )


class Font(StrEnum):
    """Both names of the TRTC API are drawn with the same free font."""

    TENCENT = "Tencent"
    SOURCE_HAN_SANS = "SourceHanSans"


class ImageWatermark(Model):
    """A picture, stretched into its place; what is transparent in it stays so."""

    url: ImageUrl
    left: OnImage
    top: OnImage
    width: OnImage
    height: OnImage


class TextWatermark(Model):
    left: OnImage
    top: OnImage
    width: OnImage
    height: OnImage
    text: str = Field(min_length=1, max_length=1024)
    font_size: int = Field(14, ge=1, le=1920, description="pixels")
    color: Colour = "#FFFFFF"
    background_color: Colour | None = Field(None, description="left out: transparent")
    font: Font = Font.TENCENT


class Position(StrEnum):
    TOP_LEFT = "TopLeft"
    TOP_RIGHT = "TopRight"
    BOTTOM_LEFT = "BottomLeft"
    BOTTOM_RIGHT = "BottomRight"
    TOP_CENTER = "TopCenter"
    BOTTOM_CENTER = "BottomCenter"
    CENTER = "Center"


class TimestampWatermark(Model):
    """The time of day of what is seen, to the second."""

    position: Position
    time_zone: int = Field(8, ge=-12, le=14, description="hours east of UTC")
    font: Font = Font.TENCENT


class Watermark(Model):
    """Exactly one of the three."""

    image: ImageWatermark | None = None
    text: TextWatermark | None = None
    timestamp: TimestampWatermark | None = None

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "[has(self.image), has(self.text), has(self.timestamp)].filter(x, x).size() == 1",
                "give exactly one of image, text and timestamp",
            )
        )
    )


class Fill(StrEnum):
    """What a window shows when its picture stops."""

    LAST_FRAME = "LastFrame"
    BLACK = "Black"


class Mix(Model):
    """One picture and one sound of the whole room. `layout` and `watermarks` can be changed while recording."""

    video: MixVideo = MixVideo()
    audio: MixAudio = MixAudio()
    layout: Layout = Layout()
    watermarks: list[Watermark] = Field([], max_length=WATERMARKS_MAX)
    fill: Fill = Fill.LAST_FRAME

    model_config = ConfigDict(
        json_schema_extra=cel(
            *frozen("video", "audio", "fill"),
            (
                "self.layout.windows.all(w, w.left + w.width <= self.video.width && "
                "w.top + w.height <= self.video.height)",
                "layout.windows reach beyond the canvas (video.width and video.height)",
            ),
            (
                "self.watermarks.all(w, !has(w.image) || (w.image.left + w.image.width <= self.video.width && "
                "w.image.top + w.image.height <= self.video.height))",
                "watermarks reach beyond the canvas (video.width and video.height)",
            ),
        )
    )


def outside(mix: Mix) -> list[str]:
    """What is not inside the canvas, each as a sentence for people; empty when all is well."""
    width, height = mix.video.width, mix.video.height
    found = []
    for number, window in enumerate(mix.layout.windows):
        if window.left + window.width > width or window.top + window.height > height:
            found.append(f"layout.windows[{number}] reaches beyond the canvas of {width} x {height}")
    for number, mark in enumerate(mix.watermarks):
        image = mark.image
        if image is not None and (image.left + image.width > width or image.top + image.height > height):
            found.append(f"watermarks[{number}] reaches beyond the canvas of {width} x {height}")
    return found


def faults(mix: Mix) -> list[str]:
    """What stands against it beyond its fields' own bounds, for those who have no API server to ask; as sentences."""
    found = outside(mix)
    if mix.video.width * mix.video.height > PIXELS_MAX:
        found.append("video.width x video.height is more than 1920 x 1080 pixels")
    if (mix.layout.template is Template.CUSTOM) != bool(mix.layout.windows):
        found.append("layout.windows are for the template Custom, which needs one at least")
    for number, mark in enumerate(mix.watermarks):
        if [mark.image, mark.text, mark.timestamp].count(None) != 2:
            found.append(f"watermarks[{number}]: give exactly one of image, text and timestamp")
    return found
