"""What was recorded, played in Chromium with hls.js: while it was being recorded, and after."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from cloudrec_local.playback.decode import Picture, Recording
from cloudrec_local.synthetic.code import unwrap
from cloudrec_local.synthetic.sound import beep_hz
from tests.analysis import content
from tests.analysis.files import Whose
from tests.browser.player import Played, Player, Shown
from tests.browser.site import Site
from tests.browser.story import CANVAS_FPS, CLEO, HANS, LARGE, LIVE_SECONDS, SMALL, VERA, Told

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(420),
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="session"),
]

RATE = 3.0
AT_ONCE = 3
HARMLESS = {
    "bufferAppendNoProgress",  # sound that begins before the first picture is cut off there
    "bufferStalledError",  # it goes on by itself
    "bufferSeekOverHole",
    "bufferNudgeOnStall",
}
CASES = {  # recorder, user, media: what is to be seen
    ("apart", "vera", "main"): (VERA, False),
    ("apart", "hans", "main"): (HANS, False),
    ("apart", "cleo", "main"): (CLEO, False),
    ("apart", "cleo", "aux"): (CLEO, True),
    ("merged", "hans", "main"): (HANS, False),
    ("merged", "cleo", "main"): (CLEO, False),
}


@dataclass(frozen=True)
class After:
    """Played to the end at `RATE`, and then paused at some places."""

    played: Played
    paused: tuple[Shown, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def after(told: Told, site: Site, viewers: Browser) -> dict[tuple[str, str, str], After]:
    places = asyncio.Semaphore(AT_ONCE)

    async def play(case: tuple[str, str, str]) -> After:
        recorder, user, media = case
        async with places:
            name = told.recorders[recorder].playable(user, media)
            player = await Player.open(viewers, site, recorder, name, rate=RATE)
            await player.until_ended()
            played = await player.played()
            paused = [await player.seek(played.duration * part) for part in (0.2, 0.5, 0.8)]
            await player.close()
            return After(played, tuple(paused))

    return dict(zip(CASES, await asyncio.gather(*map(play, CASES)), strict=True))


def recorded(told: Told, recorder: str, user: str, media: str) -> Recording:
    if recorder == "merged":
        return told.merged[Whose(user, media, "audio_video")]
    return told.apart[Whose(user, media, "video")]


def nearest(recording: Recording, date: float) -> list[Picture]:
    """What a viewer may see at a time that is right to a tenth of a second."""
    return [picture for picture in recording.pictures if abs(picture.wall - date) <= 0.15]


@pytest.mark.parametrize("case", CASES, ids="-".join)
async def test_it_plays_to_its_end(
    told: Told, after: dict[tuple[str, str, str], After], case: tuple[str, str, str]
) -> None:
    played, recording = after[case].played, recorded(told, *case)
    assert played.ended
    assert not played.fatal
    assert set(played.errors) <= HARMLESS
    assert played.duration == pytest.approx(recording.seconds, abs=2.0)  # the other kind's end, a gap
    assert {(picture.code.user, picture.code.screen) for picture in played.pictures if picture.code} == {CASES[case]}
    assert played.pictures[0].media < 1.5  # at this rate many are left out
    assert played.pictures[-1].media > played.duration - 2.5
    assert (played.audio_bytes > 0) == (case[2] == "main")


@pytest.mark.parametrize("recorder", ["apart", "merged"])
async def test_the_picture_changes_its_size_where_the_publisher_did(
    after: dict[tuple[str, str, str], After], recorder: str
) -> None:
    assert after[recorder, "hans", "main"].played.sizes == [LARGE, SMALL, LARGE]


@pytest.mark.parametrize("case", CASES, ids="-".join)
async def test_a_place_shows_what_was_recorded_there(
    told: Told, after: dict[tuple[str, str, str], After], case: tuple[str, str, str]
) -> None:
    """hls.js joins two playlists on the files' own time line, gaps and all, up to a discontinuity; behind one, and in
    one playlist alone, gaps are left out, and dates tell where it is."""
    recording = recorded(told, *case)
    for shown in after[case].paused:
        assert shown.date is not None
        assert shown.code is not None
        dates = [shown.date, recording.pictures[0].wall + shown.media][: 2 if case[0] == "apart" else 1]
        places = [picture.wall - dates[0] for picture in recording.pictures if picture.code == shown.code]
        assert shown.code in [picture.code for date in dates for picture in nearest(recording, date)], places


@pytest.mark.parametrize("user", ["cleo", "hans"])
async def test_it_plays_while_it_is_being_recorded(told: Told, user: str) -> None:
    played = told.live[user]
    assert played.ended  # the playlist grew, and then ended
    assert played.position > LIVE_SECONDS
    assert played.playlists >= 2
    assert not played.fatal
    assert set(played.errors) <= HARMLESS
    assert {picture.code.user for picture in played.pictures if picture.code} == {{"cleo": CLEO, "hans": HANS}[user]}
    shown = {picture.code.frame for picture in played.pictures if picture.code}
    recording = told.video("cleo") if user == "cleo" else told.both("hans")
    assert len(shown) >= 0.7 * len({picture.code.frame for picture in recording.pictures if picture.code})


async def test_merged_live_changes_its_size(told: Told) -> None:
    assert told.live["hans"].sizes == [LARGE, SMALL, LARGE]


async def test_a_viewer_of_two_files_sees_and_hears_in_step_and_by_the_right_date(told: Told) -> None:
    played = told.live["cleo"]
    errors = [
        picture.date - unwrap(picture.code.frame, picture.date * CANVAS_FPS) / CANVAS_FPS
        for picture in played.pictures
        if picture.code and picture.date
    ]
    assert content.percentile(errors, 0.9) <= 0.15
    flashes, beeps = played.flashes(), played.beeps(beep_hz(CLEO))
    assert len(beeps) >= LIVE_SECONDS
    offsets = [min((beep - at for beep in beeps), key=abs) for at in flashes]
    assert len(offsets) >= 10
    assert abs(median(offsets)) <= 0.15, offsets
