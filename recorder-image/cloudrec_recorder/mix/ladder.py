"""What to give up when composing takes longer than time goes by, one step at a time, and when to take it back. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

BEHIND_SECONDS: Final = 0.4
"""Behind by more is too much."""
PERSIST_SECONDS: Final = 0.5
"""So long too much: one step up. What is over sooner was a hiccup."""
CAUGHT_UP_SECONDS: Final = 0.1
"""Behind by less is calm."""
SETTLE_SECONDS: Final = 1.0
"""A step has so long to take effect before the next."""
CALM_SECONDS: Final = 10.0
"""So long calm: one step down. Each time that turns out to be too early the next try takes twice as long."""
CALM_SECONDS_MAX: Final = 160.0
RELAPSE_SECONDS: Final = 30.0
"""A step up so soon after one down says that it was too early."""
LATE_SECONDS: Final = 2.0
"""Behind by more: frames are left out, whatever the step."""


class Step(IntEnum):
    """Each has all that those before it have."""

    NONE = 0
    SMALLER_LAYERS = 1
    FASTER_PRESET = 2
    NO_LOOP_FILTER = 3
    HALF_RATE = 4


class Ladder:
    """Told by how much composing is behind; `now` only grows."""

    def __init__(self) -> None:
        self.step = Step.NONE
        self._changed_at = float("-inf")
        self._down_at = float("-inf")
        self._late_since: float | None = None
        self._calm_since: float | None = None
        self._calm_wanted = CALM_SECONDS

    def tell(self, now: float, behind: float) -> Step:
        """The step to be on from now on."""
        if behind > BEHIND_SECONDS:
            self._late(now)
        else:
            self._late_since = None
            self._in_time(now, calm=behind <= CAUGHT_UP_SECONDS)
        return self.step

    def _late(self, now: float) -> None:
        self._calm_since = None
        if self._late_since is None:
            self._late_since = now
        settled = now - self._late_since >= PERSIST_SECONDS and now - self._changed_at >= SETTLE_SECONDS
        if settled and self.step < Step.HALF_RATE:
            if now - self._down_at < RELAPSE_SECONDS:
                self._calm_wanted = min(2 * self._calm_wanted, CALM_SECONDS_MAX)
                self._down_at = float("-inf")
            self._set(Step(self.step + 1), now)

    def _in_time(self, now: float, *, calm: bool) -> None:
        if not calm or self._calm_since is None:
            self._calm_since = now if calm else None
            return
        if now - self._calm_since >= self._calm_wanted:
            self._calm_since = now
            if self.step == Step.NONE:
                self._calm_wanted = CALM_SECONDS
            else:
                self._set(Step(self.step - 1), now)
                self._down_at = now

    def _set(self, step: Step, now: float) -> None:
        self.step = step
        self._changed_at = now
