"""Real encoded media for the segment tests, and the readings that they are judged by."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from cloudrec_contract.naming import FileNames
from cloudrec_contract.resources import RoomType
from cloudrec_contract.spool import JOURNAL, JournalRecord, decode_record
from cloudrec_recorder.journal import Journal
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.segments.disk import Disk
from cloudrec_recorder.segments.files import Output, SegmentSettings
from cloudrec_recorder.segments.segmenter import Segmenter
from tests.analysis.ffprobe import FFprobeMissing

RATE = 48_000
EPOCH_MS = 1_700_000_000_000
VIDEO = TrackKey("alice", "main", "video")
AUDIO = TrackKey("alice", "main", "audio")


def h264(
    count: int,
    *,
    width: int = 320,
    height: int = 240,
    fps: int = 30,
    keyint: int = 1000,
    profile: str = "baseline",
    keyframes: frozenset[int] = frozenset({0}),
    extra: str = "",
) -> list[tuple[bytes, bool]]:
    """`count` access units (Annex B, no delimiters, no B-frames) and whether each is a keyframe; as WebRTC has them."""
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, fps)
    encoder.gop_size = keyint
    encoder.profile = profile.capitalize()
    tools = {"baseline": "", "main": ":cabac=1", "high": ":cabac=1:8x8dct=1"}[profile]
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"scenecut=0:forced-idr=1{tools}{extra}",
    }
    out = []
    ramp = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint32)
    for index in range(count):
        luma = (ramp + index * 5).astype(np.uint8)
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        planes[:height] = luma
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = index
        if index in keyframes:
            frame.pict_type = av.video.frame.PictureType.I
        out += [(bytes(packet), packet.is_keyframe) for packet in encoder.encode(frame)]
    return out


def opus(pcm: np.ndarray, *, bit_rate: int = 48_000) -> list[bytes]:
    """20 ms Opus packets of `(channels, samples)` float PCM at 48 kHz, as libopus makes them for WebRTC."""
    layout = "mono" if pcm.shape[0] == 1 else "stereo"
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE, layout, "s16", bit_rate
    encoder.options = {"application": "voip", "frame_duration": "20"}
    out: list[bytes] = []
    for at in range(0, pcm.shape[1] - 959, 960):
        samples = (pcm[:, at : at + 960].T * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
        out += [bytes(packet) for packet in encoder.encode(frame)]
    return out


def beeps(seconds: float, at: list[float], *, hz: float = 1000.0, channels: int = 1) -> np.ndarray:
    """Silence with 50 ms tones that begin at these times; `(channels, samples)` float32."""
    time = np.arange(int(seconds * RATE)) / RATE
    on = np.zeros_like(time)
    for begin in at:
        on[(time >= begin) & (time < begin + 0.05)] = 1
    tone = (0.5 * np.sin(2 * np.pi * hz * time) * on).astype(np.float32)
    return np.repeat(tone[None], channels, axis=0)


def onsets(pcm: np.ndarray, *, threshold: float = 0.1) -> list[float]:
    """Times at which sound begins in mono float PCM, in seconds."""
    loud = np.abs(pcm) > threshold
    where = np.flatnonzero(loud)
    if not len(where):
        return []
    first = np.concatenate([[True], np.diff(where) > 0.02 * RATE])
    return [float(index) / RATE for index in where[first]]


def output(folder: Path, disk: Disk, asked: list[TrackKey], **settings: float) -> Output:
    """Where a segmenter writes in a test; keyframes asked for are added to `asked`."""
    media = folder / "media"
    media.mkdir(exist_ok=True)
    return Output(
        names=FileNames(1400000001, "12345", RoomType.NUMBER),
        epoch_ms=EPOCH_MS,
        folder=media,
        disk=disk,
        journal=Journal(folder, disk, lambda: EPOCH_MS),
        settings=SegmentSettings(**settings),
        request_keyframe=asked.append,
    )


def records(folder: Path) -> list[JournalRecord]:
    return [decode_record(line) for line in (folder / JOURNAL).read_bytes().splitlines()]


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


def let_sound_catch_up(segmenter: Segmenter) -> None:
    """Time goes by itself in tests: wait until the worker has done what it was given."""
    until(lambda: not segmenter.audio_waiting)


def video_units(
    units: list[tuple[bytes, bool]], *, start: float = 1.0, fps: float = 30.0, source: int = 1
) -> list[AccessUnit]:
    return [
        AccessUnit(VIDEO, "H264", data, start + index / fps, key, source) for index, (data, key) in enumerate(units)
    ]


def audio_units(packets: list[bytes], *, start: float = 1.0, source: int = 1) -> list[AccessUnit]:
    return [AccessUnit(AUDIO, "OPUS", data, start + index * 0.02, True, source) for index, data in enumerate(packets)]


def demuxed(data: bytes, kind: str = "video") -> list[tuple[int | None, bytes]]:
    """Time stamps (as written, 90 kHz) and access units of a transport stream."""
    with av.open(io.BytesIO(data), format="mpegts") as container:
        stream = container.streams.get(**{kind: 0})[0]
        return [(packet.pts, bytes(packet)) for packet in container.demux(stream) if packet.size]


def decoded_audio(data: bytes, folder: Path) -> tuple[float, np.ndarray]:
    """First time stamp (seconds, as written) and mono float PCM of a transport stream, placed by time stamps."""
    path = folder / "decode.ts"
    path.write_bytes(data)
    pieces: list[tuple[int, np.ndarray]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            assert frame.pts is not None
            assert frame.time_base is not None
            pieces.append((round(float(frame.pts * frame.time_base) * RATE), frame.to_ndarray().mean(axis=0)))
    origin = pieces[0][0]
    line = np.zeros(pieces[-1][0] - origin + len(pieces[-1][1]), np.float32)
    for at, samples in pieces:
        line[at - origin : at - origin + len(samples)] = samples
    return origin / RATE, line


def ffprobe(path: Path, *arguments: str) -> dict[str, list[dict[str, str]]]:
    """What ffprobe reads; it must have nothing to warn of. Decodes every picture too."""
    program = shutil.which("ffprobe")
    if program is None:
        raise FFprobeMissing
    command = [program, "-v", "warning", "-of", "json", *arguments, str(path)]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert done.stderr.decode() == ""
    return json.loads(done.stdout)
