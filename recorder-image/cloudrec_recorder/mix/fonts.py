"""The font that everything is written in: Noto Sans CJK, which is Source Han Sans by its other name (SIL OFL 1.1)."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from PIL import ImageFont

_SIMPLIFIED_CHINESE: Final = 2
"""Faces of the collection: JP, KR, SC, TC, HK; each has all characters and prefers its region's forms."""


@lru_cache(maxsize=8)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Of so many pixels."""
    return ImageFont.truetype(_path(), size, index=_SIMPLIFIED_CHINESE, layout_engine=ImageFont.Layout.BASIC)


@cache
def _path() -> str:
    return str(files("noto_cjk_sans_otc") / "NotoSansCJK-Regular.ttc")
