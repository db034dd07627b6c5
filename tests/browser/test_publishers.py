"""What real browsers publish with livekit-client, judged by what is in the recorded files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

import pytest

from cloudrec_contract.spool import MEDIA, ConditionRecord, TrackRecord
from cloudrec_local.playback.decode import TICKS, Picture, Recording
from cloudrec_local.synthetic.code import unwrap
from cloudrec_local.synthetic.sound import beep_hz
from tests.analysis import content, structure
from tests.analysis.ffprobe import ffprobe_warnings
from tests.analysis.files import Whose
from tests.browser.camera import LOOP_SECONDS
from tests.browser.story import CANVAS_FPS, CLEO, HANS, LARGE, SCREEN_FPS, SMALL, VERA, Told

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(420),
    pytest.mark.media,
    pytest.mark.asyncio(loop_scope="session"),
]

GAP_SECONDS = 0.4  # a camera that was stopped and started, a reload: its loop begins again
YOUNG_SECONDS = 1.5
TRACKS = {Whose(user, "main", kind) for user in ("vera", "hans", "cleo") for kind in ("audio", "video")}


def stretches(video: Recording) -> list[list[Picture]]:
    """Pictures without a gap and of one size."""
    made = [[video.pictures[0]]]
    for before, after in pairwise(video.pictures):
        if after.wall - before.wall > GAP_SECONDS or after.width != before.width:
            made.append([])
        made[-1].append(after)
    return made


def sizes(pictures: Sequence[Picture]) -> list[tuple[int, int]]:
    found = [(picture.width, picture.height) for picture in pictures]
    return found[:1] + [after for before, after in pairwise(found) if after != before]


def by_the_clock(video: Recording, fps: int) -> list[float]:
    """For each picture when the file says it was, less when it was drawn (ms)."""
    found = [(picture.wall, picture.code) for picture in video.pictures]
    return [(wall - unwrap(code.frame, wall * fps) / fps) * 1000 for wall, code in found if code]


async def test_there_is_a_playlist_for_each_track(told: Told) -> None:
    assert set(told.apart) == TRACKS | {Whose("cleo", "aux", "video")}
    assert set(told.merged) == {Whose(user, "main", "audio_video") for user in ("hans", "cleo")} | {
        Whose("cleo", "aux", "audio_video")
    }
    assert not {whose: file.faults for whose, file in [*told.apart.items(), *told.merged.items()] if file.faults}


async def test_browsers_sent_what_the_story_says(told: Told) -> None:
    """Else the tests below would say less than they seem to."""
    assert [(layer.codec, (layer.width, layer.height)) for layer in told.sent["vera"]] == [
        ("video/VP8", SMALL),
        ("video/VP8", LARGE),
    ]
    assert [(layer.codec, layer.encoder) for layer in told.sent["hans"]] == [("video/H264", "OpenH264")]


async def test_vp8_is_transcoded_and_h264_is_not(told: Told) -> None:
    tracks = [record for record in told.records if isinstance(record, TrackRecord) and record.kind == "video"]
    assert {track.codec for track in tracks} == {"H264"}
    assert {track.user_id for track in tracks if track.transcoded} == {"vera"}
    said = [r.message for r in told.records if isinstance(r, ConditionRecord) and r.reason == "Transcoded"]
    assert any("VP8 of vera (main)" in message for message in said)


@pytest.mark.parametrize(("user", "number"), [("vera", VERA), ("hans", HANS)])
async def test_a_cameras_pictures_are_all_there_and_each_at_its_time(told: Told, user: str, number: int) -> None:
    camera = told.cameras[user]
    pictures, seconds = 0, 0.0
    for stretch in stretches(told.video(user)):
        codes = [picture.code for picture in stretch]
        assert {(code.user, code.screen) for code in codes if code} <= {(number, False)}
        assert sum(code is None for code in codes) <= len(codes) // 100
        pictures += len(stretch) - 1
        seconds += stretch[-1].wall - stretch[0].wall
        drifts = [
            (code.frame / camera.fps - picture.wall) % LOOP_SECONDS
            for picture, code in zip(stretch, codes, strict=True)
            if code
        ]
        middle = LOOP_SECONDS / 2
        away = [(drift - drifts[0] + middle) % LOOP_SECONDS - middle for drift in drifts]
        # the fake camera itself shows a picture twice now and then, on a busy machine several in a row
        assert content.percentile([at - median(away) for at in away], 0.9) <= 2.5 / camera.fps
    assert pictures >= 0.8 * seconds * camera.fps  # encoders of a busy machine leave some out
    assert seconds >= 10


async def test_the_large_layer_is_recorded(told: Told) -> None:
    found = [(picture.width, picture.height) for picture in told.video("vera").pictures]
    assert set(found) <= {SMALL, LARGE}
    assert found.count(LARGE) >= 2 * told.cameras["vera"].fps  # a browser on a busy machine goes down to the other


@pytest.mark.parametrize("merged", [False, True])
async def test_a_changed_resolution_is_behind_a_discontinuity(told: Told, merged: bool) -> None:
    file = told.both("hans") if merged else told.video("hans")
    assert sizes(file.pictures) == [LARGE, SMALL, LARGE]
    for before, after in pairwise(file.pictures):
        if after.width != before.width:
            assert after.keyframe
            segment = file.segments[after.segment]
            if after.segment == before.segment:  # it had only just begun, and is left to the next
                assert (after.pts - segment.first_pts) / TICKS < YOUNG_SECONDS
                segment = file.segments[after.segment + 1]
            assert segment.discontinuity


async def test_a_muted_microphone_is_silence(told: Told) -> None:
    audio, muted = told.audio("vera"), told.microphone_muted
    assert muted.end is not None
    silences = content.silent(audio, 0.5) + content.gaps(audio, 0.5)
    covered = sum(max(0.0, min(gap.end, muted.end) - max(gap.start, muted.start)) for gap in silences)
    assert covered >= 0.7 * (muted.end - muted.start)
    assert not [at for at in content.beeps(audio, beep_hz(VERA)) if muted.start + 0.3 < at < muted.end - 0.1]


async def test_a_muted_camera_is_a_gap_and_goes_on_in_the_same_playlist(told: Told) -> None:
    muted = told.camera_muted
    assert muted.end is not None
    walls = [picture.wall for picture in told.video("vera").pictures]
    assert not [at for at in walls if muted.start + 0.5 < at < muted.end - 0.1]
    assert [at for at in walls if at < muted.start]
    assert [at for at in walls if muted.end <= at < muted.end + 2]


async def test_a_reloaded_tab_goes_on_in_the_same_playlist_behind_a_discontinuity(told: Told) -> None:
    start, end = told.reload.start, told.reload.end
    assert end is not None
    for file in (told.video("vera"), told.audio("vera")):
        begins = [file.epoch + segment.first_pts / TICKS for segment in file.segments if segment.discontinuity]
        assert [at for at in begins if start < at < end + 3]
        assert file.epoch + file.segments[-1].end_pts / TICKS > end + 3
    beeps = content.beeps(told.audio("vera"), beep_hz(VERA))
    assert [at for at in beeps if at < start]
    assert len([at for at in beeps if at > end]) >= 3


@pytest.mark.parametrize("user", ["hans", "cleo"])
async def test_sound_that_nobody_muted_is_without_a_break(told: Told, user: str) -> None:
    audio, number = told.audio(user), {"hans": HANS, "cleo": CLEO}[user]
    beeps = content.beeps(audio, beep_hz(number))
    assert len(beeps) >= int(audio.seconds) - 1
    assert all(after - before == pytest.approx(1, abs=0.02) for before, after in pairwise(beeps))
    assert not content.gaps(audio, 0.1)


async def test_pictures_and_beeps_by_the_wall_clock_are_where_they_belong(told: Told) -> None:
    for video, audio in ((told.video("cleo"), told.audio("cleo")), (told.both("cleo"), told.both("cleo"))):
        assert {picture.code.user for picture in video.pictures if picture.code} == {CLEO}
        assert len(video.pictures) >= 0.8 * CANVAS_FPS * video.seconds
        assert content.percentile(by_the_clock(video, CANVAS_FPS), 0.95) <= 100
        flashes, beeps = content.flashes(video), content.beeps(audio, beep_hz(CLEO))
        offsets = [min((beep - at for beep in beeps), key=abs) * 1000 for at in flashes]
        assert len(offsets) >= 15
        assert abs(median(offsets)) <= 80, offsets
        assert content.percentile(offsets[1:-1], 0.95) <= 80 + 1000 / CANVAS_FPS, offsets  # a picture drawn late


async def test_a_shared_screen_is_recorded_as_aux(told: Told) -> None:
    screen = told.apart[Whose("cleo", "aux", "video")]
    codes = [picture.code for picture in screen.pictures if picture.code]
    assert len(codes) >= 0.95 * len(screen.pictures)
    assert {(code.user, code.screen) for code in codes} == {(CLEO, True)}
    assert screen.seconds >= 5
    assert len({code.frame for code in codes}) >= 0.6 * SCREEN_FPS * screen.seconds
    assert content.percentile(by_the_clock(screen, SCREEN_FPS), 0.95) <= 300  # the browser looks at the tab by itself


async def test_segments_join_and_players_agree(told: Told) -> None:
    for name, files in (("apart", told.apart), ("merged", told.merged)):
        assert structure.epoch_spread(files.values()) <= 2
        tracks = told.recorders[name].tracks()
        for whose, file in files.items():
            if whose.kind == "audio":
                assert not structure.broken_joints(file, 1.0), whose
            playlist = told.recorders[name].folder / MEDIA / tracks[whose]
            playlist.write_bytes(await told.recorders[name].read(tracks[whose]))
            assert not ffprobe_warnings(playlist), whose
