from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudrec_gateway.errors import REQUEST_LIMIT_EXCEEDED, ApiFault
from cloudrec_gateway.kube.limits import Rates
from cloudrec_gateway.kube.replicas import Replicas, ready


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def passed(rates: Rates, count: int, app: int = 1, rate: int = 20) -> int:
    """How many of so many requests at this moment are let through."""
    through = 0
    for _ in range(count):
        try:
            rates.admit(app, rate)
            through += 1
        except ApiFault:
            continue
    return through


def test_what_is_too_much_is_told_with_the_limit() -> None:
    rates = Rates(lambda: 1, Clock())
    assert passed(rates, 20) == 20
    with pytest.raises(ApiFault, match="more than 20") as caught:
        rates.admit(1, 20)
    assert caught.value.code == REQUEST_LIMIT_EXCEEDED


def test_a_second_brings_what_the_app_may_have() -> None:
    clock = Clock()
    rates = Rates(lambda: 1, clock)
    assert passed(rates, 50) == 20
    clock.now += 0.5
    assert passed(rates, 50) == 10
    clock.now += 100
    assert passed(rates, 50) == 20
    assert passed(rates, 50, app=2) == 20


def test_replicas_share_and_each_lets_something_through() -> None:
    clock, replicas = Clock(), 2
    rates = Rates(lambda: replicas, clock)
    assert passed(rates, 50) == 10
    clock.now += 10
    replicas = 1
    assert passed(rates, 50) == 20
    replicas = 0
    clock.now += 1
    assert passed(rates, 50) == 20
    replicas = 8
    clock.now += 10
    assert passed(rates, 50, rate=1) == 1
    clock.now += 7.9
    assert passed(rates, 50, rate=1) == 0
    clock.now += 0.2
    assert passed(rates, 50, rate=1) == 1


@given(st.integers(1, 40), st.lists(st.tuples(st.floats(0, 3, allow_nan=False), st.integers(0, 60)), max_size=30))
def test_never_more_than_the_rate_and_one_second_of_it(rate: int, bursts: list[tuple[float, int]]) -> None:
    clock = Clock()
    rates = Rates(lambda: 1, clock)
    total = 0
    for pause, count in bursts:
        clock.now += pause
        total += passed(rates, count, rate=rate)
    assert total <= rate * (1 + clock.now - 100.0) + 1e-6


# --- replicas -------------------------------------------------------------------------------------------------------


def endpoints(name: str, *found: dict[str, object]) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "s"}, "endpoints": list(found)}


def endpoint(uid: str, ready: bool | None = True) -> dict[str, object]:
    conditions = {} if ready is None else {"ready": ready}
    return {"addresses": ["10.0.0.1"], "targetRef": {"uid": uid}, "conditions": conditions}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (endpoints("a"), set()),
        (endpoints("a", endpoint("1"), endpoint("2", False), endpoint("3", None)), {"1", "3"}),
        ({"metadata": {"name": "a"}, "endpoints": None}, set()),
        (endpoints("a", {"addresses": ["10.0.0.9"]}), {"10.0.0.9"}),
    ],
)
def test_which_endpoints_are_ready(found: dict[str, object], expected: set[str]) -> None:
    assert ready(found) == expected


def test_replicas_are_counted_once_and_there_is_always_one() -> None:
    replicas = Replicas()
    assert replicas.count == 1
    replicas.replace([endpoints("a", endpoint("1"), endpoint("2")), endpoints("b", endpoint("2"), endpoint("3"))])
    assert replicas.count == 3
    replicas.put(endpoints("b", endpoint("2")))
    assert replicas.count == 2
    replicas.drop(endpoints("a"))
    assert replicas.count == 1
    replicas.drop(endpoints("b"))
    assert replicas.count == 1
