"""What /metrics says, and that it says it over HTTP."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from cloudrec_operator.callbacks.metrics import Deliveries, Outcome
from cloudrec_operator.callbacks.receivers import Undelivered
from cloudrec_operator.callbacks.sender import Sender
from cloudrec_operator.errors import CannotListen
from cloudrec_operator.telemetry import metrics
from tests.unit.callbacks.scripted import settle
from tests.unit.callbacks.test_sender import DAY_MS, Desk, desk, one


def counted(at: Desk) -> CollectorRegistry:
    """A registry with what the desk's sender counts from now on."""
    told = Deliveries()
    registry = CollectorRegistry()
    registry.register(told)
    at.sender = Sender(at._receiver, at.transport, lambda key, seconds: None, lambda: True, at.clock, told)
    return registry


async def test_deliveries_failures_and_what_waits_are_counted() -> None:
    async with desk() as at:
        registry = counted(at)
        at.transport.answer = lambda sent: "down" if sent.key.endswith("-2") else ""
        at.offer(one())
        await settle()
        assert registry.get_sample_value("cloudrec_callbacks_delivered_total") == 1
        assert registry.get_sample_value("cloudrec_callbacks_pending") == 2
        assert registry.get_sample_value("cloudrec_callbacks_failed_tries_total", {"outcome": "settings"}) == 2
        assert registry.get_sample_value("cloudrec_callbacks_failed_tries_total", {"outcome": "timeout"}) == 0
        await at.clock.advance(DAY_MS / 1000 + 1)
        assert registry.get_sample_value("cloudrec_callbacks_dead_letters_total") == 1
        assert registry.get_sample_value("cloudrec_callbacks_delivered_total") == 2
        assert registry.get_sample_value("cloudrec_callbacks_pending") == 0
        assert registry.get_sample_value("cloudrec_callbacks_delivery_seconds_count") == 2
        assert registry.get_sample_value("cloudrec_callbacks_delivery_seconds_bucket", {"le": "0.1"}) == 1
        assert registry.get_sample_value("cloudrec_callbacks_delivery_seconds_bucket", {"le": "86400.0"}) == 2


def test_a_failure_says_what_kind_it_is() -> None:
    assert Undelivered("no Secret").outcome is Outcome.SETTINGS
    assert Undelivered("late", Outcome.TIMEOUT).outcome == "timeout"


async def test_it_is_served() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = Deliveries()
    told.unsent(3)
    async with metrics("127.0.0.1", port, told), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            text = await answer.text()
        with pytest.raises(CannotListen):
            async with metrics("127.0.0.1", port):
                pass
    assert "cloudrec_callbacks_unsent_total 3.0" in text
    assert "process_cpu_seconds_total" in text


async def test_it_is_not_served_without_a_port() -> None:
    async with metrics("127.0.0.1", 0, Deliveries()):
        pass
