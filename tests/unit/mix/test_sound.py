"""The mixed sound by what is to be heard in it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from cloudrec_contract.mix import MixAudio
from cloudrec_recorder.mix.limiter import THRESHOLD, Limiter
from cloudrec_recorder.mix.resampling import Resampler
from cloudrec_recorder.mix.sound import Mixer
from cloudrec_recorder.mix.voice import CONCEALED, Voice
from cloudrec_recorder.mix.wire import Sound, Unit
from tests.unit.mix.opus import RATE, SIZE, Wave, beep, decoded, onset, packets, tone, voice

STEP = 1 / 15
DELAY = 0.12


def unit(stream: int, time: float, data: bytes, source: int = 1) -> Unit:
    return Unit(stream, source, time, True, "OPUS", data)


def units(stream: int, data: Sequence[bytes], begin: float = 0.0, source: int = 1) -> list[Unit]:
    return [unit(stream, begin + number * 0.02, packet, source) for number, packet in enumerate(data)]


def played(
    given: Iterable[Unit], end: float, audio: MixAudio | None = None, start: float = 0.0, late: float = 0.0
) -> tuple[list[Sound], Mixer]:
    """As the composer would: units come at their time and `late` after it, ticks 15 times a second."""
    mixer = Mixer(audio or MixAudio(), start)
    out: list[Sound] = []
    waiting = sorted(given, key=lambda each: each.time)
    at, now = 0, start
    while now < end + DELAY:
        now += STEP
        while at < len(waiting) and waiting[at].time + late <= now:
            mixer.unit(waiting[at])
            at += 1
        out += mixer.advance(min(now - DELAY, end))
    out += mixer.advance(end)
    return out + mixer.finish(), mixer


def heard(sounds: list[Sound], start: float = 0.0, rate: int = RATE) -> Wave:
    """From `start` on."""
    first, wave = decoded(sounds, rate)
    return wave[:, round(start * rate) - first :]


def jump(wave: Wave) -> float:
    return float(np.abs(np.diff(wave, axis=1)).max())


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [48000, 44100, 16000])
def test_each_sound_is_where_and_as_loud_as_it_was(rate: int, channels: int) -> None:
    start, given, places = 7.2, [], [0.3, 0.9, 1.5, 2.1]
    for number, place in enumerate(places):
        wave = beep(3, place, 500 * (number + 1), 0.1 * (number + 1))
        given += units(number, packets(wave, 1 + number % 2), start)
    sounds, mixer = played(given, start + 3, MixAudio(sample_rate=rate, channels=channels, bit_rate=128_000), start)  # type: ignore[arg-type]
    wave = heard(sounds, start, rate)
    assert len(wave) == channels
    assert mixer.dropped == 0
    for number, place in enumerate(places):
        part = wave[:, round((place - 0.2) * rate) : round((place + 0.3) * rate)]
        level = 0.1 * (number + 1)
        assert onset(part, level / 2) / rate == pytest.approx(0.2, abs=0.001)
        middle = part[:, round(0.22 * rate) : round(0.28 * rate)]
        assert np.abs(middle).max(axis=1) == pytest.approx(np.full(channels, level), rel=0.12)


def test_sides_of_a_stereo_stream_stay_sides() -> None:
    both = np.stack([tone(1, 700), np.zeros(RATE, np.float32)])
    wave = heard(played(units(1, packets(both, 2)), 1)[0])[:, 12000:36000]
    assert np.abs(wave[0]).max() > 0.2
    assert np.abs(wave[1]).max() < 0.02


def test_nobody_speaks_and_the_sound_goes_on() -> None:
    sounds, _ = played([], 5, start=1)
    first, wave = decoded(sounds)
    assert first == RATE - 1024
    assert wave.shape[1] - 1024 >= 4 * RATE
    assert wave.shape[1] - 1024 < 4 * RATE + 2 * 1024
    assert np.abs(wave).max() < 1e-4


def test_one_who_is_not_too_loud_is_not_touched() -> None:
    said = voice(2, 0.85)
    wave = heard(played(units(1, packets(said)), 2, MixAudio(bit_rate=128_000))[0])[:, 24000:72000]
    assert np.abs(wave - said[24000:72000]).max() < 0.1


def test_the_limiter_lets_quiet_sound_be_and_holds_loud_sound_down() -> None:
    limiter = Limiter(2)
    wave = np.stack([tone(4, 440, 0.8)] * 2)
    wave[:, RATE : 2 * RATE] *= 4
    parts = [limiter.push(wave[:, at : at + 3200].copy()) for at in range(0, wave.shape[1], 3200)]
    out = np.concatenate([*parts, limiter.finish()], axis=1)
    assert out.shape == wave.shape
    assert np.array_equal(out[:, : RATE - 480], wave[:, : RATE - 480])
    assert THRESHOLD * 0.98 < np.abs(out).max() <= THRESHOLD * 1.0001
    assert np.array_equal(out[:, -4800:], wave[:, -4800:]), "recovered"
    assert jump(out) < 1.15 * THRESHOLD / 0.8 * jump(wave[:, :RATE])


@pytest.mark.parametrize("rate", [48000, 44100, 16000])
def test_resampling_neither_adds_nor_loses_a_sample_in_an_hour(rate: int) -> None:
    resampler = Resampler(rate, 1)
    block = np.zeros((1, 99_991), np.float32)
    made, given = 0, 0
    while given < 3600 * RATE:
        made += resampler.push(block[:, : min(99_991, 3600 * RATE - given)]).shape[1]
        given += min(99_991, 3600 * RATE - given)
    assert made + resampler.finish().shape[1] == 3600 * rate


@pytest.mark.parametrize("rate", [44100, 16000])
def test_resampling_keeps_phase_and_level(rate: int) -> None:
    resampler = Resampler(rate, 1)
    wave = tone(1, 3000, 0.5)[None]
    out = np.concatenate([resampler.push(wave[:, :1]), resampler.push(wave[:, 1:]), resampler.finish()], axis=1)
    want = 0.5 * np.sin(2 * np.pi * 3000 * np.arange(rate) / rate)
    assert np.abs(out[0] - want)[1000:-1000].max() < 0.001


def test_many_loud_ones_do_not_clip() -> None:
    given = [each for number in range(10) for each in units(number, packets(tone(2, 300 + 111 * number, 0.7)))]
    wave = heard(played(given, 2, MixAudio(bit_rate=128_000))[0])[:, 4800:90000]
    assert 0.5 < np.abs(wave).max() <= 1.0


def test_lost_packets_are_concealed_without_a_click() -> None:
    data = units(1, packets(tone(4)))
    lost = {*range(50, 52), 80, *range(100, 150)}
    kept = [each for number, each in enumerate(data) if number not in lost]
    whole, broken = (heard(played(each, 4)[0])[:, 4800:180000] for each in (data, kept))
    assert jump(broken) < 1.5 * jump(whole)
    assert np.abs(broken[:, 50 * SIZE - 4800 : 51 * SIZE - 4800]).max() > 0.1, "made up"
    silent = slice(100 * SIZE + CONCEALED + SIZE - 4800, 149 * SIZE - 4800)
    assert np.abs(broken[:, silent]).max() < 0.002
    assert np.abs(broken[:, 155 * SIZE - 4800 : 160 * SIZE - 4800]).max() == pytest.approx(0.25, rel=0.1)


def test_random_loss_keeps_everything_in_its_place() -> None:
    dice = random.Random(5)
    wave = sum(beep(20, at, 1000, 0.25) for at in range(1, 20, 2))
    assert isinstance(wave, np.ndarray)
    around = {n for at in range(1, 20, 2) for n in range(at * 50 - 3, at * 50 + 6)}
    given = [each for n, each in enumerate(units(1, packets(wave))) if n in around or dice.random() > 0.1]
    mixed = heard(played(given, 20)[0])
    for at in range(1, 20, 2):
        part = mixed[:, (at * RATE) - 4800 : (at * RATE) + 4800]
        assert onset(part, 0.1) / RATE == pytest.approx(0.1, abs=0.0015)


def test_packets_that_come_too_late_are_dropped_without_a_click() -> None:
    data = units(1, packets(tone(3)))
    _, mixer = played(data, 3, late=0.3)
    assert mixer.dropped > 100
    _, punctual = played(data, 3, late=0.05)
    assert punctual.dropped == 0
    half, some = played(data, 3, late=0.14)
    assert some.dropped < 20
    assert jump(heard(half)[:, 9600:130000]) < 0.08


def test_dtx_is_silence() -> None:
    data = units(1, packets(tone(3)))
    given = [
        each if n < 50 else unit(1, each.time, each.data[:1]) for n, each in enumerate(data) if n < 50 or not n % 20
    ]
    wave = heard(played(given, 3)[0])
    assert np.abs(wave[:, 53 * SIZE :]).max() < 0.002
    assert jump(wave[:, 4800:]) < 0.03


def test_another_source_begins_where_it_says() -> None:
    first = units(1, packets(tone(1, 300)), 0, source=1)
    second = units(1, packets(beep(2, 0.5, 1000)), 1.2345, source=2)
    wave = heard(played([*first, *second], 3)[0])
    part = wave[:, round(1.5 * RATE) :]
    assert 1.5 + onset(part, 0.1) / RATE == pytest.approx(1.7345, abs=0.001)
    assert jump(wave[:, 4800:]) < 0.06


def test_mono_becomes_stereo_in_the_middle() -> None:
    given = [*units(1, packets(tone(1))), *units(1, packets(tone(1), 2), 1.0)]
    wave = heard(played(given, 2)[0])[:, 4800:90000]
    assert jump(wave) < 0.05
    assert np.abs(wave[:, -9600:]).max() == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize("ppm", [-80, 80])
def test_a_clock_that_drifts_for_hours_stays_in_time(ppm: int) -> None:
    """What a voice puts on the line is followed for two hours; sounds are few, so that it takes seconds."""
    data = packets(tone(0.2))[5]
    voice = Voice(1, False)
    drift = 1 + ppm / 1e6
    last = 0
    worst = 0
    samples = 0
    for number in range(2 * 3600 * 50 // 8):
        time = number * 0.02 * drift
        voice.push(data, time, 0)
        for position, part in voice.take(1 << 60):
            if number:
                assert position == last
            last = position + part.shape[1]
            samples += part.shape[1]
        worst = max(worst, abs(last - SIZE + 312 - round(time * RATE)))
    assert worst <= 0.0105 * RATE
    assert samples == pytest.approx(number * 0.02 * drift * RATE, abs=0.012 * RATE + SIZE)


def test_an_hour_has_exactly_its_samples() -> None:
    rate = 44_100
    mixer = Mixer(MixAudio(sample_rate=44100, channels=1), 0)
    last = -1024
    count = 0
    for second in range(1, 361):
        for sound in mixer.advance(second * 10 + 0.0001 * (second % 7 - 3) if second < 360 else 3600):
            assert sound.position == last
            last, count = last + 1024, count + 1
    for sound in mixer.finish():
        assert sound.position == last
        last, count = last + 1024, count + 1
    assert 0 <= last - 3600 * rate < 1024 + 1024


def test_hostile_packets_are_harmless() -> None:
    dice = random.Random(3)
    mixer = Mixer(MixAudio(), 0)
    good = packets(tone(0.2))
    out: list[Sound] = []
    for number in range(3000):
        now = number * 0.004
        for _ in range(2):
            data = dice.randbytes(dice.choice([0, 1, 2, 3, 40, 300, 1500]))
            time = dice.choice([now, now, now + 1e-6, -5, 1e300, float("nan"), float("inf"), now + 5, now - 0.1])
            mixer.unit(unit(dice.randrange(400), time, data or b"", dice.randrange(3)))
        mixer.unit(unit(1000, now, good[number % 10]))
        out += mixer.advance(now - DELAY)
    out += mixer.finish()
    _, wave = decoded(out)
    assert np.isfinite(wave).all()
    assert np.abs(wave).max() < 3, "noise that is quantised coarsely"


def test_a_stream_that_is_no_opus_is_told() -> None:
    given = [unit(7, n * 0.02, b"\x03\x00nonsense") for n in range(60)] + units(8, packets(tone(1)))
    _, mixer = played(given, 1)
    assert mixer.undecodable == {7}
