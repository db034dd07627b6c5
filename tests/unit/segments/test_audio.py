"""Where a sound was, it must be in the file: judged by decoding what was written."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_recorder.segments.audio import FRAME, RATE, AacFrame, OpusToAac, opus_channels, opus_samples
from tests.unit.segments import samples

START = 3.25


def decoded(frames: list[AacFrame], folder: Path) -> tuple[float, np.ndarray]:
    """Time of the first sample, and the sound, with the frames where their positions say."""
    _, pcm = samples.decoded_audio(b"".join(frame.data for frame in frames), folder)
    return frames[0].position / RATE, pcm


def transcoded(packets: list[tuple[float, bytes]], channels: int = 1) -> list[AacFrame]:
    run = OpusToAac(channels, packets[0][0])
    frames: list[AacFrame] = []
    for time, packet in packets:
        frames += run.push(packet, time)
    return frames + run.finish()


def packets_at(pcm: np.ndarray, start: float = START) -> list[tuple[float, bytes]]:
    return [(start + index * 0.02, packet) for index, packet in enumerate(samples.opus(pcm))]


def assert_without_holes(frames: list[AacFrame]) -> None:
    assert all(b.position - a.position == FRAME for a, b in pairwise(frames))


def assert_beeps(frames: list[AacFrame], expected: list[float], folder: Path, within: float = 0.0015) -> None:
    begin, pcm = decoded(frames, folder)
    found = [begin + at for at in samples.onsets(pcm)]
    assert len(found) == len(expected), found
    assert np.abs(np.array(found) - expected).max() < within, np.array(found) - expected


@pytest.mark.parametrize("channels", [1, 2])
def test_a_beep_is_where_it_was(tmp_path: Path, channels: int) -> None:
    at = [0.5, 1.5, 2.5]
    frames = transcoded(packets_at(samples.beeps(3, at, channels=channels)), channels)
    assert_without_holes(frames)
    assert frames[0].position == round(START * RATE) - 312 - FRAME
    assert_beeps(frames, [START + t for t in at], tmp_path)


def test_discontinuous_transmission_is_filled_with_silence(tmp_path: Path) -> None:
    at = [0.3, 2.3]
    packets = packets_at(samples.beeps(3, at))
    heard = [(t, p) for i, (t, p) in enumerate(packets) if not 30 < i < 110 or i % 20 == 0]
    frames = transcoded(heard)
    assert_without_holes(frames)
    assert_beeps(frames, [START + t for t in at], tmp_path)


def test_lost_packets_leave_the_rest_in_place(tmp_path: Path) -> None:
    at = [0.2, 0.9, 1.7, 2.6]
    packets = packets_at(samples.beeps(3, at))
    kept = [entry for index, entry in enumerate(packets) if index not in (20, 21, 60, 100, 101, 102, 120)]
    assert_beeps(transcoded(kept), [START + t for t in at], tmp_path)


def test_little_drift_is_left_alone(tmp_path: Path) -> None:
    """20 ms of jitter in time stamps: every packet follows the one before."""
    packets = packets_at(samples.beeps(2, [1.5]))
    moved = [(time + 0.000_2 * index if index < 75 else time + 0.015, p) for index, (time, p) in enumerate(packets)]
    frames = transcoded(moved)
    assert_without_holes(frames)
    assert_beeps(frames, [START + 1.5], tmp_path)


@pytest.mark.parametrize("ppm", [400, -400])
def test_drift_of_a_publishers_clock_is_taken_out(tmp_path: Path, ppm: int) -> None:
    """A clock 400 ppm off is 80 ms off after 200 s; the beeps stay within 35 ms of their time stamps."""
    seconds = 150
    at = [float(t) for t in range(1, seconds, 10)]
    scale = 1 + ppm / 1e6
    packets = packets_at(samples.beeps(seconds, at), 0.0)
    run = OpusToAac(1, START)
    frames: list[AacFrame] = []
    for time, packet in packets:
        frames += run.push(packet, START + time * scale)
        assert abs(run.error(run.end_time)) < 0.035 * RATE
    frames += run.finish()
    assert_without_holes(frames)
    assert_beeps(frames, [START + t * scale for t in at], tmp_path, within=0.035)


def test_what_cannot_be_decoded_becomes_silence(tmp_path: Path) -> None:
    packets = packets_at(samples.beeps(2, [0.5, 1.5]))
    packets[50] = (packets[50][0], b"\xff" * 40)
    packets[51] = (packets[51][0], b"\x7b")
    packets[52] = (packets[52][0], b"")
    frames = transcoded(packets)
    assert_without_holes(frames)
    assert_beeps(frames, [START + 0.5, START + 1.5], tmp_path)


@given(st.lists(st.binary(max_size=60), max_size=12))
def test_hostile_packets(packets: list[bytes]) -> None:
    run = OpusToAac(1, 0.0)
    frames: list[AacFrame] = []
    for index, packet in enumerate(packets):
        frames += run.push(packet, index * 0.02)
    frames += run.finish()
    assert_without_holes(frames)


def test_table_of_contents() -> None:
    assert opus_samples(b"\x78") == 960  # CELT, 20 ms
    assert opus_samples(b"\x08") == 960  # SILK, 20 ms
    assert opus_samples(b"\x18") == 2880  # SILK, 60 ms
    assert opus_samples(b"\x80") == 120  # CELT, 2.5 ms
    assert opus_samples(b"\x79") == 1920  # two frames
    assert opus_samples(b"\x7b\x03") == 2880  # three frames by count
    assert opus_channels(b"\x78") == 1
    assert opus_channels(b"\x7c") == 2


@pytest.mark.parametrize("packet", [b"", b"\x7b", b"\x7b\x00", b"\x1b\x03", b"\x7b\x3f"])
def test_no_packet_at_all(packet: bytes) -> None:
    with pytest.raises(ValueError, match="Opus packet"):
        opus_samples(packet)
