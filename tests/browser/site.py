"""The tests' web site on a port of its own: pages, npm packages, and recordings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from tests.browser.modules import modules

Files = Callable[[str], Awaitable[bytes]]
"""Reads a recording's file by its name, as it is now. Raises KeyError when there is none."""

_TYPES = {".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t"}


@dataclass
class Site:
    """`recordings` may be added to at any time: their files are at `/recordings/<name>/<file>`."""

    url: str = ""
    recordings: dict[str, Files] = field(default_factory=dict)

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        try:
            body = await self.recordings[request.match_info["recording"]](name)
        except KeyError:
            raise web.HTTPNotFound from None
        headers = {"Content-Type": _TYPES[Path(name).suffix], "Cache-Control": "no-store"}
        return web.Response(body=body, headers=headers)


@asynccontextmanager
async def serve() -> AsyncIterator[Site]:
    site = Site()
    application = web.Application()
    application.router.add_get("/recordings/{recording}/{file:.+}", site.file)
    application.router.add_static("/modules", modules())
    application.router.add_static("/pages", Path(__file__).parent / "pages")
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield site
    finally:
        await runner.cleanup()
