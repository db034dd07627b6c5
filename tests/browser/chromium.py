"""Debian's Chromium, headless, driven by Playwright.

With a fake camera a browser has fake screens too: a user who shows a real one needs a browser without.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from tests.browser.camera import Camera

STAGE_TITLE = "stage"
"""The title of the tab that a screen share shows."""

_ARGUMENTS = [
    "--disable-gpu",  # drawing by software GL costs more than drawing by software
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
    f"--auto-select-tab-capture-source-by-title={STAGE_TITLE}",
]


class ChromiumMissing(RuntimeError):
    """The tests cannot do without it."""

    def __init__(self) -> None:
        super().__init__("Chromium is missing: get it with  apt-get install -y --no-install-recommends chromium")


def chromium() -> str:
    """The program's path: `$CLOUDREC_CHROMIUM`, or as found on PATH. Raises ChromiumMissing."""
    named = os.environ.get("CLOUDREC_CHROMIUM")
    found = named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise ChromiumMissing
    return found


@asynccontextmanager
async def browser(camera: Camera | None = None) -> AsyncIterator[Browser]:
    """A browser of its own; with `camera` that is its camera and microphone. Raises ChromiumMissing."""
    arguments = _ARGUMENTS + (camera.arguments if camera else [])
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=chromium(), args=arguments, timeout=60_000)
        try:
            yield running
        finally:
            await running.close()
