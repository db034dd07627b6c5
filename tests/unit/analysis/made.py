"""Small recordings made to order, so that each fault can be put into them on purpose."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from cloudrec_contract.naming import FileNames
from cloudrec_contract.playlist import Playlist, Segment
from cloudrec_contract.resources import RoomType
from cloudrec_local.synthetic.picture import TestPicture
from cloudrec_local.synthetic.plan import Kind, Media
from cloudrec_local.synthetic.sound import FRAMES_PER_SECOND, SAMPLE_RATE, beep_hz, sound
from cloudrec_local.synthetic.truth import Interval, TrackTruth, Truth

EPOCH = 1_790_000_000.25
"""PTS zero."""
FPS = 15
WIDTH, HEIGHT = 320, 180
TICKS = 90_000
NAMES = FileNames(1400000001, "12345", RoomType.NUMBER)

_FLAGS = {"mpegts_copyts": "1", "mpegts_flags": "+pat_pmt_at_frames", "pes_payload_size": "0"}


@dataclass(frozen=True)
class Made:
    """One segment: its bytes, when its first sample is (seconds since the Unix epoch) and how long it lasts."""

    data: bytes
    start: float
    seconds: float
    discontinuity: bool = False


def numbers(start: float, seconds: float) -> list[int]:
    """Numbers of pictures captured from `start` seconds after EPOCH on."""
    first = round((EPOCH + start) * FPS)
    return list(range(first, first + round(seconds * FPS)))


def video(
    frames: Sequence[int],
    *,
    user: int = 1,
    screen: bool = False,
    shift: float = 0.0,
    cut_every: float = 2.0,
    late: dict[int, float] | None = None,
) -> list[Made]:
    """Segments with these pictures. `shift` moves all, `late` those from a place in `frames` on, by seconds."""
    picture = TestPicture(WIDTH, HEIGHT, FPS, user, screen=screen)
    times, moved = [], shift
    for place, number in enumerate(frames):
        moved += (late or {}).get(place, 0.0)
        times.append(number / FPS - EPOCH + moved)
    due = times[0]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts", options=_FLAGS) as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.gop_size = 10_000
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        for place, number in enumerate(frames):
            data = np.frombuffer(picture.draw(number), np.uint8).reshape(HEIGHT * 3 // 2, WIDTH)
            frame = av.VideoFrame.from_ndarray(data, format="yuv420p")
            frame.pts, frame.time_base = round(times[place] * TICKS), Fraction(1, TICKS)
            if times[place] >= due:
                frame.pict_type = av.video.frame.PictureType.I
                due = times[place] + cut_every - 1e-3
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return _segments(buffer.getvalue(), cut_every, times[-1] + 1 / FPS)


def audio(
    start: float, seconds: float, *, user: int = 1, shift: float = 0.0, silent: tuple[float, float] = (0, 0)
) -> list[Made]:
    """Segments of about 2 s with sound from `start` seconds after EPOCH on; none from `silent[0]` to `silent[1]`."""
    first = round((EPOCH + start) * FRAMES_PER_SECOND)
    pcm = np.frombuffer(
        b"".join(sound(first + place, beep_hz(user)) for place in range(round(seconds * FRAMES_PER_SECOND))), np.int16
    ).copy()
    pcm[round((silent[0] - start) * SAMPLE_RATE) : round((silent[1] - start) * SAMPLE_RATE)] = 0
    begin = first / FRAMES_PER_SECOND - EPOCH + shift
    buffer = io.BytesIO()
    last = begin + len(pcm) // 1024 * 1024 / SAMPLE_RATE
    with av.open(buffer, "w", format="mpegts", options=_FLAGS) as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for at in range(0, len(pcm) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(pcm[None, at : at + 1024], format="s16", layout="mono")
            frame.sample_rate, frame.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
            frame.pts = round(begin * SAMPLE_RATE) + at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return _segments(buffer.getvalue(), 2.0, last)


def joined(*parts: Iterable[Made], discontinuity: bool = False) -> list[Made]:
    """Segments of several runs as one list, counters renumbered; each run but the first is announced as a
    discontinuity, or is not."""
    segments = [
        Made(made.data, made.start, made.seconds, discontinuity and number > 0 and place == 0)
        for number, part in enumerate(parts)
        for place, made in enumerate(part)
    ]
    counters: dict[int, int] = {}
    return [Made(_renumbered(m.data, counters), m.start, m.seconds, m.discontinuity) for m in segments]


def write(
    folder: Path,
    segments: Sequence[Made],
    kind: Kind,
    *,
    user: str = "user-1",
    media: Media = "main",
    begin_shift: float = 0.0,
    ended: bool = True,
) -> Path:
    """Write segments and a playlist as the uploader would; `begin_shift` makes START-REC-TIME wrong by seconds."""
    begin = round((segments[0].start + begin_shift) * 1000)
    if kind == "video":
        playlist = Playlist(begin, width=WIDTH, height=HEIGHT)
    else:
        playlist = Playlist(begin, sample_rate=SAMPLE_RATE, channels=1)
    for made in segments:
        name = NAMES.segment(user, media, kind, made.start * 1000)
        (folder / name).write_bytes(made.data)
        playlist = playlist.append(Segment(name, made.seconds, made.start * 1000, made.discontinuity))
    path = folder / NAMES.playlist(user, media, kind)
    path.write_text((playlist.end() if ended else playlist).render())
    return path


def track_truth(
    frames: Sequence[int],
    *,
    user: str = "user-1",
    number: int = 1,
    media: Media = "main",
    muted: tuple[Interval, ...] = (),
) -> TrackTruth:
    """A publication of these pictures, each captured when it was due."""
    return TrackTruth(
        user=user,
        number=number,
        media=media,
        kind="video",
        sid="TR_1",
        fps=FPS,
        published=frames[0] / FPS,
        frames=tuple(frames),
        times=tuple(frame / FPS for frame in frames),
        muted=muted,
    )


def sound_truth(*, user: str = "user-1", number: int = 1, media: Media = "main") -> TrackTruth:
    return TrackTruth(
        user=user, number=number, media=media, kind="audio", sid="TR_2", fps=FRAMES_PER_SECOND, published=EPOCH
    )


def truth(*tracks: TrackTruth) -> Truth:
    return Truth(started=EPOCH, ended=EPOCH + 60, events=(), tracks=tracks, cpu_seconds=1)


def _segments(data: bytes, cut_every: float, end: float) -> list[Made]:
    """Cut a stream about so often (s) where it repeats its tables; `end` is where its last sample ends."""
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    starts: list[tuple[int, float]] = []
    table: int | None = None
    due = 0.0
    for place, packet in enumerate(packets):
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if pid == 0:
            table = place
        elif pid == 0x100 and packet[1] & 0x40:
            at = _pts(packet) / TICKS
            if table is not None and (not starts or at >= due):
                starts.append((table, at))
                due = at + cut_every - 1e-3
            table = None
    starts.append((len(packets), end))
    return [Made(b"".join(packets[a:b]), EPOCH + at, until - at) for (a, at), (b, until) in pairwise(starts)]


def _pts(packet: bytes) -> int:
    """The PTS of the PES packet that begins here (ISO/IEC 13818-1, 2.4.3.6)."""
    pes = packet[5 + packet[4] if packet[3] & 0x20 else 4 :]
    stamp = pes[9:14]
    return (stamp[0] >> 1 & 7) << 30 | stamp[1] << 22 | (stamp[2] >> 1) << 15 | stamp[3] << 7 | stamp[4] >> 1


def _renumbered(data: bytes, counters: dict[int, int]) -> bytes:
    out = bytearray(data)
    for at in range(0, len(out), 188):
        pid = (out[at + 1] & 0x1F) << 8 | out[at + 2]
        if out[at + 3] & 0x10:
            counters[pid] = (counters.get(pid, -1) + 1) & 0x0F
            out[at + 3] = out[at + 3] & 0xF0 | counters[pid]
    return bytes(out)
