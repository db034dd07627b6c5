"""A viewer in a browser tab, who plays with hls.js."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from playwright.async_api import Browser, Page
from playwright.async_api import TimeoutError as PageTimeoutError

from cloudrec_local.playback.beeps import Samples, onsets
from cloudrec_local.synthetic.code import Code, read
from tests.browser.publisher import VIEWPORT
from tests.browser.site import Site

_STRIP = (32, 320)  # height and width, as the page scales it
_RATE = 48_000
_TIMEOUT_MS = 90_000


@dataclass(frozen=True)
class Shown:
    """One picture on the screen. `media` is its position in the player (s); `date` by PROGRAM-DATE-TIME and `shown`,
    when it could be seen, in seconds since the Unix epoch."""

    media: float
    date: float | None
    shown: float
    width: int
    height: int
    code: Code | None
    flash: bool

    @classmethod
    def of(cls, told: dict[str, Any]) -> Shown:
        luma = np.frombuffer(base64.b64decode(told.pop("strip")), np.uint8).reshape(_STRIP)
        return cls(code=read(luma), **told)


@dataclass(frozen=True)
class Played:
    """What a viewer saw and heard. `errors`: hls.js's, by `details`; `playlists` counts loads of the video's playlist,
    `segments` of segments of all kinds."""

    position: float
    duration: float
    ended: bool
    playlists: int
    segments: int
    audio_bytes: int
    errors: Counter[str]
    fatal: tuple[str, ...]
    pictures: tuple[Shown, ...]
    samples: Samples
    heard: float
    """When the first of `samples` could be heard, in seconds since the Unix epoch."""

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Each change of the picture's size."""
        sizes: list[tuple[int, int]] = []
        for picture in self.pictures:
            if sizes[-1:] != [(picture.width, picture.height)]:
                sizes.append((picture.width, picture.height))
        return sizes

    def beeps(self, hz: float) -> list[float]:
        """When beeps of this pitch began to be heard."""
        return [self.heard + at for at in onsets(self.samples, _RATE, hz)]

    def flashes(self) -> list[float]:
        """When the flash box was seen to light up."""
        pairs = zip(self.pictures, self.pictures[1:], strict=False)
        return [after.shown for before, after in pairs if after.flash and not before.flash]


class Player:
    """One tab. Every call raises playwright's Error when the page failed, also of a deadline."""

    def __init__(self, page: Page) -> None:
        self._page = page

    @classmethod
    async def open(
        cls, browser: Browser, site: Site, recording: str, name: str, *, rate: float = 1.0, hear: bool = False
    ) -> Player:
        """Begin to play; with `hear` the sound is kept as well."""
        page = await browser.new_page(viewport=VIEWPORT)
        await page.goto(f"{site.url}/pages/play.html")
        url = f"{site.url}/recordings/{recording}/{name}"
        await page.evaluate("([url, rate, hear]) => player.play(url, rate, hear)", [url, rate, hear])
        return cls(page)

    async def until_at(self, position: float) -> None:
        await self._until(f"state.position >= {position}")

    async def until_ended(self) -> None:
        await self._until("state.ended")

    async def _until(self, condition: str) -> None:
        try:
            await self._page.wait_for_function(
                f"() => {{ const state = player.state(); return {condition}; }}", polling=100, timeout=_TIMEOUT_MS
            )
        except PageTimeoutError as error:
            raise AssertionError(f"not {condition}: {await self._page.evaluate('player.state()')}") from error

    async def seek(self, position: float) -> Shown:
        """Pause there; the picture that is shown then."""
        return Shown.of(await self._page.evaluate("position => player.seek(position)", position))

    async def played(self) -> Played:
        """Everything until now."""
        state: dict[str, Any] = await self._page.evaluate("player.state()")
        sounds: list[dict[str, Any]] = await self._page.evaluate("player.sounds")
        blocks = [np.frombuffer(base64.b64decode(sound["samples"]), "<i2") for sound in sounds]
        starts = [0, *np.cumsum([len(block) for block in blocks])]
        samples = np.concatenate([np.zeros(0, "<i2"), *blocks]).astype(np.float32) / np.float32(32768)
        return Played(
            position=state["position"],
            duration=state["duration"],
            ended=state["ended"],
            playlists=state["playlists"],
            segments=state["segments"],
            audio_bytes=state["audioBytes"],
            errors=Counter(error["details"] for error in state["errors"]),
            fatal=tuple(str(error) for error in state["errors"] if error["fatal"]),
            pictures=tuple(Shown.of(told) for told in await self._page.evaluate("player.pictures")),
            samples=samples,
            # each block tells the time anew, within a few hundredths of a second
            heard=median(s["heard"] - start / _RATE for s, start in zip(sounds, starts, strict=False)) if sounds else 0,
        )

    async def close(self) -> None:
        await self._page.close()
