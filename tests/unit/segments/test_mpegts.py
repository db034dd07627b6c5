import io
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.segments.audio import OpusToAac
from cloudrec_recorder.segments.mpegts import (
    CLOCK,
    PACKET,
    PCR_LEAD,
    PID_AUDIO,
    PID_PMT,
    PID_VIDEO,
    PTS_OFFSET,
    Streams,
    TsMuxer,
    crc32_mpeg,
    ticks,
    with_delimiter,
)
from tests.unit.segments import samples
from tests.unit.segments.samples import demuxed

FRAME = CLOCK // 30


def packets(data: bytes) -> list[bytes]:
    assert len(data) % PACKET == 0
    out = [data[at : at + PACKET] for at in range(0, len(data), PACKET)]
    assert all(packet[0] == 0x47 for packet in out)
    return out


def pid(packet: bytes) -> int:
    return (packet[1] & 0x1F) << 8 | packet[2]


def adaptation(packet: bytes) -> bytes:
    return packet[5 : 5 + packet[4]] if packet[3] & 0x20 else b""


def payload(packet: bytes) -> bytes:
    return packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]


def pcr(packet: bytes) -> int | None:
    field = adaptation(packet)
    if not field or not field[0] & 0x10:
        return None
    return int.from_bytes(field[1:7], "big") >> 15


def video_segments(units: list[tuple[bytes, bool]], per_segment: int) -> list[bytes]:
    muxer = TsMuxer(Streams(video=True, audio=False))
    out = []
    for begin in range(0, len(units), per_segment):
        data = muxer.tables()
        for index, (unit, key) in enumerate(units[begin : begin + per_segment], begin):
            data += muxer.video(unit, index * FRAME, keyframe=key)
        out.append(data)
    return out


def test_crc_of_a_known_section() -> None:
    # The PAT of ISO/IEC 13818-1 encoders everywhere: programme 1 at PID 0x1000.
    assert crc32_mpeg(bytes.fromhex("00b00d0001c100000001f000")) == 0x2AB104B2


def test_access_units_come_back_byte_for_byte() -> None:
    units = samples.h264(40, keyframes=frozenset({0, 20}))
    data = b"".join(video_segments(units, 20))
    found = demuxed(data)
    assert [unit for _, unit in found] == [with_delimiter(unit) for unit, _ in units]
    assert [stamp for stamp, _ in found] == [PTS_OFFSET + index * FRAME for index in range(40)]


@given(st.lists(st.integers(1, 1200), min_size=1, max_size=8))
def test_every_size_fits_into_whole_packets(sizes: list[int]) -> None:
    muxer = TsMuxer(Streams(video=True, audio=False))
    for index, size in enumerate(sizes):
        unit = b"\x00\x00\x00\x01\x09\xf0" + bytes((index + position) % 251 for position in range(size))
        split = packets(muxer.video(unit, index * FRAME, keyframe=False))
        assert split[0][1] & 0x40
        assert not any(packet[1] & 0x40 for packet in split[1:])
        pes = b"".join(map(payload, split))
        assert pes[:4] == b"\x00\x00\x01\xe0"
        assert pes[14:] == unit


def test_a_very_large_keyframe() -> None:
    muxer = TsMuxer(Streams(video=True, audio=False))
    muxer.video(b"\x00\x00\x00\x01\x41" + bytes(1000), 0, keyframe=False)
    unit = b"\x00\x00\x00\x01\x09\xf0" + bytes(range(256)) * 2000
    split = packets(muxer.video(unit, FRAME, keyframe=True))
    assert b"".join(map(payload, split))[14:] == unit
    counters = [packet[3] & 0x0F for packet in split]
    assert all((a + 1) % 16 == b for a, b in pairwise(counters))


def test_counters_run_on_over_segments() -> None:
    last: dict[int, int] = {}
    for segment in video_segments(samples.h264(60), 20):
        for packet in packets(segment):
            counter = packet[3] & 0x0F
            assert counter == (last.get(pid(packet), counter - 1) + 1) % 16
            last[pid(packet)] = counter
    assert set(last) == {0, PID_PMT, PID_VIDEO}


def test_a_segment_begins_with_its_tables_and_a_random_access_point() -> None:
    units = samples.h264(20, keyframes=frozenset({0, 10}))
    for segment in video_segments(units, 10):
        head = packets(segment)[:3]
        assert [pid(packet) for packet in head] == [0, PID_PMT, PID_VIDEO]
        assert adaptation(head[2])[0] & 0x40
        assert not adaptation(head[2])[0] & 0x80


