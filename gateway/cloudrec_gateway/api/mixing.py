"""Mixed mode's parameters as `spec.mix`, and as the patch that replaces what can be changed of it. Pure.

Without effect, and taken all the same: MixLayoutList in a template, MaxResolutionUserId and what belongs to it in Grid
and Custom, blocks of a watermark that are not its WaterMarkType's.
"""

from __future__ import annotations

from typing import Any, Final

from cloudrec_contract.mix import (
    Align,
    BigPicture,
    Fill,
    Font,
    ImageWatermark,
    Layout,
    Mix,
    MixAudio,
    MixVideo,
    MixWindow,
    Position,
    RenderMode,
    Template,
    TextWatermark,
    TimestampWatermark,
    Watermark,
    WindowMedia,
)
from cloudrec_gateway.api.mix import MixLayout, MixLayoutParams, MixTranscodeParams, WaterMark
from cloudrec_gateway.api.parse import field_name
from cloudrec_gateway.errors import OUT_OF_RANGE, ApiFault

# By TRTC's numbers.
_TEMPLATES: Final = (Template.FLOATING, Template.SCREEN_SHARE, Template.GRID, Template.CUSTOM)
_RENDER_MODES: Final = (RenderMode.STRETCH, RenderMode.CROP, RenderMode.FIT, RenderMode.SMART)
_MEDIA: Final = (WindowMedia.MAIN, WindowMedia.AUX)
_FILLS: Final = (Fill.LAST_FRAME, Fill.BLACK)
_SAMPLE_RATES: Final = (48_000, 44_100, 16_000)
_POSITIONS: Final = (
    Position.TOP_LEFT,
    Position.TOP_RIGHT,
    Position.BOTTOM_LEFT,
    Position.BOTTOM_RIGHT,
    Position.TOP_CENTER,
    Position.BOTTOM_CENTER,
    Position.CENTER,
)


def mix(transcode: MixTranscodeParams | None, layout: MixLayoutParams | None, fill_type: int) -> Mix:
    """Of a Create; a block left out has the published defaults."""
    transcode = transcode or MixTranscodeParams()
    video, audio = transcode.video_params, transcode.audio_params
    width, height = transcode.canvas
    return Mix(
        video=MixVideo(width=width, height=height, fps=15, bit_rate=550_000, gop_seconds=10)
        if video is None
        else MixVideo(width=width, height=height, fps=video.fps, bit_rate=video.bit_rate, gop_seconds=video.gop),
        audio=MixAudio()
        if audio is None
        else MixAudio(
            sample_rate=_SAMPLE_RATES[audio.sample_rate - 1], channels=audio.channel, bit_rate=audio.bit_rate
        ),
        layout=_layout(layout),
        watermarks=_watermarks(layout),
        fill=_FILLS[fill_type],
    )


def replaced(params: MixLayoutParams | None, now: Mix) -> dict[str, Any]:
    """The part of a merge patch (RFC 7396) that replaces the layout and the watermarks of the recording `now` whole;
    left out, both go back to their defaults.

    Raises ApiFault OutOfRange for what reaches beyond the recording's canvas.
    """
    width, height = now.video.width, now.video.height
    if params and (found := params.beyond(width, height)):
        path, message = found
        raise ApiFault(OUT_OF_RANGE, f"{field_name(('MixLayoutParams', *path))}: {message}")
    taken_away = {str(field.alias): None for field in Layout.model_fields.values()}
    return {
        "layout": taken_away | _layout(params).wire(),
        "watermarks": [mark.wire() for mark in _watermarks(params)],
    }


def _layout(params: MixLayoutParams | None) -> Layout:
    if params is None:
        return Layout()
    template = _TEMPLATES[params.mix_layout_mode - 1]
    user_id = params.max_resolution_user_id
    return Layout(
        template=template,
        windows=[_window(each) for each in params.mix_layout_list or []] if template is Template.CUSTOM else [],
        big_picture=BigPicture(user_id=user_id, media=_MEDIA[params.media_id]) if user_id else None,
        big_picture_align=Align.RIGHT if params.max_resolution_user_align else Align.LEFT,
        render_mode=_RENDER_MODES[params.render_mode],
        hide_audio_only=params.pure_audio_disable_layout,
        background_color=params.back_ground_color,
        background_image=params.background_image_url,
        background_render_mode=_RENDER_MODES[params.background_image_render_mode],
        placeholders=params.place_holder_mode == 1,
        placeholder_image=params.default_sub_background_image,
    )


def _window(params: MixLayout) -> MixWindow:
    return MixWindow(
        left=params.left,
        top=params.top,
        width=params.width,
        height=params.height,
        user_id=params.user_id,
        media=_MEDIA[params.media_id],
        opacity=255 - params.alpha,
        render_mode=_RENDER_MODES[params.render_mode],
        layer=params.image_layer,
        placeholder=params.sub_background_image,
    )


def _watermarks(params: MixLayoutParams | None) -> list[Watermark]:
    return [_watermark(each) for each in params.water_mark_list or []] if params else []


def _watermark(params: WaterMark) -> Watermark:
    image, text, timestamp = params.water_mark_image, params.water_mark_char, params.water_mark_timestamp
    match params.water_mark_type:
        case 0 if image:
            return Watermark(
                image=ImageWatermark(
                    url=image.water_mark_url, left=image.left, top=image.top, width=image.width, height=image.height
                )
            )
        case 1 if text:
            return Watermark(
                text=TextWatermark(
                    left=text.left,
                    top=text.top,
                    width=text.width,
                    height=text.height,
                    text=text.chars,
                    font_size=text.font_size,
                    color=text.font_color,
                    background_color=text.back_ground_color,
                    font=Font(text.font),
                )
            )
        case _:
            assert timestamp is not None
            return Watermark(
                timestamp=TimestampWatermark(
                    position=_POSITIONS[timestamp.pos], time_zone=timestamp.time_zone, font=Font(timestamp.font)
                )
            )
