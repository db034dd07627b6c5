"""Mutate the corpus for a while and keep what breaks a target, or with --grow what reaches new code.

python -m tests.unit.capture.fuzz --seconds 60 [--grow] [TARGET ...]
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Final

import cloudrec_recorder
from tests.unit.capture.fuzz.targets import CORPUS, TARGETS, Target, corpus

SLOW_SECONDS: Final = 2.0
"""A target that takes longer for one input hangs, as far as a live recording is concerned."""
INPUT_BYTES_MAX: Final = 4096
_KEPT_BYTES_MAX: Final = 600
_POOL_MAX: Final = 2000
_CODE: Final = str(Path(cloudrec_recorder.__file__).parent)
_EDGES: Final = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 191, 192, 200, 223, 253, 254, 255)

Edge = tuple[str, int, int]


class Coverage:
    """Pairs of lines of the recorder that ran one after the other."""

    def __init__(self) -> None:
        self.seen: set[Edge] = set()
        self._now: set[Edge] = set()

    def run(self, target: Target, data: bytes) -> bool:
        """Run the target; whether something new was reached."""
        self._now = set()
        sys.settrace(self._enter)
        try:
            target(data)
        finally:
            sys.settrace(None)
        new = not self._now <= self.seen
        self.seen |= self._now
        return new

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_CODE):
            return None
        before = 0

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                self._now.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return line

        return line


def mutate(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Some random changes; `other` gives parts."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randint(0, len(out))
        end = min(len(out), at + rng.choice((1, 1, 2, 4, 16, 64)))
        match rng.randrange(8):
            case 0 if out:
                out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[rng.randrange(len(out))] = rng.choice(_EDGES)
            case 2:
                out[at:end] = rng.randbytes(rng.randint(0, 8))
            case 3:
                del out[at:end]
            case 4:
                out[at:at] = out[at:end] * rng.randint(1, 4)
            case 5:
                begin = rng.randint(0, len(other))
                out[at:end] = other[begin : begin + rng.randint(0, 64)]
            case 6:
                del out[at:]
            case _:
                out[at : at + 2] = rng.choice((0, 1, 255, 256, 1500, 32767, 32768, 65535)).to_bytes(2, "big")
    return bytes(out[:INPUT_BYTES_MAX])


def keep(name: str, kind: str, data: bytes) -> Path:
    path = CORPUS / name / f"{kind}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def fuzz(name: str, seconds: float, rng: random.Random, *, grow: bool) -> int:
    """Fuzz one target; how many inputs broke it (at most 10)."""
    target, coverage = TARGETS[name], Coverage()
    pool = [path.read_bytes() for path in corpus(name)] or [b""]
    for data in pool:
        coverage.run(target, data)
    begun, runs, broken, grown = time.monotonic(), 0, 0, 0
    while time.monotonic() - begun < seconds and broken < 10:
        data = mutate(rng, rng.choice(pool), rng.choice(pool))
        runs += 1
        start = time.process_time()  # others may use the machine
        try:
            new = coverage.run(target, data)
            taken = time.process_time() - start
            if taken > SLOW_SECONDS:
                raise TimeoutError(f"{taken:.1f} s for {len(data)} bytes")
        except Exception as error:  # noqa: BLE001 - this is what it is for
            broken += 1
            print(f"{name}: {type(error).__name__}: {error}: {keep(name, 'broke', data)}", file=sys.stderr, flush=True)
            continue
        if new:
            pool.append(data)
            if len(pool) > _POOL_MAX:
                pool.pop(rng.randrange(len(pool)))
            if grow and len(data) <= _KEPT_BYTES_MAX:
                grown += 1
                keep(name, "reached", data)
    print(f"{name}: {runs} inputs, {len(coverage.seen)} edges, {grown} kept, {broken} broke it", flush=True)
    return broken


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 1 when something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.capture.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="all of them when none is named")
    parser.add_argument("--seconds", type=float, default=60.0, help="of all targets together (60)")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--grow", action="store_true", help="keep small inputs that reach new code, too")
    options = parser.parse_args(arguments)
    names = options.targets or list(TARGETS)
    rng = random.Random(options.seed)
    broken = [fuzz(name, options.seconds / len(names), rng, grow=options.grow) for name in names]
    return 1 if any(broken) else 0


if __name__ == "__main__":
    raise SystemExit(main())
