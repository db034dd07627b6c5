"""Delivery, with a clock moved by hand: in order, at least once, and nobody waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from cloudrec_contract.resources import Callback
from cloudrec_contract.secret import Secret
from cloudrec_operator.callbacks.order import Progress
from cloudrec_operator.callbacks.receivers import Receiver, Undelivered
from cloudrec_operator.callbacks.render import sign
from cloudrec_operator.callbacks.sender import AHEAD, APP_PARALLEL, HURRY, Sender
from cloudrec_operator.observed import Recording
from cloudrec_operator.plan import Plan
from cloudrec_operator.policy import callbacks
from cloudrec_operator.store import Key
from tests.unit.callbacks.scripted import START_MS, FakeClock, Scripted, Sent, settle
from tests.unit.operator.samples import SPEC, UID, accepted, attempt, recording, seen

CALLBACK = Callback(url="https://app.test/hook")
DAY_MS = 24 * 3600 * 1000


def told(count: int, **more: Any) -> dict[str, Any]:
    """An attempt that reports so many events, each a second after the other."""
    facts = [{"seq": n, "type": 301, "ts": START_MS + n, "args": {"Status": 0}} for n in range(1, count + 1)]
    return attempt(0, {"events": facts}, **more)


def one(name: str = "lesson", count: int = 3, app: str = "demo", **status: Any) -> Recording:
    spec = {**SPEC, "appRef": {"name": app}}
    uid = f"{UID}-{name}"
    known = accepted(attempts=[told(count)], callbacks={}, taskId=uid, **status)
    return replace(recording(spec, known), name=name, uid=uid)


class Desk:
    """A sender, and what a reconciler does around it."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.transport = Scripted(clock)
        self.leads = True
        self.receiver = Receiver("https://app.test/hook", "app.test", 1400000001, Secret("k"))
        self.missing = ""
        self.woken: list[tuple[str, float]] = []
        self.sender = Sender(
            self._receiver,
            self.transport,
            lambda key, seconds: self.woken.append((key.name, seconds)),
            lambda: self.leads,
            clock,
        )

    async def _receiver(self, app: Key) -> Receiver:
        if self.missing:
            raise Undelivered(self.missing)
        return self.receiver

    def offer(self, rec: Recording, callback: Callback | None = CALLBACK) -> Progress:
        return self.sender.offer(Key(rec.namespace, rec.name), rec, callback, ())

    def write(self, rec: Recording) -> Recording:
        """The recording with its progress in its status, as the reconciler writes it."""
        progress = replace(self.offer(rec), due=True)
        plan = callbacks.noted(Plan(), replace(seen(rec), callback=CALLBACK, progress=progress))
        return replace(rec, status=plan.status) if plan.status is not None else rec

    @property
    def keys(self) -> list[str]:
        return [sent.key.rsplit("-", 1)[1] for sent in self.transport.delivered]


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    made = Desk(FakeClock())
    try:
        yield made
    finally:
        await made.sender.close()


async def test_all_arrive_in_order_and_are_acknowledged() -> None:
    async with desk() as at:
        rec = one()
        at.offer(rec)
        await settle()
        assert at.keys == ["1", "2", "3"]
        first = at.transport.sent[0].body
        assert (first["EventType"], first["EventInfo"]["EventMsTs"]) == (301, START_MS + 1)
        assert first["CallbackTs"] == START_MS
        rec = at.write(rec)
        assert rec.status.attempts[0].acked == 3
        assert rec.status.callbacks is not None
        assert (rec.status.callbacks.watermark, rec.status.callbacks.pending) == (3, 0)
        assert [(c.type, c.status) for c in rec.status.conditions] == [("CallbacksDelivered", "True")]
        assert at.offer(rec) == Progress()
        await settle()
        assert len(at.transport.sent) == 3


async def test_a_failing_letter_holds_back_those_behind_it_and_keeps_its_key() -> None:
    async with desk() as at:
        at.transport.answer = lambda _: "app.test answered 500"
        rec = one()
        at.offer(rec)
        await at.clock.advance(60)
        sent = at.transport.sent
        assert [s.at_ms - START_MS for s in sent] == [0, 0, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000]
        assert {s.key for s in sent} == {sent[0].key}
        assert [s.headers["X-Cloudrec-Attempt"] for s in sent] == [str(n) for n in range(1, 9)]
        assert [s.body["CallbackTs"] for s in sent] == [s.at_ms for s in sent], "the time of sending, each time"
        failing = at.write(rec)
        assert failing.status.callbacks is not None
        assert failing.status.callbacks.last_error == "app.test answered 500"
        assert failing.status.callbacks.pending == 3
        assert (failing.status.conditions[0].status, failing.status.conditions[0].reason) == (
            "False",
            "CallbackFailing",
        )
        assert at.write(failing) == failing, "the same error is not written twice"
        at.transport.answer = lambda _: ""
        await at.clock.advance(60)
        assert at.keys == ["1", "2", "3"]
        healed = at.write(failing)
        assert healed.status.callbacks is not None
        assert healed.status.callbacks.last_error is None
        assert healed.status.conditions[0].status == "True"


