"""CPU time of writing segments, without network and disk: H.264 to MPEG-TS, Opus to AAC to MPEG-TS, of one user.

Beside it FFmpeg's own libraries do the same in this process, by way of PyAV: its mpegts muxer for the pictures, and its
Opus decoder, AAC encoder (with the recorder's settings) and muxer in a row for the sound. Two ratios, the medians over
the rounds: `video_ratio` and `audio_ratio`; figures are CPU ms for a second of media.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from statistics import median
from typing import Final

import av
import av.audio.stream
import av.video.stream

from benchmarks import media
from benchmarks.figures import alternate, processor_time, ratio, report
from cloudrec_recorder.segments.audio import ENCODER_OPTIONS, FRAME, RATE, AacFrame, OpusToAac
from cloudrec_recorder.segments.mpegts import CLOCK, Streams, TsMuxer, ticks

CLIP_SECONDS: Final = 10
FRAMES_PER_PES: Final = 10  # as the recorder puts them together


def recorder_video(frames: Sequence[bytes]) -> int:
    """The recorder's muxer; how many bytes it made."""
    muxer = TsMuxer(Streams(video=True, audio=False))
    size = len(muxer.tables())
    for number, frame in enumerate(frames):
        keyframe = number % (media.RATE * media.KEYFRAME_SECONDS) == 0
        size += len(muxer.video(frame, ticks(number / media.RATE), keyframe=keyframe))
    return size


def ffmpeg_video(frames: Sequence[bytes]) -> int:
    """The same with libavformat."""
    out = io.BytesIO()
    time_base = Fraction(1, CLOCK)
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("h264", rate=media.RATE)
        assert isinstance(stream, av.video.stream.VideoStream)
        stream.width, stream.height, stream.time_base = media.WIDTH, media.HEIGHT, time_base
        for number, frame in enumerate(frames):
            packet = av.Packet(frame)
            packet.stream = stream
            packet.time_base = time_base
            packet.pts = packet.dts = ticks(number / media.RATE)
            packet.is_keyframe = number % (media.RATE * media.KEYFRAME_SECONDS) == 0
            container.mux(packet)
    return len(out.getvalue())


def recorder_audio(packets: Sequence[bytes]) -> int:
    """The recorder's transcoder and muxer; how many bytes they made."""
    muxer = TsMuxer(Streams(video=False, audio=True))
    transcoder = OpusToAac(2, 0.0)
    size = len(muxer.tables())
    pending: list[AacFrame] = []

    def write(frames: Iterable[AacFrame], least: int) -> int:
        pending.extend(frames)
        if len(pending) < least:
            return 0
        data = b"".join(frame.data for frame in pending)
        pts = round(pending[0].position * CLOCK / RATE)
        pending.clear()
        return len(muxer.audio(data, pts))

    for number, packet in enumerate(packets):
        size += write(transcoder.push(packet, number * media.PACKET_SAMPLES / RATE), FRAMES_PER_PES)
    return size + write(transcoder.finish(), 1)


def ffmpeg_audio(packets: Sequence[bytes]) -> int:
    """The same with libavcodec and libavformat alone."""
    out = io.BytesIO()
    time_base = Fraction(1, RATE)
    decoder = av.CodecContext.create("opus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = RATE, "stereo"
    with av.open(out, "w", format="mpegts") as container:
        stream = container.add_stream("aac", rate=RATE, layout="stereo", options=dict(ENCODER_OPTIONS))
        assert isinstance(stream, av.audio.stream.AudioStream)
        stream.codec_context.thread_count = 1
        fifo = av.AudioFifo()  # the encoder wants frames of its own length
        position = 0
        for packet in packets:
            for frame in decoder.decode(av.Packet(packet)):
                frame.pts, frame.time_base = position, time_base
                position += frame.samples
                fifo.write(frame)
            while (part := fifo.read(FRAME)) is not None:
                container.mux(stream.encode(part))
        if (rest := fifo.read()) is not None:
            container.mux(stream.encode(rest))
        container.mux(stream.encode(None))
    return len(out.getvalue())


def timed(work: Callable[[Sequence[bytes]], int], data: Sequence[bytes]) -> Callable[[], float]:
    """CPU ms for a second of media."""

    def run() -> float:
        start = processor_time()
        if work(data) < sum(map(len, data)) // 4:
            raise AssertionError(f"{work.__name__} did not write what it was given")
        return 1000 * (processor_time() - start) / CLIP_SECONDS

    return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.segments", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="runs of each kind (9)")
    parser.add_argument("--quick", action="store_true", help="two rounds: does it still run?")
    options = parser.parse_args(arguments)
    rounds = 2 if options.quick else options.rounds
    video, audio = media.video_frames(CLIP_SECONDS), media.audio_packets(CLIP_SECONDS)
    results = alternate(
        {
            "recorder_video": timed(recorder_video, video),
            "ffmpeg_video": timed(ffmpeg_video, video),
            "recorder_audio": timed(recorder_audio, audio),
            "ffmpeg_audio": timed(ffmpeg_audio, audio),
        },
        rounds,
    )
    report(
        "segments",
        {
            "ms_per_second": {name: round(median(each), 3) for name, each in results.items()},
            "video_ratio": round(ratio(results["recorder_video"], results["ffmpeg_video"]), 3),
            "audio_ratio": round(ratio(results["recorder_audio"], results["ffmpeg_audio"]), 3),
        },
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
