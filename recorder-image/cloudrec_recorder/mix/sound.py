"""Stub."""
from __future__ import annotations
from cloudrec_contract.mix import MixAudio
from cloudrec_recorder.mix import wire

class Mixer:
    def __init__(self, audio: MixAudio, start: float) -> None: ...
    def unit(self, unit: wire.Unit) -> None: ...
    def advance(self, until: float) -> list[wire.Sound]: return []
    def finish(self) -> list[wire.Sound]: return []
