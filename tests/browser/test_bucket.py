"""A browser recorded by the whole stack, and watched from the bucket while it is, and after."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from cloudrec_contract.resources import CloudRecordingStatus, Phase
from cloudrec_local.fetch import Objects, download, player_playlists
from cloudrec_local.playback.decode import Recording
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.sound import beep_hz
from tests.analysis import content
from tests.analysis.files import Whose, read_folder
from tests.browser.camera import make_camera
from tests.browser.chromium import browser
from tests.browser.player import Played, Player
from tests.browser.publisher import Publisher
from tests.browser.site import Files, Site
from tests.e2e.task import Cluster, recording

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(420),
    pytest.mark.media,
    pytest.mark.cluster,
    pytest.mark.asyncio(loop_scope="session"),
]

NAME, ROOM, USER = "watched", "watched room", "eve"
NUMBER, FPS = 3, 10
LIVE_SECONDS = 11.0
"""More than the one segment that was there when the viewer came."""


@dataclass(frozen=True)
class Made:
    while_recording: CloudRecordingStatus
    final: CloudRecordingStatus
    files: dict[Whose, Recording]
    live: Played
    after: Played


def from_bucket(objects: Objects) -> Files:
    """The bucket's objects, and playlists that join them as they are at this moment."""

    def read(name: str) -> bytes:
        names = objects.names()
        if name in names:
            return objects.get(name)
        playlists = {found: objects.get(found).decode() for found in names if found.endswith(".m3u8")}
        return player_playlists(playlists)[name].encode()

    return lambda name: asyncio.to_thread(read, name)


async def watch(viewers: Browser, site: Site, rate: float = 1.0) -> Player:
    return await Player.open(viewers, site, NAME, f"play_{USER}.m3u8", rate=rate)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def made(stack: Stack, site: Site, viewers: Browser, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("watched")
    cluster = Cluster.of(stack)
    await cluster.apply(folder, recording(NAME, ROOM))
    await cluster.phase(NAME, Phase.IDLE)
    async with browser(make_camera(folder, NUMBER, fps=FPS)) as at_home:
        user = await Publisher.open(
            at_home, site, cluster.server, ROOM, USER, number=NUMBER, codec="vp8", simulcast=True
        )
        await cluster.until(NAME, lambda status: (status.files or 0) >= 2)
        objects = await cluster.objects(NAME)
        site.recordings[NAME] = from_bucket(objects)
        player = await watch(viewers, site)
        await player.until_at(LIVE_SECONDS)
        while_recording = await cluster.status(NAME)
        final = await cluster.stop(NAME)
        await user.leave()
    await player.until_ended()
    live = await player.played()
    await player.close()
    player = await watch(viewers, site, rate=3.0)
    await player.until_ended()
    after = await player.played()
    await player.close()
    await asyncio.to_thread(download, objects, folder / "files", players=False)
    return Made(while_recording, final, await asyncio.to_thread(read_folder, folder / "files"), live, after)


async def test_status_says_that_vp8_is_transcoded(made: Made) -> None:
    (said,) = [c for c in made.while_recording.conditions if c.type == "Transcoded" or c.reason == "Transcoded"]
    assert f"VP8 of {USER} (main)" in said.message
    assert made.final.phase is Phase.COMPLETED


async def test_the_bucket_holds_what_the_camera_showed_and_the_microphone_heard(made: Made) -> None:
    assert set(made.files) == {Whose(USER, "main", "audio"), Whose(USER, "main", "video")}
    video, audio = made.files[Whose(USER, "main", "video")], made.files[Whose(USER, "main", "audio")]
    assert not [*video.faults, *audio.faults]
    assert {picture.code.user for picture in video.pictures if picture.code} == {NUMBER}
    assert len(video.pictures) >= 0.8 * FPS * video.seconds
    assert len(content.beeps(audio, beep_hz(NUMBER))) >= int(audio.seconds) - 2


@pytest.mark.parametrize("when", ["live", "after"])
async def test_it_plays_from_the_bucket_to_its_end(made: Made, when: str) -> None:
    played = made.live if when == "live" else made.after
    assert played.ended
    assert not played.fatal
    assert played.position > LIVE_SECONDS
    assert played.audio_bytes > 0
    assert {picture.code.user for picture in played.pictures if picture.code} == {NUMBER}
    recorded = made.files[Whose(USER, "main", "video")]
    assert played.duration == pytest.approx(recorded.seconds, abs=2.0)
    assert played.pictures[0].media < 1.5
    assert played.pictures[-1].media > played.duration - 1.5
