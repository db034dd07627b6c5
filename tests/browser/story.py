"""Three browser users in one room, two recorders, and two viewers who watch what is being recorded.

* vera: VP8 with simulcast from her camera; mutes her microphone, then her camera, then reloads the tab.
* hans: H.264 from his camera; changes its resolution and changes it back.
* cleo: H.264, picture and beep by the wall clock; shares her screen.

The recorder `apart` writes a playlist for each kind, `merged` one for both (of hans and cleo).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser

from cloudrec_contract.spool import JournalRecord
from cloudrec_local.playback.decode import Recording
from cloudrec_local.synthetic.server import Server
from cloudrec_local.synthetic.truth import Interval
from tests.analysis.files import Whose
from tests.browser.camera import Camera, make_camera
from tests.browser.chromium import browser
from tests.browser.player import Played, Player
from tests.browser.publisher import Layer, Publisher, open_stage
from tests.browser.recorder import Recorder
from tests.browser.site import Site

ROOM = "browsers"
VERA, HANS, CLEO = 1, 2, 4
"""What their pictures' codes and the pitches of their beeps say."""
CANVAS_FPS, SCREEN_FPS = 10, 5
SMALL, LARGE = (320, 180), (640, 360)
LIVE_SECONDS = 12.0
"""A viewer who comes when 9 seconds are there gets further only if the playlist grows."""


@dataclass(frozen=True)
class Told:
    """What came of it. `sent`: layers of vera and hans as the browsers say; times in seconds since the Unix epoch."""

    cameras: dict[str, Camera]
    sent: dict[str, list[Layer]]
    microphone_muted: Interval
    camera_muted: Interval
    reload: Interval
    records: list[JournalRecord]
    apart: dict[Whose, Recording]
    merged: dict[Whose, Recording]
    live: dict[str, Played]
    recorders: dict[str, Recorder]

    def video(self, user: str) -> Recording:
        return self.apart[Whose(user, "main", "video")]

    def audio(self, user: str) -> Recording:
        return self.apart[Whose(user, "main", "audio")]

    def both(self, user: str) -> Recording:
        return self.merged[Whose(user, "main", "audio_video")]


async def tell(server: Server, site: Site, viewers: Browser, folder: Path) -> Told:
    """`viewers` is a browser without a fake camera; cleo is in it too."""
    cameras = {user: make_camera(folder, number) for user, number in (("vera", VERA), ("hans", HANS))}
    apart = Recorder(folder / "apart", server, ROOM)
    merged = Recorder(folder / "merged", server, ROOM, merged=True, users=["hans", "cleo"])
    site.recordings |= {"apart": apart.read, "merged": merged.read}
    sent: dict[str, list[Layer]] = {}
    away: dict[str, Interval] = {}

    async def play_vera(vera: Publisher) -> None:
        await vera.send(40)
        sent["vera"] = await vera.sent()
        for source in ("microphone", "camera"):
            start = await vera.enable(source, False)
            await asyncio.sleep(2.5)
            away[source] = Interval(start=start, end=await vera.enable(source, True))
            await vera.send(20)
        start = time.time()
        await vera.reload()
        away["reload"] = Interval(start=start, end=time.time())
        await vera.send(50)

    async def play_hans(hans: Publisher) -> None:
        await hans.send(60)
        sent["hans"] = await hans.sent()
        for size in (SMALL, LARGE):
            await hans.resize(*size)
            await hans.send(50)

    async def play_cleo(cleo: Publisher) -> None:
        await cleo.enable("screen", True)
        await cleo.send(10 * SCREEN_FPS, "screen")
        await cleo.enable("screen", False)

    async def watch(recorder: Recorder, user: str, kind: str, *, hear: bool) -> Player:
        """Watch from when there is something until there was more of it."""
        await recorder.until_closed(user, kind, 3)
        player = await Player.open(viewers, site, recorder.folder.name, recorder.playable(user), hear=hear)
        await player.until_at(LIVE_SECONDS)
        return player

    async def seen(player: Player) -> Played:
        """Watch on to the end."""
        await player.until_ended()
        played = await player.played()
        await player.close()
        return played

    try:
        async with browser(cameras["vera"]) as at_vera, browser(cameras["hans"]) as at_hans:
            stage = await open_stage(viewers, site, CLEO, SCREEN_FPS)
            vera, hans, cleo = await asyncio.gather(
                Publisher.open(at_vera, site, server, ROOM, "vera", number=VERA, codec="vp8", simulcast=True),
                Publisher.open(at_hans, site, server, ROOM, "hans", number=HANS, codec="h264"),
                Publisher.open(viewers, site, server, ROOM, "cleo", number=CLEO, codec="h264", canvas=CANVAS_FPS),
            )
            await asyncio.gather(apart.start(), merged.start())
            async with asyncio.TaskGroup() as story:
                story.create_task(play_vera(vera))
                story.create_task(play_hans(hans))
                story.create_task(play_cleo(cleo))
                cleo_watched = story.create_task(watch(apart, "cleo", "video", hear=True))
                hans_watched = story.create_task(watch(merged, "hans", "audio_video", hear=False))
            await asyncio.gather(vera.leave(), hans.leave(), cleo.leave())
            await stage.close()
        await asyncio.gather(apart.stop(), merged.stop())
        live = await asyncio.gather(seen(cleo_watched.result()), seen(hans_watched.result()))
    finally:
        apart.kill()
        merged.kill()
    return Told(
        cameras=cameras,
        sent=sent,
        microphone_muted=away["microphone"],
        camera_muted=away["camera"],
        reload=away["reload"],
        records=apart.records(),
        apart=await asyncio.to_thread(apart.recordings),
        merged=await asyncio.to_thread(merged.recordings),
        live={"cleo": live[0], "hans": live[1]},
        recorders={"apart": apart, "merged": merged},
    )
