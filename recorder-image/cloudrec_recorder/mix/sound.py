"""Stub."""

from __future__ import annotations

from collections.abc import Set

from cloudrec_contract.mix import MixAudio
from cloudrec_recorder.mix import wire


class Mixer:
    def __init__(self, audio: MixAudio, start: float) -> None: ...
    @property
    def undecodable(self) -> Set[int]:
        return set()

    def unit(self, unit: wire.Unit) -> None: ...
    def advance(self, until: float) -> list[wire.Sound]:
        return []

    def finish(self) -> list[wire.Sound]:
        return []
