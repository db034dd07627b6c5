"""Parameters of mixed mode (shared API facts, sections 1.6 to 1.8): transcoding, layout, watermarks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cloudrec_gateway.api.fields import WINDOWS_MAX, Colour, Flag, ImageUrl, Params, UserId, fault, missing
from cloudrec_gateway.errors import OUT_OF_RANGE

Side = Annotated[int, Field(ge=16, le=1920)]
OnCanvas = Annotated[int, Field(ge=0, le=1920)]
OnImage = Annotated[int, Field(ge=0, le=2560)]
RenderMode = Annotated[int, Field(ge=0, le=3)]
Font = Literal["Tencent", "SourceHanSans"]
PIXELS_MAX = 1920 * 1080


class VideoParams(Params):
    """All fields are required once the block is given. Of an odd width or height one pixel is left away."""

    width: Side
    height: Side
    fps: int = Field(ge=1, le=60)
    bit_rate: int = Field(ge=64_000, le=8_192_000, description="bits a second")
    gop: int = Field(ge=1, le=3600, description="seconds between keyframes")

    @model_validator(mode="after")
    def _area(self) -> VideoParams:
        if self.width * self.height > PIXELS_MAX:
            fault(
                OUT_OF_RANGE, f"Width x Height is {self.width} x {self.height}; at most 1920 x 1080 pixels are allowed"
            )
        return self


class AudioParams(Params):
    """All fields are required once the block is given."""

    sample_rate: int = Field(ge=1, le=3, description="1: 48000 Hz, 2: 44100 Hz, 3: 16000 Hz")
    channel: int = Field(ge=1, le=2)
    bit_rate: int = Field(ge=32_000, le=128_000, description="bits a second")


class MixTranscodeParams(Params):
    """A block left out has the published defaults: 360 x 640, 15 fps, 550 kbit/s, 10 s; 48 kHz stereo, 64 kbit/s."""

    video_params: VideoParams | None = None
    audio_params: AudioParams | None = None

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height in pixels, made even: pictures with half the colours (4:2:0) are."""
        video = self.video_params
        return (video.width // 2 * 2, video.height // 2 * 2) if video else (360, 640)


class MixLayout(Params):
    """A window of the custom layout. Alpha 0 is opaque, 255 transparent; a lower ImageLayer is further back."""

    top: OnCanvas
    left: OnCanvas
    width: OnCanvas
    height: OnCanvas
    user_id: UserId | None = Field(None, description="left out: matched in the order of entry")
    alpha: int = Field(0, ge=0, le=255)
    render_mode: RenderMode = 1
    media_id: Flag = 0
    image_layer: int = Field(0, ge=-(2**31), le=2**31 - 1)
    sub_background_image: ImageUrl | None = None


class WaterMarkImage(Params):
    water_mark_url: ImageUrl
    top: OnImage
    left: OnImage
    width: OnImage
    height: OnImage


class WaterMarkChar(Params):
    top: OnImage
    left: OnImage
    width: OnImage
    height: OnImage
    chars: str = Field(max_length=1024)
    font_size: int = Field(14, ge=1, le=1920)
    font_color: Colour = "#FFFFFF"
    back_ground_color: Colour | None = Field(None, description="left out or empty: transparent")
    font: Font = "Tencent"


class WaterMarkTimestamp(Params):
    pos: int = Field(ge=0, le=6)
    time_zone: int = Field(8, ge=-12, le=14)
    font: Font = "Tencent"


class WaterMark(Params):
    """The block that belongs to WaterMarkType is required; others have no effect."""

    water_mark_type: int = Field(0, ge=0, le=2)
    water_mark_image: WaterMarkImage | None = None
    water_mark_char: WaterMarkChar | None = None
    water_mark_timestamp: WaterMarkTimestamp | None = None

    @model_validator(mode="after")
    def _its_own(self) -> WaterMark:
        name, block = (
            ("WaterMarkImage", self.water_mark_image),
            ("WaterMarkChar", self.water_mark_char),
            ("WaterMarkTimestamp", self.water_mark_timestamp),
        )[self.water_mark_type]
        if block is None:
            missing(f"required when WaterMarkType is {self.water_mark_type}", name)
        return self


class MixLayoutParams(Params):
    mix_layout_mode: int = Field(ge=1, le=4)
    mix_layout_list: list[MixLayout] | None = Field(None, max_length=WINDOWS_MAX)
    back_ground_color: Colour = "#000000"
    max_resolution_user_id: UserId | None = None
    media_id: int = Field(0, ge=0, le=1, description="of MaxResolutionUserId")
    background_image_url: ImageUrl | None = None
    place_holder_mode: Flag = 0
    background_image_render_mode: RenderMode = 1
    default_sub_background_image: ImageUrl | None = None
    water_mark_list: list[WaterMark] | None = Field(None, max_length=WINDOWS_MAX)
    render_mode: RenderMode = 1
    max_resolution_user_align: Flag = 0
    pure_audio_disable_layout: bool = False

    @model_validator(mode="after")
    def _custom(self) -> MixLayoutParams:
        if self.mix_layout_mode == 4 and not self.mix_layout_list:
            missing("required when MixLayoutMode is 4", "MixLayoutList")
        return self

    def beyond(self, width: int, height: int) -> tuple[tuple[str | int, ...], str] | None:
        """The first window of the custom layout or image watermark that is not inside the canvas: its path from here,
        and how far it reaches. None when there is none.
        """
        places: list[tuple[tuple[str | int, ...], MixLayout | WaterMarkImage]] = []
        if self.mix_layout_mode == 4:
            places += [(("MixLayoutList", index), each) for index, each in enumerate(self.mix_layout_list or [])]
        places += [
            (("WaterMarkList", index, "WaterMarkImage"), mark.water_mark_image)
            for index, mark in enumerate(self.water_mark_list or [])
            if mark.water_mark_type == 0 and mark.water_mark_image
        ]
        for path, it in places:
            if it.left + it.width > width:
                return path, f"Left + Width is {it.left} + {it.width}; the canvas is {width} wide"
            if it.top + it.height > height:
                return path, f"Top + Height is {it.top} + {it.height}; the canvas is {height} high"
        return None
