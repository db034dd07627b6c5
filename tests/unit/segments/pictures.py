"""The synthetic users' picture in every codec that publishers send, and read back out of segments."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

from cloudrec_local.synthetic.picture import TestPicture

FPS = 30
OPTIONS = {
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "error-resilient": "1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "row-mt": "0"},
    "libsvtav1": {"preset": "8", "crf": "20", "svtav1-params": "pred-struct=1:lp=1"},
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "forced-idr": "1", "x264-params": "scenecut=0"},
}
ENCODERS = {"VP8": "libvpx", "VP9": "libvpx-vp9", "AV1": "libsvtav1", "H264": "libx264"}


def encoded(
    codec: str, numbers: Sequence[int], *, width: int = 320, height: int = 180, keyframes: Sequence[int] = ()
) -> list[tuple[bytes, bool]]:
    """Frames as WebRTC carries them, and whether each is a keyframe: the first is, and those of these numbers."""
    name = ENCODERS[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, FPS)
    encoder.framerate = Fraction(FPS)
    if codec != "AV1":
        encoder.bit_rate = 1_000_000
    encoder.gop_size = 10_000
    encoder.thread_count = 1
    encoder.options = OPTIONS[name]
    picture = TestPicture(width & ~1, height & ~1, FPS, 7)
    made = []
    for place, number in enumerate(numbers):
        planes = np.frombuffer(picture.draw(number), np.uint8).reshape((height & ~1) * 3 // 2, width & ~1)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p").reformat(width, height)
        frame.pts, frame.time_base = place, Fraction(1, FPS)
        if number in keyframes:
            frame.pict_type = av.video.frame.PictureType.I
        made += encoder.encode(frame)
    made += encoder.encode(None)
    return [(bytes(packet), packet.is_keyframe) for packet in made]
