"""Where callbacks may go: looked at after DNS, whatever the name."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cloudrec_operator.callbacks.addresses import AddressRefused, CheckedResolver, Lookup, fault

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "::1", "fe80::1%eth0",
    "fd00::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "198.18.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_ones_only_if_the_app_allows_them(address: str) -> None:
    assert "private" in fault(address, False)
    assert fault(address, True) == ""


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34"])
def test_public_ones_always(address: str) -> None:
    assert fault(address, False) == fault(address, True) == ""


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "ff02::1"])
def test_no_hosts_never(address: str) -> None:
    assert fault(address, True)


@asynccontextmanager
async def resolver(lookup: Lookup, allow_private: bool = False) -> AsyncIterator[CheckedResolver]:
    made = CheckedResolver(allow_private, lookup)
    try:
        yield made
    finally:
        await made.close()


async def test_one_bad_address_among_good_ones_is_enough() -> None:
    both = [(int(socket.AF_INET), "93.184.216.34"), (int(socket.AF_INET), "10.0.0.1")]
    async with resolver(lambda host, port: both) as checked:
        with pytest.raises(AddressRefused):
            await checked.resolve("app.test", 443)
    async with resolver(lambda host, port: both, True) as checked:
        found = await checked.resolve("app.test", 443)
    assert [(r["host"], r["port"]) for r in found] == [("93.184.216.34", 443), ("10.0.0.1", 443)]


async def test_each_try_looks_again() -> None:
    answers = ["93.184.216.34", "127.0.0.1"]
    async with resolver(lambda host, port: [(int(socket.AF_INET), answers.pop(0))]) as checked:
        await checked.resolve("app.test", 80)
        with pytest.raises(AddressRefused):
            await checked.resolve("app.test", 80)


async def test_a_name_server_that_hangs_takes_one_thread_for_each_host() -> None:
    asked: list[str] = []
    go = threading.Event()

    def lookup(host: str, port: int) -> list[tuple[int, str]]:
        asked.append(host)
        if host == "slow.test":
            go.wait(10)
        return [(int(socket.AF_INET), "93.184.216.34")]

    async with resolver(lookup) as checked:
        waiting = [asyncio.create_task(checked.resolve("slow.test", 80)) for _ in range(100)]
        assert await checked.resolve("quick.test", 80)
        waiting[0].cancel()
        go.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert sum(isinstance(r, list) for r in results) == 99
        assert asked.count("slow.test") == 1
