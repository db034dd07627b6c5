"""The strip in the picture and the beep in the sound, before any codec has touched them and after."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_local.playback.beeps import Samples, onsets, silences
from cloudrec_local.synthetic.code import FRAME_MODULUS, MAX_USER, Code, Luma, draw, read, strip_height, unwrap
from cloudrec_local.synthetic.picture import TestPicture, flashes_at, is_flash
from cloudrec_local.synthetic.sound import FRAMES_PER_SECOND, SAMPLE_RATE, beep_hz, sound

codes = st.builds(Code, frame=st.integers(0, FRAME_MODULUS - 1), user=st.integers(1, MAX_USER), screen=st.booleans())
SIZES = [(320, 180), (640, 360), (1280, 720), (360, 640), (426, 240)]


def luma_of(picture: TestPicture, width: int, height: int) -> Luma:
    return np.frombuffer(picture.buffer, np.uint8)[: width * height].reshape(height, width)


def floats(pcm: bytes) -> Samples:
    samples: Samples = np.frombuffer(pcm, np.int16).astype(np.float32) / np.float32(32768)
    return samples


@given(codes)
def test_a_code_is_read_as_it_was_drawn(code: Code) -> None:
    luma = np.full((180, 320), 128, np.uint8)
    draw(luma, code)
    assert read(luma) == code


@given(codes, st.integers(0, 39))
def test_a_flipped_block_is_never_another_code(code: Code, block: int) -> None:
    luma = np.full((180, 320), 128, np.uint8)
    draw(luma, code)
    row, column = divmod(block, 20)
    luma[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16] ^= 0xFF
    assert read(luma) is None


@pytest.mark.parametrize("value", [0, 16, 128, 235, 255])
def test_a_blank_picture_has_no_code(value: int) -> None:
    assert read(np.full((180, 320), value, np.uint8)) is None


@pytest.mark.parametrize("shape", [(2, 2), (8, 8), (16, 320)])
def test_a_picture_without_room_has_no_code(shape: tuple[int, int]) -> None:
    assert read(np.full(shape, 16, np.uint8)) is None


def test_a_blurred_block_is_not_guessed_at() -> None:
    luma = np.full((180, 320), 128, np.uint8)
    draw(luma, Code(1234, 5))
    luma[:16, 160:176] = 120
    assert read(luma) is None


@pytest.mark.parametrize("user", [0, 128])
def test_a_user_without_a_place_in_the_code_is_refused(user: int) -> None:
    with pytest.raises(ValueError, match="number is 1 to 127"):
        draw(np.zeros((180, 320), np.uint8), Code(1, user))


@given(st.integers(0, 1 << 40), st.integers(-FRAME_MODULUS // 2 + 1, FRAME_MODULUS // 2 - 1))
def test_unwrap(number: int, error: int) -> None:
    assert unwrap(number % FRAME_MODULUS, number + error) == number


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("screen", [False, True])
def test_a_picture_says_what_it_is(width: int, height: int, screen: bool) -> None:
    picture = TestPicture(width, height, 30, 7, screen=screen)
    for number in (30 * 1_790_000_000, 30 * 1_790_000_000 + 2, 30 * 1_790_000_000 + 3):
        picture.draw(number)
        luma = luma_of(picture, width, height)
        assert read(luma) == Code(number % FRAME_MODULUS, 7, screen)
        assert is_flash(luma) == (number % 30 < 3)
    assert strip_height(width) < height / 2


@pytest.mark.parametrize(("fps", "lit"), [(10, 1), (15, 2), (20, 2), (25, 3), (30, 3)])
def test_the_flash_lasts_a_tenth_of_a_second(fps: int, lit: int) -> None:
    assert [n for n in range(fps) if flashes_at(n, fps)] == list(range(lit))


def test_only_little_of_the_picture_changes() -> None:
    picture = TestPicture(640, 360, 15, 1)
    before = bytes(picture.draw(15 * 1000 + 5))
    after = bytes(picture.draw(15 * 1000 + 6))
    changed = np.count_nonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
    assert 0 < changed < 0.1 * len(before)


@given(st.integers(0, 99), st.integers(1, 25))
def test_beeps_are_found_where_they_begin(offset: int, user: int) -> None:
    first = 100 * 1_790_000_000 + offset
    pcm = b"".join(sound(first + n, beep_hz(user)) for n in range(2 * FRAMES_PER_SECOND))
    samples = floats(pcm)
    found = onsets(samples, SAMPLE_RATE, beep_hz(user))
    due = [(100 - offset) / 100, (200 - offset) / 100]
    expected = [at for at in due if 0 < at <= 1.93]
    assert found == pytest.approx(expected, abs=0.001)
    assert not onsets(samples, SAMPLE_RATE, beep_hz(user + 1))
    assert not silences(samples, SAMPLE_RATE)


def test_silence_is_told_from_the_quiet_tone() -> None:
    pcm = b"".join(sound(20 + n, beep_hz(1)) for n in range(60))
    samples = floats(pcm)
    samples[SAMPLE_RATE // 10 : SAMPLE_RATE // 5] = 0
    assert silences(samples, SAMPLE_RATE) == [(0.1, 0.2)]


def test_no_two_of_eight_users_beep_alike() -> None:
    pitches = {beep_hz(user, screen=screen) for user in range(1, 9) for screen in (False, True)}
    assert len(pitches) == 16