async def test_after_a_day_it_is_a_dead_letter_and_the_next_one_goes() -> None:
    async with desk() as at:
        at.transport.answer = lambda sent: "down" if sent.key.endswith("-1") else ""
        rec = one()
        at.offer(rec)
        await at.clock.advance(DAY_MS / 1000 + 1)
        assert at.keys == ["2", "3"]
        rec = at.write(rec)
        known = rec.status.callbacks
        assert known is not None
        assert (known.watermark, known.dead_letters, [d.key[-2:] for d in known.dead]) == (3, 1, ["-1"])
        assert known.dead[0].error == "down"
        assert rec.status.attempts[0].acked == 3
        assert rec.status.conditions[0].reason == "DeadLetters"


async def test_dead_letters_are_replayed_once_for_each_value_of_the_annotation() -> None:
    async with desk() as at:
        at.transport.answer = lambda sent: "down"
        rec = one(count=1)
        at.offer(rec)
        await at.clock.advance(DAY_MS / 1000 + 1)
        rec = at.write(replace(at.write(rec), replay="please"))
        assert rec.status.callbacks is not None
        assert rec.status.callbacks.replayed == "please"
        at.transport.answer = lambda sent: ""
        before = len(at.transport.sent)
        at.offer(rec)
        await settle()
        assert [sent.key for sent in at.transport.sent[before:]] == [at.transport.sent[0].key]
        rec = at.write(rec)
        known = rec.status.callbacks
        assert known is not None
        assert (known.dead_letters, known.dead, known.watermark) == (0, [], 1)
        assert at.write(rec) == rec
        await settle()
        assert len(at.transport.sent) == before + 1


async def test_no_more_than_sixteen_ahead_of_the_status() -> None:
    async with desk() as at:
        rec = one(count=40)
        at.offer(rec)
        await settle()
        assert len(at.keys) == AHEAD == 16
        assert ("lesson", 0.0) in at.woken
        at.offer(rec)
        await settle()
        assert len(at.keys) == 16
        for written in (32, 40):
            rec = at.write(rec)
            at.offer(rec)
            await settle()
            assert len(at.keys) == written
        assert at.keys == [str(n) for n in range(1, 41)]


async def test_another_operator_repeats_what_was_not_confirmed_with_the_same_keys_and_bytes() -> None:
    async with desk() as killed:
        rec = one(count=30)
        killed.offer(rec)
        await settle()
        async with desk() as next_:
            next_.offer(rec)
            await settle()
            assert [s.key for s in next_.transport.sent] == [s.key for s in killed.transport.sent]
            assert [s.headers for s in next_.transport.sent] == [s.headers for s in killed.transport.sent]
            assert [s.content for s in next_.transport.sent] == [s.content for s in killed.transport.sent]


async def test_a_dead_receiver_delays_no_other_app() -> None:
    async with desk() as at:
        rooms = [one(f"dead{n:03}", app="dead") for n in range(100)]
        at.transport.hold = asyncio.Event()
        for rec in rooms:
            at.offer(rec)
        await settle()
        assert at.transport.open == APP_PARALLEL
        at.transport.hold = None
        at.offer(one("alive", app="alive"))
        await settle()
        assert at.keys == ["1", "2", "3"]


async def test_who_waited_for_the_others_sends_to_the_receiver_of_now() -> None:
    async with desk() as at:
        at.transport.hold = asyncio.Event()
        for number in range(APP_PARALLEL + 1):
            at.offer(one(f"t{number:03}", 1))
        await settle()
        at.receiver = replace(at.receiver, url="https://app.test/new")
        at.transport.hold.set()
        await settle()
        assert [sent.url for sent in at.transport.sent[-2:]] == ["https://app.test/hook", "https://app.test/new"]


async def test_who_waited_for_the_others_sends_nothing_without_the_lease() -> None:
    async with desk() as at:
        at.transport.hold = asyncio.Event()
        for number in range(APP_PARALLEL + 1):
            at.offer(one(f"t{number:03}", 1))
        await settle()
        at.leads = False
        at.transport.hold.set()
        await settle()
        assert len(at.transport.sent) == APP_PARALLEL


async def test_tasks_go_side_by_side_each_in_its_order() -> None:
    async with desk() as at:
        everything = {f"t{n:03}": one(f"t{n:03}", 30) for n in range(200)}
        for _ in range(6):
            for name, rec in everything.items():
                everything[name] = at.write(rec)
            await settle()
            for _ in range(60):
                await settle()
        arrived: dict[str, list[int]] = {}
        for sent in at.transport.delivered:
            task, _, seq = sent.key.rsplit("-", 2)
            arrived.setdefault(task, []).append(int(seq))
        assert len(arrived) == 200
        assert all(seqs == list(range(1, 31)) for seqs in arrived.values())
        assert at.transport.most_open <= APP_PARALLEL


