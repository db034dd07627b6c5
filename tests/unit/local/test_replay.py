"""Replaying dead letters, against recordings whose operator is a function; and the commands' words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cloudrec_contract.resources import REPLAY_ANNOTATION
from cloudrec_local.callbacks import Age, select, tell
from cloudrec_local.cli import main
from cloudrec_local.errors import StackError
from cloudrec_local.receiver.arrivals import Arrival
from cloudrec_local.replay import Outcome, Standing, chosen, fresh_order, kinds, outcome, replay

Resource = dict[str, Any]


def letter(sequence: int, **more: Any) -> Resource:
    kind = {1: 301, 2: 304, 3: 304}[sequence]
    return {"sequence": sequence, "key": f"t-0-{sequence}", "type": kind, "ts": 5, "error": "HTTP 500", **more}


def resource(name: str, *dead: Resource, **told: Any) -> Resource:
    callbacks = {"dead": list(dead), "deadLetters": len(dead), **told}
    return {"metadata": {"name": name}, "status": {"callbacks": callbacks}}


class Fake:
    """Recordings whose status changes by `operate(resource)` each time it is looked at after the order."""

    def __init__(self, *resources: Resource, operate: Callable[[Resource], None] = lambda _: None) -> None:
        self.items = {item["metadata"]["name"]: item for item in resources}
        self.operate = operate
        self.now = 0.0

    def get(self, name: str) -> Resource | None:
        found = self.items.get(name)
        if found is not None and "annotations" in found["metadata"]:
            self.operate(found)
        return found

    def all(self) -> list[Resource]:
        return list(self.items.values())

    def annotate(self, name: str, key: str, value: str) -> None:
        self.items[name]["metadata"]["annotations"] = {key: value}

    def run(self, names: str | None = None, seconds: float = 5, namespace: str = "ns") -> dict[str, Outcome]:
        def sleep(length: float) -> None:
            self.now += length

        before = chosen(self, names, namespace)
        return replay(self, before, seconds, lambda _: None, clock=lambda: self.now, sleep=sleep)


def obeyed(found: Resource) -> None:
    found["status"]["callbacks"]["replayed"] = found["metadata"]["annotations"][REPLAY_ANNOTATION]


def test_letters_go_one_by_one_until_none_is_left() -> None:
    def deliver(found: Resource) -> None:
        told = found["status"]["callbacks"]
        if told.get("replayed"):
            told["dead"].pop(0)
            told["deadLetters"] -= 1
        else:
            obeyed(found)
            for one in told["dead"]:
                one["againSince"] = 9

    fake = Fake(resource("a", letter(1), letter(2)), operate=deliver)
    found = fake.run("a")
    assert found == {"a": Outcome(2, True, delivered=2)}
    assert tell(found["a"]) == "2 of 2 delivered"


def test_all_takes_those_that_have_dead_letters() -> None:
    def deliver(found: Resource) -> None:
        obeyed(found)
        found["status"]["callbacks"].update(dead=[], deadLetters=0)

    fake = Fake(resource("a", letter(1)), resource("b"), resource("c", letter(2)), operate=deliver)
    assert set(fake.run()) == {"a", "c"}
    assert "annotations" not in fake.items["b"]["metadata"]
    with pytest.raises(StackError, match="none of the 3 recordings in namespace ns"):
        fake.run()


def test_the_deadline_tells_how_far_it_is() -> None:
    def fail(found: Resource) -> None:
        obeyed(found)
        found["status"]["callbacks"].update(dead=[letter(2, againSince=9), letter(3)], lastError="refused")

    found = Fake(resource("a", letter(1), letter(2), letter(3)), operate=fail).run("a", seconds=2)
    assert found == {"a": Outcome(3, True, delivered=1, trying=1, dead=1, error="refused")}
    assert tell(found["a"]) == "1 of 3 delivered, 1 still being tried, 1 given up again (last error: refused)"


def test_an_operator_that_is_not_there() -> None:
    with pytest.raises(StackError, match="no operator took it up within 30 s") as caught:
        Fake(resource("a", letter(1))).run("a")
    assert "cloudrec-system" in caught.value.hint


def test_a_recording_that_goes_away() -> None:
    fake = Fake(resource("a", letter(1)))
    fake.operate = lambda _: fake.items.clear()
    fake.items["a"]["metadata"]["annotations"] = {}
    before = {"a": Standing.of(fake.items["a"])}
    with pytest.raises(StackError, match="deleted meanwhile"):
        replay(fake, before, 5, lambda _: None, clock=lambda: 0.0, sleep=lambda _: None)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "there is no recording 'a' in namespace ns"),
        ({"metadata": {"name": "a"}}, "its RecordingApp names none"),
        (resource("a"), "no dead letters"),
    ],
)
def test_nothing_to_replay(found: Resource | None, told: str) -> None:
    fake = Fake(*([found] if found else []))
    with pytest.raises(StackError, match=told):
        chosen(fake, "a", "ns")


def test_other_letters_that_died_meanwhile_are_not_counted() -> None:
    before = Standing.of(resource("a", letter(1)))
    now = Standing.of(resource("a", letter(2), replayed="x"))
    assert outcome(before, now, "x") == Outcome(1, True, delivered=1)
    assert not outcome(before, now, "y").obeyed


def test_an_order_is_always_new_and_letters_beyond_the_kept_are_told() -> None:
    assert fresh_order() != fresh_order()
    assert len(fresh_order()) <= 256
    standing = Standing.of(resource("a", letter(1), letter(2), letter(3), deadLetters=7))
    assert standing.lost == 4
    assert kinds(standing.dead) == "301, 304 (2)"


def at(*moments: int | None) -> Iterator[Arrival | None]:
    for moment in moments:
        yield None if moment is None else Arrival(at=moment, answer=200, signature="good")


@pytest.mark.parametrize(
    ("past", "since", "once", "seen"),
    [
        (2, 0, False, [2, 3, 4]),
        (2, 0, True, [2, 3]),
        (None, 2, True, [2, 3]),
        (0, 0, False, [4]),
        (0, 0, True, []),
    ],
)
def test_what_tail_shows(past: int | None, since: int, once: bool, seen: list[int]) -> None:
    assert [one.at for one in select(at(1, 2, 3, None, 4, None), past, "", since, once=once)] == seen


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400)])
def test_ages(text: str, seconds: int) -> None:
    assert Age().convert(text, None, None) == seconds


def test_an_age_that_is_none() -> None:
    with pytest.raises(click.BadParameter, match="90s"):
        Age().convert("soon", None, None)


@pytest.mark.parametrize("arguments", [[], ["demo", "--all"]])
def test_replay_wants_a_name_or_all(arguments: list[str]) -> None:
    found = CliRunner().invoke(main, ["callbacks", "replay", *arguments])
    assert found.exit_code == 2
    assert "either the name of a recording, or --all" in found.stderr


@pytest.mark.parametrize("command", [["tail"], ["replay", "demo"], ["dead", "demo"]])
def test_without_a_stack_it_says_how_to_get_one(command: list[str], tmp_path: Any) -> None:
    found = CliRunner(env={"CLOUDREC_HOME": str(tmp_path)}).invoke(main, ["callbacks", *command])
    assert found.exit_code == 1
    assert "cloudrec up" in found.stderr
