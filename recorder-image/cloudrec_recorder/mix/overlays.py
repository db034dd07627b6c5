"""Stub."""

from __future__ import annotations

from collections.abc import Sequence

from cloudrec_contract.mix import Watermark
from cloudrec_recorder.mix.canvas import Overlay


class Overlays:
    def __init__(self, width: int, height: int, epoch_ms: int) -> None: ...
    def scene(self, watermarks: Sequence[Watermark]) -> None: ...
    def image(self, url: str, data: bytes) -> bool:
        return data.startswith(b"\x89PNG")

    def patches(self, time: float) -> Sequence[Overlay]:
        return ()
