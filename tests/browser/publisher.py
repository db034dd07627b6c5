"""A user in a browser tab, who publishes with livekit-client."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from livekit import api
from playwright.async_api import Browser, Page, ViewportSize

from cloudrec_local.synthetic.server import Server
from cloudrec_local.synthetic.sound import beep_hz
from tests.browser.site import Site

Source = Literal["camera", "microphone", "screen"]
VIEWPORT: ViewportSize = {"width": 640, "height": 360}
"""What a tab costs goes by its size."""

_TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class Layer:
    """What the browser sends of one layer (WebRTC's outbound-rtp)."""

    codec: str
    encoder: str
    frames: int
    width: int
    height: int


class Publisher:
    """One tab. Every call raises playwright's Error when the page failed, also of a deadline."""

    def __init__(self, page: Page, identity: str) -> None:
        self.page = page
        self.identity = identity

    @classmethod
    async def open(
        cls,
        browser: Browser,
        site: Site,
        server: Server,
        room: str,
        identity: str,
        *,
        number: int,
        codec: Literal["vp8", "h264"],
        simulcast: bool = False,
        canvas: int = 0,
    ) -> Publisher:
        """Join and publish camera and microphone; with `canvas`, pictures a second, what the page draws and
        plays by the wall clock."""
        grants = api.VideoGrants(room_join=True, room=room, can_publish=True, can_subscribe=False)
        token = api.AccessToken(server.api_key, server.api_secret.reveal()).with_identity(identity).with_grants(grants)
        want = {
            "url": server.url,
            "token": token.to_jwt(),
            "number": number,
            "hz": beep_hz(number),
            "codec": codec,
            "simulcast": simulcast,
            "fps": canvas,
        }
        page = await browser.new_page(viewport=VIEWPORT)
        user = cls(page, identity)
        await page.goto(f"{site.url}/pages/publish.html#{quote(json.dumps(want))}")
        await user.published()
        return user

    async def published(self) -> None:
        """Until everything is published."""
        await self.page.wait_for_function("window.user?.published", timeout=_TIMEOUT_MS)

    async def enable(self, source: Source, on: bool) -> float:
        """Mute, unmute, begin or end; when it was done, in seconds since the Unix epoch."""
        return float(await self.page.evaluate("([source, on]) => user.enable(source, on)", [source, on]))

    async def resize(self, width: int, height: int) -> float:
        """Restart the camera with another resolution; when it was done."""
        return float(await self.page.evaluate("size => user.resize(...size)", [width, height]))

    async def sent(self, source: Source = "camera") -> list[Layer]:
        """What has been sent so far, the smallest layer first."""
        layers: list[dict[str, Any]] = await self.page.evaluate("source => user.sent(source)", source)
        return [Layer(**layer) for layer in layers]

    async def send(self, frames: int, source: Source = "camera") -> None:
        """Until so many more pictures are sent."""
        await self.page.evaluate(
            "([source, frames, seconds]) => user.send(source, frames, seconds)", [source, frames, _TIMEOUT_MS / 1000]
        )

    async def reload(self) -> None:
        """Reload the tab, which joins and publishes again."""
        await self.page.reload()
        await self.published()

    async def leave(self) -> None:
        await self.page.evaluate("user.leave()")
        await self.page.close()


async def open_stage(browser: Browser, site: Site, number: int, fps: int) -> Page:
    """The tab that is shown when any user of this browser shares the screen."""
    page = await browser.new_page(viewport=VIEWPORT)
    await page.goto(f"{site.url}/pages/stage.html?number={number}&fps={fps}")
    return page
