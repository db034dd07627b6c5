"""The programs of the stack: for each its command line, its configuration file and when it is ready.

Everything here is computed from the stack's state; starting and stopping is `cloudrec_local.stack`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..state import Part


@dataclass(frozen=True)
class Component:
    """One process of the stack.

    `after` names components that must be ready first. `files` are written before the start (owner-readable only).
    `ready` is asked again and again and must answer within a second; False means not yet.
    """

    name: str
    part: Part
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    after: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)
    timeout: float = 60
    grace: float = 10