async def test_what_the_app_does_not_want_is_settled_unsent() -> None:
    async with desk() as at:
        at.receiver = replace(at.receiver, events=frozenset({307}))
        rec = one()
        at.offer(rec)
        await settle()
        assert at.transport.sent == []
        rec = at.write(rec)
        assert rec.status.callbacks is not None
        assert rec.status.callbacks.watermark == 3


async def test_a_missing_secret_is_a_failure_like_any_other() -> None:
    async with desk() as at:
        at.missing = "Secret hook of the callback does not exist in this namespace"
        rec = one()
        at.offer(rec)
        await at.clock.advance(5)
        assert at.transport.sent == []
        written = at.write(rec)
        assert written.status.callbacks is not None
        assert written.status.callbacks.last_error == at.missing
        at.missing = ""
        await at.clock.advance(10)
        assert at.keys == ["1", "2", "3"]


async def test_a_changed_callback_is_tried_at_once() -> None:
    async with desk() as at:
        at.transport.answer = lambda _: "down"
        rec = one(count=1)
        at.offer(rec)
        await at.clock.advance(3600)
        before = len(at.transport.sent)
        at.offer(rec)
        await settle()
        assert len(at.transport.sent) == before, "another look alone is no reason to try"
        at.transport.answer = lambda _: ""
        at.offer(rec, CALLBACK.model_copy(update={"url": "https://other.test/"}))
        await settle()
        assert at.keys == ["1"]


async def test_nothing_is_sent_without_the_lease() -> None:
    async with desk() as at:
        at.leads = False
        at.offer(one())
        await settle()
        assert at.transport.sent == []
        at.leads = True
        at.transport.answer = lambda _: "down"
        at.offer(one())
        await settle()
        at.leads = False
        before = len(at.transport.sent)
        await at.clock.advance(3600)
        assert len(at.transport.sent) == before


async def test_nothing_is_sent_of_a_recording_that_is_gone_or_another_of_its_name() -> None:
    async with desk() as at:
        at.transport.answer = lambda _: "down"
        rec = one(count=1)
        at.offer(rec)
        await settle()
        other = replace(rec, uid="another")
        at.offer(other)
        before = len(at.transport.sent)
        await at.clock.advance(30)
        assert {s.body["EventInfo"]["TaskId"] for s in at.transport.sent[before:]} == {"another"}
        at.sender.drop(Key(rec.namespace, rec.name))
        before = len(at.transport.sent)
        await at.clock.advance(3600)
        assert len(at.transport.sent) == before


async def test_an_event_that_cannot_be_told_is_given_up_and_holds_nothing_back() -> None:
    async with desk() as at:
        rec = one()
        report = rec.status.attempts[0].report
        assert report is not None
        report.events[0].args["Strange"] = 1
        at.offer(rec)
        await settle()
        assert at.keys == ["2", "3"]
        rec = at.write(rec)
        assert rec.status.callbacks is not None
        assert rec.status.callbacks.dead_letters == 1


async def test_it_is_signed_over_what_is_sent() -> None:
    def check(sent: Sent) -> str:
        return "" if sent.headers["Sign"] == sign(Secret("k"), sent.content) else "bad"

    async with desk() as at:
        at.transport.answer = check
        at.offer(one())
        await settle()
        assert at.keys == ["1", "2", "3"]


async def test_what_is_settled_is_due_a_second_after_the_last_or_five_after_the_first() -> None:
    async with desk() as at:
        at.transport.answer = lambda sent: "down" if sent.key.endswith("-3") else ""
        rec = one(count=2)
        at.offer(rec)
        await settle()
        assert not at.offer(rec).due
        at.clock.ms += 1000
        assert at.offer(rec).due, "nothing more is being sent"
        busy = at.write(rec)
        assert busy.status.attempts[0].acked == 2
        waits = one("busy", 3)
        at.offer(waits)
        await settle()
        assert at.offer(waits).due, "there is an error to tell"
        assert not at.offer(replace(at.write(waits), uid=waits.uid)).settled


async def test_a_long_line_is_due_before_it_has_to_wait() -> None:
    async with desk() as at:
        rec = one(count=HURRY)
        at.offer(rec)
        await settle()
        assert at.offer(rec).due
        assert ("lesson", 0.0) in at.woken


async def test_a_callback_changed_during_a_try_is_tried_at_once_after_it() -> None:
    async with desk() as at:
        at.transport.answer = lambda sent: "" if "new" in sent.url else "app.test answered 500"
        rec = one(count=1)
        at.offer(rec)
        await at.clock.advance(300)  # the pauses are minutes by now
        at.transport.hold = asyncio.Event()
        before = len(at.transport.sent)
        while len(at.transport.sent) == before:
            await at.clock.advance(1)
        at.receiver = replace(at.receiver, url="https://app.test/new")
        at.offer(rec, Callback(url="https://app.test/new"))
        at.transport.hold.set()
        await settle()
        assert at.keys == ["1"]
