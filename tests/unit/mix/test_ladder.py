from __future__ import annotations

from cloudrec_recorder.mix.ladder import CALM_SECONDS, CALM_SECONDS_MAX, Ladder, Step


def play(ladder: Ladder, begin: float, seconds: float, behind: float) -> list[tuple[float, Step]]:
    """Told 20 times a second; when it came to which step."""
    changes = []
    last = ladder.step
    for number in range(round(seconds * 20)):
        now = begin + number / 20
        step = ladder.tell(now, behind)
        if step != last:
            changes.append((round(now - begin, 2), step))
            last = step
    return changes


def test_nothing_happens_in_time() -> None:
    assert play(Ladder(), 0, 100, 0.05) == []


def test_one_step_a_second_while_it_is_too_much() -> None:
    assert play(Ladder(), 0, 10, 0.6) == [
        (0.5, Step.SMALLER_LAYERS),
        (1.5, Step.FASTER_PRESET),
        (2.5, Step.NO_LOOP_FILTER),
        (3.5, Step.HALF_RATE),
    ]


def test_a_hiccup_is_none_of_it() -> None:
    ladder = Ladder()
    for begin in range(20):
        assert play(ladder, begin, 0.4, 1.5) == []
        assert play(ladder, begin + 0.5, 0.4, 0.0) == []


def test_in_between_it_stays() -> None:
    ladder = Ladder()
    play(ladder, 0, 1, 0.6)
    assert play(ladder, 1, 300, 0.2) == []
    assert ladder.step == Step.SMALLER_LAYERS


def test_calm_takes_steps_back_one_by_one() -> None:
    ladder = Ladder()
    play(ladder, 0, 2, 0.6)
    assert play(ladder, 2, 30, 0.0) == [
        (CALM_SECONDS, Step.SMALLER_LAYERS),
        (2 * CALM_SECONDS, Step.NONE),
    ]


def test_too_early_is_tried_again_later_each_time() -> None:
    ladder = Ladder()
    now, waits = 0.0, []
    for _ in range(7):
        while ladder.step == Step.NONE:
            now += 0.05
            ladder.tell(now, 0.6)
        begin = now
        while ladder.step != Step.NONE:
            now += 0.05
            ladder.tell(now, 0.0)
        waits.append(round(now - begin))
    assert waits == [10, 20, 40, 80, CALM_SECONDS_MAX, CALM_SECONDS_MAX, CALM_SECONDS_MAX]
    while now < begin + 1000:
        now += 0.05
        ladder.tell(now, 0.0)
    while ladder.step == Step.NONE:
        now += 0.05
        ladder.tell(now, 0.6)
    begin = now
    while ladder.step != Step.NONE:
        now += 0.05
        ladder.tell(now, 0.0)
    assert round(now - begin) == CALM_SECONDS, "after long calm all is forgotten"
