"""Loss, duplicates and reordering, put between a robot's sockets and all that is above them.

By hand, since network emulation needs a kernel that has it, and rights. Everything that a network can do to a datagram
happens here before decryption, in both directions, to STUN and DTLS too. The same seed gives the same weather for the
same row of datagrams.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cloudrec_recorder.capture import ice
from cloudrec_recorder.capture.datagrams import Address
from cloudrec_recorder.capture.ice import BatchedDatagramTransport


@dataclass
class Weather:
    """Parts of one: how many datagrams are lost, come twice, or come up to `spread` datagrams late."""

    loss: float = 0.0
    duplicates: float = 0.0
    reordered: float = 0.0
    spread: int = 12
    seed: int = 1
    count: dict[str, int] = field(default_factory=lambda: {"all": 0, "lost": 0, "twice": 0, "late": 0})

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._late: list[tuple[int, Callable[[], None]]] = []

    @property
    def held(self) -> int:
        """How many datagrams are late and still to come."""
        return len(self._late)

    def passes(self) -> bool:
        """Whether a datagram gets through at all."""
        self.count["all"] += 1
        if self._random.random() < self.loss:
            self.count["lost"] += 1
            return False
        return True

    def deliver(self, now: Callable[[], None], later: Callable[[], Callable[[], None]]) -> None:
        """One datagram and those whose time has come; `later` makes a copy that can be delivered at any time."""
        if self.passes():
            if self._random.random() < self.reordered:
                self.count["late"] += 1
                self._late.append((self._random.randint(1, self.spread), later()))
            elif self._random.random() < self.duplicates:
                self.count["twice"] += 1
                copy = later()
                now()
                copy()
            else:
                now()
        due = [send for left, send in self._late if left <= 0]
        self._late = [(left - 1, send) for left, send in self._late if left > 0]
        for send in due:
            send()


@contextmanager
def rough(weather: Weather) -> Iterator[None]:
    """Sockets made inside have this weather, for good."""
    before = ice.BatchedDatagramTransport

    class RoughTransport(BatchedDatagramTransport):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            straight = self._on_media

            def on_media(buffer: bytearray, start: int, end: int, addr: Address, arrival: float) -> None:
                def later() -> Callable[[], None]:
                    copy = bytearray(buffer[start:end])
                    return lambda: straight(copy, 0, len(copy), addr, arrival)

                weather.deliver(lambda: straight(buffer, start, end, addr, arrival), later)

            self._on_media = on_media

        def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
            if weather.passes():
                super().sendto(data, addr)

        def _pass_on(self, data: bytes, addr: Address) -> None:
            if weather.passes():
                super()._pass_on(data, addr)

    ice.BatchedDatagramTransport = RoughTransport  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        ice.BatchedDatagramTransport = before  # type: ignore[misc]
