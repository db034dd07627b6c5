"""The clip that everybody sends, receives or muxes: 720p30 H.264 of about 1.5 Mbps and stereo Opus, encoded once."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.video.frame
import numpy as np

WIDTH: Final = 1280
HEIGHT: Final = 720
RATE: Final = 30
VIDEO_BITS: Final = 1_500_000  # a second
AUDIO_BITS: Final = 32_000
SAMPLES: Final = 48_000  # a second
PACKET_SAMPLES: Final = 960
KEYFRAME_SECONDS: Final = 2


def video_frames(seconds: int) -> list[bytes]:
    """H.264 access units (Annex B) as a browser encodes them: no B-frames, a steady rate, one slice a picture."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    encoder.framerate = Fraction(RATE)
    encoder.time_base = Fraction(1, RATE)
    encoder.bit_rate = VIDEO_BITS
    encoder.gop_size = RATE * KEYFRAME_SECONDS
    encoder.options = {
        "preset": "superfast",
        "profile": "baseline",
        "tune": "zerolatency",
        "x264-params": f"sliced-threads=0:nal-hrd=cbr:vbv-maxrate={VIDEO_BITS // 1000}:vbv-bufsize=500:scenecut=0",
    }
    packets = []
    with av.open(f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}", "r", format="lavfi") as source:
        for number, frame in enumerate(source.decode(video=0)):
            if number == seconds * RATE:
                break
            frame.pts, frame.time_base = number, encoder.time_base
            frame.pict_type = av.video.frame.PictureType.NONE  # the source's are all I
            packets += encoder.encode(frame)
    return [bytes(packet) for packet in [*packets, *encoder.encode(None)]]


def audio_packets(seconds: int) -> list[bytes]:
    """Opus packets of 20 ms: a chord that swells."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLES, "stereo", "flt"
    encoder.bit_rate = AUDIO_BITS
    encoder.time_base = Fraction(1, SAMPLES)
    packets = []
    for number in range(seconds * SAMPLES // PACKET_SAMPLES):
        at = (np.arange(PACKET_SAMPLES) + number * PACKET_SAMPLES) / SAMPLES
        wave = sum(np.sin(2 * np.pi * tone * at) for tone in (220, 277, 330)) * np.sin(np.pi * at) / 6
        samples = np.repeat(wave, 2).reshape(1, -1).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLES, number * PACKET_SAMPLES, encoder.time_base
        packets += encoder.encode(frame)
    return [bytes(packet) for packet in packets]


def write_frames(path: Path, frames: list[bytes]) -> None:
    """Each frame after its length in four bytes, big endian: what the pion peer reads."""
    path.write_bytes(b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames))