def test_clock_reference_runs_ahead_of_the_time_stamps() -> None:
    clocks = [value for p in packets(b"".join(video_segments(samples.h264(30), 30))) if (value := pcr(p)) is not None]
    assert clocks == [PTS_OFFSET - PCR_LEAD + index * FRAME for index in range(30)]


def test_discontinuity_is_told_where_asked() -> None:
    muxer = TsMuxer(Streams(video=True, audio=False))
    unit = samples.h264(1)[0][0]
    assert adaptation(packets(muxer.video(unit, 0, keyframe=True, discontinuity=True))[0])[0] & 0x80


def test_time_stamps_wrap_at_33_bits() -> None:
    units = samples.h264(3)
    muxer = TsMuxer(Streams(video=True, audio=False))
    data = muxer.tables()
    begin = (1 << 33) - PTS_OFFSET - FRAME
    for index, (unit, key) in enumerate(units):
        data += muxer.video(unit, begin + index * FRAME, keyframe=key)
    stamps = []
    for packet in packets(data):
        if pid(packet) == PID_VIDEO and packet[1] & 0x40:
            field = payload(packet)[9:14]
            stamps.append(
                (field[0] >> 1 & 7) << 30 | field[1] << 22 | (field[2] >> 1) << 15 | field[3] << 7 | field[4] >> 1
            )
    assert stamps == [(1 << 33) - FRAME, 0, FRAME]


def test_audio_alone_carries_the_clock() -> None:
    muxer = TsMuxer(Streams(video=False, audio=True))
    split = packets(muxer.audio(b"\xff\xf1" + bytes(500), 0))
    assert all(pid(packet) == PID_AUDIO for packet in split)
    assert pcr(split[0]) == PTS_OFFSET - PCR_LEAD
    with pytest.raises(ValueError, match="too many"):
        muxer.audio(bytes(70_000), 0)


def test_seconds_to_ticks() -> None:
    assert ticks(1.0) == CLOCK
    assert ticks(-0.5) == -CLOCK // 2


def test_a_stream_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="carries"):
        Streams(video=False, audio=False)


@pytest.mark.parametrize("keep", [0.13, 0.5, 0.77, 0.999])
def test_a_file_cut_off_anywhere_still_plays(keep: float) -> None:
    data = video_segments(samples.h264(60), 60)[0]
    cut = data[: int(len(data) * keep)]
    with av.open(io.BytesIO(cut), format="mpegts") as container:
        container.streams.video[0].codec_context.thread_count = 1
        pictures = sum(1 for _ in container.decode(video=0))
    whole = cut[: len(cut) // PACKET * PACKET]
    begun = sum(1 for packet in packets(whole) if pid(packet) == PID_VIDEO and packet[1] & 0x40)
    assert pictures >= begun - 1  # the last one may be incomplete


def test_ffprobe_has_nothing_to_say(tmp_path: Path) -> None:
    units = samples.h264(90, profile="main", keyframes=frozenset({0, 30, 60}))
    segments = video_segments(units, 30)
    for index, data in enumerate([*segments, b"".join(segments)]):
        path = tmp_path / f"{index}.ts"
        path.write_bytes(data)
        found = samples.ffprobe(path, "-show_packets", "-show_frames", "-show_streams")
        assert len([entry for entry in found["packets_and_frames"] if entry["type"] == "packet"]) in (30, 90)
        assert found["streams"][0]["codec_name"] == "h264"


def test_video_and_audio_in_one_stream(tmp_path: Path) -> None:
    muxer = TsMuxer(Streams(video=True, audio=True))
    data = muxer.tables()
    run = OpusToAac(1, 0.0)
    sound = iter(samples.opus(samples.beeps(2, [0.5])))
    for index, (unit, key) in enumerate(samples.h264(30)):
        data += muxer.video(unit, index * FRAME, keyframe=key)
        for frame in run.push(next(sound), index * 0.02):
            data += muxer.audio(frame.data, round(frame.position * CLOCK / 48_000))
    path = tmp_path / "both.ts"
    path.write_bytes(data)
    found = samples.ffprobe(path, "-show_streams", "-show_packets")
    assert {stream["codec_name"] for stream in found["streams"]} == {"h264", "aac"}
