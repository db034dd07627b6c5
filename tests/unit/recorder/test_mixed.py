"""A recording in mixed mode: a scripted room, a real composer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cloudrec_contract.spool import SegmentRecord, TrackRecord
from cloudrec_recorder.media import AccessUnit, TrackKey
from cloudrec_recorder.rooms import Published
from tests.unit.recorder import scripted
from tests.unit.recorder.test_session import Bench, voice
from tests.unit.segments.pictures import FPS, encoded

MIX = {"video": {"width": 320, "height": 180, "fps": 15}}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    if made.running is not None and not made.running.done():
        made.session.stop("the test is over")
        await made.end()


def camera(user: str) -> list[AccessUnit]:
    key = TrackKey(user, "main", "video")
    return [
        AccessUnit(key, "H264", data, n / FPS, first, 9) for n, (data, first) in enumerate(encoded("H264", range(30)))
    ]


async def test_one_playlist_of_the_room(bench: Bench) -> None:
    room = await bench.start("alice", "bob", mode="Mixed", mix=MIX)
    room.media(*camera("alice"), *voice("alice", 0.0), *voice("bob", 0.2))
    await bench.until(lambda: bool(bench.of(TrackRecord)))
    await bench.until(lambda: bench.states == ["Idle", "Recording"])
    scripted.write_task(bench.folder, scripted.task(mode="Mixed", mix=MIX, desiredState="Stopped"))
    outcome = await bench.end()
    assert (outcome.failed, outcome.leave_code) == (False, 0)
    (track,) = bench.of(TrackRecord)
    assert (track.track, track.user_id, track.kind) == ("1400000001_12345.m3u8", "", "audio_video")
    assert (track.width, track.height, track.codec) == (320, 180, "H264")
    assert {segment.track for segment in bench.of(SegmentRecord)} == {track.track}


async def test_layers_follow_the_layout_and_its_changes(bench: Bench) -> None:
    room = await bench.start("alice", "bob", mode="Mixed", mix=MIX)
    await bench.until(lambda: room.preferred == {"alice/video": (160, 180), "bob/video": (160, 180)})
    floating = {**MIX, "layout": {"template": "Floating", "bigPicture": {"userId": "bob"}}}
    scripted.write_task(bench.folder, scripted.task(mode="Mixed", mix=floating))
    await bench.until(lambda: room.preferred == {"alice/video": (74, 42), "bob/video": (320, 180)})
    alone = {"userId": "alice", "left": 0, "top": 0, "width": 64, "height": 36}
    custom = {**MIX, "layout": {"template": "Custom", "windows": [alone]}}
    scripted.write_task(bench.folder, scripted.task(mode="Mixed", mix=custom))
    await bench.until(lambda: room.preferred == {"alice/video": (64, 36), "bob/video": (0, 0)})
    room.present(tracks=(Published("bob/video", TrackKey("bob", "main", "video"), "", muted=True),))
    await bench.until(lambda: room.preferred == {"bob/video": (0, 0)})


async def test_names_of_any_length_can_be_recorded(bench: Bench) -> None:
    long = "x" * 250
    room = await bench.start(long, mode="Mixed", mix=MIX)
    await bench.until(lambda: room.subscribed == {f"{long}/audio", f"{long}/video"})
    assert bench.conditions() == {}
